import { UnavailableError } from '../node-client/client.ts'

/** Every job tries more often than this. */
const KNOWN_MS = 10_000

/** How often to check whether a slow service has gone away. */
const LOOK_MS = 200

/** The program has continued without knowing whether the service knows how the job ended. */
export class UnheardError extends UnavailableError {
  readonly url: string

  constructor(url: string) {
    super(`${url} has not heard how the job ended.`)
    this.url = url
  }
}

export interface Wait {
  /** The longest wait, in the present situation. */
  ms: () => number
  /** When the service last answered, by `performance.now()`. The wait begins anew with each answer. */
  answeredAt?: () => number
}

/**
 * Limits what an outage of the service costs a program: one longest wait, and one warning. Otherwise a thousand jobs would each
 * wait at their start and at their end.
 */
export class Outage {
  #waitedMs = 0
  #failures = 0
  #failedAt = 0
  #isTold = false
  readonly #onProblem: (problem: Error) => void

  constructor(onProblem: (problem: Error) => void) {
    this.#onProblem = onProblem
  }

  /** The service has answered. */
  over(): void {
    this.#waitedMs = 0
    this.#failures = 0
  }

  /** A try has failed. */
  failed(): void {
    this.#failures++
    this.#failedAt = performance.now()
  }

  /**
   * Whether the service is away. A single failure may only mean that a connection was closed, and an old failure says nothing.
   */
  get isKnown(): boolean {
    return this.#failures > 1 && performance.now() - this.#failedAt < KNOWN_MS
  }

  /**
   * Waits for `promise`. All waits of this outage together last no longer than `ms` says. The process stays alive meanwhile.
   */
  async wait<Value>(promise: Promise<Value>, { ms, answeredAt = () => 0 }: Wait): Promise<Value | undefined> {
    const beganAt = performance.now()
    let timer: NodeJS.Timeout | undefined
    const impatience = new Promise<undefined>(resolve => {
      const look = (): void => {
        const mostMs = ms()
        const leftMs = Math.max(beganAt, answeredAt()) + mostMs - this.#waitedMs - performance.now()
        if (leftMs > 0) {
          timer = setTimeout(look, Math.min(Math.ceil(leftMs), LOOK_MS))
          return
        }
        this.#waitedMs = Math.max(mostMs, this.#waitedMs)
        resolve(undefined)
      }
      look()
    })
    try {
      return await Promise.race([promise, impatience])
    } finally {
      clearTimeout(timer)
    }
  }

  tell(problem: Error): void {
    if (problem instanceof UnavailableError) {
      if (this.#isTold) return
      this.#isTold = true
    }
    try {
      this.#onProblem(problem)
    } catch {
      // An error of the program's handler is ignored: it must not stop the work.
    }
  }
}

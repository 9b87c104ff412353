import { UnavailableError } from '../node-client/client.ts'

/** All jobs try more often than this. */
const KNOWN_MS = 10_000

/** How often it is looked whether a service that was slow is away now. */
const LOOK_MS = 200

/** The program has gone on without knowing whether the service has heard how the job ended. */
export class UnheardError extends UnavailableError {
  readonly url: string

  constructor(url: string) {
    super(`${url} has not heard how the job ended.`)
    this.url = url
  }
}

export interface Wait {
  /** How long at most, as things are now. */
  ms: () => number
  /** When the service last answered, by `performance.now()`: the wait begins anew with that. */
  answeredAt?: () => number
}

/**
 * What a service that is away may cost a program: the longest wait for it once, and one word. Otherwise each of a thousand jobs
 * would be waited for at its start and at its end.
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

  /** A try was in vain. */
  failed(): void {
    this.#failures++
    this.#failedAt = performance.now()
  }

  /** Whether the service is away: a single try is in vain also where a connection was closed, and an old one says nothing. */
  get isKnown(): boolean {
    return this.#failures > 1 && performance.now() - this.#failedAt < KNOWN_MS
  }

  /** Waits for `promise`, but for no longer in this outage than `ms` says. The process stays alive. */
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
      // Whoever is told of trouble must not make more of it.
    }
  }
}

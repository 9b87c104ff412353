import { UnavailableError } from '../api-client/client.ts'

/** All jobs try more often than this. */
const KNOWN_MS = 10_000

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

  /**
   * Waits for `promise`, but not for longer than `ms` in this outage; the wait begins anew with what is answered meanwhile. The
   * process stays alive.
   */
  async wait<Value>(
    ms: number,
    promise: Promise<Value>,
    answeredAt: () => number = () => 0,
  ): Promise<Value | undefined> {
    const beganAt = performance.now()
    let timer: NodeJS.Timeout | undefined
    const impatience = new Promise<undefined>(resolve => {
      const look = (): void => {
        const leftMs = Math.max(beganAt, answeredAt()) + ms - this.#waitedMs - performance.now()
        if (leftMs > 0) {
          timer = setTimeout(look, Math.ceil(leftMs))
          return
        }
        this.#waitedMs = Math.max(ms, this.#waitedMs)
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

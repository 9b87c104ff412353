import { UnavailableError } from '../api-client/client.ts'

/**
 * What a service that is away may cost a program: the longest wait for it once, and one word. Otherwise each of a thousand jobs
 * would be waited for at its start and at its end.
 */
export class Outage {
  #waitedMs = 0
  #isTold = false
  readonly #onProblem: (problem: Error) => void

  constructor(onProblem: (problem: Error) => void) {
    this.#onProblem = onProblem
  }

  /** The service has answered. */
  over(): void {
    this.#waitedMs = 0
  }

  /** Waits for `promise`, but not for longer than `ms` in this outage. Meanwhile the process stays alive. */
  async wait<Value>(ms: number, promise: Promise<Value>): Promise<Value | undefined> {
    let timer: NodeJS.Timeout | undefined
    const impatience = new Promise<undefined>(resolve => {
      const giveUp = (): void => {
        this.#waitedMs = Math.max(ms, this.#waitedMs)
        resolve(undefined)
      }
      timer = setTimeout(giveUp, ms - this.#waitedMs)
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

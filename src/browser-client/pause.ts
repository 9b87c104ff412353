/**
 * Waits that can be ended early. Browsers let the timers of hidden pages fire once a minute. `tick` ends the waits that are
 * due, and may be called for any other reason, such as a message from a visible page.
 */
export class Pauses {
  readonly #now: () => number
  readonly #pending = new Map<() => void, number>()

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** Resolves after the time, when woken, or when the signal aborts. */
  wait(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise(resolve => {
      if (signal.aborted) {
        resolve()
        return
      }
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        this.#pending.delete(end)
        resolve()
      }
      const timer = setTimeout(end, milliseconds)
      signal.addEventListener('abort', end)
      this.#pending.set(end, this.#now() + milliseconds)
    })
  }

  /** Ends the waits that are due. */
  tick(): void {
    for (const [end, at] of [...this.#pending]) if (at <= this.#now()) end()
  }

  /** Ends all waits. */
  wake(): void {
    for (const end of [...this.#pending.keys()]) end()
  }
}

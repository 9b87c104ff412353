/** How often to check whether the process must still be kept alive for a loop. */
const LOOK_MS = 1_000

export interface Loop {
  /** The loop waits for its next item. */
  readonly isWaiting: boolean
}

/**
 * Keeps the process alive while a tracked loop waits for its next item. When only the promise of the next item is left, Node
 * ends a process in the middle of a `for await` with code 0, as if the loop had come to its end. The item may still come from a
 * source that does not keep the process alive, and the job may still be cancelled. Until the process is about to end, this
 * costs nothing.
 */
export class WaitingLoops {
  readonly #loops = new Set<Loop>()
  #hold: NodeJS.Timeout | undefined

  add(loop: Loop): void {
    if (this.#loops.size === 0) process.on('beforeExit', this.#onBeforeExit)
    this.#loops.add(loop)
  }

  delete(loop: Loop): void {
    if (!this.#loops.delete(loop)) return
    if (this.#loops.size === 0) process.removeListener('beforeExit', this.#onBeforeExit)
    this.#release()
  }

  readonly #onBeforeExit = (): void => {
    if (this.#isNeeded()) this.#hold ??= setInterval(() => this.#release(), LOOK_MS)
  }

  #isNeeded(): boolean {
    return [...this.#loops].some(loop => loop.isWaiting)
  }

  #release(): void {
    if (!this.#hold || this.#isNeeded()) return
    clearInterval(this.#hold)
    this.#hold = undefined
  }
}

/** So often is looked whether a process is still held for a loop. */
const LOOK_MS = 1_000

export interface Loop {
  /** It waits for its next item. */
  readonly isWaiting: boolean
}

/**
 * Keeps the process alive while a tracked loop waits for its next item. Node ends a process in the middle of a `for await`, with
 * code 0, when nothing but the promise of the next item is left: that looks as if the loop had come to its end. The item may
 * still come of something that does not keep the process alive, and so may a cancellation. It costs nothing until the process
 * is about to end.
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

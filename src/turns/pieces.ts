import { setImmediate as nextTurn } from 'node:timers/promises'

/** Longer work is cut into pieces of this many milliseconds, so that the event loop can serve others between them. */
export const PIECE_MS = 4

/**
 * Work of unknown length, cut into pieces. Between two items: `if (pieces.isOver()) await pieces.next()`. The event loop serves
 * all that has come meanwhile before `next` resolves.
 */
export class Pieces {
  #until = performance.now() + PIECE_MS

  /** Whether this piece has taken as long as a piece may take. */
  isOver(): boolean {
    return performance.now() >= this.#until
  }

  async next(): Promise<void> {
    await nextTurn()
    this.#until = performance.now() + PIECE_MS
  }
}

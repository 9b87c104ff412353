/** An id counts as recent for this time after it was last added, and may count for up to twice as long. */
const LATELY_MS = 5_000

/**
 * Ids that were added recently, by times of one clock in milliseconds. They are kept in two generations, so that they need not
 * be iterated.
 */
export class Recent {
  #young = new Set<string>()
  #old = new Set<string>()
  #youngSince = -Infinity

  add(key: string, now: number): void {
    if (now - this.#youngSince >= LATELY_MS) {
      this.#old = now - this.#youngSince < 2 * LATELY_MS ? this.#young : new Set()
      this.#young = new Set()
      this.#youngSince = now
    }
    this.#young.add(key)
  }

  isAlone(key: string): boolean {
    const others = (keys: Set<string>) => keys.size - (keys.has(key) ? 1 : 0)
    return others(this.#young) + others(this.#old) === 0
  }
}

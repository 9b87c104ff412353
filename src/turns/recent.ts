/** Whoever has asked in this time, or in up to twice as much, is there. */
const LATELY_MS = 5_000

/** Who has asked lately, by times of one clock in milliseconds, in two generations: nothing ever walks through them. */
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

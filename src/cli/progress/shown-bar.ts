/** Counts beyond this are no counts any more, but numbers made large to let a bar fall. */
const LARGEST = 1e12

export interface Count {
  done: number
  total: number
}

/**
 * The service lets the bar of a job fall only where its total grows. So counts are multiplied where the bar has to fall and the
 * total would not grow: what was read first was none of the progress.
 */
export class ShownBar {
  #total: number | null
  #percent = 0
  #factor = 1

  constructor(declaredTotal: number | null) {
    this.#total = declaredTotal
  }

  show({ done, total }: Count, mayFall: boolean): Count {
    const percent = Math.floor((100 * done) / total)
    const scaled = (): number => total * this.#factor
    const falls = mayFall && this.#total !== null && percent < this.#percent && scaled() <= this.#total
    if (falls && this.#total !== null && this.#total < LARGEST) this.#factor = Math.floor(this.#total / total) + 1
    const isGrown = this.#total !== null && scaled() > this.#total
    this.#percent = isGrown ? percent : Math.max(this.#percent, percent)
    this.#total = scaled()
    return { done: Math.floor(done * this.#factor), total: Math.round(scaled()) }
  }
}

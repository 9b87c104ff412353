/** Totals are not multiplied beyond this. */
const LARGEST = 1e12

export interface Count {
  done: number
  total: number
}

/**
 * Lets a job's bar fall when the values that were read first were no progress. The service lets a bar fall only if its total
 * grows, so count and total are multiplied if the total would not grow by itself.
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

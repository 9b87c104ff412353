/** Dates of answers are in whole seconds and arrive late, so a smaller difference says nothing. */
const DATE_TELLS_MS = 2_000

/**
 * The service's time. Event ids contain it in milliseconds. An id never lies in the future when it arrives, so the latest id is
 * the best one. The id of a snapshot is that of the last change, which may be hours old. Until the id of a change arrives, the
 * dates of answers show whether the clock of this machine is far off.
 */
export class ServiceClock {
  #aheadMs = 0
  /** From the last date of an answer; 0: the clocks agree. */
  #aheadByDateMs = 0
  /** A change of this stream has brought an exact time. */
  #known = false
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** By how many milliseconds the service's clock is ahead of the clock of this machine. */
  get aheadMs(): number {
    return this.#aheadMs
  }

  now(): number {
    return this.#now() + this.#aheadMs
  }

  /** `fresh`: the id arrived together with its change. */
  observe(id: string | null, fresh: boolean): void {
    const ms = Number(/^(\d{1,15})\./.exec(id ?? '')?.[1])
    if (!(ms > 0)) return
    const aheadMs = ms - this.#now()
    if (!fresh) {
      // A new stream: the clock of this machine may have been set since the last one.
      this.#known = false
      this.#aheadMs = Math.max(this.#aheadByDateMs, aheadMs)
    } else if (!this.#known || aheadMs > this.#aheadMs) {
      this.#known = true
      this.#aheadMs = aheadMs
    }
  }

  /** The `date` of an answer that has just arrived. */
  observeDate(date: string | null): void {
    const aheadMs = Date.parse(date ?? '') + 500 - this.#now()
    if (Number.isNaN(aheadMs)) return
    this.#aheadByDateMs = Math.abs(aheadMs) < DATE_TELLS_MS ? 0 : aheadMs
    if (!this.#known) this.#aheadMs = this.#aheadByDateMs === 0 ? Math.max(0, this.#aheadMs) : this.#aheadByDateMs
  }

  /** Takes the difference that another tab of this machine has found. */
  adopt(aheadMs: number): void {
    this.#known = false
    this.#aheadMs = aheadMs
  }
}

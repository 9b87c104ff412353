/** Dates of answers are in whole seconds, and were on their way for a while: a smaller difference may be none. */
const DATE_TELLS_MS = 2_000

/**
 * The service's time. Event ids tell it to the millisecond, and are never later than the moment in which they arrive, so the latest
 * is the best; that of a snapshot may be hours old, since it is that of the last change. Until one is fresh, the dates of answers
 * show whether the clock of this machine is quite wrong.
 */
export class ServiceClock {
  #aheadMs = 0
  /** As the last date had it; 0: about right. */
  #aheadByDateMs = 0
  /** A change has told it since the stream began. */
  #known = false
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** By how much it is ahead of the clock of this machine. */
  get aheadMs(): number {
    return this.#aheadMs
  }

  now(): number {
    return this.#now() + this.#aheadMs
  }

  /** `fresh`: the id came with a change, in the moment of that change. */
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

  /** The `date` of an answer that has just come. */
  observeDate(date: string | null): void {
    const aheadMs = Date.parse(date ?? '') + 500 - this.#now()
    if (Number.isNaN(aheadMs)) return
    this.#aheadByDateMs = Math.abs(aheadMs) < DATE_TELLS_MS ? 0 : aheadMs
    if (!this.#known) this.#aheadMs = this.#aheadByDateMs === 0 ? Math.max(0, this.#aheadMs) : this.#aheadByDateMs
  }

  /** What another tab of this machine has found out. */
  adopt(aheadMs: number): void {
    this.#known = false
    this.#aheadMs = aheadMs
  }
}

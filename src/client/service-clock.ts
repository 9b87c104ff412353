/**
 * The service's time, as its event ids tell it. An id is never later than the moment in which it arrives, so the latest is the best;
 * one of a snapshot may be hours old, since it is that of the last change.
 */
export class ServiceClock {
  #aheadMs = 0
  #known = false
  readonly #now: () => number

  constructor(now: () => number = Date.now) {
    this.#now = now
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
      this.#aheadMs = Math.max(0, aheadMs)
    } else if (!this.#known || aheadMs > this.#aheadMs) {
      this.#known = true
      this.#aheadMs = aheadMs
    }
  }
}

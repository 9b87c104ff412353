/** Used allowance comes back evenly over this time, so a rate is an average over it. */
export const WINDOW_SECONDS = 10

const WINDOW_MS = WINDOW_SECONDS * 1000

export interface AllowancesOptions {
  /** Uses per second of each key, on average. Up to ten seconds' worth may come at once. */
  perSecond: number
  /** How many keys are remembered: at least this many, at most twice as many. */
  maxKeys: number
  /** Milliseconds of a monotonic clock. */
  now: () => number
}

/** The state of an allowance after a use, or after a refused one. */
export interface Allowance {
  granted: boolean
  /** How many more uses may follow at once. */
  remaining: number
  /** When the allowance will be full again, if nothing more is used. */
  fullAfterSeconds: number
  /** When the next use is granted; 0: at once. */
  retryAfterSeconds: number
}

/**
 * One allowance for each key, as a token bucket. For each bucket only the moment is kept at which it will be full again (the
 * "theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371): one number per key, and nothing to refill. A key
 * that was not used for a window is full and may be forgotten. So keys are kept in two generations. The older one is dropped
 * after a window, or sooner if callers bring more new keys than that: the number of keys is bounded, and the maps are never
 * iterated.
 */
export class Allowances {
  readonly limit: number
  readonly #options: AllowancesOptions
  readonly #costMs: number
  #young = new Map<string, number>()
  #old = new Map<string, number>()
  #youngSince: number

  constructor(options: AllowancesOptions) {
    this.#options = options
    this.#costMs = 1000 / options.perSecond
    this.limit = options.perSecond * WINDOW_SECONDS
    this.#youngSince = options.now()
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** Uses one of the allowance of `key`, if one is left. */
  use(key: string): Allowance {
    const now = this.#options.now()
    const fullAt = Math.max(this.#fullAt(key), now)
    const fullAtThen = fullAt + this.#costMs
    const missingMs = fullAtThen - now - WINDOW_MS
    // Half a use of tolerance, because sums of fractions are rounded up a little.
    const granted = missingMs < this.#costMs / 2
    if (granted) this.#remember(key, fullAtThen, now)
    const spentMs = (granted ? fullAtThen : fullAt) - now
    return {
      granted,
      remaining: Math.max(0, Math.round((WINDOW_MS - spentMs) / this.#costMs)),
      fullAfterSeconds: spentMs / 1000,
      retryAfterSeconds: granted ? 0 : missingMs / 1000,
    }
  }

  /** Takes the last use of `key` back. */
  giveBack(key: string): void {
    this.#remember(key, this.#fullAt(key) - this.#costMs, this.#options.now())
  }

  #fullAt(key: string): number {
    return this.#young.get(key) ?? this.#old.get(key) ?? 0
  }

  #remember(key: string, fullAt: number, now: number): void {
    const { maxKeys } = this.#options
    if (now - this.#youngSince >= WINDOW_MS || (this.#young.size >= maxKeys && !this.#young.has(key))) {
      this.#old = this.#young
      this.#young = new Map()
      this.#youngSince = now
    }
    this.#young.set(key, fullAt)
  }
}

/** What a caller has used up is given back over this time, evenly: a rate is an average over it. */
export const WINDOW_SECONDS = 10

const WINDOW_MS = WINDOW_SECONDS * 1000

export interface AllowancesOptions {
  /** How many uses a second each key has, on average; up to ten seconds' worth of them at once. */
  perSecond: number
  /** How many keys are remembered, at least; twice as many at most. */
  maxKeys: number
  /** Milliseconds of a clock that nobody sets. */
  now: () => number
}

/** How it stands after a use, or after one that was refused. */
export interface Allowance {
  granted: boolean
  /** How many more may follow at once. */
  remaining: number
  /** When everything has been given back, if nothing more is used. */
  fullAfterSeconds: number
  /** When the next use is granted; 0: at once. */
  retryAfterSeconds: number
}

/**
 * One allowance for each key, as a token bucket. Of a bucket only the moment is kept at which it will be full again (the
 * "theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371): one number a key, and nothing to refill.
 * Whoever has not used anything for a window is full, and may be forgotten. So keys are kept in two generations, of which
 * the older one is dropped after a window, or sooner where strangers bring ever new keys: their number is bounded, and
 * nothing ever walks through them.
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

  /** Uses one of `key`, where there is one left. */
  use(key: string): Allowance {
    const now = this.#options.now()
    const fullAt = Math.max(this.#fullAt(key), now)
    const fullAtThen = fullAt + this.#costMs
    const missingMs = fullAtThen - now - WINDOW_MS
    // Half a use of tolerance: sums of fractions come out a little too large.
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

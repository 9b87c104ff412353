import type { PeriodStatistics, TypeStatistics } from '../../contract/statistics.ts'

/** What functions/statistics.sql counts of a type or of all types together. What is zero or null is left out. */
export interface Counts {
  completed?: number
  failed?: number
  cancelled?: number
  items?: number
  seconds?: number
  units?: string[]
  longest?: number
  values?: number[]
  buckets?: number[]
  counts?: number[]
  late?: number
  latest?: number
  lateValues?: number[]
  lateBuckets?: number[]
  lateCounts?: number[]
  stale?: number
  staleAgain?: number[]
  recovered?: number
  recoveredAgain?: number[]
}

/** No estimate of a duration differs from the duration by more than this part of it. */
export const ACCURACY = 0.01
/** The ends of neighbouring buckets differ by this factor; see `headway.bucket_of`. */
const GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
/** Where bucket 1 ends: the precision of the times. */
const SMALLEST_SECONDS = 0.001

/** The value that differs least, relatively, from all values in the bucket. */
export const middleOf = (bucket: number): number => {
  if (bucket === 0) return 0
  const seconds = (SMALLEST_SECONDS * 2 * GAMMA ** (Math.abs(bucket) - 1)) / (GAMMA + 1)
  // Bucket 1 has one value only.
  return Math.sign(bucket) * (Math.abs(bucket) === 1 ? SMALLEST_SECONDS : seconds)
}

/** Seconds, of which some are known, and others only by their bucket. */
class Distribution {
  readonly #values: number[] = []
  readonly #buckets = new Map<number, number>()
  #size = 0
  #longest = -Infinity

  add(values: number[] = [], buckets: number[] = [], counts: number[] = [], longest?: number): void {
    this.#values.push(...values)
    this.#size += values.length
    for (let n = 0; n < buckets.length; n += 1) {
      const [bucket, count] = [buckets[n] ?? 0, counts[n] ?? 0]
      this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + count)
      this.#size += count
    }
    if (longest !== undefined && longest > this.#longest) this.#longest = longest
  }

  get max(): number | null {
    return this.#size === 0 ? null : this.#longest
  }

  /** The percentiles, interpolated between neighbours as `percentile_cont` of Postgres does; nulls if there is no value. */
  percentiles(parts: readonly number[]): (number | null)[] {
    if (this.#size === 0) return parts.map(() => null)
    // Typed arrays are sorted without calling a function for each comparison: all types of a year have some 10,000 buckets.
    const values = Float64Array.from(this.#values).sort()
    const buckets = Int16Array.from(this.#buckets.keys()).sort()
    const at = (place: number): number => {
      let inBuckets = 0
      let before = 0
      for (const bucket of buckets) {
        // No estimate is longer than the longest. Most buckets are passed without it.
        const middle = () => Math.min(middleOf(bucket), this.#longest)
        while (inBuckets + before <= place && before < values.length && (values[before] ?? 0) <= middle()) before += 1
        if (inBuckets + before > place) break
        inBuckets += this.#buckets.get(bucket) ?? 0
        if (inBuckets + before > place) return middle()
      }
      return values[place - inBuckets] ?? this.#longest
    }
    return parts.map(part => {
      const place = part * (this.#size - 1)
      const below = at(Math.floor(place))
      return below + (at(Math.ceil(place)) - below) * (place - Math.floor(place))
    })
  }
}

const milliseconds = (seconds: number | null): number | null => seconds && Math.round(seconds * 1000) / 1000

/** Adds up the counts of the parts of a window that begins at `sinceMs`. */
export class Tally {
  readonly #sinceMs: number
  #completed = 0
  #failed = 0
  #cancelled = 0
  #items = 0
  #seconds = 0
  readonly #units = new Set<string>()
  #late = 0
  #stale = 0
  #recovered = 0
  readonly #durations = new Distribution()
  readonly #lateness = new Distribution()

  constructor(sinceMs: number) {
    this.#sinceMs = sinceMs
  }

  add(counts: Counts): void {
    this.#completed += counts.completed ?? 0
    this.#failed += counts.failed ?? 0
    this.#cancelled += counts.cancelled ?? 0
    this.#items += counts.items ?? 0
    this.#seconds += counts.seconds ?? 0
    for (const unit of counts.units ?? []) this.#units.add(unit)
    this.#late += counts.late ?? 0
    // A job whose earlier alarm lies in the window has been counted for that one.
    const counted = (first = 0, again: number[] = []) => first + again.filter(ms => ms < this.#sinceMs).length
    this.#stale += counted(counts.stale, counts.staleAgain)
    this.#recovered += counted(counts.recovered, counts.recoveredAgain)
    this.#durations.add(counts.values, counts.buckets, counts.counts, counts.longest)
    this.#lateness.add(counts.lateValues, counts.lateBuckets, counts.lateCounts, counts.latest)
  }

  /** Nothing has to be told of it. */
  get isEmpty(): boolean {
    return this.#completed + this.#failed + this.#cancelled + this.#stale === 0
  }

  ofType(jobType: string): TypeStatistics {
    const ended = this.#completed + this.#failed
    const [p50 = null, p95 = null] = this.#durations.percentiles([0.5, 0.95]).map(milliseconds)
    const [lateP50 = null] = this.#lateness.percentiles([0.5]).map(milliseconds)
    // Counts are only added up if their units agree. Unknown units are not named, because they agree with all.
    const [unit = 'unknown', ...others] = this.#units
    const addsUp = others.length === 0 && this.#seconds !== 0
    return {
      jobType,
      completed: this.#completed,
      failed: this.#failed,
      cancelled: this.#cancelled,
      failureRate: ended === 0 ? null : this.#failed / ended,
      durationSeconds: { p50, p95, max: milliseconds(this.#durations.max) },
      itemsPerSecond: addsUp ? Number((this.#items / this.#seconds).toPrecision(4)) : null,
      unit: addsUp ? unit : null,
      stale: this.#stale,
      recovered: this.#recovered,
      late: this.#late,
      lateSeconds: { p50: lateP50, max: milliseconds(this.#lateness.max) },
    }
  }

  ofPeriod(startMs: number): PeriodStatistics {
    const [p50 = null, p95 = null] = this.#durations.percentiles([0.5, 0.95]).map(milliseconds)
    return {
      start: new Date(startMs).toISOString(),
      completed: this.#completed,
      failed: this.#failed,
      cancelled: this.#cancelled,
      durationSeconds: { p50, p95 },
      late: this.#late,
    }
  }
}

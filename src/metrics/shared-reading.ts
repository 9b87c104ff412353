import { answersWithin } from '../answers-within.ts'

export interface SharedReadingOptions<Value> {
  read: () => Promise<Value>
  /** The shortest time between two readings, whether they succeed or fail. */
  everyMs: number
  /** The longest time that a caller waits for a reading. */
  patienceMs: number
  /** Milliseconds of a monotonic clock. */
  now?: () => number
}

/** The last value, and its age in seconds; null until a reading has succeeded. */
export type SharedReading<Value> = () => Promise<{ value: Value; ageSeconds: number } | null>

/** A costly reading that is shared by all callers. While it fails or takes too long, they get the last value. */
export const shareReading = <Value>(options: SharedReadingOptions<Value>): SharedReading<Value> => {
  const { read, everyMs, patienceMs, now = () => performance.now() } = options
  let last: { value: Value; at: number } | null = null
  let begunAt = -Infinity
  let underWay: Promise<void> | null = null

  const attempt = async (at: number): Promise<void> => {
    try {
      last = { value: await read(), at }
    } catch {
      // The age shows the failure. The parts that need the database log its errors.
    } finally {
      underWay = null
    }
  }

  return async () => {
    if (!underWay && now() - begunAt >= everyMs) {
      begunAt = now()
      underWay = attempt(begunAt)
    }
    if (underWay) await answersWithin(patienceMs, underWay)
    return last && { value: last.value, ageSeconds: (now() - last.at) / 1000 }
  }
}

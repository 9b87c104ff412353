import { answersWithin } from '../answers-within.ts'

export interface SharedReadingOptions<Value> {
  read: () => Promise<Value>
  /** It is read no more often, whoever asks and however it went. */
  everyMs: number
  /** Nobody waits longer for it. */
  patienceMs: number
  /** Milliseconds of a clock that nobody sets. */
  now?: () => number
}

/** What was read last, and how old that is, in seconds; null until a first reading has succeeded. */
export type SharedReading<Value> = () => Promise<{ value: Value; ageSeconds: number } | null>

/** A reading that costs something, shared by all who ask: while it fails or takes too long, they get the last one. */
export const shareReading = <Value>(options: SharedReadingOptions<Value>): SharedReading<Value> => {
  const { read, everyMs, patienceMs, now = () => performance.now() } = options
  let last: { value: Value; at: number } | null = null
  let begunAt = -Infinity
  let underWay: Promise<void> | null = null

  const attempt = async (at: number): Promise<void> => {
    try {
      last = { value: await read(), at }
    } catch {
      // The age tells of it. What ails the database is logged by those who must reach it.
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

/** What a browser remembers of the visitor's looks at the jobs. Times are milliseconds by the service's clock. */
export interface Looks {
  /** When the page was last looked at. */
  lastMs: number
  /** Since when the visitor has not been told what happened; null: there is nothing to tell. */
  sinceMs: number | null
}

/** A shorter absence is none: the visitor has looked at another tab. */
export const AWAY_MS = 5 * 60_000
/** What is further back is not told: nobody reads a month of jobs. */
export const LONGEST_MS = 30 * 86_400_000

const DAY_MS = 86_400_000

/** The looks after one more. `before` is null at the first visit, of which there is nothing to tell. */
export const look = (before: Looks | null, nowMs: number): Looks => {
  if (before === null) return { lastMs: nowMs, sinceMs: null }
  const since = before.sinceMs ?? (nowMs - before.lastMs >= AWAY_MS ? before.lastMs : null)
  // A clock that was set back makes no absence.
  if (since === null || since > nowMs) return { lastMs: nowMs, sinceMs: null }
  // It moves once a day, and not with each look, because what is read depends on it.
  return { lastMs: nowMs, sinceMs: nowMs - since > LONGEST_MS + DAY_MS ? nowMs - LONGEST_MS : since }
}

/** The looks once the visitor has seen what there was to tell. */
export const seen = (nowMs: number): Looks => ({ lastMs: nowMs, sinceMs: null })

const isTime = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/** What was stored; null if that is nothing, or was not stored by `textOf`. */
export const looksOf = (stored: string | null): Looks | null => {
  try {
    const value = JSON.parse(stored ?? 'null') as Partial<Looks> | null
    if (value === null || typeof value !== 'object' || !isTime(value.lastMs)) return null
    return { lastMs: value.lastMs, sinceMs: isTime(value.sinceMs) ? value.sinceMs : null }
  } catch {
    return null
  }
}

export const textOf = (looks: Looks): string => JSON.stringify(looks)

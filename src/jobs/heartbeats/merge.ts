import { FIELD_ENTRIES } from './fields.ts'
import type { Heartbeat } from '../../contract/heartbeat.ts'
import { MAX_COUNT } from '../../contract/job.ts'

/** A report older than the last one by more than this was not late: the worker's clock was set. As in functions/flush.sql. */
const LATE_WITHIN_MS = 5 * 60_000

const PROGRESS_FIELDS = FIELD_ENTRIES.filter(([, { progress }]) => progress).map(([field]) => field)

const addCounts = (a: number, b: number): number => Math.min(MAX_COUNT, a + b)

/** `later` on top of `earlier`: an absolute value replaces, an increment adds. */
const combine = (earlier: Heartbeat, later: Heartbeat): Heartbeat => {
  const combined: Heartbeat = { ...earlier, ...later }
  // Both may stand: what was added to an absolute count stays added where a higher count is kept instead of it.
  if (later.processedCount !== undefined) delete combined.increment
  else if (later.increment !== undefined) combined.increment = addCounts(earlier.increment ?? 0, later.increment)
  return combined
}

/** Nothing of `earlier` would be left after `later`. */
const supersedes = (later: Heartbeat, earlier: Heartbeat): boolean =>
  later.increment === undefined &&
  later.meta === undefined &&
  PROGRESS_FIELDS.every(
    field =>
      earlier[field] === undefined ||
      later[field] !== undefined ||
      (field === 'increment' && later.processedCount !== undefined),
  )

export type Merge =
  | { kind: 'merged'; heartbeat: Heartbeat }
  /** Older than what waits: it refreshes liveness, which the waiting one does as well. */
  | { kind: 'late' }
  /** Writing the two one after the other could give another result than writing them as one. */
  | { kind: 'separate' }

/**
 * Joins a report with one of the same worker that still waits to be written, so that one row is written once. The outcome
 * is what the database would have made of the two in order of arrival; where that depends on what is stored, they stay
 * apart: a report with `reportedAt` may turn out late, and one without it never does. The same goes for the stage: a job
 * that has declared its stages may have left it, may not know it, and counts begin at nothing in the next one.
 * A report in another unit begins at nothing as well, and which unit the earlier one was in may not be known here.
 */
export const mergeHeartbeats = (waiting: Heartbeat, arriving: Heartbeat): Merge => {
  // One of two metas may be too large, and must not take the other report down with it.
  if (waiting.meta && arriving.meta) return { kind: 'separate' }
  if (waiting.stage !== arriving.stage) return { kind: 'separate' }
  if (arriving.unit !== undefined && arriving.unit !== waiting.unit) return { kind: 'separate' }
  if (waiting.reportedAt === undefined && arriving.reportedAt === undefined) {
    return { kind: 'merged', heartbeat: combine(waiting, arriving) }
  }
  if (waiting.reportedAt === undefined || arriving.reportedAt === undefined) return { kind: 'separate' }
  const aheadMs = Date.parse(arriving.reportedAt) - Date.parse(waiting.reportedAt)
  if (aheadMs < 0) return aheadMs >= -LATE_WITHIN_MS ? { kind: 'late' } : { kind: 'separate' }
  return supersedes(arriving, waiting) ? { kind: 'merged', heartbeat: arriving } : { kind: 'separate' }
}

import { FIELDS } from './fields.ts'
import type { Heartbeat } from '../../contract/heartbeat.ts'
import { MAX_COUNT } from '../../contract/job.ts'

/**
 * A report that is older than the last one by more than this is not late: the worker's clock was set. The same limit stands in
 * headway.is_late.
 */
const LATE_WITHIN_MS = 5 * 60_000

const PROGRESS_FIELDS = FIELDS.filter(({ progress }) => progress).map(({ name }) => name)

const addCounts = (a: number, b: number): number => Math.min(MAX_COUNT, a + b)

/** `later` on top of `earlier`: an absolute value replaces, an increment adds. */
const combine = (earlier: Heartbeat, later: Heartbeat): Heartbeat => {
  const combined: Heartbeat = { ...earlier, ...later }
  // If a higher count is kept instead of `processedCount`, the increment is still added to it, so both can stay.
  if (later.processedCount !== undefined) delete combined.increment
  else if (later.increment !== undefined) combined.increment = addCounts(earlier.increment ?? 0, later.increment)
  return combined
}

/** Whether `later` replaces every field of `earlier`. */
const supersedes = (later: Heartbeat, earlier: Heartbeat): boolean =>
  later.increment === undefined &&
  later.meta === undefined &&
  PROGRESS_FIELDS.every(
    field =>
      earlier[field] === undefined ||
      later[field] !== undefined ||
      (field === 'increment' && later.processedCount !== undefined),
  )

/** Whether `later` takes back a total or a count of `earlier`. */
const takesBack = (later: Heartbeat, earlier: Heartbeat): boolean =>
  (later.totalCount === null && typeof earlier.totalCount === 'number') ||
  (later.processedCount === 0 && ((earlier.processedCount ?? 0) > 0 || (earlier.increment ?? 0) > 0))

export type Merge =
  | { kind: 'merged'; heartbeat: Heartbeat }
  /** The arriving report is older than the waiting one. It only refreshes liveness, and the waiting one does that as well. */
  | { kind: 'late' }
  /** Writing the two one after the other could give another result than writing them as one. */
  | { kind: 'separate' }

/**
 * Joins a report with one of the same worker that still waits to be written, so that the worker's row is written once. The
 * result is what the database would have stored for the two in the order of their arrival. Where that depends on stored values,
 * the reports stay separate:
 *
 * - A report with `reportedAt` may be late; one without it never is.
 * - A job with declared stages may have left the stage, may not know it, and counts begin at 0 in the next one.
 * - In another unit counts begin at 0 as well, and the unit of the waiting report may not be known here.
 * - With a total or a count, the worker's unit may have become that of the job, also if they are taken back afterwards.
 */
export const mergeHeartbeats = (waiting: Heartbeat, arriving: Heartbeat): Merge => {
  // If one of two metas is too large, the database must not refuse the other report with it.
  if (waiting.meta && arriving.meta) return { kind: 'separate' }
  if (waiting.stage !== arriving.stage) return { kind: 'separate' }
  if (arriving.unit !== undefined && arriving.unit !== waiting.unit) return { kind: 'separate' }
  if (waiting.reportedAt === undefined && arriving.reportedAt === undefined) {
    if (takesBack(arriving, waiting)) return { kind: 'separate' }
    return { kind: 'merged', heartbeat: combine(waiting, arriving) }
  }
  if (waiting.reportedAt === undefined || arriving.reportedAt === undefined) return { kind: 'separate' }
  const aheadMs = Date.parse(arriving.reportedAt) - Date.parse(waiting.reportedAt)
  if (aheadMs < 0) return aheadMs >= -LATE_WITHIN_MS ? { kind: 'late' } : { kind: 'separate' }
  return supersedes(arriving, waiting) && !takesBack(arriving, waiting)
    ? { kind: 'merged', heartbeat: arriving }
    : { kind: 'separate' }
}

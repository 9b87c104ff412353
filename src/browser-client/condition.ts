import { isSilent, stalledPartitionsOf } from '../contract/liveness.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { leftRange } from '../contract/time-left.ts'
import type { LeftRange } from '../contract/time-left.ts'

/**
 * What a person wants to know about a job at a glance: its status, and whether something is wrong with a running job.
 *
 * - `stalled`: no worker has reported for 30 seconds. Only the service can tell: streams do not carry heartbeats that change
 *   nothing, and a silent stream may be the service's own fault. The service checks every five seconds.
 * - `not_advancing`: a worker reports, but the count has not grown for long.
 * - `partly_stalled`: some of a batch's running partitions are stalled, and the others are not.
 * - `cancelling`: the job was asked to stop and has not stopped yet.
 */
export type Condition =
  | 'pending'
  | 'running'
  | 'stalled'
  | 'not_advancing'
  | 'partly_stalled'
  | 'cancelling'
  | 'completed'
  | 'failed'
  | 'cancelled'

export type JobLike = Pick<
  LiveJob,
  | 'status'
  | 'liveness'
  | 'children'
  | 'cancelRequestedAt'
  | 'advancedAt'
  | 'startedAt'
  | 'processedCount'
  | 'progressPercent'
  | 'totalCount'
  | 'stage'
> &
  Partial<Pick<LiveJob, 'revision'>>

const SOON_MS = 30_000
/** A job that advances now and then is not late before so many of its usual steps are overdue. */
const STEPS = 3

/**
 * The number of steps in which a job has come this far, at most. A count of items counts more than a percent: one item of ten
 * is not ten steps. Items that are reported together are one step. Each reported advance is a revision of the job, and its
 * first revision is its creation. If there are more revisions than advances, as with a new message each second, the count of
 * items is used.
 */
const stepsOf = ({ processedCount, progressPercent, revision = Infinity }: JobLike): number =>
  Math.min(processedCount > 0 ? processedCount : progressPercent, revision - 1)

/** For how long work may go without an advance, in milliseconds: for three of the steps in which it has come this far. */
export const patienceMs = (workedMs: number, steps: number): number =>
  Math.max(SOON_MS, (STEPS * workedMs) / Math.max(1, steps))

/** The same for a job, by the advances that it has reported. */
export const patienceOfJob = (job: JobLike): number => {
  const { startedAt, advancedAt } = job
  const workedMs = startedAt === null || advancedAt === null ? 0 : Date.parse(advancedAt) - Date.parse(startedAt)
  return patienceMs(workedMs, stepsOf(job))
}

/**
 * For how long a running job has not advanced, in milliseconds, if that is longer than usual for it; otherwise null. A job that
 * takes ten minutes for each item, or reports five hundred items every ten minutes, may take thirty. A job that counts nothing
 * is not measured.
 */
export const notAdvancingMs = (job: JobLike, nowMs: number): number | null => {
  if (job.status !== 'running' || job.startedAt === null) return null
  const counts = job.advancedAt !== null || job.totalCount !== null || job.stage !== null
  if (!counts) return null
  const pauseMs = nowMs - Date.parse(job.advancedAt ?? job.startedAt)
  return pauseMs >= patienceOfJob(job) ? pauseMs : null
}

export const conditionOf = (job: JobLike, nowMs: number): Condition => {
  if (job.status !== 'running') return job.status
  if (isSilent(job)) return 'stalled'
  if (notAdvancingMs(job, nowMs) !== null) return 'not_advancing'
  if (stalledPartitionsOf(job) > 0) return 'partly_stalled'
  return job.cancelRequestedAt === null ? 'running' : 'cancelling'
}

/** Whether a person should look at the job. */
export const needsAttention = (condition: Condition): boolean =>
  condition === 'stalled' || condition === 'not_advancing' || condition === 'partly_stalled'

/** Whether the job's work goes on, as far as the client can tell. */
export const isAdvancing = (job: JobLike, nowMs: number): boolean =>
  job.status === 'running' && !isSilent(job) && notAdvancingMs(job, nowMs) === null

type Estimated = JobLike & Pick<LiveJob, 'etaSeconds' | 'updatedAt'>

/** How long ago the estimate of a job was made, in seconds: a time left is given for `updatedAt`. */
const passedSeconds = ({ updatedAt }: Pick<LiveJob, 'updatedAt'>, nowMs: number): number =>
  Math.max(0, nowMs - Date.parse(updatedAt)) / 1000

/**
 * Seconds left by now, at least 0. The estimate is given for `updatedAt`, and counts down between two updates. Null if it is
 * unknown, and if the job does not advance: a time that counts down all the same would be wrong.
 */
export const secondsLeft = (job: Estimated, nowMs: number): number | null => {
  if (job.etaSeconds === null || !isAdvancing(job, nowMs)) return null
  return Math.max(0, Math.ceil(job.etaSeconds - passedSeconds(job, nowMs)))
}

/** The range of the seconds left by now, where it says more than `secondsLeft` alone; null where that is null. */
export const rangeLeft = (
  job: Estimated & Pick<LiveJob, 'etaLowSeconds' | 'etaHighSeconds'>,
  nowMs: number,
): LeftRange | null => (isAdvancing(job, nowMs) ? leftRange(job, passedSeconds(job, nowMs)) : null)

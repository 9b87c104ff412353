import { isSilent, stalledPartitionsOf } from '../contract/liveness.ts'
import type { LiveJob } from '../contract/live-job.ts'

/**
 * What a person wants to know of a job at a glance: its status, and of a running one whether something is wrong with it.
 *
 * - `stalled`: nobody has reported for 30 seconds. Only the service can tell: streams carry no heartbeats in which nothing has changed,
 *   and a silence may be its own. It looks every five seconds.
 * - `not_advancing`: somebody reports, but the count has not grown for long.
 * - `partly_stalled`: of a batch: some of its running partitions are stalled, and the others go on.
 * - `cancelling`: it was asked to stop and has not yet.
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
/** A job that advances now and then is not late before so many of its usual steps are due. */
const STEPS = 3

/**
 * In how many steps a job has come so far, at most. What is counted is what was done; a percent of one item in ten says nothing of
 * ten steps. Items that are reported many at once are one step: each advance that was reported is a revision of the job, and the
 * first of them is its creation. More revisions than advances, as with a new message each second, leave the count of items.
 */
const stepsOf = ({ processedCount, progressPercent, revision = Infinity }: JobLike): number =>
  Math.max(1, Math.min(processedCount > 0 ? processedCount : progressPercent, revision - 1))

/**
 * For how long a running job has not advanced, in milliseconds, where that is longer than it should be; else null. A job that
 * takes ten minutes for each item, or reports five hundred items every ten minutes, is given thirty; one that counts nothing at
 * all is not measured.
 */
export const notAdvancingMs = (job: JobLike, nowMs: number): number | null => {
  if (job.status !== 'running' || job.startedAt === null) return null
  const counts = job.advancedAt !== null || job.totalCount !== null || job.stage !== null
  if (!counts) return null
  const startedMs = Date.parse(job.startedAt)
  const advancedMs = job.advancedAt === null ? startedMs : Date.parse(job.advancedAt)
  const patienceMs = Math.max(SOON_MS, (STEPS * (advancedMs - startedMs)) / stepsOf(job))
  const silentMs = nowMs - advancedMs
  return silentMs >= patienceMs ? silentMs : null
}

export const conditionOf = (job: JobLike, nowMs: number): Condition => {
  if (job.status !== 'running') return job.status
  if (isSilent(job)) return 'stalled'
  if (notAdvancingMs(job, nowMs) !== null) return 'not_advancing'
  if (stalledPartitionsOf(job) > 0) return 'partly_stalled'
  return job.cancelRequestedAt === null ? 'running' : 'cancelling'
}

/** What somebody should look at. */
export const needsAttention = (condition: Condition): boolean =>
  condition === 'stalled' || condition === 'not_advancing' || condition === 'partly_stalled'

/** Whether work is being done, as far as can be told. */
export const isAdvancing = (job: JobLike, nowMs: number): boolean =>
  job.status === 'running' && !isSilent(job) && notAdvancingMs(job, nowMs) === null

/**
 * Seconds left by now: the estimate is as of `updatedAt`, and counts down between two updates. Not below 0. Null where it is
 * unknown, and where nothing is being done: a time that counts down all the same would be a lie.
 */
export const secondsLeft = (job: JobLike & Pick<LiveJob, 'etaSeconds' | 'updatedAt'>, nowMs: number): number | null => {
  if (job.etaSeconds === null || !isAdvancing(job, nowMs)) return null
  return Math.max(0, Math.ceil(job.etaSeconds - Math.max(0, nowMs - Date.parse(job.updatedAt)) / 1000))
}

import { conditionOf, needsAttention } from '../../browser-client/condition.ts'
import type { Condition } from '../../browser-client/condition.ts'
import { latenessOf } from '../../contract/deadline.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { isFinished } from '../../contract/states.ts'

/** Whether a person should look at an active job: its work has stopped, or it may be late. */
export const wantsAttention = (job: LiveJob, nowMs: number): boolean =>
  needsAttention(conditionOf(job, nowMs)) || latenessOf(job) !== null

/** How much a job needs to be looked at: 0 most. A late one may end after its deadline, a slow one takes longer than others. */
const TROUBLE: Readonly<Record<Condition | 'late' | 'slow', number>> = {
  failed: 0,
  stalled: 1,
  not_advancing: 2,
  partly_stalled: 2,
  late: 3,
  slow: 4,
  cancelling: 5,
  running: 6,
  pending: 7,
  cancelled: 8,
  completed: 9,
}

/** The greatest of several troubles: 0 is the worst. */
export const troubleOf = (...signs: readonly (keyof typeof TROUBLE)[]): number =>
  Math.min(...signs.map(sign => TROUBLE[sign]))

/** Whether somebody should look at a job or a partition in this trouble. */
export const isTroubling = (trouble: number): boolean => trouble <= TROUBLE.slow

/** In what trouble an active job is. A batch is also in that of its partitions that failed. */
export const troubleOfActive = (job: LiveJob, nowMs: number): number => {
  const signs: (keyof typeof TROUBLE)[] = [conditionOf(job, nowMs)]
  if ((job.children?.failed ?? 0) > 0) signs.push('failed')
  if (latenessOf(job) !== null) signs.push('late')
  if (job.unusual) signs.push('slow')
  return troubleOf(...signs)
}

/** How many active jobs a person should look at. */
export const attentionCount = (jobs: readonly LiveJob[], nowMs: number): number =>
  jobs.filter(job => !isFinished(job) && wantsAttention(job, nowMs)).length

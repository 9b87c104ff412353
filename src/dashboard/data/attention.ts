import { conditionOf, needsAttention } from '../../browser-client/condition.ts'
import { latenessOf } from '../../contract/deadline.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { isFinished } from '../../contract/states.ts'

/** Whether a person should look at an active job: its work has stopped, or it may be late. */
export const wantsAttention = (job: LiveJob, nowMs: number): boolean =>
  needsAttention(conditionOf(job, nowMs)) || latenessOf(job) !== null

/** How many active jobs a person should look at. */
export const attentionCount = (jobs: readonly LiveJob[], nowMs: number): number =>
  jobs.filter(job => !isFinished(job) && wantsAttention(job, nowMs)).length

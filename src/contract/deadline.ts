import { isFinished, type Deadline } from './states.ts'

interface Due {
  status: string
  deadline?: Deadline | null
}

/**
 * How late an unfinished job is: `at_risk` or `overdue`; null when it is in time or has no deadline. The service judges by its own
 * clock and tells of it as of any change, so no reader compares times. The dashboard, elements and terminals share this rule.
 */
export const latenessOf = (job: Due): Exclude<Deadline, 'on_time'> | null =>
  isFinished(job) || job.deadline == null || job.deadline === 'on_time' ? null : job.deadline

import { sqlStateOf } from '../database/failures.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Jobs } from './commands.ts'

/** 57014 query_canceled, 55P03 lock_not_available: most likely for somebody's open transaction, which must not hold up verdicts. */
const waitedForLock = (error: unknown): boolean => ['57014', '55P03'].includes(sqlStateOf(error) ?? '')

/** Whether it was the service that could not do it. Who has too many calls at once (`rate_limited`) is turned away by its own fault. */
const isFaultOfService = (error: unknown): boolean => {
  if (!(error instanceof HeadwayError)) return false
  if (error.code === 'database_unavailable') return !waitedForLock(error.cause)
  return error.code === 'overloaded'
}

/**
 * The same use cases. `onTurnedAway` is called for each command that the service could not carry out, be it that the database
 * was away or that no turn came in time: a worker that was to start or end its job has spoken in vain, and the sweeper must
 * know that. Heartbeats are counted by the intake.
 */
export const tellTurnedAway = (jobs: Jobs, onTurnedAway: () => void): Jobs => {
  const told = async <T>(command: Promise<T>): Promise<T> => {
    try {
      return await command
    } catch (error) {
      if (isFaultOfService(error)) onTurnedAway()
      throw error
    }
  }
  return {
    ...jobs,
    start: (identity, jobId, input) => told(jobs.start(identity, jobId, input)),
    complete: (identity, jobId, input) => told(jobs.complete(identity, jobId, input)),
    fail: (identity, jobId, input) => told(jobs.fail(identity, jobId, input)),
    cancel: (identity, jobId) => told(jobs.cancel(identity, jobId)),
    acknowledgeCancel: (identity, jobId, input) => told(jobs.acknowledgeCancel(identity, jobId, input)),
    retry: (identity, jobId) => told(jobs.retry(identity, jobId)),
  }
}

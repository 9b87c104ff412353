import { sqlStateOf } from '../database/failures.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Jobs } from './use-cases.ts'

/** 57014 query_canceled, 55P03 lock_not_available: most likely for somebody's open transaction, which must not hold up verdicts. */
const waitedForLock = (error: unknown): boolean => ['57014', '55P03'].includes(sqlStateOf(error) ?? '')

/** Whether it was the service that could not do it. Who has too many calls at once (`rate_limited`) is turned away by its own fault. */
const isFaultOfService = (error: unknown): boolean => {
  if (!(error instanceof HeadwayError)) return false
  if (error.code === 'database_unavailable') return !waitedForLock(error.cause)
  return error.code === 'overloaded'
}

/** Counts the calls that were turned away for no fault of their callers: each may have been the word of a worker. */
export class TurnedAway {
  /** Refused because the process was under pressure. */
  underPressure = 0
  /** Refused for other reasons. */
  otherwise = 0

  get total(): number {
    return this.underPressure + this.otherwise
  }
}

/**
 * The same use cases. Counts each command that the service could not carry out, because the database was away or no turn came in
 * time: a worker that was to start or end its job has spoken in vain, and the sweeper must know that. The intake counts heartbeats.
 */
export const countTurnedAway = (jobs: Jobs, turnedAway: TurnedAway): Jobs => {
  const told = async <T>(command: Promise<T>): Promise<T> => {
    try {
      return await command
    } catch (error) {
      if (isFaultOfService(error)) turnedAway.otherwise += 1
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

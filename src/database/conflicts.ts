import { classifyFailure } from './failures.ts'

/** Of transactions that conflict, one succeeds each time. This is enough for all that two replicas send to one busy batch. */
const MOST_ATTEMPTS = 20
/** No attempt begins later than this. The server finds a deadlock after a second of waiting (`deadlock_timeout`). */
const LAST_ATTEMPT_MS = 5_000
/** The longest wait before the second attempt. It doubles before each further one. */
const FIRST_WAIT_MS = 4
const LONGEST_WAIT_MS = 250

/** A random part of the wait, so that transactions that conflicted do not conflict again. */
const waitMs = (attempt: number): number =>
  Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1))

/**
 * Runs a whole transaction, and runs it again if the database rolled it back because of other transactions: 40001
 * (serialization_failure, where the server's default isolation is stricter than READ COMMITTED) and 40P01 (deadlock_detected).
 * Nothing of it was stored then (https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html). Do not use
 * it for a single statement inside a transaction: the whole transaction has to be repeated.
 */
export const retryConflicts = async <T>(transaction: () => Promise<T>): Promise<T> => {
  const begunMs = performance.now()
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await transaction()
    } catch (error) {
      const isLast = attempt === MOST_ATTEMPTS || performance.now() - begunMs > LAST_ATTEMPT_MS
      if (isLast || classifyFailure(error) !== 'conflict') throw error
    }
    await new Promise(resolve => setTimeout(resolve, waitMs(attempt)))
  }
}

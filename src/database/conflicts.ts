import { classifyFailure } from './failures.ts'

/** Of those that meet, one comes through each time: enough for all that two replicas send to one busy batch. */
const MOST_ATTEMPTS = 20
/** A deadlock is found after a second of waiting (`deadlock_timeout`): no attempt begins later than this. */
const LAST_ATTEMPT_MS = 5_000
/** At most, before the second attempt; twice as long before each further one. */
const FIRST_WAIT_MS = 4
const LONGEST_WAIT_MS = 250

/** Transactions that met must not meet again: each waits for a random part of its time. */
const waitMs = (attempt: number): number =>
  Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt - 1))

/**
 * Runs a whole transaction, and again where the database rolled it back for what other transactions did: 40001
 * (serialization_failure, where the server's default isolation is stricter than READ COMMITTED) and 40P01 (deadlock_detected).
 * Nothing of it was done then (https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html). A statement
 * inside of a transaction must not be run by itself: all of the transaction has to be.
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

import type { Database } from '../database/connection.ts'
import { FUNCTIONS } from '../database/functions.ts'

/** A transaction that completed a job may commit late: jobs that ended so long before the last look are looked at again. */
const LATE_COMMITS_SECONDS = 60
/** Types that are learned in one look. To learn one takes some 10 ms; the others are learned in the next look. */
const MOST_TYPES = 50
/** The first look of a process: what completed while no process ran. */
const FIRST_LOOK_SECONDS = 600

/**
 * Learns anew the history of each type of which a job has completed since the last look (functions/history.sql), and answers how
 * many types. A job gets the history of its type when it starts. Any number of replicas may look.
 */
export const createHistories = (database: Database): (() => Promise<number>) => {
  let lookedAt: number | null = null
  return async () => {
    const now = performance.now()
    const seconds = lookedAt === null ? FIRST_LOOK_SECONDS : (now - lookedAt) / 1000 + LATE_COMMITS_SECONDS
    const [row] = await database.query<{ learned: number }>(
      'headway_learn_recent',
      `SELECT ${FUNCTIONS}.learn_recent(now() - make_interval(secs => $1), $2) AS learned`,
      [seconds, MOST_TYPES],
    )
    const learned = row?.learned ?? 0
    if (learned < MOST_TYPES) lookedAt = now
    return learned
  }
}

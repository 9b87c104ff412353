import type { Logger } from 'pino'
import type { Database } from '../database/connection.ts'
import { classifyFailure } from '../database/failures.ts'
import { FUNCTIONS } from '../database/functions.ts'

/**
 * Jobs per statement, with their workers and history. Small batches hold their locks for a short time and leave few dead rows
 * at once.
 */
const BATCH = 500

/** What is known of a type outlives its jobs, so that a yearly run is compared with the one before. */
const HISTORY_DAYS = 400

export interface RetentionOptions {
  database: Database
  retentionDays: number
  log: Logger
  /** Called between two statements, so that a shutdown waits for one statement and not for all. */
  isClosing?: () => boolean
}

/**
 * Runs a statement that erases. If another session has locked what it needs (55P03), logs that and answers `nothing`; the next
 * run erases it.
 */
export const waitWhereLocked = async <Erased>(
  log: Logger,
  of: string,
  nothing: Erased,
  erase: () => Promise<Erased>,
): Promise<Erased> => {
  try {
    return await erase()
  } catch (error) {
    if (classifyFailure(error) !== 'locked') throw error
    log.warn({ err: error }, `another session has locked rows of ${of}: the next run erases them`)
    return nothing
  }
}

/**
 * Erases jobs and batches that are older than `retentionDays`, and answers how many; also the history of each type of which no
 * job has completed for 400 days. 0 days keep everything. If another session
 * has locked a row that is erased with an expired job, the next run erases them.
 */
export const createRetention =
  ({ database, retentionDays, log, isClosing = () => false }: RetentionOptions) =>
  async (): Promise<number> => {
    const eraseBatch = async (): Promise<number> => {
      const rows = await database.query<{ erased: number }>(
        'headway_erase_expired',
        `SELECT ${FUNCTIONS}.erase_expired($1, $2) AS erased`,
        [retentionDays, BATCH],
      )
      return rows[0]?.erased ?? 0
    }
    let erased = 0
    while (retentionDays > 0) {
      const count = await waitWhereLocked(log, 'expired jobs', 0, eraseBatch)
      erased += count
      if (count < BATCH || isClosing()) break
    }
    if (retentionDays > 0) {
      await database.query('headway_erase_histories', `SELECT ${FUNCTIONS}.erase_histories($1)`, [HISTORY_DAYS])
    }
    if (erased > 0) log.info({ erased, retentionDays }, 'erased expired jobs')
    return erased
  }

import type { Logger } from 'pino'
import type { Database } from '../database/connection.ts'
import { classifyFailure } from '../database/failures.ts'
import { FUNCTIONS } from '../database/functions.ts'

/** Jobs per statement, with their workers and history: short locks, and no flood of dead rows at once. */
const BATCH = 500

export interface RetentionOptions {
  database: Database
  retentionDays: number
  log: Logger
  /** Asked between two statements: a shutdown waits for one, not for all. */
  isClosing?: () => boolean
}

/** Runs a statement of an erasure. Where another session holds what it needs (55P03), the next run erases it: answers `nothing`. */
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
    log.warn({ err: error }, `another session holds what belongs to ${of}: they are erased at the next run`)
    return nothing
  }
}

/**
 * Erases what is older than `retentionDays`; answers how many jobs and batches. 0 keeps everything. Where another session holds
 * a row that goes with an expired job, the erasure waits for its next run.
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
    if (erased > 0) log.info({ erased, retentionDays }, 'erased expired jobs')
    return erased
  }

import type { Logger } from 'pino'
import type { Database } from '../database/connection.ts'
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

/** Erases what is older than `retentionDays`; answers how many jobs and batches. 0 keeps everything. */
export const createRetention =
  ({ database, retentionDays, log, isClosing = () => false }: RetentionOptions) =>
  async (): Promise<number> => {
    let erased = 0
    while (retentionDays > 0) {
      const rows = await database.query<{ erased: number }>(
        'headway_erase_expired',
        `SELECT ${FUNCTIONS}.erase_expired($1, $2) AS erased`,
        [retentionDays, BATCH],
      )
      const count = rows[0]?.erased ?? 0
      erased += count
      if (count < BATCH || isClosing()) break
    }
    if (erased > 0) log.info({ erased, retentionDays }, 'erased expired jobs')
    return erased
  }

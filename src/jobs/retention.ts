import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Database } from '../database/connection.ts'
import { classifyFailure } from '../database/failures.ts'
import { FUNCTIONS } from '../database/functions.ts'

/**
 * Jobs per statement, partitions counted, with their workers and history. How many it is depends on how long the statements take:
 * about `STATEMENT_MS`. So a statement holds its locks for a short time, and what it writes does not hold up the next heartbeats
 * on their way to the disk.
 */
const FEWEST = 50
const MOST = 1_000
const STATEMENT_MS = 40

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

/** A shutdown waits for a rest. */
const LONGEST_REST_MS = 1_000

/** Retention rests as long as its last statement took, so that it has half of a connection and of a core at most. */
export const restAfter = (tookMs: number): Promise<void> => delay(Math.min(tookMs, LONGEST_REST_MS))

/** How many jobs the next statement erases, after one that erased `size` of them in `tookMs`. */
export const nextSize = (size: number, tookMs: number): number =>
  Math.round(Math.min(MOST, Math.max(FEWEST, size * Math.min(2, STATEMENT_MS / Math.max(1, tookMs)))))

interface Batch {
  erased: number
  /** Until when the finished jobs have been looked at. */
  reached: Date | null
}

/**
 * Erases jobs and batches that are older than `retentionDays`, and answers how many; also the history of each type of which no
 * job has completed for 400 days. 0 days keep everything. If another session has locked a row that is erased with an expired job,
 * the next run erases them. Of several processes that erase, one goes on.
 */
export const createRetention =
  ({ database, retentionDays, log, isClosing = () => false }: RetentionOptions) =>
  async (): Promise<number> => {
    const eraseBatch = async (size: number, since: Date | null): Promise<Batch> => {
      const rows = await database.query<{ erased: number; reached: Date | null }>(
        'headway_erase_expired',
        `SELECT erased, reached FROM ${FUNCTIONS}.erase_expired($1, $2, $3)`,
        [retentionDays, size, since],
      )
      return rows[0] ?? { erased: 0, reached: since }
    }
    let erased = 0
    let since: Date | null = null
    for (let size = FEWEST; retentionDays > 0;) {
      const begunMs = performance.now()
      const batch: Batch = await waitWhereLocked<Batch>(log, 'expired jobs', { erased: 0, reached: since }, () =>
        eraseBatch(size, since),
      )
      erased += batch.erased
      if (batch.erased === 0 || isClosing()) break
      const tookMs = performance.now() - begunMs
      since = batch.reached
      size = nextSize(size, tookMs)
      await restAfter(tookMs)
    }
    if (retentionDays > 0) {
      await database.query('headway_erase_histories', `SELECT ${FUNCTIONS}.erase_histories($1)`, [HISTORY_DAYS])
    }
    if (erased > 0) log.info({ erased, retentionDays }, 'erased expired jobs')
    return erased
  }

import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { Database } from '../database/connection.ts'
import { classifyFailure } from '../database/failures.ts'
import { FUNCTIONS } from '../database/functions.ts'
import type { Announce } from '../live/change.ts'
import type { JobChange } from '../contract/change.ts'

export interface SweeperOptions {
  database: Database
  announce: Announce
  log: Logger
  /** What this process has received and not written, or turned away. */
  intake: () => Unwritten
  stalledAfterSeconds: number
  /** The time between two sweeps, by which a missed one is noticed. */
  intervalSeconds: number
}

export interface Unwritten {
  /** How long the oldest report has waited, in milliseconds; those for `lockedJobIds` do not count. 0: none waits. */
  oldestWaitMs: number
  /** Jobs that somebody else holds locked, and whose reports wait. */
  lockedJobIds?: string[]
  /** Calls turned away since the process began, for reasons of the service. */
  refused: number
}

export interface Sweeper {
  /**
   * One sweep; answers how many silent jobs it marked and ended. `skipped` says why nobody was judged for silence. Deadlines are
   * judged as well.
   */
  sweep(): Promise<{ stalled: number; ended: number; skipped: 'database' | 'intake' | null }>
  /** Since the last sweep that did not break off, or since the beginning, in milliseconds of a clock that nobody sets. */
  sinceLastMs(): number
  /** Whether silent jobs are looked for as often as they should be. */
  isOnTime(): boolean
  /** Ends a sweep that is under way after its present statement. */
  stop(): void
  /** Takes this process out of `service_processes`, so that nobody waits for it. */
  close(): Promise<void>
}

interface ChangeRow {
  tenant_id: string
  job_id: string
  /** Null: the row was written, and nothing has changed that anybody is shown. */
  revision: number | null
  lifecycle: boolean
  is_batch: boolean
  job_type: string
  event: string | null
}

type VisibleChange = ChangeRow & { revision: number }

const isVisible = (row: ChangeRow): row is VisibleChange => row.revision !== null

const toChange = ({ tenant_id, job_id, revision, lifecycle, job_type, event }: VisibleChange): JobChange => ({
  tenantId: tenant_id,
  jobId: job_id,
  jobType: job_type,
  revision,
  lifecycle,
  event,
  isSwept: true,
})

/** Sweeps are late when so many in a row have not come, and not before so many seconds: one may wait for its statements. */
const MISSED_SWEEPS = 3
const LATE_SECONDS = 60

/** Jobs per statement: short locks, whatever has gone silent at once. */
const BATCH = 500
/** A visit that takes longer tells of a database in trouble, whose silence is not the workers' fault. */
const SLOW_VISIT_MS = 2_000
const LONGEST_INTAKE_WAIT_MS = 2_000
/** In milliseconds since 1970: the driver would make a local time of a timestamp. */
const NOW = "SELECT date_part('epoch', now()) * 1000 AS ms"

/**
 * Marks stalled jobs, ends stale and never-started ones, and judges deadlines. Any number of replicas may sweep.
 * It never punishes workers for the service's own trouble: see functions/liveness.sql for the healthy window, and
 * `intake` for reports that have arrived but are not written yet, or could not be taken.
 */
export const createSweeper = (options: SweeperOptions): Sweeper => {
  const { database, announce, log, intervalSeconds } = options
  let processId = randomUUID()
  let troubled = false
  let knownRefused = 0
  let closing = false
  let finishedMs = performance.now()

  /** Reports wait, or were turned away: whoever seems silent may have spoken. */
  const isOverwhelmed = (): boolean => {
    const { oldestWaitMs, refused } = options.intake()
    const refusedMore = refused > knownRefused
    knownRefused = refused
    return refusedMore || oldestWaitMs > LONGEST_INTAKE_WAIT_MS
  }

  const noteTrouble = (error: unknown): void => {
    if (!troubled) log.warn({ err: error }, 'the sweeper cannot use the database: no job is judged until it can')
    troubled = true
  }

  /** Says that this process is there. False when the database did not answer in time. */
  const visit = async (overwhelmed: boolean): Promise<boolean> => {
    const begun = performance.now()
    try {
      // The time first, then the intake: a report that waits has come after `heardUntil`, however long the visit takes.
      const [clock] = await database.query<{ ms: number }>('headway_now', NOW, [])
      const { oldestWaitMs, lockedJobIds = [] } = options.intake()
      const heardUntil = new Date(Math.floor((clock?.ms ?? 0) - oldestWaitMs))
      const state = [processId, intervalSeconds, troubled || overwhelmed, heardUntil, lockedJobIds]
      await database.query('headway_visit', `SELECT ${FUNCTIONS}.visit($1, $2, $3, $4, $5)`, state)
      troubled = performance.now() - begun > SLOW_VISIT_MS
    } catch (error) {
      noteTrouble(error)
      // Where somebody holds this process's row, the others would take the process for dead. They wait for the old row as
      // for any process that went missing.
      if (classifyFailure(error) === 'locked') processId = randomUUID()
    }
    return !troubled
  }

  /** Runs a statement of the sweeper until it finds nothing more. */
  const repeat = async (name: string, text: string, values: unknown[]): Promise<number> => {
    let total = 0
    for (;;) {
      const rows = await database.query<ChangeRow>(name, text, values)
      const changes = rows.filter(isVisible).map(toChange)
      if (changes.length > 0) announce(changes)
      // Beside the jobs come the batches that were rolled up.
      const judged = rows.filter(row => !row.is_batch).length
      total += judged
      if (judged < BATCH || closing) return total
    }
  }

  const sweep: Sweeper['sweep'] = async () => {
    // Said with the visit: what waits here, the sweepers of other replicas cannot see.
    const overwhelmed = isOverwhelmed()
    if (!(await visit(overwhelmed))) return { stalled: 0, ended: 0, skipped: 'database' }
    // The clock passes a deadline whether reports wait or not.
    await repeat('headway_judge_deadlines', `SELECT * FROM ${FUNCTIONS}.judge_deadlines($1, $2)`, [
      intervalSeconds,
      BATCH,
    ])
    await repeat('headway_mark_unusual', `SELECT * FROM ${FUNCTIONS}.mark_unusual($1)`, [BATCH])
    if (overwhelmed || isOverwhelmed()) {
      troubled = true
      return { stalled: 0, ended: 0, skipped: 'intake' }
    }
    const ended = await repeat('headway_end_abandoned', `SELECT * FROM ${FUNCTIONS}.end_abandoned($1, $2, $3)`, [
      processId,
      intervalSeconds,
      BATCH,
    ])
    const stalled = await repeat('headway_mark_stalled', `SELECT * FROM ${FUNCTIONS}.mark_stalled($1, $2, $3, $4)`, [
      processId,
      intervalSeconds,
      options.stalledAfterSeconds,
      BATCH,
    ])
    if (ended > 0 || stalled > 0) log.info({ ended, stalled }, 'swept')
    return { stalled, ended, skipped: null }
  }

  const sinceLastMs = (): number => performance.now() - finishedMs

  return {
    async sweep() {
      try {
        const result = await sweep()
        finishedMs = performance.now()
        return result
      } catch (error) {
        // Whoever holds a table may keep reports from being written, too.
        if (classifyFailure(error) === 'locked') {
          noteTrouble(error)
          return { stalled: 0, ended: 0, skipped: 'database' }
        }
        troubled = true
        throw error
      }
    },
    sinceLastMs,
    isOnTime: () => sinceLastMs() <= 1000 * Math.max(MISSED_SWEEPS * intervalSeconds, LATE_SECONDS),
    stop() {
      closing = true
    },
    async close() {
      try {
        await database.query('headway_leave', 'DELETE FROM public.service_processes WHERE id = $1', [processId])
      } catch (error) {
        log.warn({ err: error }, 'could not sign off: verdicts wait as if this process had crashed')
      }
    },
  }
}

import type { Database } from '../../database/connection.ts'
import { FUNCTIONS } from '../../database/functions.ts'
import { restAfter } from '../retention.ts'

/**
 * Triggers mark what changes in jobs that finished more than five minutes ago (functions/statistics_marks.sql). So long, and five
 * minutes more for a clock that is set back, nothing is rolled up.
 */
const CLOSED_AFTER_SECONDS = 600
/**
 * So long one run goes on while there is work, rests included; the next one looks again at what is over and at the marks. It rests
 * after each piece for as long as the piece took, and for a second at most.
 */
const RUN_MS = 60_000
/**
 * A day whose jobs change all the time is counted once in so long, and the rest of the run is for other work. Until then its marked
 * hours are counted from the jobs.
 */
const MARKS_EVERY_MS = 60_000

interface Clock {
  closed_until: string
  /** Transactions below this number are over. */
  floor: string
  /** One past the highest number of a transaction that is over. */
  ceiling: string
}

/** A time, and a transaction that began after it: every transaction that has written before that time has a lower number. */
interface Observation {
  closedUntil: string
  transaction: bigint
}

const hourOf = (time: string | null): string | undefined => time?.slice(0, 13)

export interface RollUpOptions {
  database: Database
  isClosing?: () => boolean
  runMs?: number
  marksEveryMs?: number
  closedAfterSeconds?: number
  rest?: (tookMs: number) => Promise<void>
}

/**
 * Rolls up the statistics of hours, days and months that are over, and counts again what has changed in them. Answers how many
 * pieces of work were done, or null while it waits for open transactions. Any number of replicas may run it.
 *
 * A transaction may end jobs now and commit much later. So a time counts as over when every transaction is over that had begun to write
 * when it was read. Until then, statistics are read from the jobs.
 */
export const createRollUp = ({
  database,
  isClosing = () => false,
  runMs = RUN_MS,
  marksEveryMs = MARKS_EVERY_MS,
  closedAfterSeconds = CLOSED_AFTER_SECONDS,
  rest = restAfter,
}: RollUpOptions): (() => Promise<number | null>) => {
  let observed: Observation | null = null
  let closedUntil: string | null = null
  let marksAt = -Infinity

  const observe = async (): Promise<Observation> => {
    const [row] = await database.query<{ closed_until: string; transaction: string }>(
      'headway_statistics_observe',
      `SELECT ${FUNCTIONS}.iso(now() - make_interval(secs => $1)) AS closed_until, pg_current_xact_id()::text AS transaction`,
      [closedAfterSeconds],
    )
    if (!row) throw new Error('the observation answered no row')
    return { closedUntil: row.closed_until, transaction: BigInt(row.transaction) }
  }

  /** Up to when no change can come that is not marked; null: not known yet. It is looked for once in each hour. */
  const look = async (): Promise<string | null> => {
    const [clock] = await database.query<Clock>(
      'headway_statistics_clock',
      `SELECT ${FUNCTIONS}.iso(now() - make_interval(secs => $1)) AS closed_until,
         pg_snapshot_xmin(pg_current_snapshot())::text AS floor, pg_snapshot_xmax(pg_current_snapshot())::text AS ceiling`,
      [closedAfterSeconds],
    )
    if (!clock) throw new Error('the clock answered no row')
    // The clock was set back.
    if (closedUntil !== null && clock.closed_until < closedUntil) closedUntil = null
    // Another server has taken over, and its transactions have other numbers.
    if (observed !== null && BigInt(clock.ceiling) <= observed.transaction) observed = null
    if (observed !== null && BigInt(clock.floor) >= observed.transaction) {
      closedUntil = observed.closedUntil
      observed = null
    }
    if (observed === null && hourOf(clock.closed_until) !== hourOf(closedUntil)) observed = await observe()
    return closedUntil
  }

  /** The last mark that is there now; null: there is none. */
  const lastMark = async (): Promise<string | null> => {
    const [row] = await database.query<{ last: string | null }>(
      'headway_statistics_last_mark',
      'SELECT max(id)::text AS last FROM public.statistics_marks',
      [],
    )
    return row?.last ?? null
  }

  return async () => {
    const until = await look()
    if (until === null) return null
    const begun = performance.now()
    const withMarks = begun - marksAt >= marksEveryMs
    if (withMarks) marksAt = begun
    const marksUntil = withMarks ? await lastMark() : null
    for (let pieces = 0; ; pieces += 1) {
      const beganMs = performance.now()
      if (isClosing() || beganMs - begun >= runMs) return pieces
      const [row] = await database.query<{ done: string | null }>(
        'headway_roll_up_statistics',
        `SELECT ${FUNCTIONS}.roll_up_statistics($1, $2) AS done`,
        [until, marksUntil],
      )
      if (row?.done == null) return pieces
      await rest(performance.now() - beganMs)
    }
  }
}

import type { SQL } from 'drizzle-orm'
import { and, eq, isNull, sql } from '../database/drizzle.ts'
import type { Database } from '../database/connection.ts'
import { functions } from '../database/functions.ts'
import { jobEvents, progressJobs } from '../database/schema.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Scope } from './identity.ts'
import { inScope } from './in-scope.ts'
import type { Statistics, TypeStatistics } from '../contract/statistics.ts'

/** Which jobs to count: those that finished from `since` on and before `until`. */
export interface StatisticsQuery {
  jobType?: string
  /** Default: 7 days before `until`. */
  since?: Date
  /** Default: now. */
  until?: Date
}

export type { Statistics, TypeStatistics }

const DEFAULT_DAYS = 7
/** A leap year. This limits what one call reads, however long jobs are kept. */
const MAX_DAYS = 366
const DAY_MS = 86_400_000

const badSince = (message: string) =>
  new HeadwayError('validation_failed', `since ${message}.`, { errors: [{ path: 'since', message }] })

/** Raises `validation_failed` for a period that ends before it begins, or that is too long. */
export const refuseBadWindow = ({ since, until }: StatisticsQuery): void => {
  if (!since) return
  const lengthMs = (until?.getTime() ?? Date.now()) - since.getTime()
  if (lengthMs <= 0) throw badSince(`must be before until, which is ${until ? until.toISOString() : 'now'}`)
  if (lengthMs > MAX_DAYS * DAY_MS) throw badSince(`must be at most ${MAX_DAYS} days before until`)
}

const time = (date: Date): SQL => sql`${date.toISOString()}::timestamptz`

/** The end of the current millisecond, so that a job that has just finished is counted. */
const END_OF_NOW = sql`date_trunc('milliseconds', now()) + interval '1 millisecond'`

/**
 * Counts finished jobs in one statement, from indexes that contain every column it reads.
 *
 * `outcomes` must stay an index-only scan of `progress_jobs_finished`: 100,000 jobs have 100 MB or more of rows, and 8 MB in
 * the index. So the outcome is read from columns that only finished jobs have (CHECKs of the table): a completed job has
 * `completed_seconds`, a failed job a `failure_reason`, a cancelled job neither. As in a batch, counts are added up only if
 * units agree, and 'unknown' agrees with all. `alarms` begins with the index `job_events_stale`, and reads the jobs of those
 * few entries one by one. `late` reads the index `progress_jobs_late` alone, which has the jobs that ended late. Job types are compared by their bytes: sorting 100,000 names by the rules of a language would take
 * longer than the rest.
 */
export const readStatistics = async (
  database: Database,
  scope: Scope,
  { jobType, ...window }: StatisticsQuery,
): Promise<Statistics> => {
  const until = window.until ? time(window.until) : END_OF_NOW
  const since = window.since ? time(window.since) : sql`${until} - make_interval(days => ${DEFAULT_DAYS})`
  const wanted = and(inScope(scope), jobType === undefined ? undefined : eq(progressJobs.jobType, jobType))
  const { rows } = await database.drizzle.execute<Statistics & Record<string, unknown>>(sql`
    WITH outcomes AS (
      SELECT job_type COLLATE "C" AS job_type, count(completed_seconds) AS completed, count(failure_reason) AS failed,
        count(*) - count(completed_seconds) - count(failure_reason) AS cancelled,
        percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY completed_seconds) AS seconds,
        sum(completed_count) / nullif(sum(completed_seconds) FILTER (WHERE completed_count > 0), 0) AS items_per_second,
        min(completed_unit COLLATE "C") FILTER (WHERE completed_unit <> 'unknown') AS first_unit,
        max(completed_unit COLLATE "C") FILTER (WHERE completed_unit <> 'unknown') AS last_unit
      FROM ${progressJobs}
      WHERE ${and(wanted, isNull(progressJobs.parentJobId))} AND finished_at >= ${since} AND finished_at < ${until}
      GROUP BY 1
    ), alarmed AS (
      SELECT progress_jobs.job_type COLLATE "C" AS job_type, bool_or(EXISTS (
          SELECT FROM ${jobEvents} l WHERE l.job_id = e.job_id AND l.id > e.id AND l.attempt = e.attempt
            AND l.type IN ('recovered', 'completed', 'failed', 'cancelled'))) AS recovered
      FROM ${jobEvents} e JOIN ${progressJobs} ON progress_jobs.id = e.job_id
      WHERE e.type = 'failed' AND e.data ->> 'failureReason' = 'stale' AND e.at >= ${since} AND e.at < ${until}
        AND ${wanted}
      GROUP BY progress_jobs.id
    ), alarms AS (
      SELECT job_type, count(*) AS stale, count(*) FILTER (WHERE recovered) AS recovered FROM alarmed GROUP BY 1
    ), late AS (
      SELECT job_type COLLATE "C" AS job_type, count(*) AS late,
        percentile_cont(ARRAY[0.5, 1]) WITHIN GROUP (ORDER BY late_seconds) AS late_seconds
      FROM ${progressJobs}
      WHERE ${and(wanted, isNull(progressJobs.parentJobId))} AND late_seconds > 0
        AND finished_at >= ${since} AND finished_at < ${until}
      GROUP BY 1
    )
    SELECT ${functions}.iso(${since}) AS since, ${functions}.iso(${until}) AS until, (
      SELECT coalesce(json_agg(json_build_object(
        'jobType', job_type,
        'completed', coalesce(completed, 0), 'failed', coalesce(failed, 0), 'cancelled', coalesce(cancelled, 0),
        'failureRate', failed::float8 / nullif(completed + failed, 0),
        'durationSeconds', json_build_object('p50', round(seconds[1]::numeric, 3), 'p95', round(seconds[2]::numeric, 3),
          'max', round(seconds[3]::numeric, 3)),
        'itemsPerSecond', CASE WHEN adds_up THEN ${functions}.four_digits(items_per_second::float8) END,
        'unit', CASE WHEN adds_up AND items_per_second IS NOT NULL THEN coalesce(first_unit, 'unknown') END,
        'stale', coalesce(stale, 0), 'recovered', coalesce(recovered, 0), 'late', coalesce(late, 0),
        'lateSeconds', json_build_object('p50', round(late_seconds[1]::numeric, 3), 'max', round(late_seconds[2]::numeric, 3))
      ) ORDER BY job_type), '[]') FROM outcomes FULL JOIN alarms USING (job_type) LEFT JOIN late USING (job_type)
      CROSS JOIN LATERAL (SELECT first_unit IS NOT DISTINCT FROM last_unit AS adds_up) units) AS types`)
  const row = rows[0]
  if (!row) throw new Error('the statistics answered no row')
  return row
}

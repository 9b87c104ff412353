import type { Database } from '../../database/connection.ts'
import { FUNCTIONS } from '../../database/functions.ts'
import { HeadwayError } from '../../contract/errors.ts'
import type { Statistics, StatisticsBucket, TypeStatistics } from '../../contract/statistics.ts'
import { visibilityOf, type Scope } from '../identity.ts'
import { Tally, type Counts } from './counts.ts'
import { countPeriods, periodsOf } from './series.ts'

/** Which jobs to count: those that finished from `since` on and before `until`. */
export interface StatisticsQuery {
  jobType?: string
  /** Default: 7 days before `until`. */
  since?: Date
  /** Default: now. */
  until?: Date
  /** Also answers a series of such periods. */
  bucket?: StatisticsBucket
}

export type { Statistics, TypeStatistics }

const DEFAULT_DAYS = 7
/** A leap year. This limits what one call reads, however long jobs are kept. */
const MAX_DAYS = 366
const DAY_MS = 86_400_000
/** Of a series: 41 days of hours. More than a chart can show, and 200 KB. */
export const MAX_PERIODS = 1_000

const bad = (path: string, message: string) =>
  new HeadwayError('validation_failed', `${path} ${message}.`, { errors: [{ path, message }] })

/** Raises `validation_failed` for a time that ends before it begins, or that is too long. */
export const refuseBadWindow = ({ since, until, bucket }: StatisticsQuery): void => {
  const untilMs = until?.getTime() ?? Date.now()
  const sinceMs = since?.getTime() ?? untilMs - DEFAULT_DAYS * DAY_MS
  const lengthMs = untilMs - sinceMs
  if (lengthMs <= 0) throw bad('since', `must be before until, which is ${until ? until.toISOString() : 'now'}`)
  if (lengthMs > MAX_DAYS * DAY_MS) throw bad('since', `must be at most ${MAX_DAYS} days before until`)
  if (bucket !== undefined && countPeriods(bucket, sinceMs, untilMs) > MAX_PERIODS) {
    throw bad('bucket', `must be longer than an hour, or the time shorter: a series has at most ${MAX_PERIODS} periods`)
  }
}

/** A part of the answer, or one row without a part. */
interface Part {
  since: string
  until: string
  in_series: boolean | null
  period: Date | null
  types: Record<string, Counts>
  total: Counts
}

/**
 * One statement, so that all parts are of the same snapshot. `until` is by default the end of the current millisecond, so that a
 * job that has just finished is counted.
 */
const PARTS = `
  WITH w AS (
    SELECT coalesce($6::timestamptz, u.until - make_interval(days => ${DEFAULT_DAYS})) AS since, u.until
    FROM (SELECT coalesce($7::timestamptz, date_trunc('milliseconds', now()) + interval '1 millisecond') AS until) u
  )
  SELECT ${FUNCTIONS}.iso(w.since) AS since, ${FUNCTIONS}.iso(w.until) AS until, p.*
  FROM w LEFT JOIN LATERAL (
    SELECT false AS in_series, t.* FROM ${FUNCTIONS}.statistics_parts($1, $2, $3, $4, $5, w.since, w.until, NULL) t
    UNION ALL
    SELECT true, s.* FROM ${FUNCTIONS}.statistics_parts($1, $2, $3, $4, $5, w.since, w.until, $8) s WHERE $8::text IS NOT NULL
  ) p ON true`

const typesOf = (parts: readonly Part[], sinceMs: number): TypeStatistics[] => {
  const tallies = new Map<string, Tally>()
  for (const part of parts) {
    for (const [name, counts] of Object.entries(part.types)) {
      const tally = tallies.get(name) ?? new Tally(sinceMs)
      tallies.set(name, tally)
      tally.add(counts)
    }
  }
  return [...tallies]
    .filter(([, tally]) => !tally.isEmpty)
    .map(([name, tally]) => tally.ofType(name))
    .sort((a, b) => Buffer.compare(Buffer.from(a.jobType), Buffer.from(b.jobType)))
}

/** Every period has an entry, so that a chart need not guess which ones are missing. */
const seriesOf = (parts: readonly Part[], bucket: StatisticsBucket, sinceMs: number, untilMs: number) => {
  const tallies = new Map(
    periodsOf(bucket, sinceMs, untilMs).map(startMs => [startMs, new Tally(Math.max(startMs, sinceMs))]),
  )
  for (const part of parts) if (part.period !== null) tallies.get(part.period.getTime())?.add(part.total)
  return [...tallies].map(([startMs, tally]) => tally.ofPeriod(startMs))
}

/**
 * Counts finished jobs, from what is rolled up and from the jobs (functions/statistics.sql). Counts are exact. Medians and
 * percentiles are exact for few jobs, and otherwise within 1 % of the exact ones.
 */
export const readStatistics = async (
  database: Database,
  scope: Scope,
  { jobType, since, until, bucket }: StatisticsQuery,
): Promise<Statistics> => {
  const { tenantId, allOrganizations, organizationId, scopeJobId } = visibilityOf(scope)
  const caller = [tenantId, allOrganizations, organizationId, scopeJobId]
  const rows = await database.query<Part>('headway_statistics', PARTS, [
    ...caller,
    jobType ?? null,
    since?.toISOString() ?? null,
    until?.toISOString() ?? null,
    bucket ?? null,
  ])
  const [window] = rows
  if (!window) throw new Error('the statistics answered no row')
  const [sinceMs, untilMs] = [Date.parse(window.since), Date.parse(window.until)]
  const of = (inSeries: boolean) => rows.filter(row => row.in_series === inSeries)
  return {
    since: window.since,
    until: window.until,
    types: typesOf(of(false), sinceMs),
    ...(bucket !== undefined && { series: seriesOf(of(true), bucket, sinceMs, untilMs) }),
  }
}

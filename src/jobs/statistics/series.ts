import type { StatisticsBucket } from '../../contract/statistics.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const LENGTH_MS: Readonly<Record<StatisticsBucket, number>> = { hour: HOUR_MS, day: DAY_MS, week: 7 * DAY_MS }
/** 1 January 1970 was a Thursday. */
const FIRST_MONDAY_MS = 4 * DAY_MS

/** When the period begins that a time lies in, in UTC: the rule of Postgres' date_trunc. */
export const startOf = (bucket: StatisticsBucket, ms: number): number => {
  const offset = bucket === 'week' ? FIRST_MONDAY_MS : 0
  return Math.floor((ms - offset) / LENGTH_MS[bucket]) * LENGTH_MS[bucket] + offset
}

/** How many periods have a part of the time from `sinceMs` and before `untilMs`. */
export const countPeriods = (bucket: StatisticsBucket, sinceMs: number, untilMs: number): number =>
  Math.ceil((untilMs - startOf(bucket, sinceMs)) / LENGTH_MS[bucket])

/** When these periods begin, oldest first. */
export const periodsOf = (bucket: StatisticsBucket, sinceMs: number, untilMs: number): number[] =>
  Array.from(
    { length: countPeriods(bucket, sinceMs, untilMs) },
    (_, n) => startOf(bucket, sinceMs) + n * LENGTH_MS[bucket],
  )

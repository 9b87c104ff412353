import type { PeriodStatistics } from '../../contract/statistics.ts'
import { isSlower, LEAST_COMPLETED, quantile } from './durations.ts'

/** A change needs so many periods before it, and so many since. With fewer, one odd period would be a change. */
const LEAST_BEFORE = 3
const LEAST_SINCE = 2

/** The change is so many times as large as periods usually differ from the median of their side. */
const LEAST_STEP = 4

/** Two levels lie at most so much as far from the medians as a straight line does. */
const MOST_OF_LINE = 0.8

export interface Slowdown {
  /** When the period begins from which on the type is slower. */
  start: string
  /** The median of the periods' medians before and since, in seconds. */
  beforeSeconds: number
  sinceSeconds: number
}

const middle = (values: readonly number[]): number =>
  quantile(
    values.toSorted((a, b) => a - b),
    0.5,
  ) ?? 0

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

const distances = (values: readonly number[], from: number): number[] => values.map(value => Math.abs(value - from))

/** How far values lie from the straight line that fits them best, on average. */
const distanceFromLine = (values: readonly number[]): number => {
  const [centre, level] = [(values.length - 1) / 2, mean(values)]
  const [product, square] = values.reduce(
    ([product, square], value, n) => [product + (n - centre) * (value - level), square + (n - centre) ** 2],
    [0, 0],
  )
  return mean(values.map((value, n) => Math.abs(value - level - (product / square) * (n - centre))))
}

/**
 * Since when a type is slower; null if its periods do not tell. The median duration of each period is compared, as a logarithm,
 * because durations differ by factors. The change is where two levels fit the medians best (least absolute deviations from a
 * median each). It is told only if all of this holds:
 *
 * - There are three periods before and two since in which at least five jobs completed. Others, and those of jobs that take no
 *   time, are left out.
 * - The level has grown by what `isSlower` asks for, as on the page of statistics.
 * - Every period since is nearer to the new level than to the old one: the type is still slower.
 * - Fewer periods before were as near to it: nights and weekends that are slow each time are no news.
 * - The levels differ by four times what periods differ from their level. Otherwise it is noise.
 * - Two levels fit better than a straight line, by a fifth. Otherwise the type became slower little by little, and no day is the one.
 *
 * The filters are those of Chromium's performance dashboard (catapult, find_change_points.py), which asks for a least size of both
 * sides, a least change, a multiple of the deviation, and "steppiness". Only one change is looked for. Of series that only
 * vary by 30 %, fewer than 1 in 100 has a change with 14 periods, and about 3 with 6.
 */
export const slowerSince = (series: readonly PeriodStatistics[]): Slowdown | null => {
  const told = series.flatMap(({ start, completed, durationSeconds: { p50 } }) =>
    completed >= LEAST_COMPLETED && p50 !== null && p50 > 0 ? [{ start, level: Math.log(p50) }] : [],
  )
  const levels = told.map(({ level }) => level)
  const splits = told.map((_, at) => {
    const [before, since] = [levels.slice(0, at), levels.slice(at)]
    const [from, to] = [middle(before), middle(since)]
    return { at, from, to, before, since, distance: mean([...distances(before, from), ...distances(since, to)]) }
  })
  const best = splits.toSorted((a, b) => a.distance - b.distance)[0]
  if (best === undefined) return null
  const { at, from, to, before, since, distance } = best
  const [beforeSeconds, sinceSeconds] = [Math.exp(from), Math.exp(to)]
  const isHigh = (level: number): boolean => level > (from + to) / 2
  const isTold =
    at >= LEAST_BEFORE &&
    since.length >= LEAST_SINCE &&
    isSlower(sinceSeconds, beforeSeconds) &&
    since.every(isHigh) &&
    before.filter(isHigh).length < since.length &&
    to - from >= LEAST_STEP * distance &&
    distance < MOST_OF_LINE * distanceFromLine(levels)
  return isTold ? { start: told[at]?.start ?? '', beforeSeconds, sinceSeconds } : null
}

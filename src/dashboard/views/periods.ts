import type { StatisticsBucket } from '../../contract/statistics.ts'
import { shownNow } from '../feed.ts'
import { clock, hourAndMinute, text, utcDay } from '../words.ts'

/** A period of a series, for an axis. Periods are those of UTC. Hours are told in the visitor's time. */
export const shortPeriod = (start: string, bucket: StatisticsBucket): string =>
  bucket === 'hour' ? hourAndMinute(Date.parse(start)) : utcDay(Date.parse(start))

/** The same in full, for a sentence. */
export const fullPeriod = (start: string, bucket: StatisticsBucket): string => {
  const ms = Date.parse(start)
  if (bucket === 'hour') return clock(ms, shownNow())
  return text(bucket === 'week' ? 'statistics.chart.week' : 'statistics.chart.day', { day: utcDay(ms) })
}

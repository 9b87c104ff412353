import type { Statistics, StatisticsBucket, TypeStatistics } from '../../contract/statistics.ts'
import { headway } from '../feed.ts'

const HOUR_MS = 3_600_000

const SPAN_HOURS = { day: 24, week: 7 * 24, month: 30 * 24, year: 365 * 24 } as const
export type Span = keyof typeof SPAN_HOURS

export const SPANS = Object.keys(SPAN_HOURS) as Span[]
export const USUAL_SPAN: Span = 'week'

/** A chart of each has 8 to 61 periods, or twice as many if it shows the span before as well. */
const BUCKETS: Readonly<Record<Span, StatisticsBucket>> = { day: 'hour', week: 'day', month: 'day', year: 'week' }

/** Statistics go back a year at most. */
const MOST_HOURS = 365 * 24

/** The span that the query of an address asks for. */
export const spanOf = (query: URLSearchParams): Span => SPANS.find(span => span === query.get('span')) ?? USUAL_SPAN

export interface Compared {
  present: Statistics
  /** By type. */
  before: ReadonlyMap<string, TypeStatistics>
  bucket: StatisticsBucket
}

/** The statistics of the last span, and of the one before. */
export const readCompared = async (span: Span, signal: AbortSignal, jobType?: string): Promise<Compared> => {
  const [spanMs, bucket] = [SPAN_HOURS[span] * HOUR_MS, BUCKETS[span]]
  const sinceMs = headway.now() - spanMs
  const since = new Date(sinceMs).toISOString()
  const only = jobType === undefined ? {} : { jobType }
  const [present, before] = await Promise.all([
    headway.api.stats({ ...only, since, bucket }, { signal }),
    headway.api.stats({ ...only, since: new Date(sinceMs - spanMs).toISOString(), until: since }, { signal }),
  ])
  return { present, bucket, before: new Map(before.types.map(type => [type.jobType, type])) }
}

/** The periods of the last span and of the one before, as far as statistics go back. */
export const readBothSpans = async (span: Span, signal: AbortSignal, jobType: string): Promise<Statistics> => {
  const hours = Math.min(2 * SPAN_HOURS[span], MOST_HOURS)
  const since = new Date(headway.now() - hours * HOUR_MS).toISOString()
  return headway.api.stats({ jobType, since, bucket: BUCKETS[span] }, { signal })
}

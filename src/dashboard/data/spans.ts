import type { PeriodStatistics, Statistics, StatisticsBucket, TypeStatistics } from '../../contract/statistics.ts'
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

const hoursAgo = (hours: number): string => new Date(headway.now() - hours * HOUR_MS).toISOString()

/** The statistics of the last span with its periods, and of the one before. */
export const readCompared = async (span: Span, signal: AbortSignal): Promise<Compared> => {
  const [hours, bucket] = [SPAN_HOURS[span], BUCKETS[span]]
  const since = hoursAgo(hours)
  const [present, before] = await Promise.all([
    headway.api.stats({ since, bucket }, { signal }),
    headway.api.stats({ since: hoursAgo(2 * hours), until: since }, { signal }),
  ])
  return { present, bucket, before: new Map(before.types.map(type => [type.jobType, type])) }
}

export interface ComparedType {
  /** undefined: no job of the type ended. */
  now: TypeStatistics | undefined
  before: TypeStatistics | undefined
  /** The periods of the last span and of the one before, as far as statistics go back. */
  series: readonly PeriodStatistics[]
  bucket: StatisticsBucket
}

/** The statistics of one type. */
export const readComparedType = async (span: Span, signal: AbortSignal, jobType: string): Promise<ComparedType> => {
  const [hours, bucket] = [SPAN_HOURS[span], BUCKETS[span]]
  const since = hoursAgo(hours)
  const [present, former, both] = await Promise.all([
    headway.api.stats({ jobType, since }, { signal }),
    headway.api.stats({ jobType, since: hoursAgo(2 * hours), until: since }, { signal }),
    headway.api.stats({ jobType, since: hoursAgo(Math.min(2 * hours, MOST_HOURS)), bucket }, { signal }),
  ])
  return { now: present.types[0], before: former.types[0], series: both.series ?? [], bucket }
}

import type { Unit } from './units.ts'

/** The results of the jobs of one type. A batch counts as one job; its partitions are not counted. */
export interface TypeStatistics {
  jobType: string
  completed: number
  failed: number
  cancelled: number
  /** failed / (completed + failed); null if there were none. */
  failureRate: number | null
  /**
   * From start to end of completed jobs, interpolated between neighbours; null if none completed. The percentiles of many jobs are
   * within 1 % of the exact ones.
   */
  durationSeconds: { p50: number | null; p95: number | null; max: number | null }
  /** For completed jobs that counted something; null if there were none, or if they counted in different units. */
  itemsPerSecond: number | null
  /** The unit of the counts; null if `itemsPerSecond` is. */
  unit: Unit | null
  /** Jobs and partitions that ended as stale in this period, even if they recovered later. */
  stale: number
  /** Those of the stale ones that recovered. */
  recovered: number
  /** Jobs that ended after their deadline. */
  late: number
  /** By how much they were late; null if there were none. */
  lateSeconds: { p50: number | null; max: number | null }
}

export const STATISTICS_BUCKETS = ['hour', 'day', 'week'] as const
/** A period of a series, in UTC. A week begins on Monday. */
export type StatisticsBucket = (typeof STATISTICS_BUCKETS)[number]

/** The results of the jobs of all types that are asked for, in one period. */
export interface PeriodStatistics extends Pick<TypeStatistics, 'completed' | 'failed' | 'cancelled' | 'late'> {
  /** When the period begins. The first one may begin before `since`, and the last one may end after `until`. */
  start: string
  durationSeconds: { p50: number | null; p95: number | null }
}

export interface Statistics {
  since: string
  until: string
  /** By name. */
  types: TypeStatistics[]
  /** One for each period from `since` to `until`, oldest first, if it was asked for. */
  series?: PeriodStatistics[]
}

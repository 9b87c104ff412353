import type { Unit } from './units.ts'

/** The results of the jobs of one type. A batch counts as one job; its partitions are not counted. */
export interface TypeStatistics {
  jobType: string
  completed: number
  failed: number
  cancelled: number
  /** failed / (completed + failed); null if there were none. */
  failureRate: number | null
  /** From start to end of completed jobs, interpolated between neighbours; null if none completed. */
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

export interface Statistics {
  since: string
  until: string
  /** By name. */
  types: TypeStatistics[]
}

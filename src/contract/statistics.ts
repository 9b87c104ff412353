import type { Unit } from './units.ts'

/** How the jobs of one type went. A batch is one job here; its partitions are part of it. */
export interface TypeStatistics {
  jobType: string
  completed: number
  failed: number
  cancelled: number
  /** failed / (completed + failed); null when there were none of both. */
  failureRate: number | null
  /** Of completed jobs, from start to end, interpolated between neighbours; null when none completed. */
  durationSeconds: { p50: number | null; p95: number | null; max: number | null }
  /** Of completed jobs that counted something; null when none did, or when they counted different units. */
  itemsPerSecond: number | null
  /** What is counted; null where `itemsPerSecond` is. */
  unit: Unit | null
  /** Jobs and partitions whose silence ended them in this time, whatever became of them. */
  stale: number
  /** Those among the stale that turned out to be alive after all. */
  recovered: number
}

export interface Statistics {
  since: string
  until: string
  /** By name. */
  types: TypeStatistics[]
}

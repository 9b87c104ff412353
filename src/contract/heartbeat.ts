import type { JsonObject } from './job.ts'
import type { JobStatus } from './states.ts'
import type { Unit } from './units.ts'

/**
 * What one worker reports. A field that is absent stays as it is; `null` clears it.
 * Counts are absolute unless `increment` is given. `reportedAt` comes from the worker's clock and only orders its own reports.
 */
export interface Heartbeat {
  jobId: string
  workerId: string
  /** The worker's absolute count. Not together with `increment`. */
  processedCount?: number
  /** Added to the worker's count. */
  increment?: number
  /** Of the worker `default`: the job's total. Of any other: that worker's share. */
  totalCount?: number | null
  progressPercent?: number | null
  unit?: Unit
  throughputPerSecond?: number | null
  etaSeconds?: number | null
  stage?: string | null
  message?: string | null
  payload?: JsonObject | null
  /** Merged into the job's meta key by key (PUT /jobs/:id only). */
  meta?: JsonObject
  /** ISO 8601. */
  reportedAt?: string
  attempt?: number
}

/** The answer once the report is on disk. */
export interface DurableAnswer {
  jobId: string
  workerId: string
  status: JobStatus
  /** How a worker learns that it should stop. */
  cancelRequested: boolean
  progressPercent: number
  revision: number
  /** false: the report was late and only refreshed liveness. */
  applied: boolean
  /** The cadence the service asks for, in milliseconds. */
  heartbeatIntervalMs: number
  durable: true
}

/** The answer while the database is away or slow: kept in memory, nothing checked yet. HTTP 202. */
export interface BufferedAnswer {
  jobId: string
  workerId: string
  status: null
  cancelRequested: null
  progressPercent: null
  revision: null
  heartbeatIntervalMs: number
  durable: false
}

export type HeartbeatAnswer = DurableAnswer | BufferedAnswer

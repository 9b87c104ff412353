import type { JsonObject } from './job.ts'
import type { JobStatus } from './states.ts'
import type { Unit } from './units.ts'

/**
 * A report of one worker. A field that is absent keeps its value; `null` clears it. Counts are absolute unless `increment` is
 * given. `reportedAt` comes from the worker's clock and only orders the worker's own reports.
 */
export interface Heartbeat {
  jobId: string
  workerId: string
  /** The worker's absolute count. Not together with `increment`. */
  processedCount?: number
  /** Added to the worker's count. */
  increment?: number
  /** From the worker `default`: the job's total. From any other worker: that worker's share. */
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
  /** The job's new deadline, in place of any earlier one; null: none (PUT /jobs/:id only). */
  due?: { finishBy: string } | { finishWithinSeconds: number } | null
  /** ISO 8601. */
  reportedAt?: string
  attempt?: number
}

/** The fields of a heartbeat, without the job and worker that it is about. */
export type HeartbeatField = Exclude<keyof Heartbeat, 'jobId' | 'workerId'>

/** Every field, and whether `null` clears it. The merging of reports and the statement that writes them follow from this list. */
export const HEARTBEAT_FIELDS: Readonly<{
  [Field in HeartbeatField]: { clearable: null extends Heartbeat[Field] ? true : false }
}> = {
  processedCount: { clearable: false },
  increment: { clearable: false },
  totalCount: { clearable: true },
  progressPercent: { clearable: true },
  unit: { clearable: false },
  throughputPerSecond: { clearable: true },
  etaSeconds: { clearable: true },
  stage: { clearable: true },
  message: { clearable: true },
  payload: { clearable: true },
  meta: { clearable: false },
  due: { clearable: true },
  reportedAt: { clearable: false },
  attempt: { clearable: false },
}

/** The answer once the report is on disk. */
export interface DurableAnswer {
  jobId: string
  workerId: string
  status: JobStatus
  /** Tells the worker to stop. */
  cancelRequested: boolean
  progressPercent: number
  revision: number
  /** false: the report was late and only refreshed liveness. */
  applied: boolean
  /** The interval of heartbeats that the service asks for, in milliseconds. */
  heartbeatIntervalMs: number
  durable: true
}

/** The answer while the database is away or slow: the report is kept in memory and has not been checked. HTTP 202. */
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

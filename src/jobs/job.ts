import { LIFECYCLES, type Lifecycle } from '../lifecycles.ts'

/**
 * The words of the domain:
 *
 * - job: one long-running operation. worker: a process that does part of it and reports for it.
 * - stalled: running, without a heartbeat for STALLED_AFTER_SECONDS. A warning.
 * - stale: running, without a heartbeat for the job's own timeout. The sweeper ends it.
 * - finished: completed, failed or cancelled.
 * - partition: a job with a parent. batch: a job that has partitions.
 */

export const JOB_STATUSES = ['pending', 'running', 'completed', 'failed', 'cancelled'] as const
export type JobStatus = (typeof JOB_STATUSES)[number]

/** Whether a running job is heard of. */
export const LIVENESS = ['ok', 'stalled'] as const
export type Liveness = (typeof LIVENESS)[number]

/** The units that have words of their own in every language; `unknown` has none. */
export const UNITS = ['items', 'files', 'rows', 'bytes', 'records', 'chunks', 'iterations', 'paths', 'unknown'] as const
export const MAX_UNIT_LENGTH = 30

/** What is counted: one of UNITS, or any text of at most 30 characters that can be shown within a line. */
export type Unit = (typeof UNITS)[number] | (string & Record<never, never>)

export { LIFECYCLES, type Lifecycle }

/** What the history holds: lifecycle changes, the stages a job went through, and samples of its progress. */
export const JOB_EVENT_TYPES = [...LIFECYCLES, 'stage_changed', 'progress'] as const
export type JobEventType = (typeof JOB_EVENT_TYPES)[number]

export const FAILURE_REASONS = ['worker', 'stale', 'partitions', 'never_started'] as const
export type FailureReason = (typeof FAILURE_REASONS)[number]

export const ETA_SOURCES = ['rate', 'history', 'worker'] as const
export type EtaSource = (typeof ETA_SOURCES)[number]

/** The worker that a report belongs to when it names none. */
export const DEFAULT_WORKER_ID = 'default'

/** The largest integer that JSON carries exactly: 2^53-1. A sum above it is held there. */
export const MAX_COUNT = Number.MAX_SAFE_INTEGER

export type JsonObject = Record<string, unknown>

export interface Stage {
  name: string
  weight: number
}

export interface Children {
  total: number
  pending: number
  running: number
  /** Of those that run: how many have not been heard of for a while, `liveness` 'stalled'. */
  stalled: number
  completed: number
  failed: number
  cancelled: number
  /** Names of partitions that run now, at most 5. */
  current: string[]
  /** The first errors of partitions, each after the partition's name, at most 5. */
  errors: string[]
  /** The partitions that `errors` are of, in the same order: how they failed, for whoever tells it in another language. */
  failures: { id: string; name: string; failureReason: FailureReason | null }[]
}

/** A job as REST answers of one job show it. Times are ISO 8601 in UTC with milliseconds. */
export interface JobDocument {
  id: string
  jobType: string
  name: string
  description: string | null
  status: JobStatus
  /** 0..100, floored; 100 only once completed. */
  progressPercent: number
  processedCount: number
  totalCount: number | null
  remainingCount: number | null
  unit: Unit
  throughputPerSecond: number | null
  /** As of `updatedAt`: readers subtract the time since. */
  etaSeconds: number | null
  etaSource: EtaSource | null
  stage: string | null
  stages: Stage[] | null
  message: string | null
  liveness: Liveness | null
  advancedAt: string | null
  /** Workers that have reported in the present attempt. */
  workerCount: number
  startedByUserId: string | null
  cancelledByUserId: string | null
  startedAt: string | null
  heartbeatAt: string | null
  finishedAt: string | null
  createdAt: string
  updatedAt: string
  resultSummary: JsonObject | null
  errorMessage: string | null
  errorStack: string | null
  failureReason: FailureReason | null
  meta: JsonObject
  cancellable: boolean
  cancelRequestedAt: string | null
  priority: number
  attempt: number
  heartbeatTimeoutSeconds: number
  pendingTimeoutSeconds: number | null
  parentJobId: string | null
  partitionIndex: number | null
  partitionCount: number | null
  children: Children | null
  tenantId: string
  organizationId: string | null
  revision: number
}

/** A job as lists show it: the stack of an error has up to 10,000 characters, and only the job itself tells it. */
export type ListedJob = Omit<JobDocument, 'errorStack'>

/** One worker's share of a job, in the job's current attempt. */
export interface WorkerDocument {
  workerId: string
  attempt: number
  processedCount: number
  /** The worker's share of the total, where it named one. */
  totalCount: number | null
  progressPercent: number | null
  throughputPerSecond: number | null
  etaSeconds: number | null
  stage: string | null
  message: string | null
  payload: JsonObject | null
  /** Of its own: a job goes on by its other workers. null: the job does not run. */
  liveness: 'ok' | 'stalled' | null
  advancedAt: string | null
  heartbeatAt: string
  createdAt: string
}

/** What a poller needs, and no more. */
export type ProgressDocument = Pick<
  JobDocument,
  | 'id'
  | 'status'
  | 'progressPercent'
  | 'processedCount'
  | 'totalCount'
  | 'remainingCount'
  | 'unit'
  | 'stage'
  | 'message'
  | 'throughputPerSecond'
  | 'etaSeconds'
  | 'etaSource'
  | 'liveness'
  | 'attempt'
  | 'updatedAt'
  | 'revision'
> & {
  /** Only for those who ask for it. */
  meta?: JsonObject
  /** Only for those who ask for it: of the worker that was heard of last, among those that have sent one. */
  payload?: JsonObject | null
}

/** What a poller may ask for beside that. The message is always there. */
export const PROGRESS_PARTS = ['message', 'meta', 'payload'] as const
export type ProgressPart = (typeof PROGRESS_PARTS)[number]

/** One entry of a job's history. */
export interface JobEvent {
  id: string
  type: JobEventType
  at: string
  /** The user who caused it; null for workers without one and for the service itself. */
  actor: string | null
  attempt: number
  data: JsonObject
}

export interface Page<Item> {
  items: Item[]
  /** From 1. */
  page: number
  pageSize: number
  /** Of all pages; of jobs it stops counting at 10,000. */
  total: number
}

/** What a view of running work shows. */
export interface ActiveJobs {
  active: ListedJob[]
  recentlyCompleted: ListedJob[]
}

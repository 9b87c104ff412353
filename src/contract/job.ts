import type { EtaSource, FailureReason, JobEventType, JobStatus, Liveness } from './states.ts'
import type { Unit } from './units.ts'

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
  /** What it counts, where it named it; null: what the job counts. Only what is in the job's unit is part of the job's counts. */
  unit: Unit | null
  progressPercent: number | null
  throughputPerSecond: number | null
  etaSeconds: number | null
  stage: string | null
  message: string | null
  payload: JsonObject | null
  /** Of its own: a job goes on by its other workers. null: the job does not run. */
  liveness: Liveness | null
  advancedAt: string | null
  heartbeatAt: string
  createdAt: string
}

/** What a worker needs to know of the partitions that were made with their batch. */
export interface PartitionReference {
  id: string
  name: string
  partitionIndex: number
}

/** The job that was made; of a batch that was made with its partitions, these too, by index. */
export type CreatedJob = JobDocument & { partitions?: PartitionReference[] }

export type JobWithWorkers = JobDocument & { workers: WorkerDocument[] }

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

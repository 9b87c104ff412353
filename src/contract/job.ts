import type { Deadline, EtaSource, FailureReason, JobEventType, JobStatus, Liveness } from './states.ts'
import type { Unit } from './units.ts'

/** The worker of a report that names none. */
export const DEFAULT_WORKER_ID = 'default'

/** The largest integer that JSON carries exactly: 2^53-1. Larger sums are cut to it. */
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
  /** How many of the running ones are stalled. */
  stalled: number
  completed: number
  failed: number
  cancelled: number
  /** Names of running partitions, at most 5. */
  current: string[]
  /** The first errors of partitions, each after the partition's name, at most 5. */
  errors: string[]
  /**
   * The partitions of `errors`, in the same order, with the reason of their failure, so that a reader can tell it in another
   * language.
   */
  failures: { id: string; name: string; failureReason: FailureReason | null }[]
}

/** A job as the REST answer of a single job shows it. Times are ISO 8601 in UTC with milliseconds. */
export interface JobDocument {
  id: string
  jobType: string
  name: string
  description: string | null
  status: JobStatus
  /** 0 to 99 and rounded down; 100 only when the job has completed. */
  progressPercent: number
  processedCount: number
  totalCount: number | null
  remainingCount: number | null
  unit: Unit
  throughputPerSecond: number | null
  /** As of `updatedAt`: readers subtract the time since then. */
  etaSeconds: number | null
  etaSource: EtaSource | null
  /** The 10th percentile of the time that may be left, as of `updatedAt`; null: no range is known. */
  etaLowSeconds: number | null
  /** The 90th percentile. */
  etaHighSeconds: number | null
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
  /** When the job should have finished. Null: no time is given, or its seconds from the start do not count yet. */
  finishBy: string | null
  /** The same as seconds from the start of each attempt; null: not given so. */
  finishWithinSeconds: number | null
  /** Null when `finishBy` is. */
  deadline: Deadline | null
  /** How long jobs of the type usually take, looked up at the start; null: fewer than 5 have completed. */
  usualSeconds: number | null
  /** The job runs, or ran, longer than 95 % of the last 20 of its type and than 1.5 times their median. False without `usualSeconds`. */
  unusual: boolean
  revision: number
}

/** A job as lists show it: without the stack of its error, which has up to 10,000 characters. */
export type ListedJob = Omit<JobDocument, 'errorStack'>

/** One worker's share of a job, in the job's current attempt. */
export interface WorkerDocument {
  workerId: string
  attempt: number
  processedCount: number
  /** The worker's share of the total, if it named one. */
  totalCount: number | null
  /**
   * The unit of the worker's counts, if it named one; null: the job's unit. Only counts in the job's unit are part of the job's
   * counts.
   */
  unit: Unit | null
  progressPercent: number | null
  throughputPerSecond: number | null
  etaSeconds: number | null
  stage: string | null
  message: string | null
  payload: JsonObject | null
  /** The worker's own liveness: the job may go on with its other workers. null: the job does not run. */
  liveness: Liveness | null
  advancedAt: string | null
  heartbeatAt: string
  createdAt: string
}

/** What a worker needs to know about a partition that was created with its batch. */
export interface PartitionReference {
  id: string
  name: string
  partitionIndex: number
}

/** The job that was created; for a batch that was created with partitions, these as well, by index. */
export type CreatedJob = JobDocument & { partitions?: PartitionReference[] }

type ShownOfPartitions = Pick<
  JobDocument,
  | 'totalCount'
  | 'throughputPerSecond'
  | 'etaSeconds'
  | 'stage'
  | 'message'
  | 'liveness'
  | 'advancedAt'
  | 'cancelRequestedAt'
  | 'startedAt'
  | 'finishedAt'
  | 'errorMessage'
  | 'failureReason'
  | 'deadline'
>

/** A partition among all those of its batch. Fields that are null are left out. */
export type PartitionDocument = Pick<
  JobDocument,
  | 'id'
  | 'name'
  | 'status'
  | 'progressPercent'
  | 'processedCount'
  | 'unit'
  | 'attempt'
  | 'cancellable'
  | 'updatedAt'
  | 'partitionIndex'
  | 'revision'
> & { [Field in keyof ShownOfPartitions]?: Exclude<ShownOfPartitions[Field], null> }

/** All partitions of a batch by index, or those that have changed. */
export interface BatchPartitions {
  items: PartitionDocument[]
  /** `since` of the next call. */
  asOf: string
}

export type JobWithWorkers = JobDocument & { workers: WorkerDocument[] }

/** The fields that a polling client needs. */
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
  | 'etaLowSeconds'
  | 'etaHighSeconds'
  | 'liveness'
  | 'attempt'
  | 'updatedAt'
  | 'finishBy'
  | 'deadline'
  | 'usualSeconds'
  | 'unusual'
  | 'revision'
> & {
  /** Only if it was asked for. */
  meta?: JsonObject
  /** Only if it was asked for: the payload of the worker that reported last, among those that have sent one. */
  payload?: JsonObject | null
}

/** The further parts that a polling client may ask for. The message is always included. */
export const PROGRESS_PARTS = ['message', 'meta', 'payload'] as const
export type ProgressPart = (typeof PROGRESS_PARTS)[number]

/** One entry of a job's history. */
export interface JobEvent {
  id: string
  type: JobEventType
  at: string
  /** The user who caused it; null for workers without a user, and for the service itself. */
  actor: string | null
  attempt: number
  data: JsonObject
}

export interface Page<Item> {
  items: Item[]
  /** From 1. */
  page: number
  pageSize: number
  /** The total of all pages; for jobs the count stops at 10,000. */
  total: number
}

/** A page of a list of jobs. */
export interface JobPage {
  items: ListedJob[]
  /** From 1; null for a page by cursor. */
  page: number | null
  pageSize: number
  /** The total of all pages, see `totalIsExact`. null for a page by cursor: it is not counted again. */
  total: number | null
  /** false: there are at least `total`. The count has looked at 10,000 jobs and stopped. */
  totalIsExact: boolean
  /** The cursor of the next page; null: this is the last one. */
  next: string | null
}

/** The jobs that a view of running work shows. */
export interface ActiveJobs {
  active: ListedJob[]
  recentlyCompleted: ListedJob[]
}

import type { HeartbeatAnswer, Heartbeat } from './heartbeats/heartbeat.ts'
import type { Identity } from './identity.ts'
import type {
  ActiveJobs,
  JobDocument,
  JobEvent,
  JobEventType,
  JobStatus,
  JsonObject,
  ListedJob,
  Liveness,
  Page,
  ProgressDocument,
  ProgressPart,
  Unit,
  WorkerDocument,
} from './job.ts'
import type { Statistics, StatisticsQuery } from './statistics.ts'
import type { HeadwayError } from '../errors.ts'

/** A partition that is made with its batch. It takes job type, unit, stages, timeouts and the like from there. */
export interface NewPartition {
  name: string
  totalCount?: number | null
  meta?: JsonObject
}

export interface CreateJob {
  /** May be left out of a partition: it has that of its batch. */
  jobType?: string
  name: string
  description?: string | null
  totalCount?: number | null
  unit?: Unit
  /** A weight that is left out counts as 1. */
  stages?: { name: string; weight?: number }[]
  /** Makes this job a batch, with these partitions. */
  partitions?: NewPartition[]
  /** Of a batch: how many partitions it is going to have. It finishes when so many have. */
  partitionCount?: number
  /** Makes this job a partition of that batch. */
  parentJobId?: string
  /** From 0; the next free one when absent. */
  partitionIndex?: number
  cancellable?: boolean
  meta?: JsonObject
  priority?: number
  heartbeatTimeoutSeconds?: number
  pendingTimeoutSeconds?: number | null
}

export interface Finish {
  /** Refused as `superseded` when it is not the job's own. */
  attempt?: number
}
export interface CompleteJob extends Finish {
  resultSummary?: JsonObject
  /** The job's last message; the one before stays when absent. */
  message?: string
}
export interface FailJob extends Finish {
  errorMessage: string
  errorStack?: string
}

export type SortKey = 'createdAt' | 'startedAt' | 'finishedAt' | 'priority' | 'partitionIndex'

export interface ListJobs {
  status?: JobStatus[]
  liveness?: Liveness
  jobType?: string
  parentJobId?: string
  topLevel?: boolean
  organizationId?: string
  /** Only jobs that this user has begun. */
  startedByUserId?: string
  includeCompleted: boolean
  completedSince?: Date
  search?: string
  sort: { key: SortKey; descending: boolean }
  /** From 1. */
  page: number
  /** 1..100. */
  pageSize: number
}

export interface ListEvents {
  /** Only entries of these types; all when absent. */
  type?: JobEventType[]
  /** From 1. */
  page: number
  /** 1..1000. */
  pageSize: number
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

/**
 * The use cases: everything a caller can do with jobs, each bound to the caller's identity.
 * All of them raise `HeadwayError`; a job outside the identity's scope is `job_not_found`.
 */
export interface Jobs {
  /** `created` is false when the idempotency key had already made this job. */
  create(
    identity: Identity,
    input: CreateJob,
    idempotencyKey: string | null,
  ): Promise<{ job: CreatedJob; created: boolean }>
  get(identity: Identity, jobId: string): Promise<JobWithWorkers>
  progress(identity: Identity, jobId: string, include?: readonly ProgressPart[]): Promise<ProgressDocument>
  list(identity: Identity, query: ListJobs): Promise<Page<ListedJob>>
  active(identity: Identity, recentSeconds: number): Promise<ActiveJobs>
  events(identity: Identity, jobId: string, query: ListEvents): Promise<Page<JobEvent>>
  stats(identity: Identity, query: StatisticsQuery): Promise<Statistics>

  /** Resolves when the report is on disk, or buffered while the database is away. */
  heartbeat(identity: Identity, heartbeat: Heartbeat): Promise<HeartbeatAnswer>
  /** One answer per item, in order; a refused item does not fail the others. Refused whole with `overloaded` when the queue cannot take all. */
  heartbeats(identity: Identity, heartbeats: Heartbeat[]): Promise<(HeartbeatAnswer | HeadwayError)[]>

  start(identity: Identity, jobId: string, input: Finish): Promise<JobDocument>
  complete(identity: Identity, jobId: string, input: CompleteJob): Promise<JobDocument>
  fail(identity: Identity, jobId: string, input: FailJob): Promise<JobDocument>
  /** Asks a running job to stop; a pending one is cancelled at once. */
  cancel(identity: Identity, jobId: string): Promise<JobDocument>
  /** The worker has stopped. */
  acknowledgeCancel(identity: Identity, jobId: string, input: Finish): Promise<JobDocument>
  retry(identity: Identity, jobId: string): Promise<JobDocument>
  /** Erases a finished job with its workers and history. */
  purge(identity: Identity, jobId: string): Promise<void>
}

import type { CompleteJob, CreateJob, FailJob, Finish, JobFilters, SortKey } from '../contract/requests.ts'
import type { HeartbeatAnswer, Heartbeat } from '../contract/heartbeat.ts'
import type { Identity } from './identity.ts'
import type {
  ActiveJobs,
  CreatedJob,
  JobDocument,
  JobEvent,
  JobPage,
  JobWithWorkers,
  Page,
  ProgressDocument,
  ProgressPart,
} from '../contract/job.ts'
import type { JobEventType } from '../contract/states.ts'
import type { StatisticsQuery } from './statistics/read.ts'
import type { Statistics } from '../contract/statistics.ts'
import type { HeadwayError } from '../contract/errors.ts'

export interface ListJobs extends JobFilters {
  /** Only jobs that finished at or after this time. */
  completedSince?: Date
  /** Only jobs that finished before this time. */
  completedBefore?: Date
  /** Only failed jobs whose error message has this text. Only for a list by `finishedAt`. */
  error?: string
  sort: { key: SortKey; descending: boolean }
  /** From 1. Without effect beside `cursor`. */
  page: number
  /** `next` of the page before. */
  cursor?: string
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
  list(identity: Identity, query: ListJobs): Promise<JobPage>
  active(identity: Identity, recentSeconds: number): Promise<ActiveJobs>
  events(identity: Identity, jobId: string, query: ListEvents): Promise<Page<JobEvent>>
  /** All partitions of a batch, as the JSON text of `BatchPartitions`; with `since`, those that have changed since. */
  partitions(identity: Identity, batchId: string, since: Date | null): Promise<string>
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

import type { LiveJob } from '../contract/live-job.ts'
import type {
  ActiveJobs,
  BatchPartitions,
  Children,
  JobDocument,
  JobEvent,
  JobWithWorkers,
  ListedJob,
  JobPage,
  Page,
  PartitionDocument,
  Stage,
  WorkerDocument,
} from '../contract/job.ts'
import type { Deadline, EtaSource, FailureReason, JobEventType, JobStatus, Lifecycle } from '../contract/states.ts'
import type { JobFilters } from '../contract/requests.ts'
import type { Unit } from '../contract/units.ts'
import type { PeriodStatistics, Statistics, StatisticsBucket, TypeStatistics } from '../contract/statistics.ts'

export type {
  ActiveJobs,
  BatchPartitions,
  Children,
  Deadline,
  EtaSource,
  FailureReason,
  JobDocument,
  JobEvent,
  JobEventType,
  JobWithWorkers,
  JobStatus,
  Lifecycle,
  ListedJob,
  LiveJob,
  JobPage,
  Page,
  PartitionDocument,
  PeriodStatistics,
  Stage,
  Statistics,
  StatisticsBucket,
  TypeStatistics,
  Unit,
  WorkerDocument,
}

/**
 * - `connecting`: nothing has arrived yet.
 * - `live`: changes arrive as they happen.
 * - `reconnecting`: the stream is lost; the shown jobs are as of that moment.
 * - `polling`: streams do not work here; the jobs are read every 5 seconds.
 * - `unauthorized`: the service refuses the token, and the callback gave no valid one. It is called again later.
 * - `closed`: `close` was called.
 */
export type ConnectionState = 'connecting' | 'live' | 'reconnecting' | 'polling' | 'unauthorized' | 'closed'

/** Which jobs to follow. Without a filter: all that the token may see. */
export interface JobFilter {
  /** One id, or up to 100. */
  jobId?: string | readonly string[]
  jobType?: string
  parentJobId?: string
  /** Without partitions. */
  topLevel?: boolean
  organizationId?: string
}

export type TokenSource = string | (() => string | null | undefined | Promise<string | null | undefined>)

export interface HeadwayClientOptions {
  /** Address of the service, without `/api/progress`; the page's own origin by default. */
  url?: string
  /** A token, or a callback that gives one. It is called for each connection, and again when the service refuses the token. */
  token?: TokenSource
  filter?: JobFilter
  /** Whether all tabs of the origin with the same filter and identity share one connection; true by default. */
  share?: boolean
  /** How long finished jobs stay in `jobs()`, in seconds; 60 by default. */
  keepFinishedSeconds?: number
}

/** The client's state. The same object until something changes. */
export interface HeadwayState {
  readonly connection: ConnectionState
  /** Unfinished jobs come first, newest first; then finished jobs, the last to finish first. */
  readonly jobs: readonly LiveJob[]
  /** A snapshot has arrived: an empty `jobs` then means that there are none. */
  readonly loaded: boolean
  /** There are more jobs than a snapshot holds (1,000): `api.list` pages through all. */
  readonly truncated: boolean
  /** Why the connection is not live; null while it is live. */
  readonly problem: { readonly status: number; readonly code: string; readonly detail: string } | null
}

/**
 * Lifecycle changes as in the stream, `updated` for every other change, and `finished` after completed, failed or cancelled.
 */
export type HeadwayEvent = Lifecycle | 'updated' | 'finished'

/** A filter of several values takes one of them as well. */
export interface ListQuery extends Omit<JobFilters, 'status' | 'deadline'> {
  status?: JobStatus | readonly JobStatus[]
  deadline?: Deadline | readonly Deadline[]
  completedSince?: string
  completedBefore?: string
  /** Only failed jobs whose error message holds this text, in the order of `finishedAt`. */
  error?: string
  sort?: string
  page?: number
  pageSize?: number
  /** `next` of the page before. */
  cursor?: string
}

export interface EventsQuery {
  type?: JobEventType | readonly JobEventType[]
  page?: number
  pageSize?: number
}

export interface StatsQuery {
  jobType?: string
  since?: string
  until?: string
  /** Also answers a series of such periods. */
  bucket?: StatisticsBucket
}

export interface RequestOptions {
  signal?: AbortSignal
}

/** The calls of the service that a page needs besides the stream. All raise `HeadwayProblem`. */
export interface HeadwayApi {
  job(id: string, options?: RequestOptions): Promise<JobWithWorkers>
  /** A page. Its `next` as `cursor` gives the next one, with the same filters and sort. */
  list(query?: ListQuery, options?: RequestOptions): Promise<JobPage>
  active(options?: RequestOptions & { recentSeconds?: number }): Promise<ActiveJobs>
  events(id: string, query?: EventsQuery, options?: RequestOptions): Promise<Page<JobEvent>>
  /** All partitions of a batch; with `since` (`asOf` of the answer before), those that have changed, and some others. */
  partitions(id: string, query?: { since?: string }, options?: RequestOptions): Promise<BatchPartitions>
  stats(query?: StatsQuery, options?: RequestOptions): Promise<Statistics>
  cancel(id: string, options?: RequestOptions): Promise<JobDocument>
  retry(id: string, options?: RequestOptions): Promise<JobDocument>
  /** Erases a finished job, with its partitions and its history. */
  purge(id: string, options?: RequestOptions): Promise<void>
}

/** Follows jobs in a page until it is closed. */
export interface HeadwayClient {
  readonly connection: ConnectionState
  readonly api: HeadwayApi
  /** For `useSyncExternalStore(headway.subscribe, headway.state)`. */
  readonly state: () => HeadwayState
  /** `state().jobs`: the same array until something changes. */
  jobs(): readonly LiveJob[]
  job(id: string): LiveJob | undefined
  /**
   * Calls `listener` after each change of `state()`, once for all jobs that arrived together. Answers a function that stops it.
   */
  readonly subscribe: (listener: () => void) => () => void
  /** Calls `listener` for each change of a job of this kind. Answers a function that stops it. */
  readonly on: (event: HeadwayEvent, listener: (job: LiveJob) => void) => () => void
  /**
   * Resolves with the job once it has finished, in any status. Until then the job is remembered in localStorage: after a reload
   * the page finds it in `waiting()`, and its events are emitted even if it finished meanwhile. Raises `HeadwayProblem` for an
   * unknown job.
   */
  waitFor(id: string): Promise<LiveJob>
  /** The jobs that this page, or an earlier one of the origin with the same identity, still waits for. */
  waiting(): readonly string[]
  /** Stops waiting for a job; its `waitFor` rejects with an AbortError. */
  forget(id: string): void
  cancel(id: string): Promise<LiveJob>
  retry(id: string): Promise<LiveJob>
  /** The service's time in milliseconds, as far as it is known here: `etaSeconds` is given for `updatedAt` by that clock. */
  now(): number
  /** Connects at once instead of waiting for the next attempt: when a user asks for it, or a token is available. */
  reconnect(): void
  close(): void
}

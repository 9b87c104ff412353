import type { LiveJob } from '../contract/live-job.ts'
import type {
  ActiveJobs,
  Children,
  JobDocument,
  JobEvent,
  JobWithWorkers,
  ListedJob,
  Page,
  Stage,
  WorkerDocument,
} from '../contract/job.ts'
import type { EtaSource, FailureReason, JobEventType, JobStatus, Lifecycle } from '../contract/states.ts'
import type { Unit } from '../contract/units.ts'
import type { Statistics, TypeStatistics } from '../contract/statistics.ts'

export type {
  ActiveJobs,
  Children,
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
  Page,
  Stage,
  Statistics,
  TypeStatistics,
  Unit,
  WorkerDocument,
}

/**
 * - `connecting`: nothing has arrived yet.
 * - `live`: changes arrive as they happen.
 * - `reconnecting`: the stream is lost; what is shown is as of then.
 * - `polling`: streams do not get through; jobs are asked for every 5 seconds.
 * - `unauthorized`: the service refuses the token, and the callback gave no better one. It is asked again later.
 * - `closed`: `close` was called.
 */
export type ConnectionState = 'connecting' | 'live' | 'reconnecting' | 'polling' | 'unauthorized' | 'closed'

/** Which jobs to follow. Left out: all that the token may see. */
export interface JobFilter {
  /** One id, or up to 100. */
  jobId?: string | readonly string[]
  jobType?: string
  parentJobId?: string
  /** No partitions. */
  topLevel?: boolean
  organizationId?: string
}

export type TokenSource = string | (() => string | null | undefined | Promise<string | null | undefined>)

export interface HeadwayClientOptions {
  /** Where the service is, without `/api/progress`; that of the page by default. */
  url?: string
  /** A token, or what gives one: it is called for each connection, and again when the service refuses what it gave. */
  token?: TokenSource
  filter?: JobFilter
  /** One connection for all tabs of the origin that ask for the same with the same identity; true by default. */
  share?: boolean
  /** How long finished jobs stay in `jobs()`, in seconds; 60 by default. */
  keepFinishedSeconds?: number
}

/** All that is known at one time. The same object until something changes. */
export interface HeadwayState {
  readonly connection: ConnectionState
  /** Unfinished first, newest first; then finished ones, the last to finish first. */
  readonly jobs: readonly LiveJob[]
  /** A snapshot has arrived: an empty `jobs` then means that there are none. */
  readonly loaded: boolean
  /** There are more jobs than a snapshot holds (1,000): `api.list` pages through all. */
  readonly truncated: boolean
  /** Why the connection is not live, as far as the service said; null while it is. */
  readonly problem: { readonly status: number; readonly code: string; readonly detail: string } | null
}

/** Lifecycle changes as on the wire, `updated` for everything else, and `finished` after completed, failed or cancelled. */
export type HeadwayEvent = Lifecycle | 'updated' | 'finished'

export interface ListQuery extends Omit<JobFilter, 'jobId'> {
  status?: JobStatus | readonly JobStatus[]
  /** Only running jobs: those of this liveness. */
  liveness?: 'ok' | 'stalled'
  startedByUserId?: string
  includeCompleted?: boolean
  completedSince?: string
  search?: string
  sort?: string
  page?: number
  pageSize?: number
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
}

export interface RequestOptions {
  signal?: AbortSignal
}

/** The calls of the service that a page needs beside the stream. All raise `HeadwayProblem`. */
export interface HeadwayApi {
  job(id: string, options?: RequestOptions): Promise<JobWithWorkers>
  list(query?: ListQuery, options?: RequestOptions): Promise<Page<ListedJob>>
  active(options?: RequestOptions & { recentSeconds?: number }): Promise<ActiveJobs>
  events(id: string, query?: EventsQuery, options?: RequestOptions): Promise<Page<JobEvent>>
  stats(query?: StatsQuery, options?: RequestOptions): Promise<Statistics>
  cancel(id: string, options?: RequestOptions): Promise<JobDocument>
  retry(id: string, options?: RequestOptions): Promise<JobDocument>
}

/** Follows jobs, in a page, for as long as it is open. */
export interface HeadwayClient {
  readonly connection: ConnectionState
  readonly api: HeadwayApi
  /** For `useSyncExternalStore(headway.subscribe, headway.state)`. */
  readonly state: () => HeadwayState
  /** `state().jobs`: the same array until something changes. */
  jobs(): readonly LiveJob[]
  job(id: string): LiveJob | undefined
  /** Calls after each change of `state()`, once for all jobs that arrived together. Answers how to stop it. */
  readonly subscribe: (listener: () => void) => () => void
  /** Calls for each change of a job of this kind. Answers how to stop it. */
  readonly on: (event: HeadwayEvent, listener: (job: LiveJob) => void) => () => void
  /**
   * The job once it has finished, whatever it ended as. It is remembered in localStorage until then: after a reload the page
   * finds it in `waiting()`, and its events come also where it finished meanwhile. Raises `HeadwayProblem` for an unknown job.
   */
  waitFor(id: string): Promise<LiveJob>
  /** The jobs that this page, or an earlier one of the origin with the same identity, still waits for. */
  waiting(): readonly string[]
  /** No longer waits for a job; its `waitFor` is refused with an AbortError. */
  forget(id: string): void
  cancel(id: string): Promise<LiveJob>
  retry(id: string): Promise<LiveJob>
  /** The service's time in milliseconds, as far as can be told here: `etaSeconds` is as of `updatedAt` by that clock. */
  now(): number
  /** Tries at once instead of waiting for the next attempt: when a user asks, or a token is at hand. */
  reconnect(): void
  close(): void
}

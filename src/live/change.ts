import type { JobChange } from '../contract/change.ts'
import type { Belonging, Visibility } from '../contract/visibility.ts'
import type { CommitPosition } from './position.ts'

/**
 * Tells every replica that these jobs have changed. It never waits and never throws; if an announcement is lost, the reconciler
 * finds the change.
 */
export type Announce = (changes: readonly JobChange[]) => void

/**
 * A job as the live stream shows it, read in one statement for all feeds. The fields besides `json` decide which feeds get it;
 * `json` is sent unchanged.
 */
export interface LiveDocument {
  id: string
  tenantId: string
  organizationId: string | null
  jobType: string
  parentJobId: string | null
  /** Completed, failed or cancelled. */
  finished: boolean
  /** Failed because no heartbeat came: the job may still recover. */
  stale: boolean
  createdAtMs: number
  /** Milliseconds since 1970 by the database's clock. */
  updatedAtMs: number
  finishedAtMs: number | null
  revision: number
  /** The last lifecycle change, and the revision that it made. */
  lifecycle: string
  lifecycleRevision: number
  /** The live document without null fields, on one line. */
  json: string
}

/** The part of a job that waiting callers need, which is much less than a document. */
export interface JobState extends Belonging {
  revision: number
  /** Completed, failed or cancelled. */
  finished: boolean
}

/**
 * Which jobs one kind of subscriber wants. All conditions use properties of a job that never change, so a job never enters or
 * leaves a feed.
 */
export interface FeedFilter extends Visibility {
  /** Empty: any job. */
  jobIds: readonly string[]
  jobType: string | null
  parentJobId: string | null
  topLevel: boolean
}

/** The reads of `live`, which always answer the newest committed state. app.ts passes them in. */
export interface LiveSource {
  /** The states of the jobs that still exist, by primary key, in one statement. */
  readStates(jobIds: readonly string[]): Promise<JobState[]>
  /** The documents of the jobs that still exist, by primary key, in one statement. */
  readDocuments(jobIds: readonly string[]): Promise<LiveDocument[]>
  /**
   * The jobs of a filter that are active, or that ended at `since` or later (null: that have just finished,
   * JUST_FINISHED_SECONDS), and those that `jobIds` names whatever their age; at most `limit`, unfinished first, newest first.
   * If `isWanted` is false when the read's turn comes, the read is refused.
   */
  readSnapshot(
    filter: FeedFilter,
    since: Since | null,
    limit: number,
    isWanted?: () => boolean,
  ): Promise<SnapshotAnswer>
  /**
   * The revisions of all jobs of these tenants that are active, that finished in the last 2 minutes, or whose end was committed
   * since `position`, by their indexes; `also` adds jobs by id, of any tenant. A job may come more than once, always with the
   * same revision.
   */
  readRevisions(
    tenantIds: readonly string[],
    also: readonly string[],
    position: CommitPosition | null,
  ): Promise<{ rows: JobRevision[]; pgSnapshot: string }>
}

/** What a reader has seen. It is shown the ends at `ms` or later, and those that were committed since `position`. */
export interface Since {
  /** Milliseconds since 1970 by the database's clock. */
  ms: number
  /** null: not known. */
  position: CommitPosition | null
}

export interface SnapshotAnswer {
  documents: LiveDocument[]
  truncated: boolean
  /** The database's time. */
  nowMs: number
  /** The statement's snapshot, as `pg_current_snapshot()` answers it. */
  pgSnapshot: string
}

/** A row that the reconciler compares. `updatedAtMs` as in `LiveDocument`. */
export interface JobRevision extends Pick<LiveDocument, 'id' | 'tenantId' | 'revision' | 'updatedAtMs'> {
  /** The job's end was committed since the given position, whenever it was written. */
  endedSince: boolean
}

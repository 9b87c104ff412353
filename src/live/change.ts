import type { JobChange } from '../contract/change.ts'
import type { Belonging, Visibility } from '../contract/visibility.ts'
import type { CommitPosition } from './position.ts'

/** Tells every replica that these jobs changed. Never waits, never throws: an announcement that is lost is found by reconcile. */
export type Announce = (changes: readonly JobChange[]) => void

/** A job as the live stream shows it, read in one statement for all feeds. The envelope routes it; `json` goes out as it is. */
export interface LiveDocument {
  id: string
  tenantId: string
  organizationId: string | null
  jobType: string
  parentJobId: string | null
  /** Completed, failed or cancelled. */
  finished: boolean
  /** Failed because no heartbeat came: it may still recover. */
  stale: boolean
  createdAtMs: number
  /** Milliseconds since 1970 by the database's clock. */
  updatedAtMs: number
  finishedAtMs: number | null
  revision: number
  /** The last lifecycle change, and the revision it made. */
  lifecycle: string
  lifecycleRevision: number
  /** The live document, null fields left out, on one line. */
  json: string
}

/** What is looked at for those who wait for a job: much less than a document. */
export interface JobState extends Belonging {
  revision: number
  /** Completed, failed or cancelled. */
  finished: boolean
}

/** What one kind of subscriber wants to see. All parts are immutable properties of a job, so that membership never changes. */
export interface FeedFilter extends Visibility {
  /** Empty: any job. */
  jobIds: readonly string[]
  jobType: string | null
  parentJobId: string | null
  topLevel: boolean
}

/** What `live` reads, always the newest committed truth. Handed in by the composition root. */
export interface LiveSource {
  /** The jobs that still exist, by primary key, in one statement: what they are, without documents. */
  readStates(jobIds: readonly string[]): Promise<JobState[]>
  /** The jobs that still exist, by primary key, in one statement. */
  readDocuments(jobIds: readonly string[]): Promise<LiveDocument[]>
  /**
   * The jobs of a filter that are active, or whose end is of `since` or later (null means those that have just finished:
   * JUST_FINISHED_SECONDS), and those named by `jobIds` whatever their age; at most `limit`, unfinished first, newest first.
   * Where it must wait, and is not `isWanted` any more when its turn has come, it is refused.
   */
  readSnapshot(
    filter: FeedFilter,
    since: Since | null,
    limit: number,
    isWanted?: () => boolean,
  ): Promise<SnapshotAnswer>
  /**
   * The revisions of all jobs of these tenants that are active, finished in the last 2 minutes, or whose end was committed
   * since `position`, by their indexes; `also` adds jobs by id, of any tenant. A job may come more than once, always with the
   * same revision.
   */
  readRevisions(
    tenantIds: readonly string[],
    also: readonly string[],
    position: CommitPosition | null,
  ): Promise<{ rows: JobRevision[]; pgSnapshot: string }>
}

/** What a reader has seen: the ends at `ms` or later are shown, and those that were committed since `position`. */
export interface Since {
  /** Milliseconds since 1970, database clock. */
  ms: number
  /** null: not known. */
  position: CommitPosition | null
}

export interface SnapshotAnswer {
  documents: LiveDocument[]
  truncated: boolean
  /** The database's clock. */
  nowMs: number
  /** What the statement saw of what was committed, as `pg_current_snapshot()` tells it. */
  pgSnapshot: string
}

/** What reconcile compares. `updatedAtMs` as in `LiveDocument`. */
export interface JobRevision extends Pick<LiveDocument, 'id' | 'tenantId' | 'revision' | 'updatedAtMs'> {
  /** Its end was committed since the position that was asked for, whenever it was written. */
  endedSince: boolean
}

import { JUST_FINISHED_SECONDS } from '../contract/just-finished.ts'
import { sees } from '../contract/visibility.ts'
import type { FeedFilter, JobRevision, LiveDocument, SnapshotAnswer } from './change.ts'
import { encodeSnapshot, formatEventId, partOf, partOfFrame, type StreamFormat } from './frames.ts'
import { Marks, type Mark } from './marks.ts'
import { positionOf } from './position.ts'
import type { FrameSource, Subscriber } from './subscriber.ts'

/** How long a finished job stays in its feed, so that a subscriber that is behind still gets its end. */
const FINISHED_STAYS_MS = 60_000

/**
 * A first snapshot may leave out jobs that changed longer ago. A failure that it shows for longer is in the feed from then on.
 */
const SNAPSHOT_SHOWS_FINISHED_MS = 1000 * Math.min(...Object.values(JUST_FINISHED_SECONDS))

/** The properties that decide whether a feed shows a job. None of them ever changes. */
export type Membership = Pick<LiveDocument, 'id' | 'tenantId' | 'organizationId' | 'jobType' | 'parentJobId'>

/** Encodes a document with an event name, once for all feeds of one flush. */
export type Encode = (format: StreamFormat, name: string, document: LiveDocument) => Buffer

/**
 * What a feed keeps of a job. The document is left out, because a thousand feeds of a hundred jobs would each keep their own.
 */
interface Entry {
  revision: number
  updatedAtMs: number
  finished: boolean
  stale: boolean
  createdAtMs: number
  seq: number
  /**
   * null: the job was in the first snapshot and has not changed since. No subscriber is so far behind that it needs a frame.
   */
  frame: Buffer | null
}

/** The beginning of a stream, shared by all readers that come before the next change. */
export interface Snapshot {
  bytes: Buffer
  /** The last change that the snapshot contains. */
  seq: number
  /** The job, in a stream of one job. */
  only: Pick<LiveDocument, 'revision' | 'updatedAtMs' | 'finished' | 'stale'> | null
}

/** A job in a snapshot. */
interface Shown {
  finished: boolean
  createdAtMs: number
  part: () => string
}

/** All jobs that one kind of subscriber may see, with the newest state of each, ordered by their last change. */
export class Feed implements FrameSource {
  readonly filter: FeedFilter
  readonly format: StreamFormat
  readonly subscribers = new Set<Subscriber>()
  readonly marks: Marks
  /** The number of the last change. */
  seq = 0
  /** The database's time of the first snapshot; null before it. */
  primedMs: number | null = null
  readonly #latest = new Map<string, Entry>()
  /** Finished jobs and the times at which they were added, oldest first. */
  readonly #finished = new Map<string, number>()

  constructor(filter: FeedFilter, format: StreamFormat, progressIntervalMs: number) {
    this.filter = filter
    this.format = format
    this.marks = new Marks(progressIntervalMs)
  }

  wants(job: Membership): boolean {
    const { jobType, parentJobId, topLevel } = this.filter
    return (
      sees(this.filter, job) &&
      (!this.#isNamed || this.filter.jobIds.includes(job.id)) &&
      (jobType === null || job.jobType === jobType) &&
      (parentJobId === null || job.parentJobId === parentJobId) &&
      (!topLevel || job.parentJobId === null)
    )
  }

  /** How many jobs the feed keeps. */
  get size(): number {
    return Math.max(this.#latest.size, this.filter.jobIds.length)
  }

  /** The revision of a job that subscribers have, or will have from `latest`. */
  revisionOf(jobId: string): number | undefined {
    return this.#latest.get(jobId)?.revision
  }

  /** Notes that a job may have changed. Ignored if the feed has that revision. */
  mark(jobId: string, mark: Mark): boolean {
    const revision = this.revisionOf(jobId)
    if (revision !== undefined && revision >= mark.revision) return false
    this.marks.add(jobId, mark)
    return true
  }

  isOver(jobId: string): boolean {
    const entry = this.#latest.get(jobId)
    return entry === undefined || isFinishedForGood(entry)
  }

  /**
   * Jobs that may still change. In a feed that names its jobs, stale jobs are included, because they may recover or be erased.
   */
  *openJobIds(): Iterable<string> {
    for (const [jobId, entry] of this.#latest) {
      if (!entry.finished || (this.#isNamed && !isFinishedForGood(entry))) yield jobId
    }
  }

  *framesSince(since: number): Iterable<{ seq: number; frame: Buffer }> {
    for (const { seq, frame } of this.#latest.values()) if (frame && seq > since) yield { seq, frame }
  }

  /**
   * Takes the documents that a flush has read for the jobs in `due`. If a document is missing, its job is gone. Answers how many
   * frames are new, and what gives a subscriber that is up to date all of them in one write, and answers how many bytes it wrote:
   * to be called for each subscriber before the next flush.
   */
  accept(
    due: ReadonlyMap<string, number>,
    documents: ReadonlyMap<string, LiveDocument>,
    { encode, readAt, now }: { encode: Encode; readAt: number; now: number },
  ): { frames: number; send: (subscriber: Subscriber) => number } {
    const before = this.seq
    const frames: Buffer[] = []
    let isGone = false
    for (const [jobId, revision] of due) {
      const document = documents.get(jobId)
      const mark = this.marks.get(jobId)
      if (!document) {
        this.#drop(jobId)
        isGone = true
      } else if (mark && this.#isNews(document, mark)) frames.push(this.#accept(document, mark, encode, now))
      this.marks.delete(jobId)
      // A hint that arrived since the read asks for a newer document. It may have come at once after the read began.
      if (mark && mark.revision > Math.max(revision, document?.revision ?? 0))
        this.marks.add(jobId, { ...mark, since: readAt })
    }
    const pending = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames)
    return {
      frames: frames.length,
      send: subscriber => {
        if (frames.length > 0) return subscriber.deliver(pending, before)
        if (isGone) subscriber.endIfOver()
        return 0
      },
    }
  }

  /**
   * Whether a state of a job is newer than the one that subscribers have. A job that is not in the feed, and that has not
   * changed since the first snapshot was read, was left out by that snapshot.
   */
  lacks({ id, revision, updatedAtMs }: Pick<JobRevision, 'id' | 'revision' | 'updatedAtMs'>): boolean {
    const known = this.revisionOf(id)
    if (known !== undefined) return known < revision
    return updatedAtMs >= (this.primedMs ?? 0) - SNAPSHOT_SHOWS_FINISHED_MS
  }

  /** The feed names its jobs. */
  get #isNamed(): boolean {
    return this.filter.jobIds.length > 0
  }

  #isNews(document: LiveDocument, mark: Mark): boolean {
    if (!this.wants(document)) return false
    return this.lacks(document) || (mark.hinted && this.revisionOf(document.id) === undefined)
  }

  #accept(document: LiveDocument, mark: Mark, encode: Encode, now: number): Buffer {
    const frame = encode(this.format, this.#isUpdate(document, mark) ? 'updated' : document.lifecycle, document)
    this.#set(document, ++this.seq, frame, now)
    return frame
  }

  /**
   * Whether the event name is `updated`. Several changes between two flushes become one event with the last name; a name that
   * the feed has sent already becomes an update.
   */
  #isUpdate(document: LiveDocument, mark: Mark): boolean {
    const known = this.revisionOf(document.id)
    if (known !== undefined) return known >= document.lifecycleRevision
    // The first snapshot had no room for this job. Its last lifecycle change may be old, and this change is about progress.
    return !mark.lifecycle && document.createdAtMs < (this.primedMs ?? 0)
  }

  #set(document: LiveDocument, seq: number, frame: Buffer | null, now: number): void {
    const { id, revision, updatedAtMs, finished, stale, createdAtMs } = document
    this.#latest.delete(id)
    this.#latest.set(id, { revision, updatedAtMs, finished, stale, createdAtMs, seq, frame })
    this.#finished.delete(id)
    // Jobs that the feed names stay: they are few, and a stale one may recover after hours.
    if (finished && !this.#isNamed) this.#finished.set(id, now)
  }

  #drop(jobId: string): void {
    this.#latest.delete(jobId)
    this.#finished.delete(jobId)
  }

  /** Adds the jobs of the first snapshot: from here on the feed follows them. */
  prime(documents: readonly LiveDocument[], nowMs: number, now: number): void {
    if (this.primedMs !== null) return
    this.primedMs = nowMs
    for (const document of documents) this.#set(document, this.seq, null, now)
  }

  /**
   * A snapshot made of the database's answer and the frames that were flushed since `sinceSeq`, the newer of each. A reader
   * that begins with it is up to date with the feed, and gets nothing older afterwards.
   */
  snapshot(answer: SnapshotAnswer, sinceSeq: number): Snapshot {
    const { format } = this
    const read = new Map(answer.documents.map(document => [document.id, document]))
    const shown: Shown[] = []
    for (const [jobId, { revision, finished, createdAtMs, seq, frame }] of this.#latest) {
      const document = read.get(jobId)
      // A job without a frame was in the first snapshot, and every later snapshot has it in the same state or a newer one.
      if (!frame || (document ? document.revision >= revision : seq <= sinceSeq)) continue
      shown.push({ finished, createdAtMs, part: () => partOfFrame(format, frame) })
      read.delete(jobId)
    }
    for (const document of read.values()) {
      const { finished, createdAtMs } = document
      shown.push({ finished, createdAtMs, part: () => partOf(format, document) })
    }
    shown.sort((a, b) => Number(a.finished) - Number(b.finished) || b.createdAtMs - a.createdAtMs)
    const only = this.#only(answer.documents, sinceSeq)
    const position = positionOf(answer.pgSnapshot)
    const id = formatEventId({ ms: answer.nowMs, revision: only?.revision ?? 0, position })
    const parts = shown.map(({ part }) => part())
    return { bytes: encodeSnapshot(format, id, parts, answer.truncated), seq: this.seq, only }
  }

  /** The job of a feed of one job, as it was read, or flushed since. */
  #only(documents: readonly LiveDocument[], sinceSeq: number): Snapshot['only'] {
    const [jobId] = this.filter.jobIds
    if (jobId === undefined || this.filter.jobIds.length > 1) return null
    const [document] = documents
    const entry = this.#latest.get(jobId)
    const isFlushed = entry?.frame && (document ? entry.revision > document.revision : entry.seq > sinceSeq)
    if (isFlushed || !document) return isFlushed ? entry : null
    const { revision, updatedAtMs, finished, stale } = document
    return { revision, updatedAtMs, finished, stale }
  }

  /** Drops jobs that finished a minute ago, once every subscriber has their end. */
  prune(now: number): void {
    let passed: number | null = null
    for (const [jobId, since] of this.#finished) {
      if (now - since < FINISHED_STAYS_MS) return
      passed ??= this.#passedByAll()
      if ((this.#latest.get(jobId)?.seq ?? 0) <= passed) this.#drop(jobId)
    }
  }

  #passedByAll(): number {
    let passed = this.seq
    for (const { seq } of this.subscribers) if (seq < passed) passed = seq
    return passed
  }
}

/** Whether a job has completed, was cancelled, or failed for another reason than silence: a stale job may recover. */
export const isFinishedForGood = ({ finished, stale }: Pick<LiveDocument, 'finished' | 'stale'>): boolean =>
  finished && !stale

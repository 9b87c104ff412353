import { sees, type FeedFilter, type JobRevision, type LiveDocument } from './change.ts'
import { encodeSnapshot, formatEventId, type StreamFormat } from './frames.ts'
import { Marks, type Mark } from './marks.ts'
import type { FrameSource, Subscriber } from './subscriber.ts'

/** A finished job stays in its feed for so long, so that a subscriber that is behind still gets its end. */
const FINISHED_STAYS_MS = 60_000

/** A first snapshot leaves out what finished longer ago. */
const SNAPSHOT_SHOWS_FINISHED_MS = 30_000

/** What decides whether a feed shows a job. None of it ever changes. */
export type Membership = Pick<LiveDocument, 'id' | 'tenantId' | 'organizationId' | 'jobType' | 'parentJobId'>

/** Encodes a document under a name, once for all feeds of one flush. */
export type Encode = (format: StreamFormat, name: string, document: LiveDocument) => Buffer

interface Entry {
  document: LiveDocument
  seq: number
  /** null: part of the first snapshot, and not changed since. No subscriber is ever so far behind. */
  frame: Buffer | null
}

/** What a stream begins with, shared by all who come before the next change. */
export interface Snapshot {
  bytes: Buffer
  /** The last change that it contains. */
  seq: number
  /** The job of a stream that shows one job. */
  only: LiveDocument | null
}

/** Everything one kind of subscriber may see, newest state per job, oldest change first. */
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
  /** Finished jobs and when they came, oldest first. */
  readonly #finished = new Map<string, number>()
  readonly #jobIds: ReadonlySet<string>

  constructor(filter: FeedFilter, format: StreamFormat, progressIntervalMs: number) {
    this.filter = filter
    this.format = format
    this.marks = new Marks(progressIntervalMs)
    this.#jobIds = new Set(filter.jobIds)
  }

  wants(job: Membership): boolean {
    const { jobType, parentJobId, topLevel } = this.filter
    return (
      sees(this.filter, job) &&
      (this.#jobIds.size === 0 || this.#jobIds.has(job.id)) &&
      (jobType === null || job.jobType === jobType) &&
      (parentJobId === null || job.parentJobId === parentJobId) &&
      (!topLevel || job.parentJobId === null)
    )
  }

  /** The revision of a job that subscribers have, or will have from `latest`. */
  revisionOf(jobId: string): number | undefined {
    return this.#latest.get(jobId)?.document.revision
  }

  /** Says that a job may have changed. Ignored if the feed has that revision. */
  mark(jobId: string, mark: Mark): boolean {
    const revision = this.revisionOf(jobId)
    if (revision !== undefined && revision >= mark.revision) return false
    this.marks.add(jobId, mark)
    return true
  }

  isOver(jobId: string): boolean {
    const document = this.#latest.get(jobId)?.document
    return document === undefined || isFinishedForGood(document)
  }

  /** Jobs of which more may come. A feed that names its jobs waits for the stale ones too: they may recover, or be erased. */
  *openJobIds(): Iterable<string> {
    const isNamed = this.#jobIds.size > 0
    for (const [jobId, { document }] of this.#latest) {
      if (!document.finished || (isNamed && !isFinishedForGood(document))) yield jobId
    }
  }

  *framesSince(since: number): Iterable<{ seq: number; frame: Buffer }> {
    for (const { seq, frame } of this.#latest.values()) if (frame && seq > since) yield { seq, frame }
  }

  /**
   * Takes what a flush read for the jobs in `due`, and writes what is new to every subscriber that is level: one
   * concatenation, one write each. A document that is missing is of a job that is gone.
   */
  deliver(
    due: ReadonlyMap<string, number>,
    read: ReadonlyMap<string, LiveDocument>,
    encode: Encode,
    now: number,
  ): number {
    const before = this.seq
    const frames: Buffer[] = []
    let isGone = false
    for (const [jobId, revision] of due) {
      const document = read.get(jobId)
      const mark = this.marks.get(jobId)
      if (!document) {
        this.#drop(jobId)
        isGone = true
      } else if (mark && this.#isNews(document, mark)) frames.push(this.#accept(document, mark, encode, now))
      // A hint that came while the document was read asks for a newer one.
      this.marks.delete(jobId)
      if (mark && mark.revision > Math.max(revision, document?.revision ?? 0))
        this.marks.add(jobId, { ...mark, since: now })
    }
    if (frames.length > 0) {
      const pending = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames)
      for (const subscriber of this.subscribers) subscriber.deliver(pending, before)
    } else if (isGone) {
      for (const subscriber of this.subscribers) subscriber.endIfOver()
    }
    return frames.length
  }

  /**
   * Whether this state of a job is newer than what subscribers have. A job that the feed does not hold, and that has not
   * changed since the first snapshot was read, was left out by the snapshot on purpose.
   */
  lacks({ id, revision, updatedAtMs }: Omit<JobRevision, 'tenantId'>): boolean {
    const known = this.revisionOf(id)
    if (known !== undefined) return known < revision
    return updatedAtMs >= (this.primedMs ?? 0) - SNAPSHOT_SHOWS_FINISHED_MS
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

  /** Names between two flushes merge into the last; what the feed has seen of this name already is an update. */
  #isUpdate(document: LiveDocument, mark: Mark): boolean {
    const known = this.revisionOf(document.id)
    if (known !== undefined) return known >= document.lifecycleRevision
    // A job that the first snapshot had no room for: its last lifecycle change may be of long ago, and this is about progress.
    return !mark.lifecycle && document.createdAtMs < (this.primedMs ?? 0)
  }

  #set(document: LiveDocument, seq: number, frame: Buffer | null, now: number): void {
    this.#latest.delete(document.id)
    this.#latest.set(document.id, { document, seq, frame })
    this.#finished.delete(document.id)
    // Jobs that are asked for by name stay: they are few, and a stale one may recover after hours.
    if (document.finished && this.#jobIds.size === 0) this.#finished.set(document.id, now)
  }

  #drop(jobId: string): void {
    this.#latest.delete(jobId)
    this.#finished.delete(jobId)
  }

  /** The first snapshot: from here on the feed follows these jobs. */
  prime(documents: readonly LiveDocument[], nowMs: number, now: number): void {
    if (this.primedMs !== null) return
    this.primedMs = nowMs
    for (const document of documents) this.#set(document, this.seq, null, now)
  }

  /**
   * A snapshot from what the database answered and what was flushed since `sinceSeq`, the newer of each: whoever begins with
   * it is level with the feed as it is now, and nothing that follows is older.
   */
  snapshot(
    answer: { documents: readonly LiveDocument[]; truncated: boolean; nowMs: number },
    sinceSeq: number,
  ): Snapshot {
    const jobs = new Map(answer.documents.map(document => [document.id, document]))
    for (const { document, seq } of this.#latest.values()) {
      const read = jobs.get(document.id)
      if (read ? read.revision < document.revision : seq > sinceSeq) jobs.set(document.id, document)
    }
    const documents = [...jobs.values()].sort(
      (a, b) => Number(a.finished) - Number(b.finished) || b.createdAtMs - a.createdAtMs,
    )
    const only = (this.#jobIds.size === 1 && documents[0]) || null
    const id = formatEventId({ ms: answer.nowMs, revision: only?.revision ?? 0 })
    return { bytes: encodeSnapshot(this.format, id, documents, answer.truncated), seq: this.seq, only }
  }

  /** Lets go of jobs that finished a minute ago, once every subscriber has passed them. */
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

/** Completed, cancelled, or failed but not for silence: a stale job may recover. */
export const isFinishedForGood = (document: LiveDocument): boolean => document.finished && !document.stale

import { JUST_FINISHED_SECONDS } from '../contract/just-finished.ts'
import { sees } from '../contract/visibility.ts'
import type { FeedFilter, JobRevision, LiveDocument, SnapshotAnswer } from './change.ts'
import { encodeSnapshot, formatEventId, partOf, partOfFrame, type StreamFormat } from './frames.ts'
import { Marks, type Mark } from './marks.ts'
import { positionOf } from './position.ts'
import type { FrameSource, Subscriber } from './subscriber.ts'

/** A finished job stays in its feed for so long, so that a subscriber that is behind still gets its end. */
const FINISHED_STAYS_MS = 60_000

/** A first snapshot may leave out what changed longer ago. A failure that it shows for longer is held by the feed from then on. */
const SNAPSHOT_SHOWS_FINISHED_MS = 1000 * Math.min(...Object.values(JUST_FINISHED_SECONDS))

/** What decides whether a feed shows a job. None of it ever changes. */
export type Membership = Pick<LiveDocument, 'id' | 'tenantId' | 'organizationId' | 'jobType' | 'parentJobId'>

/** Encodes a document under a name, once for all feeds of one flush. */
export type Encode = (format: StreamFormat, name: string, document: LiveDocument) => Buffer

/** What a feed keeps of a job. Not its document: a thousand feeds of a hundred jobs would each keep their own. */
interface Entry {
  revision: number
  updatedAtMs: number
  finished: boolean
  stale: boolean
  createdAtMs: number
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
  only: Pick<LiveDocument, 'revision' | 'updatedAtMs' | 'finished' | 'stale'> | null
}

/** A job as a snapshot shows it. */
interface Shown {
  finished: boolean
  createdAtMs: number
  part: () => string
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

  /** For how many jobs this keeps something. */
  get size(): number {
    return Math.max(this.#latest.size, this.filter.jobIds.length)
  }

  /** The revision of a job that subscribers have, or will have from `latest`. */
  revisionOf(jobId: string): number | undefined {
    return this.#latest.get(jobId)?.revision
  }

  /** Says that a job may have changed. Ignored if the feed has that revision. */
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

  /** Jobs of which more may come. A feed that names its jobs waits for the stale ones too: they may recover, or be erased. */
  *openJobIds(): Iterable<string> {
    for (const [jobId, entry] of this.#latest) {
      if (!entry.finished || (this.#isNamed && !isFinishedForGood(entry))) yield jobId
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
  lacks({ id, revision, updatedAtMs }: Pick<JobRevision, 'id' | 'revision' | 'updatedAtMs'>): boolean {
    const known = this.revisionOf(id)
    if (known !== undefined) return known < revision
    return updatedAtMs >= (this.primedMs ?? 0) - SNAPSHOT_SHOWS_FINISHED_MS
  }

  /** It names the jobs it wants. */
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

  /** Names between two flushes merge into the last; what the feed has seen of this name already is an update. */
  #isUpdate(document: LiveDocument, mark: Mark): boolean {
    const known = this.revisionOf(document.id)
    if (known !== undefined) return known >= document.lifecycleRevision
    // A job that the first snapshot had no room for: its last lifecycle change may be of long ago, and this is about progress.
    return !mark.lifecycle && document.createdAtMs < (this.primedMs ?? 0)
  }

  #set(document: LiveDocument, seq: number, frame: Buffer | null, now: number): void {
    const { id, revision, updatedAtMs, finished, stale, createdAtMs } = document
    this.#latest.delete(id)
    this.#latest.set(id, { revision, updatedAtMs, finished, stale, createdAtMs, seq, frame })
    this.#finished.delete(id)
    // Jobs that are asked for by name stay: they are few, and a stale one may recover after hours.
    if (finished && !this.#isNamed) this.#finished.set(id, now)
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
  snapshot(answer: SnapshotAnswer, sinceSeq: number): Snapshot {
    const { format } = this
    const read = new Map(answer.documents.map(document => [document.id, document]))
    const shown: Shown[] = []
    for (const [jobId, { revision, finished, createdAtMs, seq, frame }] of this.#latest) {
      const document = read.get(jobId)
      // What has no frame was in the first snapshot, and every later one has it as new or newer.
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

  /** The job of a feed of one job, as it was read or flushed since. */
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
export const isFinishedForGood = ({ finished, stale }: Pick<LiveDocument, 'finished' | 'stale'>): boolean =>
  finished && !stale

import type { LiveDocument, LiveSource, Since } from './change.ts'
import type { JobChange } from '../contract/change.ts'
import { Deliveries, type Reading } from './deliveries.ts'
import type { Directory } from './directory.ts'
import type { Feed, Snapshot } from './feed.ts'
import { formatEventId } from './frames.ts'
import type { Mark } from './marks.ts'
import { olderOf, positionOf, type CommitPosition } from './position.ts'
import type { Log } from './log.ts'
import { readerLeft, SnapshotTurns } from './snapshot-turns.ts'
import type { LiveStats } from './stats.ts'
import type { Watches } from './watches.ts'
import type { LoopTurns, Turn } from '../turns/loop-turns.ts'

/** More jobs are read in several statements: a tenant's first reconciliation may read all of its jobs. */
const MAX_DOCUMENTS_PER_READ = 5_000
const MAX_SNAPSHOT_JOBS = 1_000

/** A larger snapshot is made in a turn of the event loop. */
const FEW_DOCUMENTS = 50

/** Pause after a failed read (ms): 100, 200, 400, 800, 1000, 1000, … */
const RETRY_MS = { first: 100, most: 1_000 }

/**
 * Event ids stop advancing when no reconciliation has been completed for this long. It is half of the minute that a resume
 * looks back; the other half is for transactions that commit late.
 */
const PROOF_LASTS_MS = 30_000

export interface HubOptions {
  source: LiveSource
  directory: Directory
  watches: Watches
  stats: LiveStats
  loopTurns: Pick<LoopTurns, 'runPatiently'>
  log: Log
  now: () => number
  /** What the streams of a tenant get of a flush without a turn takes no longer. */
  atOnceMs: number
}

/**
 * Turns hints into frames. A hint marks a job in the feeds that want it. When a feed is due, all marked documents are read in
 * one statement, so that the newest state is sent, and each is encoded once for all feeds.
 */
export class Hub {
  readonly #options: HubOptions
  readonly #deliveries: Deliveries
  readonly #snapshotTurns = new SnapshotTurns()
  /** The feeds that have marks. */
  readonly #marked = new Set<Feed>()
  #flushing: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null
  #immediate: NodeJS.Immediate | null = null
  #retryMs = 0
  #retryAt = -Infinity
  #closed = false
  /** The database's time up to which readers of the newest frame have seen everything: the first part of every event id. */
  #newestMs = 0
  /**
   * The same in the order of commits: the position of the last reconciliation whose findings were all delivered; null before
   * the first snapshot.
   */
  #position: CommitPosition | null = null
  /** The position of a reconciliation until all its findings have been delivered. */
  #nextPosition: CommitPosition | null = null
  #reconciledAt = -Infinity
  /** All changes from before this time have been delivered. */
  #provenAt: number

  constructor(options: HubOptions) {
    this.#options = options
    this.#provenAt = options.now()
    this.#deliveries = new Deliveries({
      ...options,
      onUnmarked: feed => this.#marked.delete(feed),
      onDelivered: () => {
        this.#prove()
        this.#schedule()
      },
    })
  }

  hint(changes: readonly JobChange[]): void {
    const { directory, watches, now } = this.#options
    const since = now()
    for (const change of changes) {
      watches.hint(change)
      const mark = { revision: change.revision, lifecycle: change.lifecycle, hinted: true, since }
      for (const feed of directory.interested(change.tenantId, change.jobId)) this.#mark(feed, change.jobId, mark)
    }
    this.#schedule()
  }

  /**
   * Reads a snapshot of a feed. The feed must be in the directory already, so that changes that are committed during the read
   * mark it and are flushed afterwards. After its first snapshot, the feed gets flushes.
   */
  readSnapshot(feed: Feed, seen: Since | null): Promise<{ snapshot: Snapshot; nowMs: number }> {
    return this.#snapshotTurns.run(feed.filter.tenantId, () => this.#readSnapshot(feed, seen))
  }

  async #readSnapshot(feed: Feed, seen: Since | null): Promise<{ snapshot: Snapshot; nowMs: number }> {
    const { source, directory, loopTurns, now } = this.#options
    const { tenantId } = feed.filter
    const isWanted = () => feed.subscribers.size > 0
    const sinceSeq = feed.seq
    const answer = await source.readSnapshot(feed.filter, seen, MAX_SNAPSHOT_JOBS, isWanted)
    // A flush that began to read earlier may have older documents. It is delivered first, so that they do not follow this
    // snapshot.
    await this.#flushing
    await this.#deliveries.underWay(tenantId)
    for (const document of answer.documents) directory.learn(document)
    feed.prime(answer.documents, answer.nowMs, now())
    // The time may always be lowered (a failover may set the clock back). It may be raised only when nothing older is
    // undelivered.
    if (this.#isProven() || answer.nowMs < this.#newestMs) this.#newestMs = answer.nowMs
    // A reconciliation that began after this read has not compared this feed, so its position must not count for it.
    const position = positionOf(answer.pgSnapshot)
    this.#position = this.#position ? olderOf(this.#position, position) : position
    if (this.#nextPosition) this.#nextPosition = olderOf(this.#nextPosition, position)
    this.#schedule()
    const show = (turn: Turn) => {
      if (!isWanted()) throw readerLeft()
      const snapshot = feed.snapshot(answer, sinceSeq)
      turn.bytes += snapshot.bytes.length
      return { snapshot, nowMs: answer.nowMs }
    }
    if (answer.documents.length <= FEW_DOCUMENTS) return show({ bytes: 0 })
    // In a line of its own, so that the tenant's readers of changes need not wait for all who begin to read.
    return loopTurns.runPatiently({ tenantId, caller: null, isShared: true }, show)
  }

  /** Compares revisions with the database, and marks jobs that differ. It finds every commit for which there was no hint. */
  async reconcile(): Promise<void> {
    const { source, directory, watches, now } = this.#options
    const waited = watches.jobIds
    // The next reader begins with a snapshot, so nothing is undelivered.
    if (directory.isEmpty) {
      this.#provenAt = now()
      this.#position = this.#nextPosition = null
    }
    if (directory.isEmpty && waited.length === 0) return

    const { rows, pgSnapshot } = await source.readRevisions(directory.tenantIds, waited, this.#position)
    const since = now()
    const revisions = new Map(rows.map(row => [row.id, row.revision]))
    for (const jobId of waited) watches.compare(jobId, revisions.get(jobId))
    for (const row of rows) {
      const { id, tenantId, revision, endedSince } = row
      // An end that has just been committed is sent, however long ago it was written.
      const mark = { revision, lifecycle: endedSince, hinted: endedSince, since }
      for (const feed of directory.interested(tenantId, id)) {
        const seen = feed.revisionOf(id) ?? directory.offered(tenantId, id)
        // Checked before anything is read: a snapshot may have left out a hundred thousand jobs that do not change.
        if (feed.primedMs !== null && revision > seen && (endedSince || feed.lacks(row))) this.#mark(feed, id, mark)
      }
    }
    for (const feed of directory.feeds()) {
      for (const id of feed.openJobIds()) {
        // The job is gone, or finished longer ago than the answer goes back: a read shows which.
        const revision = (feed.revisionOf(id) ?? 0) + 1
        if (!revisions.has(id)) this.#mark(feed, id, { revision, lifecycle: false, hinted: false, since })
      }
    }
    directory.forgetAllBut(revisions)
    this.#reconciledAt = since
    this.#nextPosition = positionOf(pgSnapshot)
    this.#prove()
    this.#schedule()
  }

  /** Forgets a feed that has ended. */
  forget(feed: Feed): void {
    this.#marked.delete(feed)
  }

  /** A read in flight may still end; there is no subscriber left. */
  close(): void {
    this.#closed = true
    if (this.#timer) clearTimeout(this.#timer)
    if (this.#immediate) clearImmediate(this.#immediate)
  }

  #mark(feed: Feed, jobId: string, mark: Mark): void {
    if (feed.mark(jobId, mark)) this.#marked.add(feed)
  }

  /** Schedules a flush for the time at which the first feed is due: in the next turn, if it is due already. */
  #schedule(): void {
    if (this.#flushing || this.#immediate || this.#closed) return
    let dueAt = Infinity
    for (const feed of this.#marked) if (this.#mayFlush(feed)) dueAt = Math.min(dueAt, feed.marks.dueAt())
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    if (dueAt === Infinity) return
    const wait = Math.max(dueAt, this.#retryAt) - this.#options.now()
    const flush = () => {
      this.#timer = this.#immediate = null
      this.#flushing = this.#flush().finally(() => {
        this.#flushing = null
        this.#schedule()
      })
    }
    if (wait > 0) this.#timer = setTimeout(flush, Math.ceil(wait)).unref()
    else this.#immediate = setImmediate(flush)
  }

  async #flush(): Promise<void> {
    const { source, log, stats, now } = this.#options
    const readAt = now()
    const due = this.#takeDue()
    const jobIds = [...new Set([...due.values()].flatMap(jobs => [...jobs.keys()]))]
    const documents = new Map<string, LiveDocument>()
    try {
      for (let from = 0; from < jobIds.length; from += MAX_DOCUMENTS_PER_READ) {
        const read = await source.readDocuments(jobIds.slice(from, from + MAX_DOCUMENTS_PER_READ))
        for (const document of read) documents.set(document.id, document)
      }
      this.#raiseNewest(documents.values())
      const seen = { ms: this.#newestMs, position: this.#position }
      const idOf = ({ revision }: LiveDocument) => formatEventId({ ...seen, revision })
      await this.#deliveries.begin({ due, documents, readAt, idOf })
    } catch (error) {
      if (this.#retryMs === 0)
        log.warn({ err: error }, 'Changed jobs cannot be read; streams wait, and it is tried again')
      stats.failedReads++
      this.#retryMs = Math.min(Math.max(this.#retryMs * 2, RETRY_MS.first), RETRY_MS.most)
      this.#retryAt = now() + this.#retryMs
      return
    }
    // The due jobs may have come with a snapshot meanwhile. Then nothing was read, and it is not known whether the database
    // works.
    if (jobIds.length > 0) {
      if (this.#retryMs > 0) log.info({}, 'Changed jobs can be read again')
      this.#retryMs = 0
    }
    this.#prove()
  }

  /**
   * A feed that waits for its first snapshot keeps its marks, because most of those jobs will be in the snapshot. So does a feed
   * whose tenant still gets what was read before.
   */
  #mayFlush({ primedMs, filter }: Feed): boolean {
    return primedMs !== null && !this.#deliveries.underWay(filter.tenantId)
  }

  /** The jobs to read now, by feed. A job that the feed got meanwhile, from a snapshot, is not read again. */
  #takeDue(): Reading['due'] {
    const { now } = this.#options
    const taken: Reading['due'] = new Map()
    for (const feed of this.#marked) {
      if (!this.#mayFlush(feed)) continue
      const due = feed.marks.due(now())
      for (const [jobId, revision] of due) {
        if ((feed.revisionOf(jobId) ?? -1) < revision) continue
        due.delete(jobId)
        feed.marks.delete(jobId)
      }
      if (due.size > 0) taken.set(feed, due)
      if (feed.marks.size === 0) this.#marked.delete(feed)
    }
    return taken
  }

  #raiseNewest(documents: Iterable<LiveDocument>): void {
    if (!this.#isProven()) return
    for (const { updatedAtMs } of documents) if (updatedAtMs > this.#newestMs) this.#newestMs = updatedAtMs
  }

  #isProven(): boolean {
    return this.#options.now() - this.#provenAt < PROOF_LASTS_MS
  }

  /**
   * Lets event ids advance once all findings of a reconciliation have been delivered. An id must not claim more than its reader
   * has seen: after an outage, the first document that can be read is newer than others that cannot be read yet.
   */
  #prove(): void {
    for (const feed of this.#marked) {
      if (feed.primedMs !== null && feed.marks.oldest <= this.#reconciledAt) return
    }
    this.#provenAt = Math.max(this.#provenAt, this.#reconciledAt)
    this.#position = this.#nextPosition ?? this.#position
    this.#nextPosition = null
  }
}

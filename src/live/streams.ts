import { HeadwayError } from '../contract/errors.ts'
import type { Since } from './change.ts'
import type { Directory } from './directory.ts'
import { isFinishedForGood, type Feed, type Snapshot } from './feed.ts'
import { encodeRetry, FAREWELL, KEEP_ALIVE, parseEventId } from './frames.ts'
import type { Hub } from './hub.ts'
import type { OpenStream, StreamRequest } from './live.ts'
import { covers, type CommitPosition } from './position.ts'
import { readerLeft } from './snapshot-turns.ts'
import type { LiveStats } from './stats.ts'
import { Pieces } from '../turns/pieces.ts'
import { Subscriber, type SubscriberLimits } from './subscriber.ts'

/** How much further than its id a resume looks back, because transactions may commit later than the times that they write. */
const RESUME_SLACK_MS = 60_000
const RESUME_AT_MOST_MS = 3_600_000
/**
 * A resume looks back as far as the next of these steps. So all readers that lost their stream at the same time share one
 * query, and a feed keeps only a few snapshots, each of which may be megabytes.
 */
const RESUME_STEPS_MS = [120_000, 300_000, 900_000, RESUME_AT_MOST_MS]

/** A snapshot is shared until the next change, but no longer than this, because finished jobs leave it with time. */
const SNAPSHOT_SHARED_MS = 5_000

/**
 * The size of all snapshots that are kept for sharing. If they are larger, those of the feeds that were used longest ago are
 * dropped first.
 */
const SNAPSHOTS_SHARED_BYTES = 16 * 1024 * 1024

/** How many jobs one caller may name in all its streams: each named job is kept for it. */
const MAX_NAMED_JOBS_PER_CALLER = 10_000

const LIFETIME_JITTER = 0.2

/** How many streams are ended in one turn of the event loop when the service closes. */
const CLOSE_BATCH = 500

interface SharedSnapshot {
  answer: Promise<{ snapshot: Snapshot; nowMs: number }>
  /** The change up to which the snapshot is valid; null while it is read. */
  seq: number | null
  readAt: number
  /** Known once the snapshot has been read. */
  bytes: number
  /** The snapshot shows what was committed since this position. */
  position: CommitPosition | null
}

export interface StreamsOptions {
  hub: Hub
  directory: Directory
  stats: LiveStats
  limits: SubscriberLimits & { lifetimeMs: number; keepAliveMs: number; checkMs: number }
  maxStreams: number
  maxStreamsPerCaller: number
  now: () => number
  random: () => number
}

/** Opens, keeps and ends streams. */
export class Streams {
  readonly #options: StreamsOptions
  readonly #subscribers = new Map<Subscriber, Feed>()
  /** By how far they look back, in milliseconds; null: a first snapshot. */
  readonly #snapshots = new Map<Feed, Map<number | null, SharedSnapshot>>()
  #snapshotBytes = 0
  /** How many streams each caller has open, and how many jobs it names in them. Callers without streams are not kept. */
  readonly #openOf = new Map<string, { streams: number; jobs: number }>()
  #timers: NodeJS.Timeout[] = []
  #closed = false

  constructor(options: StreamsOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#subscribers.size
  }

  start(): void {
    const { keepAliveMs, checkMs } = this.#options.limits
    this.#timers = [
      setInterval(() => void this.#keepAlive(), keepAliveMs).unref(),
      setInterval(() => this.#check(), checkMs).unref(),
    ]
  }

  /** Registers the stream first and reads second, so that no change is missed between the snapshot and what follows it. */
  async open(request: StreamRequest): Promise<OpenStream> {
    this.#admit(request)
    const feed = this.#options.directory.feedFor(request.filter, request.format)
    const subscriber = this.#register(feed, request)
    if (request.left?.aborted) subscriber.leave()
    request.left?.addEventListener('abort', () => subscriber.leave(), { once: true })
    try {
      const snapshot = await this.#snapshotFor(feed, request.lastEventId)
      if (this.#isClosed()) throw shuttingDown()
      if (request.untilFinishedJobId !== null && !snapshot.only) {
        throw new HeadwayError('job_not_found', 'There is no such job')
      }
      subscriber.prepare(snapshot.bytes, snapshot.seq)
      return {
        alreadySeen: request.untilFinishedJobId !== null && hasSeenTheEnd(snapshot, request.lastEventId),
        start: response => subscriber.start(response, this.#retry(feed, 1_000, 3_000), this.#lifetimeMs(request)),
        abandon: () => subscriber.leave(),
      }
    } catch (error) {
      subscriber.leave()
      throw error
    }
  }

  /** Ends every stream. The `retry:` values are spread, so that the readers do not all come to the next process at once. */
  async close(): Promise<void> {
    this.#closed = true
    for (const timer of this.#timers) clearInterval(timer)
    const closing: Promise<void>[] = []
    for (const [subscriber, feed] of [...this.#subscribers]) {
      closing.push(subscriber.end(this.#retry(feed, 500, 5_000) ?? FAREWELL[feed.format]))
      if (closing.length % CLOSE_BATCH === 0) await new Promise(resolve => setImmediate(resolve))
    }
    await Promise.all(closing)
  }

  #admit({ caller, filter }: StreamRequest): void {
    if (this.#closed) throw shuttingDown()
    const { maxStreamsPerCaller } = this.#options
    const open = (caller !== null && this.#openOf.get(caller)) || { streams: 0, jobs: 0 }
    // Before the limit of the process: a caller that has used up its own share is told so, also when the process is full.
    if (open.jobs + filter.jobIds.length > MAX_NAMED_JOBS_PER_CALLER) {
      throw new HeadwayError(
        'too_many_streams',
        `You follow ${open.jobs} jobs by name, and may follow ${MAX_NAMED_JOBS_PER_CALLER}: close some streams, or follow jobs by their type or batch`,
        { retryAfterSeconds: 5 },
      )
    }
    if (open.streams >= maxStreamsPerCaller) {
      throw new HeadwayError(
        'too_many_streams',
        `You have ${maxStreamsPerCaller} streams open, as many as you may: close some, or let one stream follow several jobs`,
        { retryAfterSeconds: 5 },
      )
    }
    if (this.#subscribers.size >= this.#options.maxStreams) {
      throw new HeadwayError('too_many_streams', 'This process has as many streams as it may; try again soon', {
        retryAfterSeconds: 5,
      })
    }
  }

  /** Counts a stream that begins (1) or ends (-1). */
  #count({ caller, filter }: StreamRequest, change: 1 | -1): void {
    if (caller === null) return
    const open = this.#openOf.get(caller) ?? { streams: 0, jobs: 0 }
    open.streams += change
    open.jobs += change * filter.jobIds.length
    if (open.streams > 0) this.#openOf.set(caller, open)
    else this.#openOf.delete(caller)
  }

  #register(feed: Feed, request: StreamRequest): Subscriber {
    const { untilFinishedJobId } = request
    const { stats, limits, now, directory, hub } = this.#options
    const onGone = (subscriber: Subscriber) => {
      this.#subscribers.delete(subscriber)
      this.#count(request, -1)
      feed.subscribers.delete(subscriber)
      if (feed.subscribers.size > 0) return
      directory.remove(feed)
      hub.forget(feed)
      this.#forgetSnapshots(feed)
    }
    const farewell = FAREWELL[feed.format]
    const subscriber = new Subscriber({ feed, untilFinishedJobId, farewell, limits, stats, now, onGone })
    feed.subscribers.add(subscriber)
    this.#subscribers.set(subscriber, feed)
    this.#count(request, 1)
    return subscriber
  }

  async #snapshotFor(feed: Feed, lastEventId: string | null): Promise<Snapshot> {
    const { snapshot, nowMs } = await this.#shared(feed, null)
    const seen = parseEventId(lastEventId)
    if (!seen) return snapshot
    const lookBackMs = nowMs - seen.ms + RESUME_SLACK_MS
    // An id from the future (a clock was set) does not say what its reader has seen, so it gets a first snapshot.
    if (lookBackMs < 0) return snapshot
    const stepMs = RESUME_STEPS_MS.find(step => step >= lookBackMs) ?? RESUME_AT_MOST_MS
    // For an id that is too old only the time counts, because nearly everything may have been committed since its position.
    const position = lookBackMs <= RESUME_AT_MOST_MS ? seen.position : null
    const resumed = await this.#shared(feed, { stepMs, ms: nowMs - stepMs, position })
    return resumed.snapshot
  }

  /** One query for all readers that come while it runs, and for those that come before the next change. */
  #shared(feed: Feed, resume: (Since & { stepMs: number }) | null): SharedSnapshot['answer'] {
    const { hub, stats, now } = this.#options
    // The feed is no longer in the directory, so a snapshot of it would never be dropped.
    if (feed.subscribers.size === 0) throw readerLeft()
    this.#expire(feed)
    const ofFeed = this.#snapshots.get(feed) ?? new Map<number | null, SharedSnapshot>()
    this.#snapshots.delete(feed)
    this.#snapshots.set(feed, ofFeed)
    const key = resume?.stepMs ?? null
    const position = resume?.position ?? null
    const existing = ofFeed.get(key)
    // A reader that has seen less than the snapshot shows gets a snapshot of its own, and later readers share that.
    if (existing && (!position || (existing.position && covers(existing.position, position)))) return existing.answer
    if (existing) this.#snapshotBytes -= existing.bytes

    const answer = hub.readSnapshot(feed, resume)
    const shared: SharedSnapshot = { answer, seq: null, readAt: now(), bytes: 0, position }
    ofFeed.set(key, shared)
    answer.then(
      ({ snapshot }) => {
        stats.snapshots++
        shared.seq = snapshot.seq
        if (this.#snapshots.get(feed)?.get(key) !== shared) return
        shared.bytes = snapshot.bytes.length
        this.#snapshotBytes += shared.bytes
        for (const other of this.#snapshots.keys()) {
          if (this.#snapshotBytes <= SNAPSHOTS_SHARED_BYTES) break
          this.#forgetSnapshots(other)
        }
      },
      () => {
        if (ofFeed.get(key) === shared) ofFeed.delete(key)
      },
    )
    return answer
  }

  /** Drops a feed's snapshots. Only callers that wait for them already still get those that are being read. */
  #forgetSnapshots(feed: Feed): void {
    for (const { bytes } of this.#snapshots.get(feed)?.values() ?? []) this.#snapshotBytes -= bytes
    this.#snapshots.delete(feed)
  }

  /** Drops the snapshots that may not be shared any longer. */
  #expire(feed: Feed): void {
    const ofFeed = this.#snapshots.get(feed)
    if (!ofFeed) return
    for (const [key, { seq, readAt, bytes }] of ofFeed) {
      if (seq === null || (seq === feed.seq && this.#options.now() - readAt <= SNAPSHOT_SHARED_MS)) continue
      ofFeed.delete(key)
      this.#snapshotBytes -= bytes
    }
    if (ofFeed.size === 0) this.#snapshots.delete(feed)
  }

  #lifetimeMs({ expiresAtMs }: StreamRequest): number {
    const { limits, random } = this.#options
    const lifetime = limits.lifetimeMs * (1 - LIFETIME_JITTER + 2 * LIFETIME_JITTER * random())
    return expiresAtMs === null ? lifetime : Math.min(lifetime, expiresAtMs - Date.now())
  }

  #retry(feed: Feed, fromMs: number, toMs: number): Buffer | null {
    return encodeRetry(feed.format, fromMs + (toMs - fromMs) * this.#options.random())
  }

  async #keepAlive(): Promise<void> {
    const pieces = new Pieces()
    for (const [subscriber, feed] of this.#subscribers) {
      subscriber.keepAlive(KEEP_ALIVE[feed.format])
      if (pieces.isOver()) await pieces.next()
    }
  }

  #check(): void {
    const { directory, now } = this.#options
    for (const subscriber of this.#subscribers.keys()) subscriber.check(now())
    for (const feed of directory.feeds()) {
      feed.prune(now())
      // Also without new readers, because each snapshot may be megabytes.
      this.#expire(feed)
    }
  }

  #isClosed(): boolean {
    return this.#closed
  }
}

const shuttingDown = () =>
  new HeadwayError('shutting_down', 'This process is about to end; connect again', { retryAfterSeconds: 1 })

/**
 * Whether a reader of one job has seen it finish for good. The revision alone could belong to another job from whose stream the
 * id was taken. While event ids do not advance, the time in the id is too early, and the reader gets a snapshot, which does no
 * harm.
 */
const hasSeenTheEnd = ({ only }: Snapshot, lastEventId: string | null): boolean => {
  const seen = parseEventId(lastEventId)
  if (!only || !seen || !isFinishedForGood(only)) return false
  return seen.revision === only.revision && seen.ms >= only.updatedAtMs
}

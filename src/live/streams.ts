import { HeadwayError } from '../contract/errors.ts'
import type { Since } from './change.ts'
import type { Directory } from './directory.ts'
import { isFinishedForGood, type Feed, type Snapshot } from './feed.ts'
import { encodeRetry, FAREWELL, KEEP_ALIVE, parseEventId } from './frames.ts'
import type { Hub } from './hub.ts'
import type { OpenStream, StreamRequest } from './live.ts'
import { covers, type CommitPosition } from './position.ts'
import type { LiveStats } from './stats.ts'
import { Subscriber, type SubscriberLimits } from './subscriber.ts'

/** What a resume looks back beyond its id: for transactions that commit later than their time stamp. */
const RESUME_SLACK_MS = 60_000
const RESUME_AT_MOST_MS = 3_600_000
/**
 * Resumes look back as far as the next of these: all who lost their stream at once share one query, and a feed never keeps
 * more than a handful of snapshots, each of which may be megabytes.
 */
const RESUME_STEPS_MS = [120_000, 300_000, 900_000, RESUME_AT_MOST_MS]

/** A snapshot is shared until the next change, but no longer: what has finished falls out of it with time. */
const SNAPSHOT_SHARED_MS = 5_000

/** All that are kept for whoever comes next. Where there are more, those of the feeds that were asked for longest ago go first. */
const SNAPSHOTS_SHARED_BYTES = 16 * 1024 * 1024

/** What one caller may name in all its streams: each job it names is kept for it, though nobody else follows that one. */
const MAX_NAMED_JOBS_PER_CALLER = 10_000

const LIFETIME_JITTER = 0.2

/** How many streams are ended in one turn of the event loop when the service closes. */
const CLOSE_BATCH = 500

interface SharedSnapshot {
  answer: Promise<{ snapshot: Snapshot; nowMs: number }>
  /** The change it is good for; null while it is read. */
  seq: number | null
  readAt: number
  /** Once it has been read. */
  bytes: number
  /** It shows what was committed since. */
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
  /** By how far they look back in milliseconds; null: a first snapshot. */
  readonly #snapshots = new Map<Feed, Map<number | null, SharedSnapshot>>()
  #snapshotBytes = 0
  /** How many streams each caller has open, and how many jobs it names in them; none is not kept. */
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
      setInterval(() => this.#keepAlive(), keepAliveMs).unref(),
      setInterval(() => this.#check(), checkMs).unref(),
    ]
  }

  /** Registers first and reads second, so that no change falls between the snapshot and what follows it. */
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

  /** Ends every stream. `retry:` is spread, so that the readers do not come back to the next process all at once. */
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
    // Before the limit of the process: who has used up its own share is told so, also where nobody else has.
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
    // An id from the future (a clock was set) says nothing about what its reader has seen: the first snapshot must do.
    if (lookBackMs < 0) return snapshot
    const stepMs = RESUME_STEPS_MS.find(step => step >= lookBackMs) ?? RESUME_AT_MOST_MS
    // Of an id that is too old the time decides: what was committed since may be all there is.
    const position = lookBackMs <= RESUME_AT_MOST_MS ? seen.position : null
    const resumed = await this.#shared(feed, { stepMs, ms: nowMs - stepMs, position })
    return resumed.snapshot
  }

  /** One query for all who come while it runs, and for those who come before the next change. */
  #shared(feed: Feed, resume: (Since & { stepMs: number }) | null): SharedSnapshot['answer'] {
    const { hub, stats, now } = this.#options
    // It is in the directory no more, and nothing of it would be let go of.
    if (feed.subscribers.size === 0) throw new HeadwayError('too_many_streams', 'The reader has left.')
    this.#expire(feed)
    const ofFeed = this.#snapshots.get(feed) ?? new Map<number | null, SharedSnapshot>()
    this.#snapshots.delete(feed)
    this.#snapshots.set(feed, ofFeed)
    const key = resume?.stepMs ?? null
    const position = resume?.position ?? null
    const existing = ofFeed.get(key)
    // Who has seen less than those whom it was read for takes one of its own, and those who come next share that.
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

  /** Of those that are being read, nobody else is told any more. */
  #forgetSnapshots(feed: Feed): void {
    for (const { bytes } of this.#snapshots.get(feed)?.values() ?? []) this.#snapshotBytes -= bytes
    this.#snapshots.delete(feed)
  }

  /** Lets go of the snapshots that may not be shared any more. */
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

  #keepAlive(): void {
    for (const [subscriber, feed] of this.#subscribers) subscriber.keepAlive(KEEP_ALIVE[feed.format])
  }

  #check(): void {
    const { directory, now } = this.#options
    for (const subscriber of this.#subscribers.keys()) subscriber.check(now())
    for (const feed of directory.feeds()) {
      feed.prune(now())
      // Also without anyone who comes: each may be megabytes.
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
 * A reader of one job that has seen it finish for good has nothing to wait for. The revision alone could be that of another
 * job, whose stream the id was taken from; while ids stand still the time is too early, and a snapshot does no harm.
 */
const hasSeenTheEnd = ({ only }: Snapshot, lastEventId: string | null): boolean => {
  const seen = parseEventId(lastEventId)
  if (!only || !seen || !isFinishedForGood(only)) return false
  return seen.revision === only.revision && seen.ms >= only.updatedAtMs
}

import { HeadwayError } from '../errors.ts'
import type { Directory } from './directory.ts'
import { isFinishedForGood, type Feed, type Snapshot } from './feed.ts'
import { encodeRetry, KEEP_ALIVE, parseEventId } from './frames.ts'
import type { Hub } from './hub.ts'
import type { OpenStream, StreamRequest } from './live.ts'
import type { LiveStats } from './stats.ts'
import { Subscriber, type SubscriberLimits } from './subscriber.ts'

/** What a resume looks back beyond its id: for transactions that commit later than their time stamp. */
const RESUME_SLACK_MS = 60_000
const RESUME_AT_MOST_MS = 3_600_000
/** Resumes look back to a multiple of this, so that all who lost their stream at once share one query. */
const RESUME_STEP_MS = 30_000

/** A snapshot is shared until the next change, but no longer: what has finished falls out of it with time. */
const SNAPSHOT_SHARED_MS = 5_000

const LIFETIME_JITTER = 0.2

/** How many streams are ended in one turn of the event loop when the service closes. */
const CLOSE_BATCH = 500

interface SharedSnapshot {
  answer: Promise<{ snapshot: Snapshot; nowMs: number }>
  /** The change it is good for; null while it is read. */
  seq: number | null
  readAt: number
}

export interface StreamsOptions {
  hub: Hub
  directory: Directory
  stats: LiveStats
  limits: SubscriberLimits & { lifetimeMs: number; keepAliveMs: number; checkMs: number }
  maxStreams: number
  now: () => number
  random: () => number
}

/** Opens, keeps and ends streams. */
export class Streams {
  readonly #options: StreamsOptions
  readonly #subscribers = new Map<Subscriber, Feed>()
  readonly #snapshots = new WeakMap<Feed, Map<number | null, SharedSnapshot>>()
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
    this.#admit()
    const feed = this.#options.directory.feedFor(request.filter, request.format)
    const subscriber = this.#register(feed, request.untilFinishedJobId)
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
      closing.push(subscriber.end(this.#retry(feed, 500, 5_000)))
      if (closing.length % CLOSE_BATCH === 0) await new Promise(resolve => setImmediate(resolve))
    }
    await Promise.all(closing)
  }

  #admit(): void {
    if (this.#closed) throw shuttingDown()
    if (this.#subscribers.size >= this.#options.maxStreams) {
      throw new HeadwayError('too_many_streams', 'This process has as many streams as it may; try again soon', {
        retryAfterSeconds: 5,
      })
    }
  }

  #register(feed: Feed, untilFinishedJobId: string | null): Subscriber {
    const { stats, limits, now, directory, hub } = this.#options
    const onGone = (subscriber: Subscriber) => {
      this.#subscribers.delete(subscriber)
      feed.subscribers.delete(subscriber)
      if (feed.subscribers.size > 0) return
      directory.remove(feed)
      hub.forget(feed)
    }
    const subscriber = new Subscriber({ feed, untilFinishedJobId, limits, stats, now, onGone })
    feed.subscribers.add(subscriber)
    this.#subscribers.set(subscriber, feed)
    return subscriber
  }

  async #snapshotFor(feed: Feed, lastEventId: string | null): Promise<Snapshot> {
    const { snapshot, nowMs } = await this.#shared(feed, null)
    const seen = parseEventId(lastEventId)
    if (!seen) return snapshot
    const since = Math.max(seen.ms - RESUME_SLACK_MS, nowMs - RESUME_AT_MOST_MS)
    // An id from the future (a clock was set) says nothing about what its reader has seen: the first snapshot must do.
    if (since > nowMs) return snapshot
    const resumed = await this.#shared(feed, Math.floor(since / RESUME_STEP_MS) * RESUME_STEP_MS)
    return resumed.snapshot
  }

  /** One query for all who come while it runs, and for those who come before the next change. */
  #shared(feed: Feed, sinceMs: number | null): SharedSnapshot['answer'] {
    const { hub, stats, now } = this.#options
    const ofFeed = this.#snapshots.get(feed) ?? new Map<number | null, SharedSnapshot>()
    this.#snapshots.set(feed, ofFeed)
    for (const [key, { seq, readAt }] of ofFeed) {
      if (seq !== null && (seq !== feed.seq || now() - readAt > SNAPSHOT_SHARED_MS)) ofFeed.delete(key)
    }
    const existing = ofFeed.get(sinceMs)
    if (existing) return existing.answer

    const answer = hub.readSnapshot(feed, sinceMs)
    const shared: SharedSnapshot = { answer, seq: null, readAt: now() }
    ofFeed.set(sinceMs, shared)
    answer.then(
      ({ snapshot }) => {
        stats.snapshots++
        shared.seq = snapshot.seq
      },
      () => ofFeed.delete(sinceMs),
    )
    return answer
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
    for (const feed of directory.feeds()) feed.prune(now())
  }

  #isClosed(): boolean {
    return this.#closed
  }
}

const shuttingDown = () =>
  new HeadwayError('shutting_down', 'This process is about to end; connect again', { retryAfterSeconds: 1 })

/** A reader of one job that has seen it finish for good has nothing to wait for. */
const hasSeenTheEnd = ({ only }: Snapshot, lastEventId: string | null): boolean =>
  only !== null && isFinishedForGood(only) && parseEventId(lastEventId)?.revision === only.revision

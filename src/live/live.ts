import type { ServerResponse } from 'node:http'
import type { FeedFilter, JobState, LiveSource } from './change.ts'
import { Directory } from './directory.ts'
import type { StreamFormat } from './frames.ts'
import { Hub } from './hub.ts'
import { createListener, type ListenerClient } from './listener.ts'
import { Reconciler } from './reconciler.ts'
import type { Log } from './log.ts'
import { createStats, type LiveStats } from './stats.ts'
import { Streams } from './streams.ts'
import { Watches, type JobWait } from './watches.ts'
import type { LoopTurns } from '../turns/loop-turns.ts'
import { PIECE_MS } from '../turns/pieces.ts'

export type { JobState } from './change.ts'
export type { StreamFormat } from './frames.ts'
export type { JobWait } from './watches.ts'

export interface StreamRequest {
  filter: FeedFilter
  format: StreamFormat
  /** As the client sent it; a malformed id counts as none. */
  lastEventId: string | null
  /** Set for `GET /jobs/:id/stream`: the stream ends once this job has finished for good. */
  untilFinishedJobId: string | null
  /** The caller whose streams are counted together; null: not counted. */
  caller: string | null
  /** The latest end of the stream (milliseconds since 1970); null: only its lifetime limits it. */
  expiresAtMs: number | null
  /** Aborts when the client leaves before the stream has begun: nothing is read for it then. */
  left?: AbortSignal
}

/** The live side of the service, as the routes use it. */
export interface Live {
  /**
   * Reserves a place and reads the first snapshot, before a byte is written, so that a failure here is a problem document
   * (`too_many_streams`, `database_unavailable`, `shutting_down`). After it, call exactly one of `start` and `abandon`.
   */
  open(request: StreamRequest): Promise<OpenStream>
  /**
   * Resolves with the job's state once `isEnough` accepts it. Resolves with null if the caller sees no such job, or if the job
   * cannot be read; the caller's own read then tells which. When `signal` aborts, resolves with the last known state, or null.
   */
  waitForJob(wait: JobWait, signal: AbortSignal): Promise<JobState | null>
  /**
   * Whether the listener receives its own pings. If not, the process is degraded and not down, because the reconciler finds the
   * changes.
   */
  isListening(): boolean
  start(): void
  /** Ends every stream within a second, with spread `retry:` values, and stops the listener. */
  close(): Promise<void>
}

export interface OpenStream {
  /** The job of `untilFinishedJobId` has finished and the client has seen that: answer 204, so that an EventSource stops. */
  alreadySeen: boolean
  /** Takes over a response whose headers have been sent: writes the snapshot, then every change, until the client leaves. */
  start(response: ServerResponse): void
  abandon(): void
}

/** The live side as app.ts uses it. */
export interface LiveStation extends Live {
  openStreams(): number
  /** Number of different filters of open streams. */
  openFeeds(): number
  stats(): Readonly<LiveStats>
}

/** Times in milliseconds. The defaults are documented; tests use shorter ones. */
export interface LiveTiming {
  /** A reader that accepts nothing for this long is cut. */
  acceptMs: number
  /** A reader that has not been up to date for this long is cut. */
  levelMs: number
  /** How long the client of an ended response may take to read it. */
  endMs: number
  /** What the streams of a tenant get of one flush at once takes no longer; the rest comes in turns of the event loop. */
  atOnceMs: number
  /** Streams end after this time, plus or minus 20 %. */
  lifetimeMs: number
  /** How often readers are checked and finished jobs dropped. */
  checkMs: number
  reconcileMs: number
  reconcileDeafMs: number
  pingIntervalMs: number
  pingDeadlineMs: number
}

const TIMING: LiveTiming = {
  acceptMs: 20_000,
  levelMs: 60_000,
  endMs: 800,
  // Most tenants have few readers.
  atOnceMs: PIECE_MS / 4,
  lifetimeMs: 600_000,
  checkMs: 1_000,
  reconcileMs: 5_000,
  reconcileDeafMs: 1_000,
  pingIntervalMs: 5_000,
  pingDeadlineMs: 5_000,
}

export interface LiveOptions {
  source: LiveSource
  /** A new client for the listener, on a direct connection to the database. */
  connectListener: () => ListenerClient
  /** Called when there are changes that no process has logged and counted yet. */
  onUntold?: () => void
  /** The progress of one feed is sent at most once in this time. */
  intervalMs: number
  keepaliveSeconds: number
  maxStreams: number
  maxStreamsPerCaller: number
  /** The turns in which work that takes long shares the event loop. */
  loopTurns: Pick<LoopTurns, 'runPatiently'>
  log: Log
  timing?: Partial<LiveTiming>
  /** Milliseconds of a monotonic clock. */
  now?: () => number
  /** From 0 to 1, for jitter. */
  random?: () => number
}

/**
 * The way from a commit to open streams: listener → hub → feeds → subscribers, and the reconciler for changes without a hint.
 */
export const createLive = (options: LiveOptions): LiveStation => {
  const { source, connectListener, intervalMs, keepaliveSeconds, maxStreams, maxStreamsPerCaller, loopTurns, log } =
    options
  const { now = () => performance.now(), random = Math.random } = options
  const timing = { ...TIMING, ...options.timing }
  const stats = createStats()
  const watches = new Watches({ source, intervalMs, stats, log, now })
  const directory = new Directory(intervalMs)
  const hub = new Hub({ source, directory, watches, stats, loopTurns, log, now, atOnceMs: timing.atOnceMs })
  const streams = new Streams({
    hub,
    directory,
    stats,
    limits: { ...timing, keepAliveMs: keepaliveSeconds * 1_000 },
    maxStreams,
    maxStreamsPerCaller,
    now,
    random,
  })
  const reconciler = new Reconciler({
    reconcile: () => hub.reconcile(),
    everyMs: timing.reconcileMs,
    deafEveryMs: timing.reconcileDeafMs,
    log,
  })
  const listener = createListener({
    connect: connectListener,
    onChanges: changes => {
      hub.hint(changes)
      if (changes.some(change => change.isUntold)) options.onUntold?.()
    },
    onConnected: () => reconciler.connected(),
    onDeaf: () => reconciler.deaf(),
    pingIntervalMs: timing.pingIntervalMs,
    pingDeadlineMs: timing.pingDeadlineMs,
    random,
    log,
    stats,
  })

  return {
    open: request => streams.open(request),
    waitForJob: (wait, signal) => watches.wait(wait, signal),
    isListening: () => listener.isListening(),
    openStreams: () => streams.size,
    openFeeds: () => directory.size,
    stats: () => stats,
    start: () => {
      listener.start()
      reconciler.start()
      streams.start()
    },
    close: async () => {
      reconciler.close()
      hub.close()
      watches.close()
      await Promise.all([streams.close(), listener.close()])
    },
  }
}

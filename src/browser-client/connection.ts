import { backoffMs } from './backoff.ts'
import { toLiveJob } from './documents.ts'
import type { WireJob, LiveJob } from '../contract/live-job.ts'
import { CHECK_MS, readEventStream } from './event-stream.ts'
import type { StreamEnd } from './event-stream.ts'
import type { JobUpdate } from './job-store.ts'
import { Pauses } from './pause.ts'
import { PollLoop } from './poll-loop.ts'
import { isRefusal, problemOf, unexpectedAnswer } from './problem.ts'
import type { HeadwayProblem } from './problem.ts'
import { queryOf } from './requests.ts'
import type { Requests } from './requests.ts'
import type { StreamEvent } from './sse.ts'
import type { Tokens } from './tokens.ts'
import type { ConnectionState, HeadwayState, JobFilter } from './types.ts'

export type Problem = HeadwayState['problem']

/** Gets what a connection receives. */
export interface ConnectionSink {
  /** All jobs as of now. `id`: where a later stream can resume; null when the jobs were polled. */
  snapshot(jobs: LiveJob[], truncated: boolean, id: string | null): void
  changes(changes: JobUpdate[], id: string): void
  state(connection: ConnectionState, problem: Problem): void
}

/** Milliseconds. Tests use shorter times. */
export interface ConnectionTiming {
  firstByteMs: number
  pollMs: number
  /** A stream that lasted this long counts as good. */
  goodMs: number
  /** A loss that is repaired within this time is not shown. */
  graceMs: number
}

const TIMING: ConnectionTiming = { firstByteMs: 10_000, pollMs: 5_000, goodMs: 5_000, graceMs: 1_000 }

/** After so many failed streams in a row, jobs are polled until a stream works again. */
const FAILURES_BEFORE_POLLING = 3
/**
 * The service ends streams every ten minutes. The next stream is opened at once, with a random delay, so that not all pages
 * come at the same moment.
 */
const REOPEN_WITHIN_MS = 300
/** How often a callback that gave no valid token is called again, at first. */
const UNAUTHORIZED_MS = 5_000
/** Bytes that arrive later than this after the beginning of a stream prove that no proxy holds the stream back. */
const PROVEN_MS = 1_000

export interface ConnectionOptions {
  requests: Requests
  tokens: Tokens
  filter: JobFilter
  sink: ConnectionSink
  /** The jobs that the page holds, for polls. */
  known: () => readonly LiveJob[]
  /** The service's time, for polls. */
  now: () => number
  /** The last id that was received by the tab that was connected before. */
  lastEventId: string | null
  timing?: Partial<ConnectionTiming>
  random?: () => number
}

/** Keeps a stream open until it is closed, opens it again whenever it fails, and polls while no stream works. */
export class Connection {
  readonly #options: ConnectionOptions
  readonly #timing: ConnectionTiming
  readonly #pauses = new Pauses()
  readonly #closed = new AbortController()
  #lastEventId: string | null
  #retryMs: number | null = null
  #failures = 0
  /** How often in a row the service has refused the token. */
  #refusals = 0
  /** When the snapshot of the present stream arrived. */
  #deliveredAt: number | null = null
  /** The last stream fell silent after its snapshot. The next one must deliver bytes for longer before it counts as live. */
  #mustProve = false
  #isLive = false
  /** `wake` was called while a connection was being tried. */
  #eager = false
  #loaded = false
  readonly #polling: PollLoop
  #grace: ReturnType<typeof setTimeout> | undefined
  #checkSilence: (() => void) | null = null

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#timing = { ...TIMING, ...options.timing }
    this.#lastEventId = options.lastEventId
    this.#polling = new PollLoop({
      ...options,
      timing: this.#timing,
      pauses: this.#pauses,
      onAnswer: () => (this.#loaded = true),
    })
  }

  /** Runs until closed. Never raises. */
  async run(): Promise<void> {
    const { signal } = this.#closed
    while (!signal.aborted) {
      const end = await this.#stream()
      if (this.#closed.signal.aborted) return
      this.#isLive = false
      const pauseMs = this.#judge(end)
      if (!this.#eager) await this.#pauses.wait(pauseMs, signal)
    }
  }

  /** Does everything that is due. It is called in pages whose timers the browser delays. */
  tick(): void {
    this.#checkSilence?.()
    this.#pauses.tick()
  }

  /** Ends the present wait at once. */
  wake(): void {
    this.#eager = true
    this.#pauses.wake()
  }

  close(): void {
    this.#closed.abort()
    this.#polling.stop()
    clearTimeout(this.#grace)
  }

  async #stream(): Promise<StreamEnd> {
    const { requests, tokens, filter } = this.#options
    this.#deliveredAt = null
    this.#eager = false
    let firstByteAt: number | null = null
    try {
      await tokens.next()
      return await readEventStream({
        requests,
        path: `/stream${queryOf({ ...filter })}`,
        lastEventId: this.#lastEventId,
        signal: this.#closed.signal,
        firstByteMs: this.#timing.firstByteMs,
        onRetry: retryMs => (this.#retryMs = retryMs),
        onBytes: () => {
          firstByteAt ??= Date.now()
          if (Date.now() - firstByteAt >= PROVEN_MS) this.#mustProve = false
          if (this.#deliveredAt !== null) this.#settle()
        },
        onEvents: events => this.#take(events),
        watch: check => this.#watch(check),
      })
    } catch (error) {
      return { kind: 'refused', problem: problemOf(error) }
    }
  }

  #watch(check: () => void): () => void {
    const timer = setInterval(check, CHECK_MS)
    this.#checkSilence = check
    return () => {
      clearInterval(timer)
      this.#checkSilence = null
    }
  }

  #take(events: StreamEvent[]): void {
    const { sink } = this.#options
    let changes: JobUpdate[] = []
    const flush = (id: string) => {
      if (changes.length > 0) sink.changes(changes, id)
      changes = []
    }
    for (const { event, id, data } of events) {
      if (event === 'snapshot') {
        flush(this.#lastEventId ?? id)
        const { jobs, truncated = false } = parse(data) as { jobs: WireJob[]; truncated?: boolean }
        sink.snapshot(jobs.map(toLiveJob), truncated, id)
        this.#deliver()
      } else if (event.startsWith('progress.job.')) {
        const name = event.slice('progress.job.'.length) as JobUpdate['name']
        changes.push({ name, job: toLiveJob(parse(data) as WireJob) })
      }
      if (id !== '') this.#lastEventId = id
    }
    if (this.#lastEventId !== null) flush(this.#lastEventId)
  }

  #deliver(): void {
    this.#deliveredAt = Date.now()
    this.#loaded = true
    this.#refusals = 0
    this.#settle()
  }

  /** The stream works: polling ends. */
  #settle(): void {
    if (this.#isLive || this.#mustProve) return
    this.#isLive = true
    this.#polling.stop()
    clearTimeout(this.#grace)
    this.#options.sink.state('live', null)
  }

  /** Answers how long to wait after a stream has ended in this way, and shows the state meanwhile. */
  #judge(end: StreamEnd): number {
    const { problem } = end
    const { random = Math.random } = this.#options
    if (isRefusal(problem)) return this.#judgeRefusal(problem)

    const wasGood = this.#deliveredAt !== null && Date.now() - this.#deliveredAt >= this.#timing.goodMs
    this.#failures = wasGood ? 1 : this.#failures + 1
    const silent = end.kind === 'lost' && end.silent
    if (silent && this.#deliveredAt !== null) this.#mustProve = true
    const ended = end.kind === 'lost' && !end.asked && problem.code === 'stream_closed'
    const { retryAfterSeconds } = problem
    const pauseMs =
      wasGood && ended
        ? random() * REOPEN_WITHIN_MS
        : backoffMs({ failures: this.#failures, retryMs: this.#retryMs, retryAfterSeconds, random })
    const isLong = (retryAfterSeconds ?? 0) * 1000 > this.#timing.pollMs
    if (silent || isLong || this.#failures >= FAILURES_BEFORE_POLLING) this.#polling.start()
    this.#showLoss(problem)
    return pauseMs
  }

  /** A refused token is renewed at once. After a second refusal in a row, the refusal is shown, and the token is renewed now and then. */
  #judgeRefusal(problem: HeadwayProblem): number {
    const { tokens, sink, random = Math.random } = this.#options
    this.#refusals += 1
    if (this.#refusals === 1 && problem.status === 401 && tokens.renewable) return 0
    this.#polling.stop()
    clearTimeout(this.#grace)
    sink.state('unauthorized', problem)
    return backoffMs({ failures: this.#refusals, retryMs: UNAUTHORIZED_MS, random })
  }

  #showLoss(problem: HeadwayProblem): void {
    clearTimeout(this.#grace)
    if (this.#polling.isRunning) return
    const show = () => this.#options.sink.state('reconnecting', problem)
    if (this.#loaded) this.#grace = setTimeout(show, this.#timing.graceMs)
    else show()
  }
}

const parse = (data: string): unknown => {
  try {
    return JSON.parse(data)
  } catch {
    throw unexpectedAnswer(200)
  }
}

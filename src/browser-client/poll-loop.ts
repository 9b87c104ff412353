import type { ConnectionSink, ConnectionTiming } from './connection.ts'
import type { Pauses } from './pause.ts'
import { createPoller } from './polling.ts'
import { isRefusal, problemOf } from './problem.ts'
import type { Requests } from './requests.ts'
import type { LiveJob } from '../contract/live-job.ts'
import type { JobFilter } from './types.ts'

export interface PollLoopOptions {
  requests: Requests
  filter: JobFilter
  sink: ConnectionSink
  /** The jobs that the page holds. */
  known: () => readonly LiveJob[]
  /** The service's time. */
  now: () => number
  timing: Pick<ConnectionTiming, 'firstByteMs' | 'pollMs'>
  pauses: Pauses
  /** Is called after every poll that the service answered. */
  onAnswer: () => void
}

/** Polls jobs while no stream works: a snapshot every `pollMs`, or later where the service asks for it. */
export class PollLoop {
  readonly #options: PollLoopOptions
  #running: AbortController | null = null

  constructor(options: PollLoopOptions) {
    this.#options = options
  }

  get isRunning(): boolean {
    return this.#running !== null
  }

  start(): void {
    if (this.#running) return
    this.#running = new AbortController()
    void this.#run(this.#running.signal)
  }

  stop(): void {
    this.#running?.abort()
    this.#running = null
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { requests, filter, known, now, sink, timing, pauses, onAnswer } = this.#options
    const poller = createPoller({ requests, filter, known, now })
    while (!signal.aborted) {
      let pauseMs = timing.pollMs
      try {
        const polled = await withinTime(timing.firstByteMs, signal, part => poller.read(part))
        if (isAborted(signal)) return
        if (polled) sink.snapshot(polled.jobs, polled.truncated, null)
        onAnswer()
        sink.state('polling', null)
      } catch (error) {
        if (isAborted(signal)) return
        const problem = problemOf(error)
        sink.state(isRefusal(problem) ? 'unauthorized' : 'reconnecting', problem)
        pauseMs = Math.max(pauseMs, (problem.retryAfterSeconds ?? 0) * 1000)
      }
      await pauses.wait(pauseMs, signal)
    }
  }
}

/** Calls `run` with a signal that aborts together with `signal`, or after the time. */
const withinTime = async <Value>(
  milliseconds: number,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> => {
  const part = new AbortController()
  const abort = () => part.abort()
  const timer = setTimeout(abort, milliseconds)
  signal.addEventListener('abort', abort)
  try {
    return await run(part.signal)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}

/** A function, because TypeScript would remember the result of an earlier check. */
const isAborted = (signal: AbortSignal): boolean => signal.aborted

import { setTimeout as pause } from 'node:timers/promises'
import type { HeartbeatAnswer } from '../jobs/heartbeat.ts'
import { backoffMs, RefusedError, UnavailableError, type Client } from './client.ts'

/** Bars should move about once a second. A service that asks for fewer heartbeats than usual has its reasons: then less often. */
const SMOOTH_MS = 1_000
const ASKED_PER_REPORT = 5

const cadenceMs = (askedMs: number): number => Math.min(askedMs, Math.max(SMOOTH_MS, askedMs / ASKED_PER_REPORT))

const retryAfterMsOf = (error: unknown): number => (error instanceof UnavailableError ? error.retryAfterMs : 0)

/** The state of a worker at this moment. Counts are absolute: a report that was lost is made good by the next one. */
export interface Report {
  processedCount: number
  totalCount: number
  message: string
  payload: Record<string, unknown>
}

export interface ReporterOptions {
  client: Client
  jobId: string
  workerId: string
  attempt: number
  read: () => Report
}

export interface Reporter {
  /** Aborts when the work should stop. The reason is 'cancelled', or the `RefusedError` of a job that is no longer ours. */
  readonly stop: AbortSignal
  /** Stops the clock, and reports once more until that is on disk. */
  end(): Promise<void>
}

/**
 * Reports at least as often as the service asks for, whatever the worker is busy with, one report at a time.
 * While the service is away it tries again, more and more slowly, and the work goes on.
 */
export const startReporter = ({ client, jobId, workerId, attempt, read }: ReporterOptions): Reporter => {
  const stop = new AbortController()
  const ending = new AbortController()
  let failures = 0

  const isRefused = (): boolean => stop.signal.reason instanceof RefusedError

  /** Never fails: what goes wrong is either tried again or a reason to stop. */
  const report = async (): Promise<{ onDisk: boolean; nextMs: number }> => {
    const body = { workerId, attempt, reportedAt: new Date().toISOString(), ...read() }
    try {
      const answer = await client.call<HeartbeatAnswer>('POST', `/jobs/${jobId}/heartbeat`, { body })
      failures = 0
      if (answer.cancelRequested) stop.abort('cancelled')
      return { onDisk: answer.durable, nextMs: cadenceMs(answer.heartbeatIntervalMs) }
    } catch (error) {
      if (!(error instanceof UnavailableError)) stop.abort(error)
      failures++
      return { onDisk: false, nextMs: Math.max(backoffMs(failures), retryAfterMsOf(error)) }
    }
  }

  const run = async (): Promise<void> => {
    while (!ending.signal.aborted && !isRefused()) {
      const { nextMs } = await report()
      await pause(nextMs, undefined, { signal: ending.signal }).catch(() => undefined)
    }
  }

  const running = run()
  return {
    stop: stop.signal,
    async end() {
      ending.abort()
      await running
      while (!isRefused()) {
        const { onDisk, nextMs } = await report()
        // 202 says that the report waits in memory: the end of the job must not overtake it.
        if (onDisk) return
        await pause(nextMs)
      }
    },
  }
}

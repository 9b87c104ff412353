import type { JobEvent } from '../../contract/job.ts'

/** More than a strip has room for. */
const MOST = 600

/** Entries of a history that were made by a report of a worker. */
const BY_REPORT: ReadonlySet<string> = new Set(['started', 'progress', 'recovered', 'stage_changed'])

/**
 * The times at which a job was heard of, as far as they are known: those of its history, and those that the page has seen while
 * it was open. The service keeps the last heartbeat only.
 */
export class Heartbeats {
  #times: number[] = []

  /** In milliseconds, the oldest first. */
  get times(): readonly number[] {
    return this.#times
  }

  /** Takes the history. A retry begins anew. */
  load(events: readonly JobEvent[]): void {
    let loaded: number[] = []
    for (const { type, at } of events) {
      if (type === 'retried') loaded = []
      else if (BY_REPORT.has(type)) loaded.push(Date.parse(at))
    }
    const sinceMs = loaded[0] ?? -Infinity
    this.#keep([...loaded, ...this.#times.filter(ms => ms >= sinceMs)])
  }

  /** Takes the time of the last heartbeat, as a document of the job has it. */
  add(heartbeatAt: string | null): void {
    if (heartbeatAt !== null) this.#keep([...this.#times, Date.parse(heartbeatAt)])
  }

  #keep(times: number[]): void {
    this.#times = [...new Set(times)].sort((a, b) => a - b).slice(-MOST)
  }
}

interface Reported {
  status: string
  totalCount: number | null
  processedCount: number
  progressPercent: number
  stages: unknown
  children: unknown
  heartbeatAt: string | null
}

/**
 * Whether workers only say that the job is alive: nothing is counted, and no percent and no stage is told. Of a completed job its
 * curve tells whether it had percents; as long as that has not been read, it is not only alive.
 */
export const isOnlyAlive = (
  job: Reported,
  curve: readonly { progressPercent: number; processedCount: number }[],
): boolean => {
  const countsNothing =
    job.totalCount === null &&
    job.processedCount === 0 &&
    job.stages === null &&
    job.children === null &&
    job.heartbeatAt !== null
  if (!countsNothing) return false
  if (job.status !== 'completed') return job.progressPercent === 0
  return curve.length > 0 && curve.every(({ progressPercent }) => progressPercent === 0 || progressPercent === 100)
}

import { latenessOf } from '../contract/deadline.ts'
import { isFinished } from '../contract/states.ts'
import type { HeadwayEvent } from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'

/** A change of one job, with the name of the event that listeners get. */
export interface JobUpdate {
  name: Exclude<HeadwayEvent, 'finished'>
  job: LiveJob
}

interface Entry {
  job: LiveJob
  /** Larger is newer; live documents have no time of creation. */
  rank: number
  /** By the clock of this page; null: not finished. */
  finishedSeenMs: number | null
}

/**
 * A lower revision with a later time means that the database was restored from a backup: the job that is kept here no longer
 * exists there.
 */
const isNewer = (known: LiveJob, next: LiveJob): boolean =>
  next.revision > known.revision || (next.revision < known.revision && next.updatedAt > known.updatedAt)

/** Estimates change without a new revision while heartbeats report no progress. */
const estimatesDiffer = (known: LiveJob, next: LiveJob): boolean =>
  next.revision === known.revision &&
  next.updatedAt >= known.updatedAt &&
  (next.etaSeconds !== known.etaSeconds ||
    next.etaLowSeconds !== known.etaLowSeconds ||
    next.etaHighSeconds !== known.etaHighSeconds ||
    next.throughputPerSecond !== known.throughputPerSecond)

/**
 * The name of a change, from both documents: a stream only names the last of several merged changes, and a snapshot names none.
 * `said` is the name from the stream.
 */
const nameOf = (known: LiveJob, next: LiveJob, said: JobUpdate['name'] | null): JobUpdate['name'] => {
  if (isFinished(next) && (next.status !== known.status || next.attempt !== known.attempt)) {
    return next.status as JobUpdate['name']
  }
  if (said !== null && said !== 'updated') return said
  if (next.attempt !== known.attempt) return 'retried'
  if (isFinished(known) && !isFinished(next)) return 'recovered'
  if (known.cancelRequestedAt === null && next.cancelRequestedAt !== null) return 'cancel_requested'
  if (known.status !== next.status) return 'started'
  if (known.liveness !== next.liveness && next.liveness !== null) {
    return next.liveness === 'stalled' ? 'stalled' : 'recovered'
  }
  // A stream names these itself: a job that is late again within a minute is only updated.
  const lateness = latenessOf(next)
  if (said === null && lateness !== null && lateness !== known.deadline) return lateness
  return 'updated'
}

/** The newest known document of each job that is followed. */
export class JobStore {
  truncated = false
  loaded = false
  readonly #entries = new Map<string, Entry>()
  readonly #keepFinishedMs: number
  readonly #now: () => number
  #sorted: readonly LiveJob[] | null = []
  #rank = 0

  constructor({ keepFinishedMs, now = Date.now }: { keepFinishedMs: number; now?: () => number }) {
    this.#keepFinishedMs = keepFinishedMs
    this.#now = now
  }

  get(id: string): LiveJob | undefined {
    return this.#entries.get(id)?.job
  }

  /**
   * The same array until something changes. Unfinished jobs come first, newest first; then finished jobs, the last to finish
   * first.
   */
  jobs(): readonly LiveJob[] {
    this.#sorted ??= this.#sort()
    return this.#sorted
  }

  /** Takes the service's present jobs, newest first, and drops all others. Answers the changes of jobs that were known. */
  replace(jobs: readonly LiveJob[], truncated: boolean): JobUpdate[] {
    const changes: JobUpdate[] = []
    const members = new Set(jobs.map(job => job.id))
    for (const id of this.#entries.keys()) {
      if (members.has(id)) continue
      this.#entries.delete(id)
      this.#sorted = null
    }
    for (const job of jobs.toReversed()) {
      const change = this.#set(job, null, ++this.#rank)
      if (change) changes.push(change)
    }
    if (!this.loaded || this.truncated !== truncated) this.#sorted = null
    this.loaded = true
    this.truncated = truncated
    return changes
  }

  /** Takes one job. Null: it brings no change. */
  apply(job: LiveJob, said: JobUpdate['name'] | null): JobUpdate | null {
    return this.#set(job, said, null)
  }

  /** Drops jobs that finished a while ago. Answers whether there were any. */
  prune(): boolean {
    const before = this.#now() - this.#keepFinishedMs
    let pruned = false
    for (const [id, { finishedSeenMs }] of this.#entries) {
      if (finishedSeenMs === null || finishedSeenMs > before) continue
      this.#entries.delete(id)
      pruned = true
    }
    if (pruned) this.#sorted = null
    return pruned
  }

  clear(): void {
    this.#entries.clear()
    this.#sorted = null
    this.loaded = false
    this.truncated = false
  }

  #set(job: LiveJob, said: JobUpdate['name'] | null, rank: number | null): JobUpdate | null {
    const entry = this.#entries.get(job.id)
    if (!entry) {
      const finishedSeenMs = isFinished(job) ? this.#now() : null
      this.#entries.set(job.id, { job, rank: rank ?? ++this.#rank, finishedSeenMs })
      this.#sorted = null
      return said === null ? null : { name: said, job }
    }
    if (rank !== null) entry.rank = rank
    const known = entry.job
    const newer = isNewer(known, job)
    if (!newer && !estimatesDiffer(known, job)) return null
    entry.job = job
    this.#sorted = null
    if (!newer) return null
    if (!isFinished(job)) entry.finishedSeenMs = null
    else entry.finishedSeenMs ??= this.#now()
    return { name: nameOf(known, job, said), job }
  }

  #sort(): LiveJob[] {
    const entries = [...this.#entries.values()].sort((a, b) => b.rank - a.rank)
    const finished = entries.filter(({ job }) => isFinished(job)).map(({ job }) => job)
    finished.sort((a, b) => (b.finishedAt ?? '').localeCompare(a.finishedAt ?? ''))
    return [...entries.filter(({ job }) => !isFinished(job)).map(({ job }) => job), ...finished]
  }
}

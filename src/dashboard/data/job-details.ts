import { LIFECYCLES, type JobEventType, isFinished } from '../../contract/states.ts'
import type { JobEvent, JobWithWorkers } from '../../contract/job.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { headway } from '../feed.ts'
import { Curve } from './curve.ts'
import { Heartbeats } from './heartbeats.ts'
import { openingJob } from './opening.ts'
import { Reading } from './reading.ts'
import type { Problem } from './reading.ts'

const REST_MS = 1_000
/** How often a job is read that the page's stream does not include: a partition, or a job beyond the limit of a snapshot. */
const POLL_MS = 2_000
/**
 * How often a followed job is read, because the stream does not include heartbeats that change nothing, and the time of the
 * last one is shown.
 */
const HEARTBEAT_MS = 5_000
/** How often a finished job is read, because it may be retried or recover. */
const FINISHED_MS = 15_000
const EVENTS_PAGE = 1_000
const MOST_PAGES = 5

export const CHANGES: readonly JobEventType[] = [...LIFECYCLES, 'stage_changed']

/** The entries of the history from which the curve is made. */
export const MILESTONES: readonly JobEventType[] = [
  'started',
  'retried',
  'progress',
  'completed',
  'failed',
  'cancelled',
]

/** The whole history of a job, as far as these types go. */
export const readAll = async (id: string, type: readonly JobEventType[], signal: AbortSignal): Promise<JobEvent[]> => {
  const items: JobEvent[] = []
  for (let page = 1; page <= MOST_PAGES; page += 1) {
    const found = await headway.api.events(id, { type, page, pageSize: EVENTS_PAGE }, { signal })
    items.push(...found.items)
    if (items.length >= found.total) break
  }
  return items
}

/** A text that changes with each lifecycle change. Only these add entries to the shown history. */
const lifeOf = (job: LiveJob | JobWithWorkers): string =>
  [job.status, job.attempt, job.liveness, job.stage, job.cancelRequestedAt].join(' ')

/** All data about one job, kept up to date while the job is shown. */
export class JobDetails {
  readonly id: string
  readonly curve = new Curve()
  readonly heartbeats = new Heartbeats()
  readonly #job: Reading<JobWithWorkers>
  readonly #changes: Reading<JobEvent[]>
  readonly #samples: Reading<null>
  readonly #timer: ReturnType<typeof setInterval>
  readonly #unsubscribe: () => void
  #life = ''
  #run = ''
  #revision = -1
  #polledMs = 0

  constructor(id: string) {
    this.id = id
    this.#job = new Reading(async signal => {
      const job = await (openingJob(id) ?? headway.api.job(id, { signal }))
      this.#see(job)
      this.heartbeats.add(job.heartbeatAt)
      return job
    }, REST_MS)
    this.#changes = new Reading(signal => readAll(id, CHANGES, signal), REST_MS)
    this.#samples = new Reading(async signal => {
      const events = await readAll(id, MILESTONES, signal)
      this.curve.load(events)
      this.heartbeats.load(events)
      return null
    }, REST_MS)
    this.#unsubscribe = headway.subscribe(() => this.#follow())
    this.#timer = setInterval(() => this.#poll(), REST_MS)
    this.#job.refresh()
  }

  get problem(): Problem | null {
    return this.#job.problem
  }

  /** The job as it was read, updated by the stream. */
  get job(): JobWithWorkers | null {
    const read = this.#job.value
    const live = headway.job(this.id)
    return read !== null && live !== undefined && live.revision >= read.revision ? { ...read, ...live } : read
  }

  /** The history without samples of progress, oldest first; null until it has been read. */
  get changes(): readonly JobEvent[] | null {
    return this.#changes.value
  }

  refresh(): void {
    this.#polledMs = Date.now()
    this.#job.refresh()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#unsubscribe()
    this.#job.stop()
    this.#changes.stop()
    this.#samples.stop()
  }

  #see(job: LiveJob | JobWithWorkers): void {
    this.curve.add(job)
    this.#revision = Math.max(this.#revision, job.revision)
    const run = `${job.status} ${job.attempt}`
    // The start and the end are points of the curve, and the stream does not include their history entries.
    if (run !== this.#run) this.#samples.refresh()
    this.#run = run
    const life = lifeOf(job)
    if (life === this.#life) return
    this.#life = life
    this.#changes.refresh()
  }

  #follow(): void {
    const live = headway.job(this.id)
    if (live === undefined || live.revision === this.#revision) return
    this.#see(live)
    this.refresh()
  }

  #poll(): void {
    if (document.hidden) return
    const { job } = this
    const isFollowed = headway.connection === 'live' && headway.job(this.id) !== undefined
    const restMs = job !== null && isFinished(job) ? FINISHED_MS : isFollowed ? HEARTBEAT_MS : POLL_MS
    if (Date.now() - this.#polledMs >= restMs) this.refresh()
  }
}

/**
 * `headway/worker`: reports the progress of work to a Headway service, in one line.
 *
 *     const headway = createHeadway()
 *     for await (const row of headway.track(rows, { name: 'Nightly import' })) await store(row)
 */
import { randomUUID } from 'node:crypto'
import { basename, extname } from 'node:path'
import { createClient, settingsOf, UnavailableError, type Client, type TokenSource } from '../api-client/client.ts'
import { createDeathWatch, noDeathWatch } from './death-watch.ts'
import { creationOf, WorkingJob, type Job, type NewJob } from './job.ts'
import type { Opened } from './reporter.ts'
import { createTracking, sizeOf, type Trackable, type Tracked } from './track.ts'

export type { TokenSource } from '../api-client/client.ts'
export type { Job, NewJob } from './job.ts'
export type { Report } from './progress.ts'
export { StopError, type StopCode } from './stop.ts'
export type { Trackable, Tracked } from './track.ts'

export interface HeadwayOptions {
  /** Of the service; HEADWAY_URL, or http://127.0.0.1:3000. */
  url?: string
  /** HEADWAY_TOKEN. A function is asked before each call. */
  token?: TokenSource
  /**
   * Hears of what is wrong, each thing once: the service cannot be reached, or refuses what it is told. The work goes on. By
   * default it is a process warning.
   */
  onProblem?: (problem: Error) => void
  /** false: a process that dies leaves its jobs as they are. */
  watchDeath?: boolean
  /** How long the end of a job waits for a service that is away; 30,000. */
  patienceMs?: number
}

export interface StartOptions {
  /** Names this worker, where several work on one job. */
  workerId?: string
  /** The same key gives the same job, also after a restart of the program. */
  idempotencyKey?: string
}

export interface AttachOptions {
  workerId?: string
  /** The attempt that this worker works on; the newest when absent. */
  attempt?: number
}

export interface Headway {
  /**
   * Makes a job. Resolves when the service has made it, or after two seconds without an answer: then the work begins, and the
   * job is made as soon as that is possible.
   */
  start(job: NewJob, options?: StartOptions): Promise<Job>
  /** Works on a job, or a partition, that somebody else has made. Resolves as `start` does. */
  attach(jobId: string, options?: AttachOptions): Promise<Job>
  /**
   * Makes a job of a loop: `for await (const row of headway.track(rows, { name }))`. The job completes with the loop, and fails
   * with the error of `items`. When the work should stop, the loop throws a `StopError`.
   */
  track<Item>(items: Trackable<Item>, job: NewJob & StartOptions): Tracked<Item>
}

/** How long work waits for its job to be made. */
const BEGIN_MS = 2_000

const programName = (): string => {
  const path = process.argv[1] ?? ''
  return basename(path, extname(path)) || 'script'
}

const warn = (problem: Error): void => {
  process.emitWarning(`${problem.message} The work goes on.`, 'HeadwayWarning')
}

/** What the service says of a job that it has made or started. */
const readOpened = (answer: Record<string, unknown>): Opened => {
  const { id, attempt, cancelRequestedAt, stages } = answer
  if (typeof id !== 'string' || typeof attempt !== 'number') throw new UnavailableError('The answer is no job.')
  return { id, attempt, cancelRequested: cancelRequestedAt != null, hasStages: Array.isArray(stages) }
}

const creating = (client: Client, job: NewJob, key: string) => {
  const options = { body: creationOf(job, programName()), headers: { 'idempotency-key': key }, weak: true }
  return async () => readOpened(await client.call('POST', '/jobs', options))
}

const attaching = (client: Client, jobId: string, { workerId, attempt }: AttachOptions) => {
  const path = `/jobs/${encodeURIComponent(jobId)}`
  const body = attempt === undefined ? {} : { attempt }
  return async () => {
    // A heartbeat first: a job that was given up for its silence comes back by one, and by nothing else.
    await client.call('POST', `${path}/heartbeat`, {
      body: { ...body, ...(workerId !== undefined && { workerId }) },
      weak: true,
    })
    return readOpened(await client.call('POST', `${path}/start`, { body, weak: true }))
  }
}

/** Raises an error only for a `url` that is none. */
export const createHeadway = (options: HeadwayOptions = {}): Headway => {
  const { onProblem = warn, watchDeath = true, patienceMs } = options
  const client = createClient(settingsOf(options, process.env))
  const deathWatch = watchDeath ? createDeathWatch() : noDeathWatch
  const shared = { client, deathWatch, onProblem, patienceMs }

  const make = (job: NewJob, { workerId, idempotencyKey = randomUUID() }: StartOptions): WorkingJob =>
    new WorkingJob({
      ...shared,
      workerId,
      open: creating(client, job, idempotencyKey),
      progress: { totalCount: job.totalCount, hasStages: job.stages !== undefined },
    })

  return {
    start: (job, startOptions = {}) => make(job, startOptions).begun(BEGIN_MS),
    attach: (jobId, attachOptions = {}) =>
      new WorkingJob({
        ...shared,
        workerId: attachOptions.workerId,
        open: attaching(client, jobId, attachOptions),
        progress: { hasStages: false },
      }).begun(BEGIN_MS),
    track(items, { workerId, idempotencyKey, ...job }) {
      const totalCount = job.totalCount ?? sizeOf(items)
      // A partition is what its batch is.
      const known = {
        ...(job.parentJobId === undefined && { cancellable: true }),
        ...(totalCount !== null && !job.stages && { totalCount }),
        ...job,
      }
      const startOptions = {
        ...(workerId !== undefined && { workerId }),
        ...(idempotencyKey !== undefined && { idempotencyKey }),
      }
      return createTracking(items, () => make(known, startOptions).begun(BEGIN_MS))
    },
  }
}

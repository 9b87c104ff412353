/**
 * `@headway/worker`: reports the progress of work to a Headway service, in one line.
 *
 *     const headway = createWorker()
 *     for await (const row of headway.track(rows, { name: 'Nightly import' })) await store(row)
 */
import { HEADER } from '../contract/http.ts'
import { randomUUID } from 'node:crypto'
import { basename, extname } from 'node:path'
import {
  createNodeClient,
  RefusedError,
  settingsOf,
  UnavailableError,
  type Client,
  type TokenSource,
} from '../node-client/client.ts'
import { Bundle } from './bundle.ts'
import type { Connecting } from '../node-client/exchange.ts'
import { createDeathWatch, noDeathWatch } from './death-watch.ts'
import { creationOf, WorkingJob, type Job, type NewJob } from './job.ts'
import { Outage } from './outage.ts'
import type { Opened } from './reporter.ts'
import { patienceAfter, SLOW_MS } from './patience.ts'
import { sizeOf, type Trackable } from './source.ts'
import { isStopCode } from './stop.ts'
import { fitShown, readOr } from './texts.ts'
import { createTracking, type Tracked } from './track.ts'
import { WaitingLoops } from './waiting-loops.ts'

export type { TokenSource } from '../node-client/client.ts'
export type { Details } from './details.ts'
export type { Job, NewJob } from './job.ts'
export type { Report } from './progress.ts'
export { StopError, type StopCode } from './stop.ts'
export type { Trackable } from './source.ts'
export type { Tracked } from './track.ts'

export interface HeadwayWorkerOptions {
  /** Address of the service; HEADWAY_URL, or http://127.0.0.1:3000. */
  url?: string | URL
  /** The token; HEADWAY_TOKEN. A function is called before each call. */
  token?: TokenSource
  /**
   * Called with problems, each kind once: the service cannot be reached, or refuses a report. The work goes on. By default it
   * emits a process warning.
   */
  onProblem?: (problem: Error) => void
  /** false: the jobs of a process that dies stay as they are. */
  watchDeath?: boolean
  /**
   * How long (ms) the end of a job waits for the service. By default a tenth of the time that the job has taken, at least 1,000
   * and at most 30,000; and at least 10,000 while the service is slow, which means that it has accepted a call and not answered
   * yet, or has answered that it is busy. Each answer begins the wait anew.
   */
  patienceMs?: number
}

export interface StartOptions {
  /** The name of this worker, if several work on one job. */
  workerId?: string
  /**
   * The same key gives the same job, also after a restart of the program. A failed job begins its next attempt. A cancelled or
   * completed job stays as it is, and `signal` aborts.
   */
  idempotencyKey?: string
  /**
   * With a key: the job begins its next attempt unless it is new, whatever its status. A worker of the earlier attempt is told
   * to stop.
   */
  restart?: boolean
}

export interface AttachOptions {
  workerId?: string
  /** The attempt that this worker works on; the newest if absent. */
  attempt?: number
}

export interface HeadwayWorker {
  /**
   * Creates a job. Resolves when the service has created it. The work does not wait for a service that cannot be reached, and
   * waits at most a second for one that does not answer: the job is then created as soon as possible.
   */
  start(job: NewJob, options?: StartOptions): Promise<Job>
  /** Works on a job, or a partition, that was created elsewhere. Resolves as `start` does. */
  attach(jobId: string, options?: AttachOptions): Promise<Job>
  /**
   * Makes a job of a loop: `for await (const row of headway.track(rows, { name }))`. The job completes with the loop. It fails
   * with the error of `items`, or when the loop is left early. When the job is cancelled, the loop throws a `StopError`, even
   * while it waits for its next item; `cancellable: false` forbids cancelling. Raises a `TypeError` for `items` that cannot be
   * iterated.
   */
  track<Item>(items: Trackable<Item>, job: NewJob & StartOptions): Tracked<Item>
}

/** The worker id in the form that the service takes. A value that is not a text, or has no visible character, is left out. */
const workerIdOf = ({ workerId }: { workerId?: string }): string | undefined =>
  fitShown(workerId, 'workerId') || undefined

/** How long work waits at its start for a service that does not answer. */
const BEGIN_MS = 1_000

const programName = (): string => {
  const path = process.argv[1] ?? ''
  return basename(path, extname(path)) || 'script'
}

const warn = (problem: Error): void => {
  process.emitWarning(`${problem.message} The work goes on.`, 'HeadwayWarning')
}

interface Found extends Opened {
  status: unknown
}

/** The service's answer about a job that it has created or started. */
const readJob = (answer: Record<string, unknown>): Found => {
  const { id, attempt, status, cancelRequestedAt, stages } = answer
  if (typeof id !== 'string' || typeof attempt !== 'number') throw new UnavailableError('The answer contains no job.')
  return { id, attempt, status, cancelRequested: cancelRequestedAt != null, hasStages: Array.isArray(stages) }
}

/**
 * Makes calls that depend on the job's state. If another worker has changed the state in between, all of them may be repeated.
 */
const unlessChanged = async (calls: () => Promise<Found>): Promise<Found> => {
  try {
    return await calls()
  } catch (error) {
    const isChanged = error instanceof RefusedError && (isStopCode(error.code) || error.code === 'not_retryable')
    throw isChanged ? new UnavailableError(error.message, 0, error) : error
  }
}

const creating = (client: Client, job: NewJob, { idempotencyKey, restart = false }: StartOptions) => {
  const headers = { [HEADER.idempotencyKey]: idempotencyKey ?? randomUUID() }
  const body = creationOf(job, programName())
  return async (connecting: Connecting) => {
    const found = readJob(await client.call('POST', '/jobs', { body, headers, weak: true, connecting }))
    // A job that was asked to stop is left alone, so that the request is not lost when its worker has died.
    const isTaken = restart && found.status === 'running' && !found.cancelRequested
    const isOver = found.status === 'failed' || (restart && found.status === 'cancelled')
    if (!isTaken && !isOver) return found
    const path = `/jobs/${found.id}`
    return unlessChanged(async () => {
      if (isTaken) {
        const body = {
          attempt: found.attempt,
          errorMessage: 'Another worker restarted the job before its worker had ended it.',
        }
        await client.call('POST', `${path}/fail`, { body, weak: true, connecting })
      }
      return readJob(await client.call('POST', `${path}/retry`, { weak: true, connecting }))
    })
  }
}

const attaching = (client: Client, jobId: string, { attempt, ...options }: AttachOptions) => {
  const workerId = workerIdOf(options)
  // The service refuses a value that is not an id.
  const path = `/jobs/${readOr(() => encodeURIComponent(jobId), '-')}`
  const body = attempt === undefined ? {} : { attempt }
  return async (connecting: Connecting) => {
    // First a heartbeat: only a heartbeat recovers a job that ended as stale.
    await client.call('POST', `${path}/heartbeat`, {
      body: { ...body, ...(workerId !== undefined && { workerId }) },
      weak: true,
      connecting,
    })
    return readJob(await client.call('POST', `${path}/start`, { body, weak: true, connecting }))
  }
}

/** One for the whole process: several would leave signals to each other. */
const deathWatchOfProcess = createDeathWatch()
const loopsOfProcess = new WaitingLoops()

export const createWorker = (options: HeadwayWorkerOptions = {}): HeadwayWorker => {
  const { onProblem = warn, watchDeath = true, patienceMs } = options
  const client = createNodeClient(settingsOf(options, process.env))
  const deathWatch = watchDeath ? deathWatchOfProcess : noDeathWatch
  const patience =
    patienceMs === undefined ? { patienceAfter, slowMs: SLOW_MS } : { patienceAfter: () => patienceMs, slowMs: 0 }
  const shared = { client, bundle: new Bundle(client), deathWatch, outage: new Outage(onProblem), ...patience }

  const make = (job: NewJob, startOptions: StartOptions): WorkingJob => {
    const { totalCount, stages } = readOr(() => ({ ...job }), {} as NewJob)
    return new WorkingJob({
      ...shared,
      workerId: workerIdOf(startOptions),
      open: creating(client, job, startOptions),
      progress: { totalCount, hasStages: stages !== undefined },
    })
  }

  return {
    start: (job, startOptions = {}) => make(job, startOptions).begun(BEGIN_MS),
    attach: (jobId, attachOptions = {}) =>
      new WorkingJob({
        ...shared,
        workerId: workerIdOf(attachOptions),
        open: attaching(client, jobId, attachOptions),
        progress: { hasStages: false },
      }).begun(BEGIN_MS),
    track(items, options) {
      const { workerId, idempotencyKey, restart, ...job } = readOr(() => ({ ...options }), {} as NewJob & StartOptions)
      const totalCount = job.totalCount ?? sizeOf(items)
      // A partition takes `cancellable` from its batch.
      const known = {
        ...(job.parentJobId === undefined && { cancellable: true }),
        ...(totalCount !== null && !job.stages && { totalCount }),
        ...job,
      }
      const startOptions = {
        ...(workerId !== undefined && { workerId }),
        ...(idempotencyKey !== undefined && { idempotencyKey }),
        ...(restart !== undefined && { restart }),
      }
      return createTracking(items, () => make(known, startOptions).begun(BEGIN_MS), loopsOfProcess)
    },
  }
}

/** @deprecated Its name is `createWorker`. */
export const createHeadway = createWorker
/** @deprecated Its name is `HeadwayWorker`. */
export type Headway = HeadwayWorker
/** @deprecated Its name is `HeadwayWorkerOptions`. */
export type HeadwayOptions = HeadwayWorkerOptions

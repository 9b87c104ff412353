import type { Client } from '../node-client/client.ts'
import type { Connecting } from '../node-client/exchange.ts'
import type { Unit } from '../contract/units.ts'
import type { Bundle } from './bundle.ts'
import type { DeathWatch, LastWord } from './death-watch.ts'
import type { Details } from './details.ts'
import { UnheardError, type Outage } from './outage.ts'
import { Progress, type Report } from './progress.ts'
import { Reporter, reportTime, type Ending, type Opened } from './reporter.ts'
import { StopError } from './stop.ts'
import { asJsonObject, errorFields, fit, fitShown, readOr } from './texts.ts'

/** A job to be created. */
export interface NewJob {
  /** Shown to people. */
  name: string
  /** The kind of work, for estimates and statistics; the name of the program if absent. */
  jobType?: string
  description?: string | null
  totalCount?: number | null
  unit?: Unit
  /** The steps of the work. A weight that is left out counts as 1. */
  stages?: { name: string; weight?: number }[]
  /** Makes the job a partition of this batch. */
  parentJobId?: string
  partitionIndex?: number
  /** People may cancel the job: then `signal` aborts. */
  cancellable?: boolean
  meta?: Details
  priority?: number
  heartbeatTimeoutSeconds?: number
  pendingTimeoutSeconds?: number | null
  /** When the job should have finished, ISO 8601 with a zone. Not together with `finishWithinSeconds`. */
  finishBy?: string | null
  /** The same in seconds from the start of each attempt. */
  finishWithinSeconds?: number | null
}

/** A job as its worker sees it. No method throws, and only the methods that end the job need to be awaited. */
export interface Job {
  /** null until the service has created the job. */
  readonly id: string | null
  /**
   * Aborts when the work should stop, with a `StopError` that says why. Heartbeats of a cancelled job continue until `fail`,
   * `cancelled` or `complete` says that the work has stopped.
   */
  readonly signal: AbortSignal
  /** Adds to the count of items that are done. */
  advance(count?: number | bigint): void
  /** Reports how far the work is; the newest state is sent within a second. */
  report(report: Report): void
  /**
   * The work is done. Resolves with whether the service knows: as soon as it does, or when the patience has run out
   * (`HeadwayWorkerOptions`). `message` is the last message that the job shows; without it the last reported message stays.
   */
  complete(resultSummary?: Details, last?: { message?: string }): Promise<boolean>
  /** The work could not be done. An error that results from a cancellation acknowledges the cancellation instead. */
  fail(error: unknown): Promise<boolean>
  /** The work has stopped because it was cancelled. */
  cancelled(): Promise<boolean>
  /** This worker has done its part, and other workers continue the job: its last report is sent, and the job stays as it is. */
  leave(): Promise<boolean>
}

export interface JobParts {
  client: Client
  bundle: Bundle
  open: (connecting: Connecting) => Promise<Opened>
  progress: { totalCount?: number | null | undefined; hasStages: boolean }
  workerId: string | undefined
  deathWatch: DeathWatch
  outage: Outage
  /** How long the end of the job waits for a service that is away, after so much work. */
  patienceAfter: (workedMs: number) => number
  /** The least time that the end waits for a service that is available but slow. */
  slowMs: number
}

/** Whether an error only says that the work was told to stop. */
const isOfStop = (error: unknown, reason: StopError): boolean =>
  error === reason || (error instanceof Error && (error.name === 'AbortError' || error.cause === reason))

/** The job of a worker: takes its reports and its end, and sends them. */
export class WorkingJob implements Job {
  readonly progress: Progress
  readonly #reporter: Reporter
  readonly #parts: JobParts
  readonly #beganAt = performance.now()

  constructor(parts: JobParts) {
    const { client, bundle, workerId, open, outage, deathWatch } = parts
    this.#parts = parts
    this.progress = new Progress(parts.progress, () => this.#reporter.wake())
    this.#reporter = new Reporter({ client, bundle, workerId, open, progress: this.progress, outage })
    deathWatch.add(this)
    void this.#reporter.whenOver.then(() => deathWatch.remove(this))
  }

  get id(): string | null {
    return this.#reporter.opened?.id ?? null
  }

  get signal(): AbortSignal {
    return this.#reporter.signal
  }

  get hasEnded(): boolean {
    return this.#reporter.ending !== null || this.#reporter.isOver
  }

  /** Resolves when the job has been created, when the service is known to be away, or after `ms`. */
  async begun(ms: number): Promise<this> {
    await this.#parts.outage.wait(this.#reporter.whenOpened, { ms: () => ms })
    return this
  }

  advance(count: number | bigint = 1): void {
    // Database drivers give counts as BigInt or as text.
    const more = readOr(() => Number(count), Number.NaN)
    if (Number.isFinite(more)) this.progress.advance(more)
  }

  report(report: Report): void {
    readOr(() => this.progress.report(report), undefined)
  }

  complete(resultSummary?: Details, last?: { message?: string }): Promise<boolean> {
    const summary = resultSummary == null ? null : asJsonObject(resultSummary)
    const message = readOr(() => last?.message, undefined)
    const body = {
      ...(summary && { resultSummary: summary }),
      ...(typeof message === 'string' && { message: fit(message, 'message') }),
    }
    return this.#end({ path: 'complete', body })
  }

  fail(error: unknown): Promise<boolean> {
    const reason: unknown = this.signal.reason
    const isCancelled = reason instanceof StopError && reason.code === 'cancel_requested'
    if (isCancelled && readOr(() => isOfStop(error, reason), false)) return this.cancelled()
    return this.#end({ path: 'fail', body: errorFields(error) })
  }

  cancelled(): Promise<boolean> {
    return this.#end({ path: 'cancelled', body: {} })
  }

  leave(): Promise<boolean> {
    return this.#end({ path: null, body: {} })
  }

  /** The first ending counts: `fail` in a `finally` after `complete` changes nothing. */
  async #end(ending: Ending): Promise<boolean> {
    const { client, outage, patienceAfter, slowMs } = this.#parts
    const reporter = this.#reporter
    reporter.end(ending)
    const patienceMs = patienceAfter(performance.now() - this.#beganAt)
    const isTold = await outage.wait(reporter.whenOver, {
      ms: () => (reporter.isHeard ? Math.max(patienceMs, slowMs) : patienceMs),
      answeredAt: () => reporter.answeredAt,
    })
    if (isTold !== undefined) return isTold
    reporter.giveWay()
    outage.tell(new UnheardError(client.url))
    return false
  }

  /** What must still be sent for this job when its process dies of `error`. */
  lastWord(error: Error): LastWord | null {
    const { opened, ending } = this.#reporter
    if (!opened) return null
    const { client, workerId } = this.#parts
    const { path, body } = ending ?? { path: 'fail', body: errorFields(error) }
    const { attempt, id } = opened
    const own = { ...body, attempt }
    const report = { ...this.progress.take().body, attempt, reportedAt: reportTime() }
    const { url, headers } = client.lastAddress(`/jobs/${id}/`)
    return {
      headers: { ...headers, 'content-type': 'application/json' },
      requests: [
        { url: new URL('heartbeat', url).href, body: { ...report, ...(workerId !== undefined && { workerId }) } },
        ...(path === null ? [] : [{ url: new URL(path, url).href, body: own }]),
      ],
    }
  }
}

/** Stages with the names that reports use, which are shortened in the same way. A stage without a name is left out. */
const fitStages = (stages: NonNullable<NewJob['stages']>): NewJob['stages'] => {
  const fitting = stages.map(stage => ({ ...stage, name: fitShown(stage.name, 'stage') }))
  const named = fitting.filter(({ name }) => name !== '')
  return named.length === 0 ? undefined : named
}

/** The body of `POST /jobs`, made from the worker's options. */
export const creationOf = (job: NewJob, program: string): Record<string, unknown> => {
  const { name, jobType, unit, stages, meta, ...others } = readOr(() => ({ ...job }), {} as NewJob)
  const what = fitShown(program, 'jobType') || 'script'
  return (
    asJsonObject({
      ...others,
      name: fitShown(name, 'name') || what,
      ...(others.parentJobId === undefined && { jobType: fitShown(jobType, 'jobType') || what }),
      ...(unit !== undefined && { unit: fitShown(unit, 'unit') || 'unknown' }),
      ...(stages !== undefined && { stages: readOr(() => fitStages(stages), stages) }),
      ...(meta !== undefined && { meta: asJsonObject(meta) ?? {} }),
    }) ?? {}
  )
}

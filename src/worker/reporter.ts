import { backoffMs, RefusedError, UnavailableError, type Client } from '../node-client/client.ts'
import type { Connecting } from '../node-client/exchange.ts'
import type { Outage } from './outage.ts'
import { Progress, type Report } from './progress.ts'
import { isOfJob, isStopCode, StopError } from './stop.ts'

/** Bars should move about once a second, and no faster. */
const SMOOTH_MS = 1_000
/** A service that asks for fewer heartbeats than usual has its reasons: then reports are fewer as well. */
const REPORTS_PER_HEARTBEAT = 5
/** Until an answer says otherwise. */
const DEFAULT_HEARTBEAT_MS = 5_000
const SLOWEST_HEARTBEAT_MS = 60_000

/** Time for the second and third packet of a connection, where the first is lost (RFC 6298: after 1 s and 3 s). */
const CONNECT_MS = 4_000

/** A token may be renewed, and a right granted; but not within a second. */
const UNAUTHORIZED_PAUSE_MS = 30_000

/** So many failures in a row are worth a word: a single one happens whenever the service is restarted. */
const NOTEWORTHY_FAILURES = 3

/** A report is on disk, or with a service whose database is away, or is not as the service wants it and goes without its details. */
type Outcome = 'written' | 'kept' | 'dropped'

/** The job as far as a worker must know it. */
export interface Opened {
  id: string
  attempt: number
  cancelRequested: boolean
  hasStages: boolean
}

/** How the worker ends the job. */
export interface Ending {
  /** null: the job goes on without this worker. */
  path: 'complete' | 'fail' | 'cancelled' | null
  body: Record<string, unknown>
}

export interface ReporterOptions {
  client: Client
  workerId: string | undefined
  /** One try to make or find the job; `connecting` gives up a connection that is still being made. */
  open: (connecting: Connecting) => Promise<Opened>
  progress: Progress
  outage: Outage
}

const isUnauthorized = (error: RefusedError): boolean => error.status === 401 || error.status === 403

/** Only orders reports: a clock that is set back must not make the service take the next ones for old. */
export const reportTime = (): string => new Date(performance.timeOrigin + performance.now()).toISOString()

const weakPause = (ms: number): Promise<void> => new Promise(resolve => void setTimeout(resolve, ms).unref())

/**
 * Tells the service how far the work is: the first report at once, then at most one a second, and a sign of life when the work
 * has nothing to tell. Whatever goes wrong is tried again with the newest state, or told to `onProblem`; nothing is thrown, and
 * nothing of it keeps the process alive.
 */
export class Reporter {
  opened: Opened | null = null
  /** When the service last answered something that counts, by `performance.now()`. */
  answeredAt = 0
  /** The service is there: it has taken a call that it has not answered yet, or has said that it is busy. */
  isHeard = false
  #ending: Ending | null = null
  readonly #options: ReporterOptions
  readonly #stop = new AbortController()
  /** The service has been told how the job ended, or it will not hear any more of this worker. */
  #isOver = false
  #reportMs = SMOOTH_MS
  #heartbeatMs = DEFAULT_HEARTBEAT_MS
  #wake: () => void = () => undefined
  /** Ends the pause between two tries. */
  #hurry: () => void = () => undefined
  /** Told already, and not told again. */
  readonly #told = new Set<string>()
  #failures = 0
  #hasReported = false
  #connecting = new AbortController()
  /** The work is not kept waiting for a service that is away, or that does not let it in. */
  #letGo: () => void = () => undefined
  readonly whenOpened: Promise<void>
  /** Resolves with whether the service knows how this worker ended the job. */
  readonly whenOver: Promise<boolean>

  constructor(options: ReporterOptions) {
    this.#options = options
    const opening = this.#open()
    this.whenOpened = Promise.race([
      opening.then(() => undefined),
      new Promise<void>(resolve => (this.#letGo = resolve)),
    ])
    if (options.outage.isKnown) this.#letGo()
    this.whenOver = opening.then(isOpen => isOpen && this.#run())
    void this.whenOver.then(() => (this.#isOver = true))
  }

  get signal(): AbortSignal {
    return this.#stop.signal
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get ending(): Ending | null {
    return this.#ending
  }

  /** There is something to report. */
  wake(): void {
    this.#wake()
  }

  /** The job has ended: the first ending counts. */
  end(ending: Ending): void {
    this.#ending ??= ending
    // Tried soon and often again, however long the service has been away: this is waited for.
    this.#failures = 0
    this.#wake()
    this.#hurry()
  }

  /**
   * Nobody waits any longer. Node keeps a process for a connection that is being made, and with a host that does not answer that
   * takes minutes. It is tried again if the process lives on.
   */
  giveWay(): void {
    this.#connecting.abort()
  }

  async #open(): Promise<boolean> {
    const { open, progress } = this.#options
    this.opened = await this.#persist(open)
    if (!this.opened) return false
    if (this.opened.hasStages) progress.hasStages = true
    if (this.opened.cancelRequested) this.#stopWork(new StopError('cancel_requested'))
    return true
  }

  async #run(): Promise<boolean> {
    let kept = 0
    for (;;) {
      const startedAt = performance.now()
      // The end must not overtake the last report, so that counts are those of the end.
      const isLast = this.ending !== null
      const isNews = this.#options.progress.isDirty || !this.#hasReported
      const outcome = isLast && !isNews ? 'written' : await this.#persist(connecting => this.#report(connecting))
      if (outcome === null) return false
      this.#hasReported ||= outcome === 'written'
      kept = outcome === 'kept' ? kept + 1 : 0
      if (!isLast) await this.#untilDue(startedAt)
      else if (outcome === 'written') return this.#end()
      else if (kept > 0) await weakPause(backoffMs(kept))
    }
  }

  /** Waits until the next report is due: sooner if there is something to tell, at once if it is the end. */
  async #untilDue(startedAt: number): Promise<void> {
    const { progress } = this.#options
    const isOver = () => {
      const wait = this.ending ? 0 : progress.isDirty ? this.#reportMs : this.#heartbeatMs
      return performance.now() - startedAt >= wait
    }
    while (!isOver()) {
      const wait = (progress.isDirty ? this.#reportMs : this.#heartbeatMs) - (performance.now() - startedAt)
      await Promise.race([weakPause(Math.max(1, wait)), new Promise<void>(resolve => (this.#wake = resolve))])
    }
  }

  /** One try to report. */
  async #report(connecting: Connecting): Promise<Outcome> {
    const { client, workerId, progress } = this.#options
    const { id, attempt } = this.opened as Opened
    const { body, restore, drop } = progress.take()
    const report: Report & Record<string, unknown> = { ...body, attempt, reportedAt: reportTime() }
    if (workerId !== undefined) report['workerId'] = workerId
    try {
      const answer = await client.call<Record<string, unknown>>('POST', `/jobs/${id}/heartbeat`, {
        body: report,
        weak: true,
        connecting,
      })
      if (typeof answer['durable'] !== 'boolean') throw new UnavailableError('The answer to a heartbeat is none.')
      if (!answer['durable']) restore()
      this.#follow(answer['heartbeatIntervalMs'])
      if (answer['cancelRequested'] === true) this.#stopWork(new StopError('cancel_requested'))
      return answer['durable'] ? 'written' : 'kept'
    } catch (error) {
      if (!(error instanceof RefusedError) || isOfJob(error.code) || isUnauthorized(error)) {
        restore()
        throw error
      }
      // Something in the report is not as the service wants it: without it the job is alive at least.
      if (!drop()) throw error
      this.#tell(error)
      return 'dropped'
    }
  }

  #follow(heartbeatIntervalMs: unknown): void {
    if (typeof heartbeatIntervalMs !== 'number' || !(heartbeatIntervalMs > 0)) return
    this.#heartbeatMs = Math.min(heartbeatIntervalMs, SLOWEST_HEARTBEAT_MS)
    this.#reportMs = Math.min(this.#heartbeatMs, Math.max(SMOOTH_MS, this.#heartbeatMs / REPORTS_PER_HEARTBEAT))
  }

  async #end(): Promise<boolean> {
    const { client } = this.#options
    const { id, attempt } = this.opened as Opened
    const send = ({ path, body }: Ending) =>
      this.#persist(async connecting => {
        const options = { body: { ...body, attempt }, weak: true, connecting }
        await client.call('POST', `/jobs/${id}/${path}`, options)
        return true
      })
    const ending = this.ending as Ending
    if (ending.path === null || (await send(ending))) return true
    if (this.signal.aborted && (this.signal.reason as StopError).code !== 'cancel_requested') return false
    // Better an end without its details than none: a job of which nobody hears any more looks as if its worker had died.
    if (ending.path === 'complete' && Object.keys(ending.body).length > 0)
      return (await send({ path: 'complete', body: {} })) ?? false
    if (ending.path !== 'cancelled') return false
    return (await send({ path: 'fail', body: { errorMessage: 'The worker stopped before the end.' } })) ?? false
  }

  /** Tries until there is an answer; null when the service will not have it. */
  async #persist<Answer>(attempt: (connecting: Connecting) => Promise<Answer>): Promise<Answer | null> {
    for (;;) {
      this.#connecting = new AbortController()
      const tooLong = setTimeout(() => this.giveWay(), CONNECT_MS).unref()
      try {
        const answer = await attempt({ signal: this.#connecting.signal, onMade: () => (this.isHeard = true) })
        this.#failures = 0
        if (answer !== 'kept') this.#hasAnswered()
        return answer
      } catch (error) {
        this.isHeard = error instanceof UnavailableError && error.isBusy
        const pauseMs = this.#pauseAfter(error)
        if (pauseMs === null) return null
        const retryAfterMs = error instanceof UnavailableError ? error.retryAfterMs : 0
        // An end is worth a try at once, unless the service has said when it wants to be asked again.
        const hurry = retryAfterMs > 0 ? [] : [new Promise<void>(resolve => (this.#hurry = resolve))]
        await Promise.race([weakPause(Math.max(pauseMs, retryAfterMs)), ...hurry])
      } finally {
        clearTimeout(tooLong)
      }
    }
  }

  #hasAnswered(): void {
    this.answeredAt = performance.now()
    this.#options.outage.over()
  }

  /** How long to wait before the next try; null when there should be none. */
  #pauseAfter(error: unknown): number | null {
    if (error instanceof RefusedError) {
      this.#hasAnswered()
      if (isStopCode(error.code)) {
        this.#stopWork(new StopError(error.code, error.jobStatus))
        return null
      }
      this.#tell(error)
      this.#letGo()
      return isUnauthorized(error) && !this.ending ? UNAUTHORIZED_PAUSE_MS : null
    }
    this.#failures++
    this.#options.outage.failed()
    if (this.#options.outage.isKnown) this.#letGo()
    if (this.#failures === NOTEWORTHY_FAILURES) this.#tell(error instanceof Error ? error : new Error(String(error)))
    return backoffMs(this.#failures)
  }

  #stopWork(reason: StopError): void {
    if (!this.signal.aborted) this.#stop.abort(reason)
  }

  #tell(problem: Error): void {
    const what = problem instanceof RefusedError ? problem.code : problem.name
    if (this.#told.has(what)) return
    this.#told.add(what)
    this.#options.outage.tell(problem)
  }
}

import { backoffMs, RefusedError, UnavailableError, type Client } from '../node-client/client.ts'
import type { Connecting } from '../node-client/exchange.ts'
import type { Bundle } from './bundle.ts'
import { Cadence } from './cadence.ts'
import type { Outage } from './outage.ts'
import { Progress, type Report } from './progress.ts'
import { isOfJob, isStopCode, StopError } from './stop.ts'

/** Time for the second and third packet of a connection if the first is lost (RFC 6298: after 1 s and 3 s). */
const CONNECT_MS = 4_000

/** A token may be renewed, or a right granted, but not within a second. */
const UNAUTHORIZED_PAUSE_MS = 30_000

/** After so many failures in a row the program is told. A single failure happens whenever the service restarts. */
const NOTEWORTHY_FAILURES = 3

/**
 * A report is on disk (`written`), is held by a service without its database (`kept`), or was refused and is repeated without
 * its details (`dropped`).
 */
type Outcome = 'written' | 'kept' | 'dropped'

/** What a worker must know about the job. */
export interface Opened {
  id: string
  attempt: number
  cancelRequested: boolean
  hasStages: boolean
}

/** How the worker ends the job. */
export interface Ending {
  /** null: the job continues without this worker. */
  path: 'complete' | 'fail' | 'cancelled' | null
  body: Record<string, unknown>
}

export interface ReporterOptions {
  client: Client
  /** Sends the reports of all jobs of the program. */
  bundle: Bundle
  workerId: string | undefined
  /** One try to create or find the job; `connecting` gives up a connection that is still being made. */
  open: (connecting: Connecting) => Promise<Opened>
  progress: Progress
  outage: Outage
}

const isUnauthorized = (error: RefusedError): boolean => error.status === 401 || error.status === 403

/**
 * The time of a report. It only orders reports, so it comes from a monotonic clock: if the wall clock is set back, the service
 * must not take the next reports for late ones.
 */
export const reportTime = (): string => new Date(performance.timeOrigin + performance.now()).toISOString()

const weakPause = (ms: number): Promise<void> => new Promise(resolve => void setTimeout(resolve, ms).unref())

/**
 * Tells the service how far the work is: the first report at once, then at most one per second, and heartbeats when there is
 * nothing new. Failures are retried with the newest state, or reported to `onProblem`. It throws nothing, and does not keep the
 * process alive.
 */
export class Reporter {
  opened: Opened | null = null
  /** When the service last answered a call for good, by `performance.now()`. */
  answeredAt = 0
  /** The service is available: it has accepted a call and not answered yet, or has answered that it is busy. */
  isHeard = false
  #ending: Ending | null = null
  readonly #options: ReporterOptions
  readonly #stop = new AbortController()
  /** The service knows how the job ended, or refuses any more calls of this worker. */
  #isOver = false
  readonly #cadence = new Cadence()
  #wake: () => void = () => undefined
  /** Ends the pause between two tries. */
  #hurry: () => void = () => undefined
  /** Problems that the program has been told. */
  readonly #told = new Set<string>()
  #failures = 0
  #hasReported = false
  #connecting = new AbortController()
  /** Lets the work go on while the service is away or refuses the token. */
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
    this.whenOver = opening.then(isOpen => isOpen && this.#runInBundle())
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

  /** Ends the job; the first ending counts. */
  end(ending: Ending): void {
    this.#ending ??= ending
    // The end is tried soon and often, however long the service has been away, because the program waits for it.
    this.#failures = 0
    this.#wake()
    this.#hurry()
    this.#options.bundle.hurry()
  }

  /**
   * The program no longer waits. Node keeps a process alive for a connection that is being made, and to a host that does not
   * answer this takes minutes. If the process continues, the connection is tried again.
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

  async #runInBundle(): Promise<boolean> {
    const { bundle } = this.#options
    bundle.join()
    try {
      return await this.#run()
    } finally {
      bundle.leave()
    }
  }

  async #run(): Promise<boolean> {
    let kept = 0
    for (;;) {
      const startedAt = performance.now()
      // The last report is sent before the end, so that the job ends with its final counts.
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

  /** Waits until the next report is due: sooner if there is something new, at once if the job ends. */
  async #untilDue(startedAt: number): Promise<void> {
    const { progress } = this.#options
    for (;;) {
      const wait = this.#cadence.waitMs(progress.isDirty) - (performance.now() - startedAt)
      if (this.ending || wait <= 0) return
      await Promise.race([weakPause(Math.max(1, wait)), new Promise<void>(resolve => (this.#wake = resolve))])
    }
  }

  /** One try to report. */
  async #report(connecting: Connecting): Promise<Outcome> {
    const { bundle, workerId, progress } = this.#options
    const { id, attempt } = this.opened as Opened
    const { body, restore, drop } = progress.take()
    const report: Report & Record<string, unknown> = { ...body, attempt, reportedAt: reportTime() }
    if (workerId !== undefined) report['workerId'] = workerId
    try {
      const answer = await bundle.send({ jobId: id, body: report, connecting, isLast: this.ending !== null })
      if (typeof answer['durable'] !== 'boolean')
        throw new UnavailableError('The answer to a heartbeat does not come from Headway.')
      if (!answer['durable']) restore()
      this.#cadence.follow(answer['heartbeatIntervalMs'])
      if (answer['cancelRequested'] === true) this.#stopWork(new StopError('cancel_requested'))
      return answer['durable'] ? 'written' : 'kept'
    } catch (error) {
      if (!(error instanceof RefusedError) || isOfJob(error.code) || isUnauthorized(error)) {
        restore()
        throw error
      }
      // The service refuses a field of the report. The next report leaves the fields out, so that the job at least has
      // heartbeats.
      if (!drop()) throw error
      this.#tell(error)
      return 'dropped'
    }
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
    // An end without details is better than none: a job without further heartbeats looks as if its worker had died.
    if (ending.path === 'complete' && Object.keys(ending.body).length > 0)
      return (await send({ path: 'complete', body: {} })) ?? false
    if (ending.path !== 'cancelled') return false
    return (await send({ path: 'fail', body: { errorMessage: 'The worker stopped before the end.' } })) ?? false
  }

  /** Tries until there is an answer; null when the service refuses the call for good. */
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
        // An end is tried again at once, unless the service has said when to try again.
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

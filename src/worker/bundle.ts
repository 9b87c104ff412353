import { RefusedError, UnavailableError, type Client } from '../node-client/client.ts'
import type { Connecting } from '../node-client/exchange.ts'

/** One call a second for all jobs of a process. */
const EVERY_MS = 1_000

/** As many reports as one call may carry. */
const MOST = 1_000

type Answer = Record<string, unknown>

export interface OneReport {
  jobId: string
  body: Record<string, unknown>
  connecting: Connecting
  /** The job ends: it does not wait for the reports of others. */
  isLast: boolean
}

interface Waiting extends OneReport {
  resolve: (answer: Answer) => void
  reject: (error: unknown) => void
}

/** Codes of refusals that are about the caller, with their statuses, as a call for one report would answer them. */
const STATUSES: Readonly<Record<string, number>> = { unauthenticated: 401, forbidden: 403, job_not_found: 404 }

/** Codes that one call would answer with 429 or 5xx: the same report may be taken later. */
const TEMPORARY: readonly string[] = [
  'too_much_in_flight',
  'rate_limited',
  'internal_error',
  'overloaded',
  'shutting_down',
  'database_unavailable',
  'keys_unavailable',
  'outcome_unknown',
]

/** After this time as many reports as possible are sent at once again: the proxy may be another one. */
const FEWER_MS = 300_000

/**
 * Aborts as soon as one of `signals` does, until `release` is called. `AbortSignal.any` is not used, because Node keeps its
 * signal with all that its listeners know, such as the signals themselves, and so frees none of them.
 */
const anyOf = (signals: readonly AbortSignal[]): { signal: AbortSignal; release: () => void } => {
  const controller = new AbortController()
  const abort = (): void => controller.abort()
  for (const signal of signals) signal.addEventListener('abort', abort, { once: true })
  return {
    signal: controller.signal,
    release() {
      for (const signal of signals) signal.removeEventListener('abort', abort)
    },
  }
}

/** Another program than Headway has refused the call, and not because it is busy. */
const isForeignRefusal = (error: unknown): boolean =>
  error instanceof UnavailableError &&
  error.status >= 400 &&
  error.status < 500 &&
  error.status !== 408 &&
  error.status !== 429

/** The result of one report in the answer for many. Raises what the call for this report alone would have raised. */
export const resultOf = (result: unknown): Answer => {
  if (typeof result !== 'object' || result === null) {
    throw new UnavailableError('The answer to a heartbeat does not come from Headway.')
  }
  const { code, detail, jobStatus } = result as { code?: unknown; detail?: unknown; jobStatus?: unknown }
  if (typeof code !== 'string') return result as Answer
  const sentence = typeof detail === 'string' ? detail : code
  if (TEMPORARY.includes(code)) throw new UnavailableError(sentence)
  throw new RefusedError(code, STATUSES[code] ?? 409, sentence, typeof jobStatus === 'string' ? jobStatus : null)
}

/** Sends the reports of all jobs of a worker client: each by itself, or once a second all that wait by then. */
export class Bundle {
  readonly #client: Client
  #waiting: Waiting[] = []
  #sentAt = -Infinity
  #timer: NodeJS.Timeout | null = null
  #isDue = false
  /** How many reporters there are. */
  #size = 0
  /** A proxy may find a call with many reports too large, or not know it at all: how many it takes, and until when that is believed. */
  #most = MOST
  #mostUntil = Infinity

  constructor(client: Client) {
    this.#client = client
  }

  /** A reporter begins. It does not wait for others while it is the only one. */
  join(): void {
    this.#size++
  }

  leave(): void {
    this.#size--
  }

  /** The service's answer to one report. Raises as `Client.call`. */
  send(report: OneReport): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...report, resolve, reject })
      const wait = report.isLast || this.#size <= 1 ? 0 : EVERY_MS - (performance.now() - this.#sentAt)
      if (wait <= 0) this.#due()
      else this.#timer ??= setTimeout(() => this.#due(), wait).unref()
    })
  }

  /** Sends at once what waits: a program waits for the end of its job. */
  hurry(): void {
    if (this.#waiting.length > 0) this.#due()
  }

  /** Those who report in this turn of the event loop are sent together. */
  #due(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    if (this.#isDue) return
    this.#isDue = true
    setImmediate(() => {
      this.#isDue = false
      this.#sentAt = performance.now()
      const reports = this.#waiting
      this.#waiting = []
      this.#post(reports)
    })
  }

  #post(waiting: readonly Waiting[]): void {
    const reports: Waiting[] = []
    for (const report of waiting) {
      // Its job no longer waits for a connection; the others do.
      if (report.connecting.signal.aborted) report.reject(new UnavailableError('The connection took too long.'))
      else reports.push(report)
    }
    if (performance.now() >= this.#mostUntil) {
      this.#most = MOST
      this.#mostUntil = Infinity
    }
    for (let from = 0; from < reports.length; from += this.#most) {
      const some = reports.slice(from, from + this.#most)
      const [only] = some
      if (some.length > 1) this.#postMany(some).catch((error: unknown) => this.#postAgain(some, error))
      else if (only) this.#postOne(only).then(only.resolve, only.reject)
    }
  }

  #postOne({ jobId, body, connecting }: Waiting): Promise<Answer> {
    return this.#client.call('POST', `/jobs/${jobId}/heartbeat`, { body, weak: true, connecting })
  }

  async #postMany(reports: readonly Waiting[]): Promise<void> {
    const { signal, release } = anyOf(reports.map(report => report.connecting.signal))
    const connecting = {
      signal,
      onMade: () => {
        for (const report of reports) report.connecting.onMade()
      },
    }
    const body = { heartbeats: reports.map(report => ({ jobId: report.jobId, ...report.body })) }
    const { results } = await this.#client
      .call<Answer>('POST', '/heartbeats', { body, weak: true, connecting })
      .finally(release)
    for (const [index, { resolve, reject }] of reports.entries()) {
      try {
        resolve(resultOf(Array.isArray(results) ? results[index] : null))
      } catch (error) {
        reject(error)
      }
    }
  }

  /** Sends fewer reports at once where the call for many was refused as such. */
  #postAgain(reports: readonly Waiting[], error: unknown): void {
    const status = error instanceof RefusedError ? error.status : 0
    if (status === 413) this.#postFewer(reports, Math.ceil(reports.length / 2))
    else if (status === 404 || status === 405) this.#postFewer(reports, 1)
    else if (isForeignRefusal(error)) void this.#postAfterFirst(reports, error)
    else for (const { reject } of reports) reject(error)
  }

  #postFewer(reports: readonly Waiting[], most: number): void {
    this.#most = Math.min(this.#most, most)
    this.#mostUntil = performance.now() + FEWER_MS
    this.#post(reports)
  }

  /** One report by itself shows whether a proxy lets no call through, or only not that for many. */
  async #postAfterFirst([first, ...others]: readonly Waiting[], error: unknown): Promise<void> {
    if (!first) return
    try {
      first.resolve(await this.#postOne(first))
    } catch (ownError) {
      first.reject(ownError)
      if (!(ownError instanceof RefusedError)) {
        for (const { reject } of others) reject(error)
        return
      }
    }
    this.#postFewer(others, 1)
  }
}

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { BASE_PATH } from '../../contract/http.ts'
import { isFinished, type JobStatus } from '../../contract/states.ts'
import { isEnding, type Call, type CallKind, type SentReport } from './call.ts'
import { kindOf, reportsOf, textOr } from './read-call.ts'

/** What goes wrong with one call. */
export type Trouble =
  /** The answer comes late. */
  | { kind: 'late'; ms: number }
  /** The connection is lost; `taken`: after the service has done what was asked. */
  | { kind: 'lost'; taken: boolean }
  /** The report is kept in memory: the database is away. */
  | { kind: 'kept' }
  | { kind: 'refused'; status: number; code: string; retryAfterSeconds?: number }
  /** Something that is no answer of Headway. */
  | { kind: 'garbage'; status: number; type: string; text: string }

export interface BadService {
  readonly url: string
  readonly jobId: string
  readonly token: string
  readonly calls: readonly Call[]
  /** As the service knows the job now. */
  readonly job: Readonly<ScriptedJob>
  /** Closes the port, loses all connections, and comes back after this time. */
  goAway(ms: number): void
  /** The next attempt has begun elsewhere. */
  retry(): void
  askToStop(): void
  close(): Promise<void>
}

export interface ScriptedJob {
  status: JobStatus
  attempt: number
  cancelRequested: boolean
  revision: number
}

export interface BadServiceOptions {
  /** The cadence that answers ask for. */
  heartbeatIntervalMs: number
  /** Called with each call before it is answered; `nth` counts calls of its kind from 1. */
  onCall: (call: Call, nth: number, service: BadService) => Trouble | null
  /** Added to the clock of the service: its `Date`, in milliseconds. */
  clockMs: () => number
}

interface Answer {
  status: number
  body: Record<string, unknown>
  retryAfterSeconds?: number
}

const refusal = (status: number, code: string, detail: string, more: object = {}): Answer => ({
  status,
  body: { type: 'about:blank', title: detail, status, code, detail, ...more },
})

/** The code of the first report that an answer for many refuses. */
const refusedOf = (results: unknown): string | null => {
  const codes = Array.isArray(results) ? results.map(result => (result as { code?: unknown }).code) : []
  return codes.find(code => typeof code === 'string') ?? null
}

/** Plays the service for one job, badly on a script. It knows of the protocol what a worker needs. */
class Service implements BadService {
  readonly jobId = randomUUID()
  readonly token = randomUUID()
  readonly calls: Call[] = []
  readonly job: ScriptedJob = { status: 'pending', attempt: 1, cancelRequested: false, revision: 1 }
  readonly #options: BadServiceOptions
  readonly #server: Server
  readonly #counts = new Map<CallKind, number>()
  readonly #beganAt = performance.now()
  #port = 0
  #isClosed = false
  #back: Promise<void> = Promise.resolve()

  constructor(options: BadServiceOptions) {
    this.#options = options
    this.#server = createServer((request, response) => {
      response.on('error', () => undefined)
      this.#serve(request, response).catch(() => response.destroy())
    })
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  async listen(): Promise<this> {
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
    return this
  }

  goAway(ms: number): void {
    if (this.#isClosed) return
    const away = async (): Promise<void> => {
      await this.#shut()
      await pause(ms)
      await this.listen()
    }
    this.#back = away()
    // `close` raises it.
    this.#back.catch(() => undefined)
  }

  async #shut(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  retry(): void {
    this.job.attempt += 1
  }

  askToStop(): void {
    this.job.cancelRequested = true
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#back
    await this.#shut()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url = '/' } = request
    const path = (url.split('?')[0] ?? '').replace(BASE_PATH, '')
    const { kind, isKnown } = kindOf(method, path, this.jobId)
    const given: unknown = await json(request).catch(() => null)
    const body = (typeof given === 'object' && given !== null ? given : {}) as Record<string, unknown>
    const call: Call = {
      at: performance.now() - this.#beganAt,
      answeredAt: null,
      kind,
      text: `${method} ${path.replace(this.jobId, ':id')}`,
      body,
      reports: kind === 'report' ? reportsOf(path, body) : [],
      hasToken: request.headers.authorization === `Bearer ${this.token}`,
      status: null,
      code: null,
      retryAfterSeconds: null,
      isTaken: false,
      asksToStop: false,
    }
    this.calls.push(call)
    const nth = (this.#counts.get(kind) ?? 0) + 1
    this.#counts.set(kind, nth)
    const trouble = this.#options.onCall(call, nth, this)
    if (trouble?.kind === 'garbage') {
      call.status = trouble.status
      response.writeHead(trouble.status, { 'content-type': trouble.type })
      response.end(trouble.text)
    } else if (trouble?.kind === 'lost' && !trouble.taken) {
      response.destroy()
    } else {
      const answer =
        trouble?.kind === 'refused'
          ? { ...refusal(trouble.status, trouble.code, 'This is part of a test of workers.'), ...trouble }
          : this.#answer(call, isKnown, trouble?.kind === 'kept')
      if (trouble?.kind === 'late') await pause(trouble.ms)
      if (trouble?.kind === 'lost') response.destroy()
      else this.#send(response, call, answer)
    }
    call.answeredAt = performance.now() - this.#beganAt
  }

  #send(response: ServerResponse, call: Call, { status, body, retryAfterSeconds }: Answer): void {
    call.status = status
    call.code = textOr(body['code'], '') || refusedOf(body['results'])
    call.retryAfterSeconds = retryAfterSeconds ?? null
    call.asksToStop = this.job.cancelRequested && status < 300
    response.writeHead(status, {
      'content-type': status < 400 ? 'application/json' : 'application/problem+json',
      date: new Date(Date.now() + this.#options.clockMs()).toUTCString(),
      ...(retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }),
    })
    response.end(`${JSON.stringify(body)}\n`)
  }

  #answer(call: Call, isKnown: boolean, isKept: boolean): Answer {
    const { kind, body } = call
    if (kind === 'other') return refusal(404, 'route_not_found', 'The suite does not know this call.')
    if (!isKnown) return refusal(404, 'job_not_found', 'There is no such job.')
    if (kind === 'report') return this.#report(call, isKept)
    if (kind === 'read') return { status: 200, body: this.#document() }
    if (kind === 'create') return { status: 201, body: { ...this.#document(), ...body } }
    const refused = this.#refusalFor(body)
    if (refused) return refused
    if (isEnding(call)) this.job.status = kind === 'complete' ? 'completed' : kind === 'fail' ? 'failed' : 'cancelled'
    else this.job.status = 'running'
    this.job.revision += 1
    call.isTaken = true
    return { status: 200, body: this.#document() }
  }

  #refusalFor(body: Record<string, unknown>): Answer | null {
    const { status, attempt } = this.job
    if (body['attempt'] !== undefined && body['attempt'] !== attempt) {
      return refusal(409, 'superseded', `The job is at attempt ${attempt}.`)
    }
    if (!isFinished(this.job)) return null
    return refusal(409, 'already_finished', `The job has finished: ${status}.`, { jobStatus: status })
  }

  #report(call: Call, isKept: boolean): Answer {
    const isBulk = call.text.endsWith('/heartbeats')
    const answers = call.reports.map(report => this.#reportOne(call, report, isKept, isBulk))
    const status = isKept ? 202 : 200
    if (isBulk) return { status, body: { results: answers.map(({ body }) => body) } }
    return answers[0] ?? { status, body: {} }
  }

  #reportOne(call: Call, { workerId, body }: SentReport, isKept: boolean, isBulk: boolean): Answer {
    const { heartbeatIntervalMs } = this.#options
    const own = { jobId: this.jobId, workerId, heartbeatIntervalMs }
    if (isBulk && textOr(body['jobId'], '').toLowerCase() !== this.jobId) {
      return refusal(404, 'job_not_found', 'There is no such job.', { jobId: body['jobId'], workerId })
    }
    if (isKept) {
      const nothing = { status: null, cancelRequested: null, progressPercent: null, revision: null }
      return { status: 202, body: { ...own, ...nothing, durable: false } }
    }
    const refused = this.#refusalFor(body)
    if (refused) return { ...refused, body: { ...refused.body, ...(isBulk && own) } }
    this.job.status = 'running'
    this.job.revision += 1
    call.isTaken = true
    const { status, cancelRequested, revision } = this.job
    return {
      status: 200,
      body: { ...own, status, cancelRequested, progressPercent: 0, revision, applied: true, durable: true },
    }
  }

  #document(): Record<string, unknown> {
    const { status, attempt, cancelRequested, revision } = this.job
    const now = new Date(Date.now() + this.#options.clockMs()).toISOString()
    return {
      id: this.jobId,
      jobType: 'conformance',
      name: 'A job of the suite',
      status,
      attempt,
      progressPercent: status === 'completed' ? 100 : 0,
      processedCount: 0,
      totalCount: null,
      stages: null,
      cancellable: true,
      cancelRequestedAt: cancelRequested ? now : null,
      cancelRequested,
      heartbeatTimeoutSeconds: 60,
      workers: [],
      createdAt: now,
      updatedAt: now,
      revision,
    }
  }
}

/** Starts a service that has one job, and behaves as its script says. */
export const startBadService = (options: BadServiceOptions): Promise<BadService> => new Service(options).listen()

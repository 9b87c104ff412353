import { connect, type AddressInfo } from 'node:net'
import { pino } from 'pino'
import type { Test } from 'tap'
import { HeadwayError } from '../../src/contract/errors.ts'
import { IN_FLIGHT, InFlight } from '../../src/http/limits/in-flight.ts'
import { LoopTurns } from '../../src/turns/loop-turns.ts'
import type { HttpConfig, HttpParts } from '../../src/http/server.ts'
import { createHttpServer } from '../../src/http/server.ts'
import type { Jobs } from '../../src/jobs/use-cases.ts'
import type { CreatedJob, JobDocument } from '../../src/contract/job.ts'
import type { Heartbeat, HeartbeatAnswer } from '../../src/contract/heartbeat.ts'
import type { JobState, JobWait, OpenStream, StreamRequest } from '../../src/live/live.ts'
import { JOB_ID_EXAMPLE, jobExample, progressExample } from '../../src/http/schemas/examples.ts'
import { statisticsExample } from '../../src/http/schemas/statistics.ts'

export const JOB_ID = JOB_ID_EXAMPLE
export const UNKNOWN_ID = '0197a3c2-5b1e-7c44-9d0a-000000000000'

/** Stands for the domain where only the rules of HTTP are tested: one job, and a record of what was asked. */
export class InMemoryJobs implements Jobs {
  job: CreatedJob = { ...jobExample }
  calls: { name: string; args: unknown[] }[] = []
  /** Thrown by every call, where a test sets it. */
  failure: Error | null = null
  buffered = false
  /** Called at each read, between what it has seen and its answer. */
  onRead: () => Promise<void> | void = () => undefined

  #record(name: string, ...args: unknown[]): void {
    this.calls.push({ name, args })
    if (this.failure) throw this.failure
  }

  async #find(name: string, jobId: string, ...args: unknown[]): Promise<JobDocument> {
    this.#record(name, jobId, ...args)
    const { job } = this
    await this.onRead()
    if (jobId !== job.id) throw new HeadwayError('job_not_found', `There is no job ${jobId}.`)
    return job
  }

  #answer({ jobId, workerId }: Heartbeat): HeartbeatAnswer {
    const about = { jobId, workerId, heartbeatIntervalMs: 5000 }
    if (this.buffered) {
      return { ...about, status: null, cancelRequested: null, progressPercent: null, revision: null, durable: false }
    }
    const { status, progressPercent, revision } = this.job
    return { ...about, status, progressPercent, revision, cancelRequested: false, applied: true, durable: true }
  }

  async create(...[, input, key]: Parameters<Jobs['create']>) {
    this.#record('create', input, key)
    return { job: this.job, created: key !== 'known' }
  }
  get: Jobs['get'] = async (_identity, id) => ({ ...(await this.#find('get', id)), workers: [] })
  progress: Jobs['progress'] = async (_identity, id) => {
    const { status, revision } = await this.#find('progress', id)
    return { ...progressExample, id, status, revision }
  }
  list: Jobs['list'] = async (_identity, query) => {
    this.#record('list', query)
    return { items: [this.job], page: query.page, pageSize: query.pageSize, total: 1, totalIsExact: true, next: null }
  }
  active: Jobs['active'] = async (_identity, recentSeconds) => {
    this.#record('active', recentSeconds)
    return { active: [this.job], recentlyCompleted: [] }
  }
  events: Jobs['events'] = async (_identity, id, query) => {
    await this.#find('events', id, query)
    return { items: [], page: query.page, pageSize: query.pageSize, total: 0 }
  }
  partitions: Jobs['partitions'] = async (_identity, id, since) => {
    await this.#find('partitions', id, since)
    return JSON.stringify({ items: [], asOf: this.job.updatedAt })
  }
  stats: Jobs['stats'] = async (_identity, query) => {
    this.#record('stats', query)
    return statisticsExample
  }
  heartbeat: Jobs['heartbeat'] = async (_identity, heartbeat) => {
    await this.#find('heartbeat', heartbeat.jobId, heartbeat)
    return this.#answer(heartbeat)
  }
  heartbeats: Jobs['heartbeats'] = async (_identity, heartbeats) => {
    this.#record('heartbeats', heartbeats)
    return heartbeats.map(heartbeat =>
      heartbeat.jobId === this.job.id
        ? this.#answer(heartbeat)
        : new HeadwayError('already_finished', 'It has finished.', { jobStatus: 'completed' }),
    )
  }
  start: Jobs['start'] = (_identity, id, input) => this.#find('start', id, input)
  complete: Jobs['complete'] = (_identity, id, input) => this.#find('complete', id, input)
  fail: Jobs['fail'] = (_identity, id, input) => this.#find('fail', id, input)
  cancel: Jobs['cancel'] = (_identity, id) => this.#find('cancel', id)
  acknowledgeCancel: Jobs['acknowledgeCancel'] = (_identity, id, input) => this.#find('acknowledgeCancel', id, input)
  retry: Jobs['retry'] = (_identity, id) => this.#find('retry', id)
  purge: Jobs['purge'] = async (_identity, id) => {
    await this.#find('purge', id)
  }
}

type LiveSide = HttpParts['live']

/** Stands for the hub: says who waits and who streams, and makes the changes of a test. */
export class InMemoryLive implements LiveSide {
  listening = true
  failure: Error | null = null
  alreadySeen = false
  requests: StreamRequest[] = []
  started = 0
  abandoned = 0
  beforeOpen: () => Promise<void> | void = () => undefined
  /** Called when someone has registered to wait. */
  onWait: () => void = () => undefined
  /** Everyone who waits: called, it looks at the job again. */
  readonly waiting = new Set<() => void>()
  readonly #streams = new Set<Parameters<OpenStream['start']>[0]>()
  readonly #jobs: InMemoryJobs

  constructor(jobs: InMemoryJobs) {
    this.#jobs = jobs
  }

  async open(request: StreamRequest): Promise<OpenStream> {
    this.requests.push(request)
    await this.beforeOpen()
    if (this.failure) throw this.failure
    return {
      alreadySeen: this.alreadySeen,
      start: response => {
        this.started++
        this.#streams.add(response)
        response.once('close', () => this.#streams.delete(response))
        response.write(request.format === 'sse' ? 'event: snapshot\ndata: {"jobs":[]}\n\n' : '{"event":"snapshot"}\n')
      },
      abandon: () => {
        this.abandoned++
      },
    }
  }
  waitForJob({ jobId, isEnough }: JobWait, signal: AbortSignal): Promise<JobState | null> {
    const state = (): JobState | null => {
      const { id, tenantId, organizationId, parentJobId, revision, status } = this.#jobs.job
      const finished = ['completed', 'failed', 'cancelled'].includes(status)
      return id === jobId ? { id, tenantId, organizationId, parentJobId, revision, finished } : null
    }
    return new Promise(resolve => {
      const end = () => {
        this.waiting.delete(look)
        resolve(state())
      }
      const look = () => {
        const now = state()
        if (signal.aborted || !now || isEnough(now)) end()
      }
      this.waiting.add(look)
      signal.addEventListener('abort', end, { once: true })
      look()
      if (this.waiting.has(look)) this.onWait()
    })
  }
  /** Everyone who waits looks at the job again. */
  announce(): void {
    for (const look of [...this.waiting]) look()
  }
  isListening = () => this.listening
  close = async () => {
    for (const response of this.#streams) response.end()
  }
}

/** Nothing that these tests ask for gets as far as that. */
const NO_WEBHOOKS = {} as HttpParts['webhooks']
const NO_BADGES = {} as HttpParts['badges']

/** A server on a port of its own, closed when the test ends. */
export const startServer = async (
  t: Test,
  { config, ...parts }: Partial<Omit<HttpParts, 'config'>> & { config?: Partial<HttpConfig> } = {},
) => {
  const jobs = new InMemoryJobs()
  const live = new InMemoryLive(jobs)
  const log: string[] = []
  const app = await createHttpServer({
    config: {
      authMode: null,
      shutdownGraceSeconds: 2,
      rateLimitPerSecond: 0,
      rateLimitUnauthenticatedPerSecond: 0,
      maxStreams: 1_000,
      maxStreamsPerIdentity: 1_000,
      corsOrigins: [],
      trustedProxies: [],
      liveKeepaliveSeconds: 15,
      ...config,
    },
    jobs,
    webhooks: NO_WEBHOOKS,
    badges: NO_BADGES,
    live,
    health: { unreadiness: async () => null, sweeps: () => true },
    metrics: { contentType: 'text/plain', text: async () => '', answered: () => undefined },
    pressure: { maxEventLoopDelayMs: 0, maxHeapBytes: 0, onRefused: () => undefined },
    dashboard: [],
    inFlight: new InFlight(IN_FLIGHT),
    loopTurns: new LoopTurns(),
    log: pino({ level: 'warn' }, { write: (line: string) => void log.push(line) }),
    ...parts,
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const { port } = app.server.address() as AddressInfo
  return { app, jobs, live, log, url, api: `${url}/api/progress`, port }
}

export type Server = Awaited<ReturnType<typeof startServer>>

export interface Problem {
  status: number
  code: string
  detail: string
  requestId: string
  errors?: { path: string; message: string }[]
  jobStatus?: string
}

/** Sends a body as it is, by default as JSON. */
export const send = (url: string, body?: string | Uint8Array, headers: Record<string, string> = {}, method = 'POST') =>
  fetch(url, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body !== undefined && { body }),
  })

export const readProblem = async (response: Response): Promise<Problem> => (await response.json()) as Problem

/** Sends bytes as they are and returns the answer up to the end of the connection. */
export const raw = (port: number, ...chunks: string[]): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.setEncoding('utf8')
    socket.on('data', (data: string) => (answer += data))
    socket.on('end', () => resolve(answer))
    socket.on('error', reject)
    for (const chunk of chunks) socket.write(chunk)
  })

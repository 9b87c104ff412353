import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import type { Logger } from 'pino'
import type { Test } from 'tap'
import { createApp, type App } from '../../src/app.ts'
import { readConfig } from '../../src/config.ts'
import type { DurableAnswer } from '../../src/contract/heartbeat.ts'
import type { JobDocument } from '../../src/contract/job.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

export interface Reply<Body> {
  status: number
  headers: Headers
  body: Body
}

/** A problem document, as far as tests look at it. */
export interface Problem {
  status: number
  code: string
  detail: string
  jobStatus?: string
  errors?: { path: string; message: string }[]
}

export class Service {
  readonly database: TestDatabase
  readonly url: string
  readonly #app: App
  readonly #token: string | null
  #closed: Promise<void> | null = null

  constructor(database: TestDatabase, url: string, app: App, token: string | null = null) {
    this.database = database
    this.url = url
    this.#app = app
    this.#token = token
  }

  /** The headers that identify the caller. */
  get headers(): Record<string, string> {
    return this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }
  }

  /** The same service, called with a token. */
  as(token: string): Service {
    return new Service(this.database, this.url, this.#app, token)
  }

  close(): Promise<void> {
    this.#closed ??= this.#app.close()
    return this.#closed
  }

  /** One call under /api/progress, over a real socket. */
  async call<Body = Problem>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply<Body>> {
    const response = await fetch(`${this.url}/api/progress${path}`, {
      method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...this.headers,
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    // A picture is no JSON.
    const isJson = /json/.test(response.headers.get('content-type') ?? '')
    return {
      status: response.status,
      headers: response.headers,
      body: (text === '' ? null : isJson ? JSON.parse(text) : text) as Body,
    }
  }

  /** A new job; a running one after its first heartbeat. */
  async createJob(fields: Record<string, unknown> = {}): Promise<JobDocument> {
    // A type of its own: otherwise the job would be expected to take as long as the jobs of other tests.
    const jobType = 'parentJobId' in fields ? {} : { jobType: `test ${randomUUID()}` }
    const reply = await this.call<JobDocument>('POST', '/jobs', { ...jobType, name: 'a job', ...fields })
    if (reply.status !== 201) throw new Error(`cannot create a job: ${JSON.stringify(reply.body)}`)
    return reply.body
  }

  heartbeat(jobId: string, body: Record<string, unknown> = {}): Promise<Reply<DurableAnswer>> {
    return this.call<DurableAnswer>('POST', `/jobs/${jobId}/heartbeat`, body)
  }

  async job(jobId: string): Promise<JobDocument & { workers: Record<string, unknown>[] }> {
    return (await this.call<JobDocument & { workers: Record<string, unknown>[] }>('GET', `/jobs/${jobId}`)).body
  }

  /** The types of the history's entries, oldest first, without the samples of progress: those depend on time. */
  async history(jobId: string): Promise<string[]> {
    const { body } = await this.call<{ items: { type: string }[] }>('GET', `/jobs/${jobId}/events?pageSize=1000`)
    return body.items.map(event => event.type).filter(type => type !== 'progress')
  }

  /** Moves everything that is known of a job into the past, as if so many seconds had gone by. */
  async age(jobId: string, seconds: number): Promise<void> {
    await this.database.pool.query(
      `UPDATE public.progress_jobs SET heartbeat_at = heartbeat_at - make_interval(secs => $2),
         updated_at = updated_at - make_interval(secs => $2), started_at = started_at - make_interval(secs => $2),
         created_at = created_at - make_interval(secs => $2), finished_at = finished_at - make_interval(secs => $2)
       WHERE id = $1`,
      [jobId, seconds],
    )
    await this.database.pool.query(
      `UPDATE public.job_progress SET heartbeat_at = heartbeat_at - make_interval(secs => $2),
         created_at = created_at - make_interval(secs => $2), rate_since = rate_since - make_interval(secs => $2),
         rate_at = rate_at - make_interval(secs => $2), advanced_at = advanced_at - make_interval(secs => $2),
         late_since = late_since - make_interval(secs => $2)
       WHERE job_id = $1`,
      [jobId, seconds],
    )
  }
}

/**
 * A replica of the service in this process, on a free port of 127.0.0.1; on `database`, or on one of its own. It listens for
 * changes at `listenUrl`, or at the address of the database.
 */
export const startService = async (
  t: Test,
  {
    database,
    log,
    listenUrl,
    ...settings
  }: { database?: TestDatabase; log?: Logger; listenUrl?: string } & Record<string, unknown> = {},
): Promise<Service> => {
  const own = database ?? (await createTestDatabase(t))
  const config = readConfig({
    DATABASE_URL: own.url,
    PORT: '0',
    LOG_LEVEL: 'silent',
    SHUTDOWN_GRACE_SECONDS: '5',
    // A machine that is busy with other tests must not make the service refuse calls of this test.
    MAX_EVENT_LOOP_DELAY_MS: '0',
    // Tests sweep when they want to.
    SWEEP_SCHEDULE: '0 0 1 1 *',
    ...(settings as Record<string, string>),
  })
  const app = await createApp({
    config,
    databaseUrl: own.url,
    listenUrl: listenUrl ?? own.url,
    log: log ?? pino({ level: config.logLevel }),
  })
  const url = await app.listen()
  const service = new Service(own, url, app)
  t.teardown(() => service.close())
  return service
}

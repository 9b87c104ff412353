import pg from 'pg'
import type { HeartbeatAnswer } from '../../src/contract/heartbeat.ts'
import type { JobDocument, WorkerDocument } from '../../src/contract/job.ts'
import { waitFor } from '../helpers/wait.ts'

/** Generous: the machine may be busy with other test files. */
export const until = <T>(condition: () => T | Promise<T>): Promise<NonNullable<T>> =>
  waitFor(condition, { timeoutMs: 20_000 }) as Promise<NonNullable<T>>

interface Reply<Body> {
  status: number
  headers: Headers
  body: Body
  tookMs: number
}

/** One call under /api/progress. */
export const call = async <Body = HeartbeatAnswer & { code: string }>(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<Reply<Body>> => {
  const begun = performance.now()
  const response = await fetch(`${url}/api/progress${path}`, {
    method,
    ...(body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  })
  const answer = (await response.json()) as Body
  return { status: response.status, headers: response.headers, body: answer, tookMs: performance.now() - begun }
}

export const beat = (url: string, jobId: string, body: object) => call(url, 'POST', `/jobs/${jobId}/heartbeat`, body)

export const increment = (url: string, jobId: string, body: object) =>
  call(url, 'POST', `/jobs/${jobId}/increment`, body)

export const createJobs = async (url: string, count: number, heartbeatTimeoutSeconds: number): Promise<string[]> => {
  const replies = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      call<JobDocument>(url, 'POST', '/jobs', { jobType: 'fault', name: `job ${index}`, heartbeatTimeoutSeconds }),
    ),
  )
  return replies.map(({ body }) => body.id)
}

export const readJob = async (url: string, jobId: string) =>
  (await call<JobDocument & { workers: WorkerDocument[] }>(url, 'GET', `/jobs/${jobId}`)).body

/** One statement on a connection of its own, which no fault has touched. */
export const query = async <Row extends object>(url: string, sql: string, values: unknown[] = []): Promise<Row[]> => {
  const client = new pg.Client(url)
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query(sql, values)).rows as Row[]
  } finally {
    await client.end()
  }
}

/** `job/worker` → count, as stored. */
export const readCounts = async (databaseUrl: string, jobIds: string[]): Promise<Map<string, number>> => {
  const rows = await query<{ row: string; count: string }>(
    databaseUrl,
    "SELECT job_id || '/' || worker_id AS row, processed_count AS count FROM public.job_progress WHERE job_id = ANY($1)",
    [jobIds],
  )
  return new Map(rows.map(({ row, count }) => [row, Number(count)]))
}

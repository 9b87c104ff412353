import type pg from 'pg'
import type { Test } from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { openDatabase } from '../../src/database/connection.ts'
import type { Heartbeat } from '../../src/contract/heartbeat.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import { createHeartbeatWrite, type HeartbeatOutcome, type HeartbeatWrite } from '../../src/jobs/heartbeats/write.ts'
import { createTestDatabase } from './database.ts'
import { entryOf } from './entry.ts'

const { tenantId } = OPEN_IDENTITY
const EPOCH_MS = Date.UTC(2030, 0, 1)

/** The state of a job as a reader sees it at a moment. */
export interface Seen {
  percent: number
  processed: number
  total: number | null
  stage: string | null
  /** As of now: `etaSeconds` is as of `updatedAt`, and readers subtract the time since. */
  eta: number | null
  source: string | null
  status: string
}

export interface Sample {
  type: string
  /** Seconds since the beginning of the timeline. */
  at: number
  actor: string | null
  attempt: number
  data: Record<string, unknown>
}

type Row = Record<string, unknown>
type Query = (text: string, values: unknown[]) => Promise<Row[]>

const mustBeDone = (what: string, answer: Row | undefined): void => {
  if (answer?.['code'] !== null) throw new Error(`cannot ${what}: ${JSON.stringify(answer)}`)
}

/** A database whose clock shows what a test says: hours of reports pass in seconds. */
export class Timeline {
  readonly pool: pg.Pool
  /** On the connection whose clock this is. */
  readonly query: Query
  readonly #write: HeartbeatWrite

  constructor(pool: pg.Pool, query: Query, write: HeartbeatWrite) {
    this.pool = pool
    this.query = query
    this.#write = write
  }

  /** Sets the clock to so many seconds after its beginning. */
  async at(seconds: number): Promise<void> {
    await this.query("SELECT set_config('test.now', $1, false)", [this.timeAt(seconds)])
  }

  timeAt(seconds: number): string {
    return new Date(EPOCH_MS + Math.round(seconds * 1000)).toISOString()
  }

  async create(fields: Record<string, unknown> = {}): Promise<string> {
    const job = { tenant_id: tenantId, job_type: 'test', name: 'a job', heartbeat_timeout_seconds: 0, ...fields }
    const text = `SELECT code, document FROM ${FUNCTIONS}.create_job($1, true, NULL, NULL, $2)`
    const [answer] = await this.query(text, [job.tenant_id, JSON.stringify(job)])
    mustBeDone('create', answer)
    return (answer?.['document'] as { id: string }).id
  }

  /** In one flush: at most one report per job and worker. */
  async report(...heartbeats: (Partial<Heartbeat> & { jobId: string })[]): Promise<HeartbeatOutcome[]> {
    const { outcomes, failure } = await this.#write(
      heartbeats.map(heartbeat => entryOf(heartbeat)),
      false,
    )
    if (failure) throw failure.cause as Error
    return outcomes
  }

  async command(jobId: string, command: string, input: Record<string, unknown> = {}): Promise<void> {
    mustBeDone(command, await this.tryCommand(jobId, command, input))
  }

  /** Answers its `code`, which is null when it was done. */
  async tryCommand(jobId: string, command: string, input: Record<string, unknown> = {}): Promise<Row | undefined> {
    const [answer] = await this.query(
      `SELECT code FROM public.progress_jobs j, ${FUNCTIONS}.change_job(j.id, j.tenant_id, true, NULL, NULL, $2, 'someone', $3)
       WHERE j.id = $1`,
      [jobId, command, input],
    )
    return answer
  }

  async see(jobId: string): Promise<Seen> {
    const [row] = await this.query(
      `SELECT progress_percent::float8 AS percent, processed_count::float8 AS processed, total_count::float8 AS total, stage,
         status, eta_source AS source,
         CASE WHEN eta_seconds IS NOT NULL
           THEN greatest(0, eta_seconds - date_part('epoch', ${FUNCTIONS}.clock() - updated_at))::float8 END AS eta
       FROM public.progress_jobs WHERE id = $1`,
      [jobId],
    )
    return row as unknown as Seen
  }

  /** The whole history, or its entries of one type. */
  async history(jobId: string, type?: string): Promise<Sample[]> {
    const rows = await this.query(
      `SELECT type, date_part('epoch', at - $3::timestamptz) AS at, actor, attempt, data FROM public.job_events
       WHERE job_id = $1 AND coalesce(type = $2, true) ORDER BY id`,
      [jobId, type ?? null, new Date(EPOCH_MS).toISOString()],
    )
    return rows as unknown as Sample[]
  }
}

export const startTimeline = async (t: Test): Promise<Timeline> => {
  const { url, pool } = await createTestDatabase(t)
  await pool.query(
    `CREATE OR REPLACE FUNCTION ${FUNCTIONS}.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS
       $$ SELECT current_setting('test.now')::timestamptz $$`,
  )
  // One connection, because the clock is a setting of the session.
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined })
  t.teardown(() => database.close())
  const query = (text: string, values: unknown[]) => database.query<Row>(null, text, values)
  const timeline = new Timeline(pool, query, createHeartbeatWrite(database))
  await timeline.at(0)
  return timeline
}

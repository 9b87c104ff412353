// The least that a durable heartbeat over HTTP can cost: the service's Fastify, and the cheapest write of the two rows in batches.
// It takes the values as they are given. It has no rules, looks nothing up, merges nothing, and answers "stored". A report for a job
// that does not exist is lost without a word.
//
// Rows are as wide as the service's (copies of its tables, filled like them), have the same indexes and the same room on their
// pages, so updates are HOT as well. Constraints and triggers are left out. Connections and batches are as in
// src/jobs/heartbeats/flushes.ts: one flush in flight, a second beside it only with a full batch, `synchronous_commit` on.
import { setImmediate } from 'node:timers'
import pg from 'pg'
import { migrate } from '../../../dist/database/migrate.js'
import { serveCalls, workerOptions } from '../environment/processes.js'
import { serveHeartbeats } from './http.js'

const { databaseUrl, jobs } = workerOptions()

const MAX_BATCH = 500
const MAX_FLUSHES = 2

// Columns that the service computes are plain ones here, because generated ones are not copied.
const TABLES = ['jobs', 'workers'].map((name, n) => {
  const own = ['progress_jobs', 'job_progress'][n]
  return `CREATE TABLE public.floor_${name} (LIKE public.${own} INCLUDING DEFAULTS INCLUDING INDEXES INCLUDING STORAGE)
    WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)`
})

const JOBS = `INSERT INTO public.floor_jobs (tenant_id, job_type, name, status, total_count, own_total_count, remaining_count, unit,
    cancellable, heartbeat_timeout_seconds, started_at, heartbeat_at, advanced_at, liveness, throughput_per_second, eta_seconds,
    eta_source, eta_spread, sampled_at, sampled_percent, lifecycle, lifecycle_revision, revision)
  SELECT '00000000-0000-0000-0000-000000000000', 'import:products', 'Importing products, part ' || n, 'running', 1000000, 1000000,
    1000000, 'rows', true, 0, now(), now(), now(), 'ok', 10, 100000, 'rate', 0.5, now(), 0, 'started', 2, 2
  FROM generate_series(1, $1::integer) AS n RETURNING id`

const WORKERS = `INSERT INTO public.floor_workers (job_id, worker_id, attempt, heartbeat_at, created_at, advanced_at, rate_since,
    rate_at, rate_error, pace_path)
  SELECT id, 'default', 1, now(), now(), now(), now(), now(), 0.5, array_fill(1::real, ARRAY[8]) FROM public.floor_jobs`

/** Both updates in one statement: one round trip, and one commit for the batch. */
const WRITE = {
  name: 'write',
  text: `WITH given AS MATERIALIZED (
      SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS g (job_id, processed_count)
    ), worker AS (
      UPDATE public.floor_workers w SET processed_count = g.processed_count, heartbeat_at = now(), heartbeats = w.heartbeats + 1
      FROM given g WHERE w.job_id = g.job_id AND w.worker_id = 'default'
    )
    UPDATE public.floor_jobs j SET processed_count = g.processed_count, heartbeat_at = now(), updated_at = now(),
      revision = j.revision + 1
    FROM given g WHERE j.id = g.job_id`,
}

await migrate(databaseUrl)
const pool = new pg.Pool({
  connectionString: databaseUrl,
  max: MAX_FLUSHES,
  // A plan for each size of a batch would cost more than the writing.
  options:
    '-c jit=off -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off',
})
for (const statement of TABLES) await pool.query(statement)
const { rows } = await pool.query(JOBS, [jobs])
await pool.query(WORKERS)
await pool.query('VACUUM ANALYZE')

/** Reports that wait, and the requests that wait for them. */
let waiting = []
let flushing = 0
let begun = false

const write = async batch => {
  flushing += 1
  try {
    await pool.query({
      ...WRITE,
      values: [batch.map(({ jobId }) => jobId), batch.map(({ processedCount }) => processedCount)],
    })
    for (const { request } of batch) if (--request.left === 0) request.resolve('stored')
  } catch (error) {
    for (const { request } of batch) request.reject(error)
  } finally {
    flushing -= 1
    flush()
  }
}

const flush = () => {
  while (waiting.length > 0 && (flushing === 0 || (flushing < MAX_FLUSHES && waiting.length >= MAX_BATCH))) {
    const batch = waiting.slice(0, MAX_BATCH)
    waiting = waiting.slice(MAX_BATCH)
    void write(batch)
  }
}

const begin = () => {
  if (begun) return
  begun = true
  setImmediate(() => {
    begun = false
    flush()
  })
}

const store = reports =>
  new Promise((resolve, reject) => {
    const request = { left: reports.length, resolve, reject }
    for (const { jobId, processedCount = 0 } of reports) waiting.push({ jobId, processedCount, request })
    begin()
  })

const origin = await serveHeartbeats((jobId, { processedCount }) => store([{ jobId, processedCount }]), {
  reportAll: store,
  isText: true,
})

serveCalls({ ready: () => ({ origin, ids: rows.map(row => row.id) }) })

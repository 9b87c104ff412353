// The way of the document that Headway began with: each call reads the job, works out percent and ETA, writes it, notifies
// and commits, on a pool of ten connections. Statements are prepared (https://node-postgres.com/features/queries#prepared-statements).
import pg from 'pg'
import { serveCalls, workerOptions } from '../environment/processes.js'
import { serveHeartbeats } from './http.js'

const { databaseUrl, jobs } = workerOptions()
const TENANT = '00000000-0000-0000-0000-000000000000'

const TABLE = `
  CREATE TABLE progress_jobs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), job_type text NOT NULL, name text NOT NULL, description text,
    status text NOT NULL DEFAULT 'pending', progress_percent smallint NOT NULL DEFAULT 0,
    processed_count integer NOT NULL DEFAULT 0, total_count integer, eta_seconds integer, started_by_user_id uuid,
    started_at timestamptz, heartbeat_at timestamptz, finished_at timestamptz, result_summary jsonb, error_message text,
    error_stack text, meta jsonb, cancellable boolean NOT NULL DEFAULT false, cancelled_by_user_id uuid,
    cancel_requested_at timestamptz, parent_job_id uuid, partition_index integer, partition_count integer,
    tenant_id uuid NOT NULL, organization_id uuid, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now());
  CREATE INDEX ON progress_jobs (status, tenant_id);
  CREATE INDEX ON progress_jobs (job_type, tenant_id);
  CREATE INDEX ON progress_jobs (parent_job_id)`

const pool = new pg.Pool({ connectionString: databaseUrl, max: 10 })
await pool.query(TABLE)
const { rows } = await pool.query(
  `INSERT INTO progress_jobs (job_type, name, status, total_count, started_at, tenant_id)
   SELECT 'import:products', 'Importing products, part ' || n, 'running', 1000000, now(), $1
   FROM generate_series(1, $2::integer) AS n RETURNING id`,
  [TENANT, jobs],
)
await pool.query('VACUUM ANALYZE progress_jobs')

const READ = {
  name: 'read',
  text: 'SELECT id, job_type, total_count, started_at FROM progress_jobs WHERE id = $1 AND tenant_id = $2',
}
const WRITE = {
  name: 'write',
  text: `UPDATE progress_jobs SET processed_count = $2, progress_percent = $3, eta_seconds = $4, heartbeat_at = now(), updated_at = now()
    WHERE id = $1`,
}
const NOTIFY = { name: 'notify', text: "SELECT pg_notify('progress', $1)" }

const estimate = (processed, { total_count: total, started_at: since }) => {
  const perMs = processed / Math.max(1, Date.now() - since)
  return perMs > 0 ? Math.min(2_000_000_000, Math.ceil((total - processed) / perMs / 1000)) : null
}

const origin = await serveHeartbeats(async (id, { processedCount = 0 }) => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const found = await client.query({ ...READ, values: [id, TENANT] })
    const job = found.rows[0]
    const progressPercent = Math.min(100, Math.round((100 * processedCount) / job.total_count))
    const etaSeconds = estimate(processedCount, job)
    await client.query({ ...WRITE, values: [id, processedCount, progressPercent, etaSeconds] })
    const event = { jobId: id, jobType: job.job_type, progressPercent, processedCount, etaSeconds, tenantId: TENANT }
    await client.query({ ...NOTIFY, values: [JSON.stringify(event)] })
    await client.query('COMMIT')
    return { jobId: id, status: 'running', progressPercent, processedCount }
  } finally {
    client.release()
  }
})

serveCalls({ ready: () => ({ origin, ids: rows.map(row => row.id) }) })

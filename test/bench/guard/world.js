// A database like that of a service that has run for weeks, and statements counted on their way to it.
import pg from 'pg'
import { openDatabase } from '../../../dist/database/connection.js'
import { migrate } from '../../../dist/database/migrate.js'
import { createHeartbeatWrite } from '../../../dist/jobs/heartbeats/write.js'
import { createRollUp } from '../../../dist/jobs/statistics/roll-up.js'
import { entryOf } from './entry.js'

export const TENANT = '00000000-0000-0000-0000-000000000000'
export const RUNNING = 20_000
/** Webhooks of other tenants, so that nothing but their own statements sees them. */
export const WEBHOOKS = 500
/**
 * Of the last month, and as many of other tenants, which end between them: far more than run. Where a third of all jobs run, the
 * planner is right to scan them all.
 */
const FINISHED = 80_000

const SEED = [
  `INSERT INTO public.progress_jobs (tenant_id, job_type, name, total_count, own_total_count, unit, heartbeat_timeout_seconds,
     status, liveness, started_at, heartbeat_at, created_at, revision, lifecycle, lifecycle_revision)
   SELECT '${TENANT}', 'import:products', 'Importing products, part ' || n, 1000000, 1000000, 'rows', 60,
     'running', 'ok', now() - interval '1 minute', now(), now() - n * interval '1 second', 2, 'started', 2
   FROM generate_series(1, ${RUNNING}) AS n`,
  `INSERT INTO public.job_progress (job_id, worker_id, attempt, heartbeat_at, created_at, rate_since, rate_at)
   SELECT id, 'default', 1, now(), created_at, started_at, started_at FROM public.progress_jobs`,
  `INSERT INTO public.progress_jobs (tenant_id, job_type, name, total_count, own_total_count, processed_count, unit,
     heartbeat_timeout_seconds, status, started_at, heartbeat_at, finished_at, created_at, updated_at, progress_percent,
     revision, lifecycle, lifecycle_revision, started_by_user_id)
   SELECT tenant, 'import:products', 'Importing products of day ' || n, 100, 100, 100, 'rows', 60, 'completed',
     at - interval '10 minutes', at, at, at - interval '11 minutes', at, 100, 5, 'completed', 5,
     CASE WHEN n % 2000 = 0 THEN 'rare' WHEN n % 2 = 0 THEN 'busy' END
   FROM (SELECT n, now() - n * interval '30 seconds' AS at FROM generate_series(1, ${FINISHED}) AS n) AS ends,
     LATERAL (VALUES ('${TENANT}'::uuid), (('00000000-0000-0000-0002-' || lpad((n % 50)::text, 12, '0'))::uuid)) AS owners (tenant)`,
  // A tenth failed, and some were cancelled.
  `UPDATE public.progress_jobs SET status = 'failed', failure_reason = 'worker', progress_percent = 50
   WHERE finished_at IS NOT NULL AND right(name, 1) = '7'`,
  `UPDATE public.progress_jobs SET status = 'cancelled', progress_percent = 50 WHERE finished_at IS NOT NULL AND right(name, 2) = '33'`,
  `INSERT INTO public.job_events (job_id, type, at, attempt)
   SELECT id, type, created_at, 1 FROM public.progress_jobs CROSS JOIN unnest(ARRAY['created', 'started']) AS type
   WHERE finished_at IS NULL`,
  // Ten of each tenant. Two in a hundred deliveries wait, and none is of a job that runs here.
  `INSERT INTO webhooks (tenant_id, url, events, secret, progress_interval_seconds)
   SELECT ('00000000-0000-0000-0001-' || lpad((n % 50)::text, 12, '0'))::uuid, 'https://example.com/', '{completed}', 'whsec_x',
     CASE WHEN n % 10 = 0 THEN 10 END
   FROM generate_series(1, ${WEBHOOKS}) AS n`,
  `INSERT INTO webhook_deliveries (webhook_id, job_id, type, revision, body, due_at, expires_at, status, finished_at)
   SELECT w.id, gen_random_uuid(), 'progress.job.completed', 5, repeat('x', 600), now(), now() + interval '3 days',
     CASE WHEN n <= 4 THEN 'waiting' ELSE 'delivered' END, CASE WHEN n > 4 THEN now() END
   FROM webhooks w CROSS JOIN generate_series(1, 200) AS n`,
  `INSERT INTO webhook_messages (tenant_id, webhook_ids, job_id, type, revision, body)
   SELECT tenant_id, array_agg(id), gen_random_uuid(), 'progress.job.completed', 5, repeat('x', 600)
   FROM webhooks CROSS JOIN generate_series(1, 10) AS n GROUP BY tenant_id, n`,
  // A process that has been there for long, so that the sweeper may judge.
  `INSERT INTO public.service_processes (id, started_at, seen_at, healthy_since)
   VALUES ('${TENANT}', now() - interval '1 day', now() + interval '1 minute', now() - interval '1 day')`,
  'ANALYZE',
]

/** Statements that any connection of this process was given, since `begin`. */
export const statements = {
  all: [],
  begin() {
    this.all = []
  },
  /** Those of the service's own doing: not what the counting itself asks. */
  get texts() {
    return this.all.map(({ text }) => text)
  },
}

/** The client that was asked last. */
let lastAsked = null

const { query } = pg.Client.prototype
pg.Client.prototype.query = function (config, values, ...rest) {
  lastAsked = this
  const text = typeof config === 'string' ? config : config.text
  if (!isUncounted(text)) statements.all.push({ text, values: config.values ?? values ?? [] })
  return query.call(this, config, values, ...rest)
}

/** Transactions and looks at counters that belong to the guard, and pings of the listener. */
const isUncounted = text =>
  /^(BEGIN|ROLLBACK|LOAD|SET|LISTEN|EXPLAIN)\b/.test(text) || text.includes('_ping_') || text.includes('pg_stat_')

const COUNTERS = `SELECT relname, seq_scan::integer AS scans, (seq_tup_read + idx_tup_fetch)::integer AS read,
    (n_tup_ins + n_tup_upd)::integer AS written, (n_tup_upd - n_tup_hot_upd)::integer AS not_hot,
    (pg_stat_get_xact_blocks_fetched(relid) + coalesce((SELECT sum(pg_stat_get_xact_blocks_fetched(indexrelid))
      FROM pg_index WHERE indrelid = relid), 0))::integer AS pages
  FROM pg_stat_xact_user_tables WHERE relname IN ('progress_jobs', 'job_progress', 'job_events', 'webhooks', 'webhook_deliveries', 'webhook_messages',
    'webhook_backlogs')`

const readCounters = async database => {
  const rows = await database.query(null, COUNTERS, [])
  return Object.fromEntries(rows.map(({ relname, ...counts }) => [relname, counts]))
}

const difference = (after, before) =>
  Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - before[name]]))

/** Each running job has reported: its row is as large as it gets. */
const reportAll = async (database, jobIds) => {
  const write = createHeartbeatWrite(database)
  for (let from = 0; from < jobIds.length; from += 1_000) {
    const { failure } = await write(
      jobIds.slice(from, from + 1_000).map(jobId => entryOf({ jobId, processedCount: 1, message: 'Row 1' })),
      false,
    )
    if (failure) throw failure.cause
  }
  await database.query(null, 'VACUUM ANALYZE', [])
}

/** Opens a migrated and filled database on `postgres`. */
export const openWorld = async postgres => {
  const url = await postgres.createDatabase()
  await migrate(url)
  const seed = new pg.Client(url)
  await seed.connect()
  for (const text of SEED) await seed.query(text)
  const { rows } = await seed.query(
    "SELECT id FROM public.progress_jobs WHERE status = 'running' ORDER BY created_at DESC",
  )
  await seed.end()
  const open = poolSize => openDatabase({ url, poolSize, preparedStatements: true, onConnectionError: () => undefined })
  // One connection, so that BEGIN and ROLLBACK enclose what is counted.
  const database = open(1)
  const jobIds = rows.map(row => row.id)
  await reportAll(database, jobIds)
  // The first look notes what is under way, the second one begins when that is over.
  const rollUp = createRollUp({ database, runMs: 60_000 })
  await rollUp()
  if (!(await rollUp())) throw new Error('nothing was rolled up')
  const plans = []
  // https://www.postgresql.org/docs/current/auto-explain.html: shows the plans inside of functions.
  await database.query(
    null,
    `LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
     SET auto_explain.log_level = 'notice'`,
    [],
  )
  lastAsked.on('notice', notice => plans.push(notice.message))

  /**
   * Runs `use` in a transaction that is rolled back, and answers what it did to the tables (Cumulative statistics are of the
   * transaction itself, so no other connection and no clock has a part in them), its statements, and their plans.
   */
  const count = async use => {
    await database.query(null, 'BEGIN', [])
    try {
      const before = await readCounters(database)
      plans.length = 0
      statements.begin()
      await use()
      const sent = [...statements.all]
      const explained = [...plans]
      const after = await readCounters(database)
      const tables = Object.fromEntries(
        Object.entries(after).map(([name, counts]) => [name, difference(counts, before[name])]),
      )
      return { tables, statements: sent, plans: explained }
    } finally {
      await database.query(null, 'ROLLBACK', [])
    }
  }
  return { url, database, open, count, jobIds }
}

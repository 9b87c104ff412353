// A year of a service with many jobs, by SQL: rows first, indexes after them.
import pg from 'pg'
import { FINISHED, RUNNING } from '../lists/fill.js'

export const DAYS = 365
const AT_ONCE = 50_000
/** As many as this machine has cores at least; Postgres sorts for indexes by itself. */
const CONNECTIONS = 2

/**
 * Jobs with what they leave behind: the row of their worker, and three entries of the history (created, started, ended). Of each
 * $5 jobs one has them, and of those that are erased later ($6 rows at the beginning) each.
 */
const WITH_REMAINS = `
  WITH jobs AS (${FINISHED} RETURNING id, created_at, started_at, finished_at, status, children, error_message),
  chosen AS (
    SELECT *, row_number() OVER () AS place FROM jobs
  ),
  kept AS (SELECT * FROM chosen WHERE $1::integer <= $6::integer OR place % $5::integer = 0),
  workers AS (
    INSERT INTO public.job_progress (job_id, worker_id, attempt, processed_count, total_count, message, heartbeat_at, created_at,
      advanced_at, heartbeats, advances, rate_since, rate_at, rate_units, rate_seconds)
    SELECT id, 'default', 1, 1000, 1000, 'Row 1,000 of 1,000', finished_at, started_at, finished_at, 100, 100, started_at, finished_at,
      1000, date_part('epoch', finished_at - started_at)
    FROM kept WHERE children IS NULL AND started_at IS NOT NULL
  )
  INSERT INTO public.job_events (job_id, type, at, attempt, data)
  SELECT id, entry.type, entry.at, 1, entry.data
  FROM kept, LATERAL (VALUES ('created', created_at, '{}'::jsonb), ('started', started_at, '{}'),
    (status, finished_at, jsonb_build_object('progressPercent', 100, 'processedCount', 1000, 'totalCount', 1000))) AS entry (type, at, data)
  WHERE entry.at IS NOT NULL`

/** Indexes that no constraint needs, and how to make them. */
const INDEXES = `
  SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  WHERE i.indrelid IN ('public.progress_jobs'::regclass, 'public.job_events'::regclass, 'public.job_progress'::regclass)
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
  ORDER BY pg_get_indexdef(i.indexrelid) LIKE '%gin%' DESC, c.relname`

const SETTINGS = `SET session_replication_role = 'replica'; SET synchronous_commit = 'off'; SET jit = 'off';
  SET maintenance_work_mem = '512MB'; SET max_parallel_maintenance_workers = 0; SET work_mem = '64MB'`

const onEach = async (url, work) => {
  const clients = Array.from({ length: CONNECTIONS }, () => new pg.Client(url))
  try {
    for (const client of clients) {
      await client.connect()
      await client.query(SETTINGS)
    }
    await Promise.all(clients.map(work))
  } finally {
    for (const client of clients) await client.end()
  }
}

const secondsSince = begunMs => (Date.now() - begunMs) / 1000

/**
 * Fills a migrated database. One job in `sample` has a worker and a history, and so has each of the first `whole` jobs. Answers the
 * seconds that rows, indexes and the first vacuum took.
 */
export const fillYear = async (url, { jobs, sample, whole, log }) => {
  const admin = new pg.Client(url)
  await admin.connect()
  const { rows: indexes } = await admin.query(INDEXES)
  for (const { name } of indexes) await admin.query(`DROP INDEX public."${name}"`)
  const begunMs = Date.now()
  let from = 1
  await onEach(url, async client => {
    while (from <= jobs) {
      const first = from
      from += AT_ONCE
      await client.query(WITH_REMAINS, [first, Math.min(jobs, first + AT_ONCE - 1), jobs, DAYS, sample, whole])
      if ((first - 1) % 1_000_000 === 0 && first > 1)
        log(`  ${first - 1} jobs in ${secondsSince(begunMs).toFixed(0)} s`)
    }
  })
  const rowsSeconds = secondsSince(begunMs)
  const indexesMs = Date.now()
  await onEach(url, async client => {
    for (let next = indexes.shift(); next !== undefined; next = indexes.shift()) {
      const startedMs = Date.now()
      await client.query(next.definition)
      log(`  ${next.name} in ${secondsSince(startedMs).toFixed(0)} s`)
    }
  })
  const indexesSeconds = secondsSince(indexesMs)
  const vacuumMs = Date.now()
  await admin.query(RUNNING)
  await admin.query('VACUUM (ANALYZE, PARALLEL 0) public.progress_jobs, public.job_progress, public.job_events')
  await admin.query('CHECKPOINT')
  await admin.end()
  return { rowsSeconds, indexesSeconds, vacuumSeconds: secondsSince(vacuumMs) }
}

// The service as a process of its own, and the jobs it has.
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { startProgram } from './processes.js'

const MAIN = fileURLToPath(new URL('../../../dist/main.js', import.meta.url))
const NIL_TENANT = '00000000-0000-0000-0000-000000000000'
export const BASE_PATH = '/api/progress'

/**
 * Starts `node dist/main.js` with the defaults, but that no job counts as silent: while another contestant is measured,
 * nobody reports.
 */
export const startService = async (databaseUrl, { settings = {}, execArgv = [] } = {}) => {
  const program = await startProgram(process.execPath, [...execArgv, MAIN], {
    env: { PATH: process.env.PATH, DATABASE_URL: databaseUrl, PORT: '0', STALLED_AFTER_SECONDS: '86400', ...settings },
    ready: /Headway listens on (http:\/\/[^\s,]+)/,
  })
  return { pid: program.pid, origin: program.match[1], stop: program.stop, output: program.output }
}

const INSERT = `INSERT INTO progress_jobs
    (tenant_id, job_type, name, total_count, own_total_count, unit, cancellable, heartbeat_timeout_seconds)
  SELECT $1, 'import:products', 'Importing products, part ' || n, 1000000, 1000000, 'rows', true, 0
  FROM generate_series(1, $2::integer) AS n RETURNING id`

const reportAll = async (origin, heartbeats) => {
  for (let from = 0; from < heartbeats.length; from += 1000) {
    const response = await fetch(`${origin}${BASE_PATH}/heartbeats`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ heartbeats: heartbeats.slice(from, from + 1000) }),
    })
    const { results } = await response.json()
    const refused = results.find(result => !result.durable)
    if (refused) throw new Error(`A job could not be started: ${JSON.stringify(refused)}`)
  }
}

/** Makes running jobs with `workers` workers each; answers their ids. */
export const createRunningJobs = async (databaseUrl, origin, count, workers = ['default']) => {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  try {
    const { rows } = await client.query(INSERT, [NIL_TENANT, count])
    const ids = rows.map(row => row.id)
    await reportAll(
      origin,
      ids.flatMap(jobId => workers.map(workerId => ({ jobId, workerId, processedCount: 0 }))),
    )
    // As on a server that has run for a while: the planner knows how large the tables are.
    await client.query('VACUUM ANALYZE')
    return ids
  } finally {
    await client.end()
  }
}

/** The live documents of jobs, as streams show them. */
export const readLiveDocuments = async (databaseUrl, ids) => {
  const { FUNCTIONS } = await import('../../../dist/database/functions.js')
  const client = new pg.Client(databaseUrl)
  await client.connect()
  try {
    const { rows } = await client.query(
      `SELECT j.id, ${FUNCTIONS}.live_document(j)::text AS json FROM progress_jobs j WHERE j.id = ANY ($1::uuid[])`,
      [ids],
    )
    return rows
  } finally {
    await client.end()
  }
}

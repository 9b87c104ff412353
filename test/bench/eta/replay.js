// Replays traces through the service's own statement, in a database whose clock shows the time of the trace.
import pg from 'pg'
import { openDatabase } from '../../../dist/database/connection.js'
import { FUNCTIONS } from '../../../dist/database/functions.js'
import { migrate } from '../../../dist/database/migrate.js'
import { createHeartbeatWrite } from '../../../dist/jobs/heartbeats/write.js'

const EPOCH_MS = Date.UTC(2030, 0, 1)
const SCOPE = {
  actor: null,
  tenantId: '00000000-0000-0000-0000-000000000000',
  allOrganizations: true,
  organizationId: null,
  jobId: null,
}

const timeAt = seconds => new Date(EPOCH_MS + Math.round(seconds * 1000)).toISOString()

/** What a reader of the job sees: `etaSeconds` is as of `updatedAt`, and readers subtract the time since. */
const READ = `SELECT id, greatest(0, eta_seconds - date_part('epoch', ${FUNCTIONS}.clock() - updated_at))::float8 AS estimate
  FROM public.progress_jobs WHERE id = ANY ($1)`

const createJobs = async (client, traces) => {
  const { rows } = await client.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, total_count, own_total_count, heartbeat_timeout_seconds)
     SELECT $1, 'bench', 'trace', total, total, 300 FROM unnest($2::bigint[]) AS total RETURNING id`,
    [SCOPE.tenantId, traces.map(trace => trace.total)],
  )
  return rows.map(row => row.id)
}

/** Events of all traces that happen at the same time, so that one flush takes them, as it would in a busy service. */
const groupByTime = (traces, ids) => {
  const moments = new Map()
  traces.forEach((trace, n) => {
    for (const event of trace.events) {
      const moment = moments.get(event.at) ?? []
      moment.push({ id: ids[n], event })
      moments.set(event.at, moment)
    }
  })
  return [...moments].sort(([a], [b]) => a - b)
}

const entryOf = ({ id, event }) => ({
  scope: SCOPE,
  heartbeat: { jobId: id, workerId: event.worker, processedCount: event.processed },
  keepHigher: false,
})

const COMMANDS = { start: ['start'], retry: ['fail', 'retry'] }

const change = async (database, id, command) => {
  const [answer] = await database.query(
    null,
    `SELECT code FROM ${FUNCTIONS}.change_job($1, $2, true, NULL, NULL, $3, NULL, $4)`,
    [id, SCOPE.tenantId, command, { errorMessage: 'the trace says so' }],
  )
  if (answer.code !== null) throw new Error(`${command}: ${answer.code}`)
}

/**
 * Gives a map from each report to the estimate that a reader saw after it, in seconds, or null. The database at `url` is
 * migrated and then has its clock replaced: it must be one that is thrown away.
 */
export const replay = async (url, traces) => {
  await migrate(url)
  const setup = new pg.Client(url)
  await setup.connect()
  await setup.query(`CREATE OR REPLACE FUNCTION ${FUNCTIONS}.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT current_setting('bench.now')::timestamptz $$`)
  const ids = await createJobs(setup, traces)
  await setup.end()
  // One connection, because the clock is a setting of the session.
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: console.error })
  const write = createHeartbeatWrite(database)
  const estimates = new Map()
  try {
    for (const [at, moment] of groupByTime(traces, ids)) {
      await database.query('bench_clock', "SELECT set_config('bench.now', $1, false)", [timeAt(at)])
      for (const { id, event } of moment) {
        for (const command of COMMANDS[event.type] ?? []) await change(database, id, command)
      }
      const reports = moment.filter(({ event }) => event.type === 'report')
      if (reports.length === 0) continue
      const { outcomes, failure } = await write(reports.map(entryOf), false)
      if (failure !== null) throw failure.cause
      const refused = outcomes.find(outcome => outcome.kind !== 'written')
      if (refused !== undefined) throw new Error(`A report was not written: ${JSON.stringify(refused)}`)
      const rows = await database.query('bench_read', READ, [reports.map(({ id }) => id)])
      const seen = new Map(rows.map(row => [row.id, row.estimate]))
      for (const { id, event } of reports) estimates.set(event, seen.get(id))
    }
  } finally {
    await database.close()
  }
  return estimates
}

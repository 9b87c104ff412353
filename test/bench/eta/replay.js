// Replays traces through the service's own statement, in a database whose clock shows the time of the trace.
import pg from 'pg'
import { openDatabase } from '../../../dist/database/connection.js'
import { FUNCTIONS } from '../../../dist/database/functions.js'
import { migrate } from '../../../dist/database/migrate.js'
import { endOf } from './former.js'
import { createHeartbeatWrite } from '../../../dist/jobs/heartbeats/write.js'

const EPOCH_MS = Date.UTC(2030, 0, 1)
/** Earlier runs come this long before. */
const FORMER_MS = 365 * 86_400_000
const SCOPE = {
  actor: null,
  tenantId: '00000000-0000-0000-0000-000000000000',
  allOrganizations: true,
  organizationId: null,
  jobId: null,
}

/** What a reader of the job sees: times are as of `updatedAt`, and readers subtract the time since. */
const READ = `SELECT id, greatest(0, eta_seconds - since)::float8 AS estimate,
    greatest(0, ${FUNCTIONS}.eta_low_seconds(j) - since)::float8 AS low,
    greatest(0, ${FUNCTIONS}.eta_high_seconds(j) - since)::float8 AS high
  FROM public.progress_jobs j CROSS JOIN LATERAL (SELECT date_part('epoch', ${FUNCTIONS}.clock() - updated_at) AS since) s
  WHERE id = ANY ($1)`

/** `runs` are `{ jobType, total, events }`. */
const createJobs = async (database, runs) => {
  const rows = await database.query(
    null,
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, total_count, own_total_count, heartbeat_timeout_seconds)
     SELECT $1, type, 'trace', total, total, 300 FROM unnest($2::text[], $3::bigint[]) AS r (type, total) RETURNING id`,
    [SCOPE.tenantId, runs.map(({ jobType }) => jobType), runs.map(({ total }) => total)],
  )
  return rows.map(row => row.id)
}

/** Events of all runs that happen at the same time, so that one flush takes them, as it would in a busy service. */
const groupByTime = (runs, ids) => {
  const moments = new Map()
  const add = (n, event) => {
    const moment = moments.get(event.at) ?? []
    moment.push({ id: ids[n], event })
    moments.set(event.at, moment)
  }
  runs.forEach(({ events, end }, n) => {
    for (const event of events) add(n, event)
    if (end !== undefined) add(n, { at: end, type: 'complete' })
  })
  return [...moments].sort(([a], [b]) => a - b)
}

const entryOf = ({ id, event }) => ({
  scope: SCOPE,
  heartbeat: {
    jobId: id,
    workerId: event.worker,
    processedCount: event.processed,
    ...(event.total !== undefined && { totalCount: event.total }),
  },
  keepHigher: false,
})

const COMMANDS = { start: ['start'], retry: ['fail', 'retry'], complete: ['complete'] }

const change = async (database, id, command) => {
  const [answer] = await database.query(
    null,
    `SELECT code FROM ${FUNCTIONS}.change_job($1, $2, true, NULL, NULL, $3, NULL, $4)`,
    [id, SCOPE.tenantId, command, command === 'fail' ? { errorMessage: 'the trace says so' } : {}],
  )
  if (answer.code !== null) throw new Error(`${command}: ${answer.code}`)
}

/** Runs all events in order of time. `see` gets each report and what a reader saw after it; without it nothing is read. */
const run = async (database, runs, epochMs, see) => {
  const write = createHeartbeatWrite(database)
  const ids = await createJobs(database, runs)
  for (const [at, moment] of groupByTime(runs, ids)) {
    const now = new Date(epochMs + Math.round(at * 1000)).toISOString()
    await database.query('bench_clock', "SELECT set_config('bench.now', $1, false)", [now])
    const changeAll = async types => {
      for (const { id, event } of moment) {
        if (!types.includes(event.type)) continue
        for (const command of COMMANDS[event.type]) await change(database, id, command)
      }
    }
    await changeAll(['start', 'retry'])
    const reports = moment.filter(({ event }) => event.type === 'report')
    if (reports.length > 0) {
      const { outcomes, failure } = await write(reports.map(entryOf), false)
      if (failure !== null) throw failure.cause
      const refused = outcomes.find(outcome => outcome.kind !== 'written')
      if (refused !== undefined) throw new Error(`A report was not written: ${JSON.stringify(refused)}`)
    }
    await changeAll(['complete'])
    if (see === undefined || reports.length === 0) continue
    const rows = await database.query('bench_read', READ, [reports.map(({ id }) => id)])
    const seen = new Map(rows.map(row => [row.id, row]))
    for (const { id, event } of reports) see(event, seen.get(id))
  }
}

/**
 * Gives a map from each report to what a reader saw after it, in seconds: `{ estimate, low, high }`, each a number or null. The
 * earlier runs of a trace (`former`) run before it, as jobs of the same type. The database at `url` is migrated and then has its
 * clock replaced: it must be one that is thrown away.
 */
export const replay = async (url, traces) => {
  await migrate(url)
  const setup = new pg.Client(url)
  await setup.connect()
  await setup.query(`CREATE OR REPLACE FUNCTION ${FUNCTIONS}.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    $$ SELECT current_setting('bench.now')::timestamptz $$`)
  await setup.end()
  // One connection, because the clock is a setting of the session.
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: console.error })
  const types = traces.map((_, n) => `trace ${n} of ${Date.now()}`)
  const estimates = new Map()
  try {
    const former = traces.flatMap(({ former = [] }, n) =>
      former.map(({ total, events, end }) => ({
        jobType: types[n],
        total,
        events,
        end: endOf({ events, end }),
      })),
    )
    if (former.length > 0) {
      await run(database, former, EPOCH_MS - FORMER_MS)
      await database.query(null, `SELECT ${FUNCTIONS}.learn_recent($1, 1000000)`, [new Date(0)])
    }
    const runs = traces.map(({ total, events }, n) => ({ jobType: types[n], total, events }))
    await run(database, runs, EPOCH_MS, (event, seen) => estimates.set(event, seen))
  } finally {
    await database.close()
  }
  return estimates
}

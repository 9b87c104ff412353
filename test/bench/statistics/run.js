// How long statistics take beside many finished jobs, before and after they are rolled up, and how long the roll-up takes:
// `npm run bench:statistics -- --jobs 1000000`. `--database <url>` measures a database that `npm run bench:lists -- --keep` has
// filled.
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { build } from '../environment/build.js'
import { startPostgres } from '../environment/postgres.js'
import { fill, LARGE_TENANT, SMALL_ORGANIZATION, SMALL_TENANT } from '../lists/fill.js'
import { rollUpAll } from './roll-up.js'

const DAY_MS = 86_400_000
const DAYS = [1, 7, 30, 90, 366]
/** One of the twenty organizations of the large tenant. */
const ORGANIZATION = '00000000-0000-0000-0001-000000000005'

const scope = { actor: null, tenantId: LARGE_TENANT, allOrganizations: true, organizationId: null, jobId: null }
const SCOPES = [
  ['a tenant with half of all jobs', scope],
  ['one of its 20 organizations', { ...scope, allOrganizations: false, organizationId: ORGANIZATION }],
  ['an organization with few jobs', { ...scope, allOrganizations: false, organizationId: SMALL_ORGANIZATION }],
  ['one of 49 other tenants', { ...scope, tenantId: SMALL_TENANT }],
]
const SERIES = [
  [7, 'hour'],
  [41, 'hour'],
  [30, 'day'],
  [90, 'day'],
  [366, 'day'],
  [366, 'week'],
]

const timesOf = async (read, times) => {
  const taken = []
  for (let n = 0; n < times; n += 1) {
    const begun = performance.now()
    await read()
    taken.push(performance.now() - begun)
  }
  taken.sort((a, b) => a - b)
  return { median: taken[Math.floor(taken.length / 2)], p95: taken[Math.ceil(taken.length * 0.95) - 1] }
}

const shown = ({ median, p95 }) => `${median.toFixed(1).padStart(8)} ${p95.toFixed(1).padStart(8)}`

const sinceOf = days => new Date(Date.now() - days * DAY_MS + 1000)

const measure = async (repository, times) => {
  console.log('\n  median      p95   ms')
  for (const [name, of] of SCOPES) {
    for (const days of DAYS) {
      const taken = await timesOf(() => repository.statistics(of, { since: sinceOf(days) }), times)
      console.log(`${shown(taken)}   ${days} days, ${name}`)
    }
  }
  for (const [days, bucket] of SERIES) {
    const taken = await timesOf(() => repository.statistics(scope, { since: sinceOf(days), bucket }), times)
    console.log(`${shown(taken)}   ${days} days by ${bucket}, ${SCOPES[0][0]}`)
  }
}

/** Alarms of the jobs that ended for their silence: the lists, which this data was made for, do not read them. */
const addAlarms = `
  INSERT INTO public.job_events (job_id, type, at, attempt, data)
  SELECT id, 'failed', finished_at, 1, '{"failureReason": "stale"}' FROM public.progress_jobs
  WHERE failure_reason = 'stale' AND NOT EXISTS (SELECT FROM public.job_events)`

const SIZES = `
  SELECT level, count(*)::integer AS rows, round(sum(pg_column_size(r.*)) / 1048576.0, 1) AS mb
  FROM public.statistics_rollups r GROUP BY level ORDER BY level`

const rollUp = async database => {
  const { seconds, pieces } = await rollUpAll(database)
  console.log(`\nrolled up in ${seconds.toFixed(1)} s of work, ${pieces} pieces`)
  for (const { level, rows, mb } of await database.query(null, SIZES, []))
    console.log(`${String(rows).padStart(9)} rows ${mb} MB  ${level}`)
  const [total] = await database.query(
    null,
    `SELECT round(pg_total_relation_size('public.statistics_rollups') / 1048576.0, 1) AS rollups,
       round(pg_total_relation_size('public.progress_jobs') / 1048576.0, 1) AS jobs`,
    [],
  )
  console.log(`${total.rollups} MB with indexes, beside ${total.jobs} MB of jobs`)
}

/** The counts are those of the former statement, and the medians near its medians. */
const compare = async (database, repository, readFormer, functions, times) => {
  console.log('\n  median      p95   ms, by one statement over the jobs')
  for (const [name, of] of SCOPES) {
    for (const days of DAYS) {
      const [since, until] = [sinceOf(days), new Date()]
      let former = []
      const taken = await timesOf(async () => (former = await readFormer(database, functions, of, since, until)), times)
      console.log(`${shown(taken)}   ${days} days, ${name}`)
      const { types } = await repository.statistics(of, { since, until })
      let furthest = 0
      for (const [n, type] of types.entries()) {
        const exact = former[n]
        for (const count of ['jobType', 'completed', 'failed', 'cancelled', 'stale', 'recovered', 'late']) {
          if (type[count] !== exact?.[count])
            throw new Error(
              `${name}, ${days} days: ${count} of ${type.jobType} is ${type[count]}, not ${exact?.[count]}`,
            )
        }
        for (const [place, given] of [type.durationSeconds.p50, type.durationSeconds.p95].entries()) {
          if (given !== null) furthest = Math.max(furthest, Math.abs(given / exact.seconds[place] - 1))
        }
      }
      console.log(`                     percentiles differ by ${(100 * furthest).toFixed(2)} % at most`)
    }
  }
}

const main = async () => {
  const { values } = parseArgs({
    options: {
      jobs: { type: 'string', default: '1000000' },
      times: { type: 'string', default: '20' },
      database: { type: 'string' },
    },
  })
  build()
  const { migrate } = await import('../../../dist/database/migrate.js')
  const { openDatabase } = await import('../../../dist/database/connection.js')
  const { FUNCTIONS } = await import('../../../dist/database/functions.js')
  const { createJobRepository } = await import('../../../dist/jobs/repository.js')
  const { readFormer } = await import('./former.js')
  const postgres = values.database === undefined ? await startPostgres() : null
  const url = values.database ?? (await postgres.createDatabase())
  const times = Number(values.times)
  let database
  try {
    await migrate(url)
    if (postgres) {
      await fill(url, Number(values.jobs))
      const client = new pg.Client(url)
      await client.connect()
      await client.query("SET session_replication_role = 'replica'")
      await client.query(addAlarms)
      await client.query('VACUUM ANALYZE public.job_events')
      await client.end()
      console.log(`${values.jobs} jobs, PostgreSQL ${postgres.version}`)
    }
    database = openDatabase({ url, poolSize: 2, preparedStatements: true, onConnectionError: () => undefined })
    const repository = createJobRepository(database)
    await rollUp(database)
    await measure(repository, times)
    await compare(database, repository, readFormer, FUNCTIONS, Math.min(5, times))
  } finally {
    await database?.close()
    await postgres?.stop()
  }
}

await main()
process.exit()

// A year simulated: what callers wait for beside ten million jobs, and while a tenth of them is erased.
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { residentBytes } from '../environment/processes.js'
import { BASE_PATH, startService } from '../environment/service.js'
import { mint, SECRET } from '../environment/tokens.js'
import { LARGE_TENANT, SMALL_TENANT } from '../lists/fill.js'
import { startLoad } from '../load/load.js'
import { rollUpAll } from '../statistics/roll-up.js'
import { DAYS, fillYear } from '../year/fill.js'
import { LISTS, SEARCHES, STATISTICS } from '../year/paths.js'

const STREAMS = 20
/** Of ten million jobs, the million that finished first: their retention is over. */
const ERASED = 0.1
const RATES = { heartbeats: 200, jobs: 10, reads: 10, statistics: 0.5 }
/** So long retention is watched; what is left after that is said. */
const RETENTION_WATCHED_MS = 1_800_000

/** The cron expression, with seconds, of one moment. */
const momentOf = date =>
  `${date.getSeconds()} ${date.getMinutes()} ${date.getHours()} ${date.getDate()} ${date.getMonth() + 1} *`

const SIZES = `
  SELECT c.relname AS name, pg_relation_size(c.oid)::float8 / 1e6 AS mb, t.relname AS of
  FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid)
  WHERE t.relname IN ('progress_jobs', 'job_progress', 'job_events') AND t.relnamespace = 'public'::regnamespace
  ORDER BY t.relname, c.relkind DESC, 2 DESC`

const ACTIVE_IDS = `SELECT id FROM public.progress_jobs
  WHERE tenant_id = $1 AND finished_at IS NULL AND status = 'running' ORDER BY id LIMIT 1000`

const EXPIRED = `SELECT EXISTS (SELECT FROM public.progress_jobs
  WHERE finished_at < now() - make_interval(days => $1) AND parent_job_id IS NULL) AS "any"`

const HOW_MANY_EXPIRED = `SELECT count(*)::integer AS count FROM public.progress_jobs
  WHERE finished_at < now() - make_interval(days => $1)`

/** MB that processes have for themselves: shared buffers are not counted for each of them (proc_pid_smaps(5)). */
const privateMb = pids =>
  pids.reduce((sum, pid) => {
    try {
      const [, kilobytes] = /^Pss_Anon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')) ?? [
        null,
        '0',
      ]
      return sum + Number(kilobytes) / 1000
    } catch {
      return sum
    }
  }, 0)

const figure = value => (value === null ? '' : value.toFixed(value < 100 ? 1 : 0))

const rowsOf = ({ kinds }) =>
  [...kinds]
    .sort((a, b) => (a.kind < b.kind ? -1 : 1))
    .map(({ kind, calls, refused, p50Ms, p95Ms, p99Ms, maxMs }) => [
      kind,
      String(calls),
      String(refused),
      ...[p50Ms, p95Ms, p99Ms, maxMs].map(figure),
    ])

const readSizes = async client => (await client.query(SIZES)).rows

const sizeRows = (before, after) => {
  const later = new Map(after.map(({ name, mb }) => [name, mb]))
  return before.map(({ name, mb }) => [name, figure(mb), figure(later.get(name) ?? 0)])
}

const countExpired = async (client, days) => (await client.query(HOW_MANY_EXPIRED, [days])).rows[0].count

/** Waits until retention has erased all, or for as long as it is watched; answers the seconds that it took. */
const waitForRetention = async (client, days, begins) => {
  await delay(Math.max(0, begins - Date.now()))
  const begunMs = performance.now()
  while ((await client.query(EXPIRED, [days])).rows[0].any && performance.now() - begunMs < RETENTION_WATCHED_MS)
    await delay(1_000)
  return (performance.now() - begunMs) / 1000
}

const header = ['call', 'calls', 'refused', 'p50', 'p95', 'p99', 'max']

const measure = async ({ databaseUrl, postgres, load, readers, client, seconds, log }) => {
  const days = Math.round(DAYS * (1 - ERASED))
  const begins = new Date(Math.ceil((Date.now() + seconds * 1000 + 20_000) / 1000) * 1000)
  const startedMs = performance.now()
  const service = await startService(databaseUrl, {
    settings: { AUTH_JWT_SECRET: SECRET, RETENTION_DAYS: String(days), RETENTION_SCHEDULE: momentOf(begins) },
  })
  const startMs = performance.now() - startedMs
  try {
    const tokens = await Promise.all([LARGE_TENANT, SMALL_TENANT].map(tenant => mint(tenant, 'bench', ['progress.*'])))
    const { rows } = await client.query(ACTIVE_IDS, [LARGE_TENANT])
    const stream = {
      origin: service.origin,
      path: `${BASE_PATH}/stream`,
      headers: `authorization: Bearer ${tokens[0]}\r\n`,
    }
    await readers.call('openStreams', { ...stream, count: STREAMS, reopen: true })
    const memory = [
      ['after the start', residentBytes(service.pid) / 1e6, privateMb(await postgres.backends(databaseUrl))],
    ]
    await load.call('startYear', {
      origin: service.origin,
      basePath: BASE_PATH,
      tokens,
      jobIds: rows.map(row => row.id),
      rates: RATES,
      reads: [...LISTS, ...SEARCHES],
      statistics: STATISTICS,
    })
    await delay(Math.max(0, begins.getTime() - Date.now() - 500))
    const quiet = await load.call('sampleYear')
    memory.push(['under load', residentBytes(service.pid) / 1e6, privateMb(await postgres.backends(databaseUrl))])
    const before = await readSizes(client)
    const expired = await countExpired(client, days)
    const retentionSeconds = await waitForRetention(client, days, begins.getTime())
    const erasing = await load.call('sampleYear')
    const left = await countExpired(client, days)
    const retention = `Retention erased ${(expired - left).toLocaleString('en')} of ${expired.toLocaleString('en')} jobs in ${retentionSeconds.toFixed(0)} s`
    memory.push(['while erasing', residentBytes(service.pid) / 1e6, privateMb(await postgres.backends(databaseUrl))])
    log(`  ${retention}, longest pause of heartbeats ${erasing.longestPauseMs.toFixed(0)} ms`)
    await load.call('stopYear')
    await readers.call('closeStreams')
    return { startMs, quiet, erasing, before, retention, memory }
  } finally {
    await service.stop()
  }
}

/** A service that lived through the year has rolled up what is over. */
const rollUp = async url => {
  const { openDatabase } = await import('../../../dist/database/connection.js')
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined })
  try {
    return await rollUpAll(database)
  } finally {
    await database.close()
  }
}

export const year = {
  name: 'year',
  title:
    'ten million jobs of a year (`--jobs`), a mixed load on top for five minutes (`--load`), and the retention of a tenth',
  async run({ postgres, jobs, loadSeconds, sample, log }) {
    const { migrate } = await import('../../../dist/database/migrate.js')
    const databaseUrl = await postgres.createDatabase()
    await migrate(databaseUrl)
    const whole = Math.ceil(jobs * (ERASED + 0.01))
    const filled = await fillYear(databaseUrl, { jobs, sample, whole, log })
    log(
      `  rows in ${filled.rowsSeconds.toFixed(0)} s, indexes in ${filled.indexesSeconds.toFixed(0)} s, vacuum in ${filled.vacuumSeconds.toFixed(0)} s`,
    )
    const rolledUp = await rollUp(databaseUrl)
    log(`  statistics rolled up in ${rolledUp.seconds.toFixed(0)} s, ${rolledUp.pieces} pieces`)
    const load = await startLoad()
    const readers = await startLoad()
    const client = new pg.Client(databaseUrl)
    await client.connect()
    try {
      const found = await measure({ databaseUrl, postgres, load, readers, client, seconds: loadSeconds, log })
      await client.query('VACUUM public.progress_jobs, public.job_progress, public.job_events')
      const after = await readSizes(client)
      const sentence =
        `${jobs.toLocaleString('en')} jobs of 50 tenants, one of which has half; one in ${sample} has its worker and history, ` +
        `and each that is erased. Statistics were rolled up in ${rolledUp.seconds.toFixed(0)} s of work before. The service started in ${(found.startMs / 1000).toFixed(1)} s. ` +
        `${found.retention}; the longest time without the answer to a heartbeat was ` +
        `${figure(found.quiet.longestPauseMs)} ms before and ${figure(found.erasing.longestPauseMs)} ms meanwhile, of ${RATES.heartbeats} a second.`
      const tables = [
        { title: 'Under load, ms', header, rows: rowsOf(found.quiet) },
        { title: 'While retention erases, ms', header, rows: rowsOf(found.erasing) },
        {
          title: 'Sizes, MB',
          header: ['table or index', 'before', 'after retention and vacuum'],
          rows: sizeRows(found.before, after),
        },
        {
          title: 'Memory, MB',
          header: ['when', 'service', 'connections of the database, without shared buffers'],
          rows: found.memory.map(([when, ...values]) => [when, ...values.map(figure)]),
        },
      ]
      return { sentence, tables }
    } finally {
      await client.end()
      await readers.stop()
      await load.stop()
      await postgres.dropDatabase(databaseUrl)
    }
  },
}

// Whether the service stays as it is: a mixed load at half of the peak, looked at every ten seconds.
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { residentBytes } from '../environment/processes.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { median, percentile } from '../load/statistics.js'
import { reportInBulk } from './heartbeats-bulk.js'

const JOBS = 4_000
const SUBSCRIBERS = 50
const SAMPLE_MS = 10_000
/** A quarter of each peak is half of what the machine can do. */
const SHARE = 0.25

const SIZES = `SELECT c.relname AS name, pg_relation_size(c.oid)::float8 AS bytes, pg_indexes_size(c.oid)::float8 AS index_bytes,
    s.n_dead_tup::float8 AS dead, s.n_tup_upd::float8 AS updates, s.n_tup_hot_upd::float8 AS hot
  FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
  WHERE c.relname IN ('progress_jobs', 'job_progress', 'job_events')`

/**
 * What is judged: flat, if its median in the last third is at most `factor` times that in the third before, or larger by
 * less than `slack`. The first third is for caches, heaps and tables to find their size.
 */
const JUDGED = [
  { key: 'residentMb', name: 'resident memory, MB', factor: 1.1, slack: 10 },
  { key: 'jobsMb', name: 'progress_jobs, MB', factor: 1.1, slack: 1 },
  { key: 'workersMb', name: 'job_progress, MB', factor: 1.1, slack: 1 },
  { key: 'indexMb', name: 'indexes of both, MB', factor: 1.1, slack: 1 },
  { key: 'dead', name: 'dead tuples of both', factor: 1.5, slack: 2_000 },
  { key: 'p50Ms', name: 'p50 of a heartbeat, ms', factor: 1.5, slack: 2 },
  { key: 'p99Ms', name: 'p99 of a heartbeat, ms', factor: 1.5, slack: 10 },
]
/** Larger with every entry of the history, and meant to be. */
const SHOWN = [
  { key: 'eventsMb', name: 'job_events with its indexes, MB' },
  { key: 'hot', name: 'HOT updates, %' },
  { key: 'heartbeats', name: 'heartbeats/s' },
]

const findRates = async (load, origin, ids, { warmupSeconds, seconds, log }) => {
  const keys = ids.map(jobId => ({ jobId }))
  const options = { origins: [origin], keys, basePath: BASE_PATH, warmupSeconds, seconds }
  const http = await load.call('heartbeats', { ...options, connections: 64 })
  const bulk = await reportInBulk(load, [origin], keys, { warmupSeconds, seconds })
  const rates = {
    heartbeats: Math.round(http.perSecond * SHARE),
    bulks: Math.max(1, Math.round((bulk.perSecond * SHARE) / 500)),
    jobs: 5,
    reads: 10,
  }
  log(
    `  peaks: ${Math.round(http.perSecond)} one by one, ${Math.round(bulk.perSecond)} in bulks; ` +
      `load: ${rates.heartbeats} one by one and ${rates.bulks * 500} in bulks a second`,
  )
  return rates
}

const readTables = async client => {
  const { rows } = await client.query(SIZES)
  const [jobs, workers, events] = ['progress_jobs', 'job_progress', 'job_events'].map(name =>
    rows.find(row => row.name === name),
  )
  return {
    jobsMb: jobs.bytes / 1e6,
    workersMb: workers.bytes / 1e6,
    indexMb: (jobs.index_bytes + workers.index_bytes) / 1e6,
    eventsMb: (events.bytes + events.index_bytes) / 1e6,
    dead: jobs.dead + workers.dead,
    updates: jobs.updates + workers.updates,
    hotUpdates: jobs.hot + workers.hot,
  }
}

const watch = async ({ client, load, pid, minutes, log }) => {
  const samples = []
  const begun = performance.now()
  let before = await readTables(client)
  await load.call('sampleMixed')
  for (let n = 1; n <= Math.max(6, minutes * 6); n += 1) {
    await delay(Math.max(0, begun + n * SAMPLE_MS - performance.now()))
    const tables = await readTables(client)
    const { heartbeats, p50Ms, p99Ms } = await load.call('sampleMixed')
    const updates = tables.updates - before.updates
    const sample = {
      ...tables,
      minute: (n * SAMPLE_MS) / 60_000,
      residentMb: residentBytes(pid) / 1e6,
      hot: updates > 0 ? (100 * (tables.hotUpdates - before.hotUpdates)) / updates : 100,
      heartbeats: heartbeats / (SAMPLE_MS / 1000),
      p50Ms: p50Ms ?? 0,
      p99Ms: p99Ms ?? 0,
    }
    before = tables
    samples.push(sample)
    if (n % 6 === 0) {
      const { residentMb, heartbeats: rate, p99Ms: p99, jobsMb } = sample
      log(
        `  minute ${n / 6}: ${residentMb.toFixed(0)} MB, ${rate.toFixed(0)} heartbeats/s, p99 ${p99.toFixed(1)} ms, jobs ${jobsMb.toFixed(1)} MB`,
      )
    }
  }
  return samples
}

const thirdOf = (samples, third, key) => {
  const length = Math.floor(samples.length / 3)
  return median(samples.slice(third * length, (third + 1) * length).map(sample => sample[key]))
}

const judge = samples =>
  JUDGED.map(({ key, name, factor, slack }) => {
    const [first, second, last] = [0, 1, 2].map(third => thirdOf(samples, third, key))
    return { key, name, first, second, last, flat: last <= Math.max(second * factor, second + slack) }
  })

const figure = value => value.toFixed(value < 100 ? 1 : 0)

const tableOf = (samples, judged) => [
  ...judged.map(({ name, first, second, last, flat }) => [
    name,
    figure(first),
    figure(second),
    figure(last),
    flat ? 'yes' : '**no**',
  ]),
  ...SHOWN.map(({ key, name }) => [name, ...[0, 1, 2].map(third => figure(thirdOf(samples, third, key))), '']),
]

const plot = (samples, writePlot) => {
  const of = (name, key) => ({ name, points: samples.map(sample => [sample.minute, sample[key]]) })
  const axis = { xTitle: 'minutes' }
  writePlot('steady-size.svg', {
    ...axis,
    title: 'Size under a steady load',
    yTitle: 'MB',
    series: [
      of('resident memory', 'residentMb'),
      of('progress_jobs', 'jobsMb'),
      of('job_progress', 'workersMb'),
      of('indexes', 'indexMb'),
      of('job_events', 'eventsMb'),
    ],
  })
  writePlot('steady-latency.svg', {
    ...axis,
    title: 'Latency of a heartbeat under a steady load',
    yTitle: 'ms',
    series: [of('p50', 'p50Ms'), of('p99', 'p99Ms')],
  })
  return [
    { title: 'Size under a steady load', file: 'steady-size.svg' },
    { title: 'Latency under a steady load', file: 'steady-latency.svg' },
  ]
}

export const steady = {
  name: 'steady',
  title: 'mixed load at half of the peak for `--minutes` minutes: does anything grow?',
  async run(context) {
    const load = await startLoad()
    const readers = await startLoad()
    const databaseUrl = await context.postgres.createDatabase()
    const service = await startService(databaseUrl)
    const client = new pg.Client(databaseUrl)
    await client.connect()
    try {
      const ids = await createRunningJobs(databaseUrl, service.origin, JOBS)
      const rates = await findRates(load, service.origin, ids, context)
      const stream = { origin: service.origin, path: `${BASE_PATH}/stream` }
      await readers.call('openStreams', { ...stream, count: SUBSCRIBERS, reopen: true })
      await load.call('startMixed', { origin: service.origin, basePath: BASE_PATH, jobIds: ids, rates })
      const samples = await watch({ ...context, client, load, pid: service.pid })
      await load.call('stopMixed')
      await readers.call('closeStreams')
      const judged = judge(samples)
      const grows = judged.filter(({ flat }) => !flat).map(({ name }) => name)
      const sentence = grows.length === 0 ? 'Verdict: flat.' : `Verdict: NOT flat: ${grows.join('; ')}.`
      const p99 = percentile(
        samples.map(sample => sample.p99Ms),
        0.5,
      )
      context.log(`  ${sentence} Median of the p99s: ${p99.toFixed(1)} ms`)
      return {
        minutes: context.minutes,
        rates,
        verdict: sentence,
        header: ['median of', 'first third', 'second third', 'last third', 'flat'],
        rows: tableOf(samples, judged),
        plots: plot(samples, context.plot),
      }
    } finally {
      await client.end()
      await service.stop()
      await readers.stop()
      await load.stop()
    }
  },
}

// How the figures change with the number of jobs, workers, subscribers and replicas.
import { cpuSeconds } from '../environment/processes.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { median } from '../load/statistics.js'
import { perSecond } from '../rounds.js'
import { deliver } from './fan-out.js'
import { reportInBulk } from './heartbeats-bulk.js'

const JOBS = [1_000, 10_000, 100_000]
const WORKERS = [1, 10, 100]
const SUBSCRIBERS = [10, 1_000, 10_000]
const REPLICAS = [1, 2]
/** Of the series over workers: as many in each, on fewer and fewer jobs. */
const KEYS = 2_000
const CONNECTIONS = 64

const number = new Intl.NumberFormat('en')

/** Runs `use` with replicas on a database of their own, and with jobs. */
const withServices = async ({ postgres }, { replicas = 1, jobs, workers }, use) => {
  const databaseUrl = await postgres.createDatabase()
  const services = []
  try {
    for (let n = 0; n < replicas; n += 1) services.push(await startService(databaseUrl))
    const ids = await createRunningJobs(databaseUrl, services[0].origin, jobs, workers)
    return await use({ origins: services.map(service => service.origin), services, ids })
  } finally {
    for (const service of services) await service.stop()
    await postgres.dropDatabase(databaseUrl)
  }
}

const overHttp = (load, origins, keys, { seconds, warmupSeconds, connections = CONNECTIONS }) =>
  load.call('heartbeats', { origins, connections, keys, basePath: BASE_PATH, seconds, warmupSeconds })

const inTurns = async (rounds, measure) => {
  const results = []
  for (let round = 0; round < rounds; round += 1) results.push(await measure())
  return Object.fromEntries(Object.keys(results[0]).map(key => [key, median(results.map(result => result[key]))]))
}

const ms = value => `${value.toFixed(1)} ms`

/** One measurement of everything that a number of jobs or replicas may change. */
const measureAll = async (context, load, { origins, services, ids }) => {
  const keys = ids.map(jobId => ({ jobId }))
  const { perSecond: http, p99Ms } = await overHttp(load, origins, keys, context)
  const { perSecond: bulk } = await reportInBulk(load, origins, keys, context)
  const before = cpuSeconds(services[0].pid)
  const { p99Ms: latencyMs } = await load.call('latency', {
    origin: origins[0],
    readOrigin: origins.at(-1),
    basePath: BASE_PATH,
    jobIds: ids.slice(0, 20),
    seconds: context.seconds,
  })
  const idleCpu = (cpuSeconds(services[0].pid) - before) / context.seconds
  return { http, p99Ms, bulk, latencyMs, idleCpu }
}

const rowOf = (name, { http, p99Ms, bulk, latencyMs }) => [
  name,
  perSecond(http),
  ms(p99Ms),
  perSecond(bulk),
  ms(latencyMs),
]
const HEADER = ['', 'heartbeats over HTTP', 'their p99', 'in bulks of 500', 'p99 from POST to event']

const overJobs = async (context, load) => {
  const results = []
  for (const jobs of JOBS) {
    const result = await withServices(context, { jobs }, parts =>
      inTurns(context.rounds, () => measureAll(context, load, parts)),
    )
    context.log(`  ${number.format(jobs)} jobs: ${perSecond(result.http)}, in bulks ${perSecond(result.bulk)}`)
    results.push([jobs, result])
  }
  context.plot('growth-jobs.svg', {
    title: 'Heartbeats per second by running jobs',
    xTitle: 'running jobs (logarithmic)',
    yTitle: 'heartbeats/s',
    logarithmic: true,
    series: [
      { name: 'one per request', points: results.map(([x, { http }]) => [x, http]) },
      { name: 'in bulks of 500', points: results.map(([x, { bulk }]) => [x, bulk]) },
    ],
  })
  const rows = results.map(([jobs, result]) => rowOf(`${number.format(jobs)} running jobs`, result))
  return { title: 'Running jobs', header: HEADER, rows, plot: 'growth-jobs.svg' }
}

const workersOf = count => Array.from({ length: count }, (_, n) => `worker-${n + 1}`)

const overWorkers = async (context, load) => {
  const results = []
  for (const count of WORKERS) {
    const workers = workersOf(count)
    const measure = (jobs, connections) =>
      withServices(context, { jobs, workers }, ({ origins, ids }) => {
        const keys = ids.flatMap(jobId => workers.map(workerId => ({ jobId, workerId })))
        return inTurns(context.rounds, async () => {
          const http = await overHttp(load, origins, keys, { ...context, connections })
          return { http: http.perSecond, p99Ms: http.p99Ms }
        })
      })
    const many = await measure(KEYS / count, CONNECTIONS)
    // No two connections may send the same key: one job takes no more of them than it has workers.
    const alone = await measure(1, Math.min(CONNECTIONS, count))
    context.log(`  ${count} workers a job: ${perSecond(many.http)}; one such job alone: ${perSecond(alone.http)}`)
    results.push([count, many, alone])
  }
  context.plot('growth-workers.svg', {
    title: 'Heartbeats per second by workers of a job',
    xTitle: 'workers of a job (logarithmic)',
    yTitle: 'heartbeats/s',
    logarithmic: true,
    series: [
      { name: '2,000 workers in all', points: results.map(([x, many]) => [x, many.http]) },
      { name: 'one job alone', points: results.map(([x, , alone]) => [x, alone.http]) },
    ],
  })
  const rows = results.map(([count, many, alone]) => [
    `${count} workers a job`,
    perSecond(many.http),
    ms(many.p99Ms),
    perSecond(alone.http),
    ms(alone.p99Ms),
  ])
  const header = ['', '2,000 workers in all', 'their p99', 'one job alone', 'its p99']
  return { title: 'Workers of a job', header, rows, plot: 'growth-workers.svg' }
}

const overSubscribers = async (context, readers, writer) => {
  const results = await withServices(context, { jobs: 1_000 }, async ({ origins, ids }) => {
    const found = []
    for (const subscribers of SUBSCRIBERS) {
      const result = await inTurns(context.rounds, async () => {
        const {
          perSecond: rate,
          bytesPerSecond,
          framesPerReader,
        } = await deliver({
          ...context,
          readers,
          writer,
          origin: origins[0],
          ids,
          subscribers,
        })
        return { rate, bytesPerSecond, roundsPerSecond: framesPerReader / ids.length / context.seconds }
      })
      context.log(`  ${number.format(subscribers)} subscribers: ${perSecond(result.rate)}`)
      found.push([subscribers, result])
    }
    return found
  })
  context.plot('growth-subscribers.svg', {
    title: 'Deliveries per second by subscribers, 1,000 changing jobs',
    xTitle: 'subscribers (logarithmic)',
    yTitle: 'deliveries/s',
    logarithmic: true,
    series: [{ name: 'deliveries', points: results.map(([x, { rate }]) => [x, rate]) }],
  })
  const rows = results.map(([subscribers, { rate, bytesPerSecond, roundsPerSecond }]) => [
    `${number.format(subscribers)} subscribers`,
    perSecond(rate),
    `${(bytesPerSecond / 1e6).toFixed(0)} MB/s`,
    roundsPerSecond.toFixed(2),
  ])
  const header = ['', 'deliveries', 'bytes', 'times a second each of them sees every job']
  return { title: 'Subscribers', header, rows, plot: 'growth-subscribers.svg' }
}

const overReplicas = async (context, load) => {
  const results = []
  for (const replicas of REPLICAS) {
    const result = await withServices(context, { replicas, jobs: 10_000 }, parts =>
      inTurns(context.rounds, () => measureAll(context, load, parts)),
    )
    context.log(`  ${replicas} replicas: ${perSecond(result.http)}, in bulks ${perSecond(result.bulk)}`)
    results.push([replicas, result])
  }
  context.plot('growth-replicas.svg', {
    title: 'Heartbeats per second by replicas on one Postgres',
    xTitle: 'replicas',
    yTitle: 'heartbeats/s',
    series: [
      { name: 'one per request', points: results.map(([x, { http }]) => [x, http]) },
      { name: 'in bulks of 500', points: results.map(([x, { bulk }]) => [x, bulk]) },
    ],
  })
  const rows = results.map(([replicas, result]) =>
    rowOf(replicas === 1 ? 'one replica' : `${replicas} replicas`, result),
  )
  return { title: 'Replicas on one Postgres, 10,000 running jobs', header: HEADER, rows, plot: 'growth-replicas.svg' }
}

export const growth = {
  name: 'growth',
  title: 'the figures at 1,000 to 100,000 jobs, 1 to 100 workers, 10 to 10,000 subscribers, one and two replicas',
  async run(context) {
    const load = await startLoad()
    const writer = await startLoad()
    try {
      return {
        tables: [
          await overJobs(context, load),
          await overWorkers(context, load),
          await overSubscribers(context, load, writer),
          await overReplicas(context, load),
        ],
      }
    } finally {
      await load.stop()
      await writer.stop()
    }
  },
}

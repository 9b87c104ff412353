// Heartbeats over HTTP, one per request, each on disk before it is answered.
import { startWorker } from '../environment/processes.js'
import { startRedis, requirePeers } from '../environment/programs.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { DBOS, dbos } from './dbos.js'
import { alternate, perSecond, ratioRows, showCpu } from '../rounds.js'

const JOBS = 2_000
/** Many for a process that reports for others, and few for a fleet in which each worker has its own. */
const CONNECTIONS = [64, 1_000]
const number = new Intl.NumberFormat('en')
const whatWith = (...connections) =>
  `heartbeats/s over HTTP, one per request, ${connections.map(count => number.format(count)).join(' and ')} connections, 2,000 jobs, durable`

const peer = name => new URL(`../peers/${name}.js`, import.meta.url)

/** Heartbeats for `ids` at `origin`, from the process `load`. */
const reporting = (load, origin, ids, { connections, seconds, warmupSeconds }) =>
  load.call('heartbeats', {
    origins: [origin],
    connections,
    keys: ids.map(jobId => ({ jobId })),
    basePath: BASE_PATH,
    seconds,
    warmupSeconds,
  })

const headway = (context, load) => ({
  name: 'Headway',
  start: async () => {
    const databaseUrl = await context.postgres.createDatabase()
    const service = await startService(databaseUrl)
    const ids = await createRunningJobs(databaseUrl, service.origin, JOBS)
    return {
      measure: () => reporting(load, service.origin, ids, context),
      processes: async () => ({ service: [service.pid], database: await context.postgres.backends(databaseUrl) }),
      stop: service.stop,
    }
  },
})

const overHttp = (name, context, load, start) => ({
  name,
  start: async () => {
    const { worker, ids, database, stop } = await start()
    return {
      measure: () => reporting(load, worker.ready.origin, ids ?? worker.ready.ids, context),
      processes: async () => ({ service: [worker.pid], ...(database && { database: await database() }) }),
      stop: async () => {
        await worker.stop()
        await stop?.()
      },
    }
  },
})

const someIds = Array.from({ length: JOBS }, (_, n) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`)

const bullmq = durable => async () => {
  requirePeers()
  const redis = await startRedis({ durable })
  const worker = await startWorker(peer('bullmq'), { socket: redis.socket, jobs: JOBS, http: true })
  return { worker, database: async () => [redis.pid], stop: redis.stop }
}

/** A peer on Postgres: `name` in peers/, with a database of its own. */
const onPostgres = (context, name) => async () => {
  const databaseUrl = await context.postgres.createDatabase()
  return {
    worker: await startWorker(peer(name), { databaseUrl, jobs: JOBS }),
    database: () => context.postgres.backends(databaseUrl),
  }
}

const PEERS = [
  {
    name: 'the limit: the same Fastify, and the cheapest durable write of the two rows in batches',
    target: 0.75,
    start: context => onPostgres(context, 'floor'),
    forMany: true,
  },
  {
    name: "the reference's way (read, write, notify, commit per call; 10 connections) behind the same Fastify",
    target: 8,
    start: context => onPostgres(context, 'reference'),
  },
  {
    name: 'the same Fastify with a route that validates and does nothing',
    target: null,
    forMany: true,
    start: () => async () => ({ worker: await startWorker(peer('nothing')), ids: someIds }),
  },
  { name: DBOS, target: 5, contestant: dbos },
  {
    name: 'Fastify in front of BullMQ updateProgress, Redis with appendfsync always',
    target: null,
    start: () => bullmq(true),
  },
  { name: 'the same with a Redis that keeps nothing', target: null, start: () => bullmq(false) },
  {
    name: "the service's own HTTP layer, without intake and database (to see where time goes)",
    target: null,
    start: () => async () => ({ worker: await startWorker(peer('own-http')), ids: someIds }),
  },
]

/** The peers that are measured with so many connections. */
const peersWith = connections => (connections === CONNECTIONS[0] ? PEERS : PEERS.filter(({ forMany }) => forMany))

const measureWith = async (context, load, connections) => {
  const options = { ...context, connections }
  const peers = peersWith(connections)
  context.log(`  ${number.format(connections)} connections`)
  const contestants = [
    headway(options, load),
    ...peers.map(({ name, start, contestant }) =>
      contestant ? contestant(context) : overHttp(name, options, load, start(context)),
    ),
  ]
  const results = await alternate(contestants, {
    ...context,
    show: result =>
      [
        perSecond(result.perSecond),
        ...(result.p99Ms ? [`p99 ${result.p99Ms.toFixed(1)} ms`] : []),
        showCpu(result),
      ].join(', '),
  })
  return ratioRows(whatWith(connections), peers, results, { showsCpu: true })
}

export const heartbeatsHttp = {
  name: 'heartbeats-http',
  title: whatWith(...CONNECTIONS),
  async run(context) {
    const load = await startLoad()
    try {
      const rows = []
      for (const connections of CONNECTIONS) rows.push(...(await measureWith(context, load, connections)))
      return rows
    } finally {
      await load.stop()
    }
  },
}

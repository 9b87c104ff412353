// Heartbeats over HTTP, one per request, each on disk before it is answered.
import { startWorker } from '../environment/processes.js'
import { startRedis, requirePeers } from '../environment/programs.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { alternate, perSecond, ratioRows } from '../rounds.js'

const JOBS = 2_000
const CONNECTIONS = 64
const WHAT = `heartbeats/s over HTTP, one per request, ${CONNECTIONS} connections, 2,000 jobs, durable`

const peer = name => new URL(`../peers/${name}.js`, import.meta.url)

/** Heartbeats for `ids` at `origin`, from the process `load`. */
const reporting = (load, origin, ids, { seconds, warmupSeconds }) =>
  load.call('heartbeats', {
    origins: [origin],
    connections: CONNECTIONS,
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
      pids: async () => [service.pid, ...(await context.postgres.backends(databaseUrl))],
      stop: service.stop,
    }
  },
})

const overHttp = (name, context, load, start) => ({
  name,
  start: async () => {
    const { worker, ids, others = async () => [], stop } = await start()
    return {
      measure: () => reporting(load, worker.ready.origin, ids ?? worker.ready.ids, context),
      pids: async () => [worker.pid, ...(await others())],
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
  return { worker, others: async () => [redis.pid], stop: redis.stop }
}

const PEERS = [
  {
    name: "the reference's way (read, write, notify, commit per call; 10 connections) behind the same Fastify",
    target: 8,
    start: context => async () => {
      const databaseUrl = await context.postgres.createDatabase()
      return {
        worker: await startWorker(peer('reference'), { databaseUrl, jobs: JOBS }),
        others: () => context.postgres.backends(databaseUrl),
      }
    },
  },
  {
    name: 'the same Fastify with a route that validates and does nothing',
    target: 0.6,
    start: () => async () => ({ worker: await startWorker(peer('nothing')), ids: someIds }),
  },
  {
    name: 'Fastify in front of BullMQ updateProgress, Redis with appendfsync always',
    target: 1.2,
    start: () => bullmq(true),
  },
  { name: 'the same with a Redis that keeps nothing', target: 1, start: () => bullmq(false) },
  {
    name: "the service's own HTTP layer, without intake and database (to see where time goes)",
    target: null,
    start: () => async () => ({ worker: await startWorker(peer('own-http')), ids: someIds }),
  },
]

export const heartbeatsHttp = {
  name: 'heartbeats-http',
  title: WHAT,
  async run(context) {
    const load = await startLoad()
    try {
      const contestants = [
        headway(context, load),
        ...PEERS.map(({ name, start }) => overHttp(name, context, load, start(context))),
      ]
      const results = await alternate(contestants, {
        ...context,
        show: ({ perSecond: rate, p99Ms, cpuMicros }) =>
          `${perSecond(rate)}, p99 ${p99Ms.toFixed(1)} ms, ${cpuMicros.toFixed(0)} µs of CPU each`,
      })
      return ratioRows(WHAT, PEERS, results, { showsCpu: true })
    } finally {
      await load.stop()
    }
  },
}

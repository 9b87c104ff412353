// Heartbeats through POST /heartbeats, beside BullMQ called in its own process.
import { startWorker } from '../environment/processes.js'
import { startRedis, requirePeers } from '../environment/programs.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { DBOS, dbos } from './dbos.js'
import { alternate, perSecond, ratioRows, showCpu } from '../rounds.js'

const JOBS = 20_000
const PER_REQUEST = 500
/** Two fill the flush that waits while another one commits. */
export const BULK_CONNECTIONS = 4
const WHAT = `heartbeats/s through POST /heartbeats, ${PER_REQUEST} per request, 20,000 running jobs, one worker each`

/** `keys` reported in bulks at `origins`, from the process `load`. */
export const reportInBulk = (load, origins, keys, { seconds, warmupSeconds, connections = BULK_CONNECTIONS }) =>
  load.call('bulk', {
    origins,
    connections,
    keys,
    basePath: BASE_PATH,
    perRequest: PER_REQUEST,
    seconds,
    warmupSeconds,
  })

const headway = (context, load) => ({
  name: 'Headway',
  start: async () => {
    const databaseUrl = await context.postgres.createDatabase()
    const service = await startService(databaseUrl)
    const ids = await createRunningJobs(databaseUrl, service.origin, JOBS)
    const keys = ids.map(jobId => ({ jobId }))
    return {
      measure: () => reportInBulk(load, [service.origin], keys, context),
      processes: async () => ({ service: [service.pid], database: await context.postgres.backends(databaseUrl) }),
      stop: service.stop,
    }
  },
})

const bullmq = ({ seconds, warmupSeconds }, name, durable) => ({
  name,
  start: async () => {
    requirePeers()
    const redis = await startRedis({ durable })
    const worker = await startWorker(new URL('../peers/bullmq.js', import.meta.url), {
      socket: redis.socket,
      jobs: 200,
    })
    return {
      measure: () => worker.call('measure', { concurrency: 64, seconds, warmupSeconds }),
      processes: async () => ({ service: [worker.pid], database: [redis.pid] }),
      stop: async () => {
        await worker.stop()
        await redis.stop()
      },
    }
  },
})

const floor = (context, load, name) => ({
  name,
  start: async () => {
    const databaseUrl = await context.postgres.createDatabase()
    const worker = await startWorker(new URL('../peers/floor.js', import.meta.url), { databaseUrl, jobs: JOBS })
    const keys = worker.ready.ids.map(jobId => ({ jobId }))
    return {
      measure: () => reportInBulk(load, [worker.ready.origin], keys, context),
      processes: async () => ({ service: [worker.pid], database: await context.postgres.backends(databaseUrl) }),
      stop: worker.stop,
    }
  },
})

const PEERS = [
  {
    name: 'the limit: the same Fastify, and the cheapest durable write of the two rows in batches',
    target: 0.7,
    contestant: floor,
  },
  { name: DBOS, target: 5, contestant: dbos },
  {
    name: 'BullMQ updateProgress in-process, 64 at a time, 200 jobs, appendfsync always',
    target: null,
    contestant: (context, _load, name) => bullmq(context, name, true),
  },
  {
    name: 'the same with a Redis that keeps nothing',
    target: null,
    contestant: (context, _load, name) => bullmq(context, name, false),
  },
]

export const heartbeatsBulk = {
  name: 'heartbeats-bulk',
  title: WHAT,
  async run(context) {
    const load = await startLoad()
    try {
      const contestants = [
        headway(context, load),
        ...PEERS.map(({ name, contestant }) => contestant(context, load, name)),
      ]
      const results = await alternate(contestants, {
        ...context,
        show: result => `${perSecond(result.perSecond)}, ${showCpu(result)}`,
      })
      return ratioRows(WHAT, PEERS, results, { showsCpu: true })
    } finally {
      await load.stop()
    }
  },
}

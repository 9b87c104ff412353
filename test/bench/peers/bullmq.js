// BullMQ's job.updateProgress (https://docs.bullmq.io/guide/jobs/job-progress-1), behind Fastify and in-process. The queue shares
// one connection (https://docs.bullmq.io/guide/connections). Jobs are at hand: none is fetched for a report.
import { Redis } from 'ioredis'
import { Queue } from 'bullmq'
import { serveCalls, workerOptions } from '../environment/processes.js'
import { serveHeartbeats } from './http.js'
import { rateOf } from './rate.js'

const { socket, jobs: count, http } = workerOptions()

const queue = new Queue('imports', { connection: new Redis(socket, { maxRetriesPerRequest: null }) })
const jobs = new Map()
for (let from = 0; from < count; from += 500) {
  const bulk = Array.from({ length: Math.min(500, count - from) }, (_, n) => ({
    name: 'import',
    data: { name: `Importing products, part ${from + n}`, totalCount: 1_000_000 },
  }))
  for (const job of await queue.addBulk(bulk)) jobs.set(job.id, job)
}

const report = async (id, { processedCount = 0 }) => {
  await jobs.get(id).updateProgress({ processedCount })
  return { jobId: id, status: 'running', progressPercent: Math.floor(processedCount / 10_000), processedCount }
}

const origin = http ? await serveHeartbeats(report) : null

/** Calls in this process, `concurrency` at a time; no job is in two calls at once. */
const measure = async ({ concurrency, ...times }) => {
  const counter = { done: 0 }
  let stopped = false
  const all = [...jobs.values()]
  const loops = Array.from({ length: concurrency }, async (_, n) => {
    const mine = all.filter((_, place) => place % concurrency === n)
    for (let turn = 0; !stopped; turn += 1) {
      await mine[turn % mine.length].updateProgress({ processedCount: turn })
      counter.done += 1
    }
  })
  const perSecond = await rateOf(counter, times)
  stopped = true
  await Promise.all(loops)
  return { perSecond, total: counter.done }
}

serveCalls({ ready: () => ({ origin, ids: [...jobs.keys()] }), measure })

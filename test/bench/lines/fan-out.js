// One feed, many subscribers, all jobs changing: frames that arrive, per second and to all subscribers together.
import { setTimeout as delay } from 'node:timers/promises'
import { startWorker } from '../environment/processes.js'
import { requirePeers, startNchan } from '../environment/programs.js'
import { BASE_PATH, createRunningJobs, readLiveDocuments, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { alternate, perSecond, ratioRows } from '../rounds.js'

const JOBS = 1_000
const SUBSCRIBERS = 1_000
/** Every job changes more often than streams show it (LIVE_INTERVAL_MS is 500). */
export const CHANGE_MS = 400
/**
 * Here the peers go as fast as their readers take it. With its own pace, two frames of a job a second, Headway would be measured
 * by that: both cores were half idle.
 */
const FAST = { liveIntervalMs: 100, changeMs: 80 }
const WHAT = 'deliveries/s, 1,000 subscribers of one feed, 1,000 changing jobs, full live documents'

/**
 * Deliveries of a service at `origin` whose jobs change. Readers and changes come from two processes.
 */
export const deliver = async options => {
  const { readers, writer, origin, ids, subscribers, seconds, warmupSeconds, changeMs = CHANGE_MS } = options
  await readers.call('openStreams', { origin, path: `${BASE_PATH}/stream`, count: subscribers })
  const keys = ids.map(jobId => ({ jobId }))
  await writer.call('startChanges', { origin, basePath: BASE_PATH, keys, intervalMs: changeMs })
  try {
    await delay(warmupSeconds * 1000)
    return await readers.call('measureDeliveries', { seconds })
  } finally {
    await writer.call('stopChanges')
    await readers.call('closeStreams')
  }
}

const headway = (context, readers, writer, shared) => ({
  name: 'Headway',
  start: async () => {
    const databaseUrl = await context.postgres.createDatabase()
    const settings = { LIVE_INTERVAL_MS: String(FAST.liveIntervalMs) }
    const service = await startService(databaseUrl, { settings })
    const ids = await createRunningJobs(databaseUrl, service.origin, JOBS)
    // As they are after a while: with a rate, a message and an estimate.
    for (const turn of [1, 2, 3, 4]) {
      await writer.call('bulk', {
        origins: [service.origin],
        connections: 2,
        keys: ids.map(jobId => ({ jobId, message: `Row ${turn}` })),
        basePath: BASE_PATH,
        perRequest: 500,
        seconds: 0.2,
        warmupSeconds: 0,
      })
    }
    const documents = await readLiveDocuments(databaseUrl, ids)
    shared.documents = documents.map(document => document.json)
    return {
      measure: () =>
        deliver({
          ...context,
          readers,
          writer,
          origin: service.origin,
          ids,
          subscribers: SUBSCRIBERS,
          changeMs: FAST.changeMs,
        }),
      stop: service.stop,
    }
  },
})

/** A peer that is given every document by POST, and hands it to all readers. */
const published = (context, readers, shared, { name, start, headers }) => ({
  name,
  start: async () => {
    const { origin, stop } = await start()
    const measure = async () => {
      await readers.call('openStreams', { origin, path: '/stream', count: SUBSCRIBERS })
      await readers.call('startPublishing', { origin, path: '/publish', documents: shared.documents, headers })
      try {
        await delay(context.warmupSeconds * 1000)
        return await readers.call('measureDeliveries', { seconds: context.seconds })
      } finally {
        await readers.call('stopPublishing')
        await readers.call('closeStreams')
      }
    }
    return { measure, stop }
  },
})

const worker = name => async () => {
  requirePeers()
  const started = await startWorker(new URL(`../peers/${name}.js`, import.meta.url))
  return { origin: started.ready.origin, stop: started.stop }
}

const PEERS = [
  // The name of an event is a header of its publication (https://nchan.io/#eventsource).
  {
    name: 'nchan (nginx)',
    target: 8,
    start: () => startNchan(),
    headers: 'X-EventSource-Event: progress.job.updated\n',
  },
  { name: 'better-sse', target: 16, start: worker('better-sse') },
  { name: 'fastify-sse-v2', target: 16, start: worker('fastify-sse-v2') },
]

const megabytes = bytes => `${(bytes / 1e6).toFixed(0)} MB/s`

export const fanOut = {
  name: 'fan-out',
  title: WHAT,
  async run(context) {
    const readers = await startLoad()
    const writer = await startLoad()
    const shared = { documents: [] }
    try {
      const contestants = [
        headway(context, readers, writer, shared),
        ...PEERS.map(peer => published(context, readers, shared, peer)),
      ]
      const results = await alternate(contestants, {
        ...context,
        show: result =>
          `${perSecond(result.perSecond)}, ${megabytes(result.bytesPerSecond)}, ` +
          `${result.bytesPerFrame?.toFixed(0)} bytes a frame, ${result.open} open`,
      })
      return ratioRows(WHAT, PEERS, results)
    } finally {
      await readers.stop()
      await writer.stop()
    }
  },
}

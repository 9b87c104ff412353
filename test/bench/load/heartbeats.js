// Reports as fast as they are answered. A key (job and worker) belongs to one connection, so that no two of them send it at
// the same time.
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { Background } from './background.js'
import { format, openConnections } from './connection.js'
import { percentile } from './statistics.js'

const STEP = 10
const KEPT_LATENCIES = 100_000

/** What a key has reported so far: counts go on rising from one measurement to the next. */
const counts = new Map()

const nextCount = key => {
  const count = (counts.get(key) ?? 0) + STEP
  counts.set(key, count)
  return count
}

const keyOf = ({ jobId, workerId }) => `${jobId}/${workerId}`

/** Splits keys so that each belongs to one connection. */
const shares = (keys, parts) => Array.from({ length: parts }, (_, part) => keys.filter((_, n) => n % parts === part))

/** Whether the report is on disk. 202 is an answer, too, but of a service that could not write it in time. */
const isDurable = (status, body) => {
  if (status !== 200 && status !== 202) throw new Error(`The answer was ${status}: ${body().slice(0, 500)}`)
  return status === 200
}

/** Sends one heartbeat per request. Answers how many a second were answered, and how long that took in milliseconds. */
const measure = async ({ origins, connections, keys, warmupSeconds, seconds, requestOf, weight = () => 1 }) => {
  const opened = (
    await Promise.all(
      origins.map((origin, n) => openConnections(origin, Math.ceil((connections - n) / origins.length))),
    )
  ).flat()
  let answered = 0
  let buffered = 0
  let stopped = false
  let failure = null
  let latencies = []
  const parts = shares(keys, opened.length)
  const loops = opened.map((connection, n) => {
    const mine = parts[n]
    const origin = origins[n % origins.length]
    let place = 0
    return new Promise(resolve => {
      const send = () => {
        if (stopped || failure) return resolve()
        const sent = performance.now()
        const request = requestOf(origin, mine, place)
        place = request.place
        connection.request(request.text, (error, status, body) => {
          try {
            if (error) throw error
            if (isDurable(status, body)) answered += weight(request)
            else buffered += weight(request)
          } catch (cause) {
            failure ??= cause
            return resolve()
          }
          if (latencies.length < KEPT_LATENCIES) latencies.push(performance.now() - sent)
          send()
        })
      }
      send()
    })
  })
  await Promise.race([delay(warmupSeconds * 1000), ...loops])
  const answeredBefore = answered
  answered = 0
  buffered = 0
  latencies = []
  const begun = performance.now()
  await Promise.race([delay(seconds * 1000), ...loops])
  const perSecond = answered / ((performance.now() - begun) / 1000)
  const taken = latencies
  stopped = true
  await Promise.all(loops)
  const total = answeredBefore + answered
  for (const connection of opened) connection.close()
  if (failure) throw failure
  return { perSecond, total, buffered, p50Ms: percentile(taken, 0.5), p99Ms: percentile(taken, 0.99) }
}

/** `POST …/jobs/:id/heartbeat`, one per request. */
export const heartbeats = ({ basePath, bare = false, ...options }) =>
  measure({
    ...options,
    requestOf: (origin, mine, place) => {
      const key = mine[place % mine.length]
      const worker = key.workerId === undefined ? '' : `"workerId":"${key.workerId}",`
      const body = bare ? '{}' : `{${worker}"processedCount":${nextCount(keyOf(key))}}`
      return {
        text: format(origin, 'POST', `${basePath}/jobs/${key.jobId}/heartbeat`, body),
        place: (place + 1) % mine.length,
      }
    },
  })

const bulkOf = keys =>
  JSON.stringify({
    heartbeats: keys.map(key => ({ ...key, processedCount: nextCount(keyOf(key)) })),
  })

const window = (mine, place, size) => {
  const taken = mine.slice(place, place + size)
  return taken.length === size || mine.length <= size ? taken : [...taken, ...mine.slice(0, size - taken.length)]
}

/** `POST …/heartbeats`, `perRequest` at a time. */
export const bulk = ({ basePath, perRequest, ...options }) =>
  measure({
    ...options,
    weight: request => request.size,
    requestOf: (origin, mine, place) => {
      const taken = window(mine, place, perRequest)
      return {
        text: format(origin, 'POST', `${basePath}/heartbeats`, bulkOf(taken)),
        size: taken.length,
        place: (place + taken.length) % mine.length,
      }
    },
  })

const changes = new Background()

/** From now on every job changes once in `intervalMs`, in bulks of at most 500, until `stopChanges`. */
export const startChanges = async ({ origin, basePath, keys, intervalMs }) => {
  const bulks = Math.ceil(keys.length / 500)
  const connections = await openConnections(origin, bulks)
  const parts = Array.from({ length: bulks }, (_, n) => keys.slice(n * 500, (n + 1) * 500))
  const state = { stopped: false, rounds: 0, failure: null }
  const loops = connections.map(async (connection, n) => {
    let due = performance.now() + (n * intervalMs) / bulks
    while (!state.stopped) {
      await delay(Math.max(0, due - performance.now()))
      // A service that cannot keep up is not asked for more than it takes.
      due = Math.max(due + intervalMs, performance.now())
      const { status, text } = await connection.call(format(origin, 'POST', `${basePath}/heartbeats`, bulkOf(parts[n])))
      isDurable(status, () => text)
      state.rounds += 1 / bulks
    }
    connection.close()
  })
  changes.begin(state, loops)
}

/** Answers how often every job has changed. */
export const stopChanges = async () => {
  const { rounds } = await changes.stop()
  return { rounds }
}

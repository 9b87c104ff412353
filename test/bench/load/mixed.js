// A day's work in a few minutes: reports one by one and in bulks, jobs that come, end and are erased, and people who look.
// Everything at a given rate, not as fast as possible.
import { performance } from 'node:perf_hooks'
import { Background, paced } from './background.js'
import { format, openConnections } from './connection.js'
import { percentile } from './statistics.js'

/** On disk, or kept because the database took longer than two seconds. */
const REPORTED = [200, 202]

const background = new Background()

const expect = (answer, statuses) => {
  if (!statuses.includes(answer.status))
    throw new Error(`The answer was ${answer.status}: ${answer.text.slice(0, 500)}`)
  return answer
}

/** One job after another: created, reported, ended one way or another, and erased. */
const lifecycle = (state, call) => async (_lane, turn) => {
  const created = expect(
    await call('POST', '/jobs', {
      jobType: 'export:orders',
      name: `Export ${turn}`,
      totalCount: 100,
      cancellable: true,
    }),
    [201],
  )
  const { id } = JSON.parse(created.text)
  for (const processedCount of [30, 60, 90])
    expect(await call('POST', `/jobs/${id}/heartbeat`, { processedCount }), REPORTED)
  if (turn % 10 === 0) expect(await call('POST', `/jobs/${id}/fail`, { errorMessage: 'The disk is full' }), [200])
  else expect(await call('POST', `/jobs/${id}/complete`, { resultSummary: { exported: 100 } }), [200])
  expect(await call('GET', `/jobs/${id}/events`), [200])
  expect(await call('DELETE', `/jobs/${id}?purge=true`), [204])
  state.jobs += 1
}

const READS = ['/active', '/jobs?pageSize=50', '/jobs?search=part%2019&pageSize=20']

const caller = (state, origin, basePath, connections) => lane => async (method, path, body) => {
  const begun = performance.now()
  const text = format(origin, method, `${basePath}${path}`, body === undefined ? undefined : JSON.stringify(body))
  const answer = await connections[lane].call(text)
  if (path.endsWith('/heartbeat')) state.latencies.push(performance.now() - begun)
  return answer
}

/** `rates`: heartbeats, bulks (of 500), jobs and reads per second. Goes on until `stopMixed`. */
export const startMixed = async ({ origin, basePath, jobIds, rates }) => {
  const lanes = { heartbeats: 32, bulks: 2, jobs: 4, reads: 2 }
  const state = { stopped: false, latencies: [], heartbeats: 0, jobs: 0, reads: 0, failure: null }
  const counts = new Map(jobIds.map(id => [id, 0]))
  const nextOf = id => {
    counts.set(id, counts.get(id) + 1)
    return counts.get(id)
  }
  const open = async name => caller(state, origin, basePath, await openConnections(origin, lanes[name]))
  const [single, bulk, jobs, reads] = await Promise.all(Object.keys(lanes).map(open))
  // Half of the jobs report one by one, the others in bulks: no two connections send the same key.
  const singles = jobIds.filter((_, n) => n % 2 === 0)
  const bulked = jobIds.filter((_, n) => n % 2 === 1)
  const shareOf = (ids, lane, of) => ids.filter((_, n) => n % of === lane)
  const singleShares = Array.from({ length: lanes.heartbeats }, (_, lane) => shareOf(singles, lane, lanes.heartbeats))
  const bulkShares = Array.from({ length: lanes.bulks }, (_, lane) => shareOf(bulked, lane, lanes.bulks))
  const loops = [
    ...paced(state, rates.heartbeats, lanes.heartbeats, async (lane, turn) => {
      const id = singleShares[lane][turn % singleShares[lane].length]
      const count = nextOf(id)
      expect(
        await single(lane)('POST', `/jobs/${id}/heartbeat`, { processedCount: 10 * count, message: `Row ${count}` }),
        REPORTED,
      )
      state.heartbeats += 1
    }),
    ...paced(state, rates.bulks, lanes.bulks, async (lane, turn) => {
      const mine = bulkShares[lane]
      const ids = Array.from({ length: 500 }, (_, n) => mine[(turn * 500 + n) % mine.length])
      const heartbeats = [...new Set(ids)].map(jobId => ({ jobId, processedCount: 10 * nextOf(jobId) }))
      expect(await bulk(lane)('POST', '/heartbeats', { heartbeats }), REPORTED)
      state.heartbeats += heartbeats.length
    }),
    ...paced(state, rates.jobs, lanes.jobs, (lane, turn) => lifecycle(state, jobs(lane))(lane, turn)),
    ...paced(state, rates.reads, lanes.reads, async (lane, turn) => {
      const path = turn % 4 === 3 ? `/jobs/${jobIds[turn % jobIds.length]}` : READS[turn % 4]
      expect(await reads(lane)('GET', path), [200])
      state.reads += 1
    }),
  ]
  background.begin(state, loops)
}

/** What has happened since the last call. */
export const sampleMixed = () => {
  const { state } = background
  const { latencies, heartbeats, jobs, reads } = state
  Object.assign(state, { latencies: [], heartbeats: 0, jobs: 0, reads: 0 })
  return { heartbeats, jobs, reads, p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) }
}

export const stopMixed = async () => void (await background.stop())

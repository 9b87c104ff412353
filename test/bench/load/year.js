// The day of a service with a year of jobs: jobs that begin, report and end, and people who look, each kind at a rate of its own.
import { performance } from 'node:perf_hooks'
import { Background, paced } from './background.js'
import { format, openConnections } from './connection.js'
import { percentile } from './statistics.js'

const ANSWERED = [200, 201, 202]
/** A busy service turns calls away. They are counted apart. */
const REFUSED = [429, 503]

const background = new Background()

const HEARTBEAT = 'heartbeat'

const note = (state, kind, begunMs, status) => {
  const nowMs = performance.now()
  const times = (state.times[kind] ??= [])
  times.push(nowMs - begunMs)
  if (status === 202) state.buffered += 1
  if (kind !== HEARTBEAT) return
  state.longestPauseMs = Math.max(state.longestPauseMs, nowMs - state.lastHeartbeatMs)
  state.lastHeartbeatMs = nowMs
}

/** One job in ten fails. */
const ENDS = {
  complete: { resultSummary: { rows: 100 } },
  fail: { errorMessage: 'The disk is full' },
}

/**
 * `rates`: heartbeats, jobs that come and go, reads and statistics per second, in all tenants together. `tokens`: those of the tenants that
 * read. Goes on until `stopYear`.
 */
export const startYear = async ({ origin, basePath, tokens, jobIds, rates, reads, statistics }) => {
  const lanes = { heartbeats: 16, jobs: 4, reads: 2, statistics: 1 }
  const state = {
    stopped: false,
    times: {},
    refused: {},
    buffered: 0,
    longestPauseMs: 0,
    lastHeartbeatMs: performance.now(),
    failure: null,
  }
  const connections = {}
  for (const name of Object.keys(lanes)) connections[name] = await openConnections(origin, lanes[name])
  const call = async (connection, token, kind, method, path, body) => {
    const begunMs = performance.now()
    const headers = `authorization: Bearer ${token}\r\n`
    const text = format(
      origin,
      method,
      `${basePath}${path}`,
      body === undefined ? undefined : JSON.stringify(body),
      headers,
    )
    const answer = await connection.call(text)
    if (REFUSED.includes(answer.status)) {
      state.refused[kind] = (state.refused[kind] ?? 0) + 1
      return null
    }
    if (!ANSWERED.includes(answer.status)) throw new Error(`${kind}: ${answer.status}: ${answer.text.slice(0, 500)}`)
    note(state, kind, begunMs, answer.status)
    return answer
  }
  const [owner] = tokens
  const shares = Array.from({ length: lanes.heartbeats }, (_, lane) =>
    jobIds.filter((_, n) => n % lanes.heartbeats === lane),
  )
  const counts = new Map()
  const heartbeat = (lane, turn) => {
    const id = shares[lane][turn % shares[lane].length]
    counts.set(id, (counts.get(id) ?? 0) + 10)
    const report = { processedCount: counts.get(id), message: `Row ${counts.get(id)}` }
    return call(connections.heartbeats[lane], owner, HEARTBEAT, 'POST', `/jobs/${id}/heartbeat`, report)
  }
  const job = async (lane, turn) => {
    const connection = connections.jobs[lane]
    const name = `Import of products for Globex ${(turn * 7919 + lane).toString(16)}, today`
    const created = await call(connection, owner, 'create', 'POST', '/jobs', {
      jobType: 'import',
      name,
      totalCount: 100,
    })
    if (created === null) return
    const { id } = JSON.parse(created.text)
    await call(connection, owner, 'first heartbeat of a job', 'POST', `/jobs/${id}/heartbeat`, { processedCount: 30 })
    const end = turn % 10 === 0 ? 'fail' : 'complete'
    await call(connection, owner, 'finish', 'POST', `/jobs/${id}/${end}`, ENDS[end])
  }
  const look = (all, of) => (lane, turn) => {
    const n = turn * lanes[of] + lane
    const token = tokens[Math.floor(n / all.length) % tokens.length]
    const [kind, path] = all[n % all.length]
    return call(connections[of][lane], token, token === owner ? kind : `small tenant, ${kind}`, 'GET', path)
  }
  const loops = [
    ...paced(state, rates.heartbeats, lanes.heartbeats, heartbeat),
    ...paced(state, rates.jobs, lanes.jobs, job),
    ...paced(state, rates.reads, lanes.reads, look(reads, 'reads')),
    ...paced(state, rates.statistics, lanes.statistics, look(statistics, 'statistics')),
  ]
  background.begin(state, loops)
}

/** What has happened since the last call, by kind, and the longest time without the answer to a heartbeat. */
export const sampleYear = () => {
  const { state } = background
  const { times, refused, buffered, longestPauseMs } = state
  Object.assign(state, { times: {}, refused: {}, buffered: 0, longestPauseMs: 0 })
  const kinds = Object.entries(times).map(([kind, values]) => ({
    kind,
    calls: values.length,
    refused: refused[kind] ?? 0,
    p50Ms: percentile(values, 0.5),
    p95Ms: percentile(values, 0.95),
    p99Ms: percentile(values, 0.99),
    maxMs: percentile(values, 1),
  }))
  return { kinds, buffered, longestPauseMs }
}

export const stopYear = async () => void (await background.stop())

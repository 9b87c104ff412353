// Another tenant: creates, reports and reads at a pace of its own, one of each at a time.
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { serveCalls, workerOptions } from '../environment/processes.js'
import { format, openConnection } from '../load/connection.js'

const { origin, basePath, token } = workerOptions()
const EVERY_MS = 20
const headers = `authorization: Bearer ${token}\r\n`
const requestOf = (method, path, body) =>
  format(origin, method, basePath + path, body === undefined ? undefined : JSON.stringify(body), headers)

const CREATE = requestOf('POST', '/jobs', { jobType: 'modest', name: 'a job' })
const open = await openConnection(origin)
const { id } = JSON.parse((await open.call(CREATE)).text)
open.close()
let count = 0

/** What it does, each on a connection of its own. */
const KINDS = {
  create: () => CREATE,
  heartbeat: () => requestOf('POST', `/jobs/${id}/heartbeat`, { processedCount: (count += 1) }),
  read: () => requestOf('GET', `/jobs/${id}`),
  list: () => requestOf('GET', '/jobs?pageSize=20'),
}

/** Calls until the time is over. What is refused, or not answered with a success, counts apart. */
const repeat = async (next, until) => {
  const times = []
  let refused = 0
  let connection = await openConnection(origin)
  while (performance.now() < until) {
    const begun = performance.now()
    try {
      const { status } = await connection.call(next())
      if (status >= 200 && status < 300) times.push(performance.now() - begun)
      else refused += 1
      // 202 says that it is not on disk: for a worker that is an answer.
    } catch {
      refused += 1
      connection.close()
      connection = await openConnection(origin)
    }
    await delay(EVERY_MS * (0.5 + Math.random()))
  }
  connection.close()
  return { times, refused }
}

serveCalls({
  ready: () => null,
  async measure({ seconds }) {
    const until = performance.now() + seconds * 1000
    const results = await Promise.all(
      Object.entries(KINDS).map(async ([kind, next]) => [kind, await repeat(next, until)]),
    )
    return Object.fromEntries(results)
  },
})

// From a heartbeat's POST to its event at a subscriber, by one clock.
import { request } from 'node:http'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { format, openConnection } from './connection.js'
import { percentile } from './statistics.js'

/** The first progress of a job goes out at once; what follows within LIVE_INTERVAL_MS (500) would wait on purpose. */
const REST_MS = 700
const EVENT_TIMEOUT_MS = 10_000

/** Of the last report. Never what a job has already, or nothing would change: the other loads count in tens. */
let reported = 1

const subscribe = (origin, path, onCount) =>
  new Promise((resolve, reject) => {
    const call = request(new URL(path, origin), { headers: { accept: 'text/event-stream' } }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', chunk => {
        text += chunk
        const end = text.lastIndexOf('\n\n')
        if (end === -1) return
        for (const [, count] of text.slice(0, end).matchAll(/"processedCount":(\d+)/g)) onCount(Number(count))
        text = text.slice(end + 2)
      })
      response.on('error', () => undefined)
      resolve(call)
    })
    call.once('error', reject)
    call.on('error', () => undefined)
    call.end()
  })

/**
 * Follows each job by a stream of its own, and reports for one after the other, so that none is asked twice within its
 * interval. `readOrigin` may be another replica.
 */
export const latency = async ({ origin, readOrigin = origin, basePath, jobIds, seconds }) => {
  const connection = await openConnection(origin)
  const expected = new Map()
  const streams = await Promise.all(
    jobIds.map(jobId =>
      subscribe(readOrigin, `${basePath}/jobs/${jobId}/stream`, count => {
        expected.get(count)?.(performance.now())
        expected.delete(count)
      }),
    ),
  )
  const streamsMs = []
  const answersMs = []
  await delay(REST_MS)
  const until = performance.now() + seconds * 1000
  for (let n = 0; performance.now() < until; n += 1) {
    reported += 10
    const count = reported
    const seen = new Promise((resolve, reject) => {
      expected.set(count, resolve)
      setTimeout(() => reject(new Error('An event did not come')), EVENT_TIMEOUT_MS).unref()
    })
    const sent = performance.now()
    const path = `${basePath}/jobs/${jobIds[n % jobIds.length]}/heartbeat`
    const { status } = await connection.call(format(origin, 'POST', path, `{"processedCount":${count}}`))
    if (status !== 200) throw new Error(`The answer was ${status}`)
    answersMs.push(performance.now() - sent)
    streamsMs.push((await seen) - sent)
    const rest = REST_MS / jobIds.length
    await delay(rest * (0.5 + Math.random()))
  }
  for (const stream of streams) stream.destroy()
  connection.close()
  return {
    samples: streamsMs.length,
    p50Ms: percentile(streamsMs, 0.5),
    p99Ms: percentile(streamsMs, 0.99),
    maxMs: percentile(streamsMs, 1),
    answerP99Ms: percentile(answersMs, 0.99),
    valuesMs: streamsMs,
  }
}

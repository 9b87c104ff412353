// What many jobs of one process cost: 2,000 jobs that advance all the time, reported together and each by itself, in turns, with a
// service that answers on the same machine. `npm run bench:jobs`.
import { Buffer } from 'node:buffer'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'

const JOBS = Number(process.env.JOBS ?? 2_000)
const SECONDS = Number(process.env.JOBS_SECONDS ?? 10)
const ROUNDS = 3

let counts = { requests: 0, reports: 0 }
const answerTo = ({ jobId, workerId = 'default' }) => {
  counts.reports += 1
  const state = { status: 'running', cancelRequested: false, progressPercent: 0, revision: 1, applied: true }
  return { jobId, workerId, ...state, heartbeatIntervalMs: 5_000, durable: true }
}
const server = createServer(async (request, response) => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  counts.requests += 1
  const body = JSON.parse(Buffer.concat(chunks).toString() || '{}')
  let answer = { id: randomUUID(), attempt: 1 }
  if (body.heartbeats) answer = { results: body.heartbeats.map(answerTo) }
  else if (request.url.endsWith('/heartbeat')) answer = answerTo(body)
  response.setHeader('content-type', 'application/json').end(JSON.stringify(answer))
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const url = `http://127.0.0.1:${server.address().port}`

/** A process with the jobs; answers the processor time that it took, in milliseconds. `apart`: each job has a client of its own. */
const measure = async apart => {
  const child = fork(fileURLToPath(new URL('program.js', import.meta.url)), [
    url,
    String(JOBS),
    apart ? 'apart' : 'together',
  ])
  await once(child, 'message')
  counts = { requests: 0, reports: 0 }
  child.send(SECONDS)
  const [cpuMs] = await once(child, 'message')
  const seen = counts
  child.kill('SIGKILL')
  await once(child, 'exit')
  return { ...seen, cpuMs }
}

const median = values => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
const results = { together: [], apart: [] }
for (let round = 0; round < ROUNDS; round += 1) {
  for (const name of Object.keys(results)) results[name].push(await measure(name === 'apart'))
}
server.close()
console.log(`${JOBS} jobs in one process, ${SECONDS} s each, medians of ${ROUNDS} rounds`)
for (const [name, rounds] of Object.entries(results)) {
  const perSecond = key => median(rounds.map(round => round[key])) / SECONDS
  console.log(
    `${name.padEnd(9)} ${perSecond('requests').toFixed(1).padStart(8)} requests/s ${perSecond('reports').toFixed(0).padStart(6)} reports/s ` +
      `${perSecond('cpuMs').toFixed(0).padStart(5)} ms of processor/s ${((perSecond('cpuMs') / JOBS) * 1_000).toFixed(0).padStart(6)} µs per job and second`,
  )
}

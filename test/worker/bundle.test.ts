import { randomUUID } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import type { JobWithWorkers } from '../../src/contract/job.ts'
import { PROBLEMS } from '../../src/http/problems.ts'
import { createNodeClient, errorOfAnswer, RefusedError, UnavailableError } from '../../src/node-client/client.ts'
import { Bundle, resultOf } from '../../src/worker/bundle.ts'
import { createWorker, type Job } from '../../src/worker/headway.ts'
import { goodAnswer, heartbeatAnswer, startFakeService, type Script } from '../helpers/fake-service.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

interface Sent {
  jobId: string
  processedCount?: number
}

/** Each job has an id of its own, and a bulk answer has a result for each heartbeat. */
const bulkAnswer =
  (resultOf: (sent: Sent) => object = ({ jobId }) => heartbeatAnswer({ jobId })): Script =>
  (received, response) => {
    if (received.call === 'POST /jobs') return { status: 201, body: { id: randomUUID(), attempt: 1 } }
    if (received.call !== 'POST heartbeats') return goodAnswer(received, response)
    return { body: { results: (received.body['heartbeats'] as Sent[]).map(resultOf) } }
  }

const startJobs = async (t: Test, url: string, count: number, problems: Error[] = []): Promise<Job[]> => {
  const headway = createWorker({ url, token: '', watchDeath: false, onProblem: problem => problems.push(problem) })
  const jobs = await Promise.all(Array.from({ length: count }, (_, n) => headway.start({ name: `job ${n}` })))
  t.teardown(() => Promise.all(jobs.map(job => job.leave())))
  return jobs
}

t.test('many jobs of a process send one call a second for all of them, and each has its own answer', async t => {
  const service = await startFakeService(t)
  const refused = new Set<string>()
  service.script = bulkAnswer(({ jobId }) =>
    refused.has(jobId)
      ? { jobId, workerId: 'default', code: 'superseded', detail: 'Another attempt has taken over.' }
      : heartbeatAnswer({ jobId }),
  )
  const jobs = await startJobs(t, service.url, 50)
  const bulks = () => service.received.filter(({ call }) => call === 'POST heartbeats')
  const isCounted = (count: number) =>
    new Set(
      bulks()
        .flatMap(({ body }) => body['heartbeats'] as Sent[])
        .filter(({ processedCount = 0 }) => processedCount >= count)
        .map(({ jobId }) => jobId),
    ).size === 50
  for (const job of jobs) job.advance()
  await waitFor(() => isCounted(1), { timeoutMs: 10_000 })
  for (const job of jobs) job.advance()
  await waitFor(() => isCounted(2), { timeoutMs: 10_000 })
  const times = bulks().map(({ atMs }) => atMs)
  // The first may be at once, and those that begin a moment later come with the next.
  const gaps = times.slice(1).map((time, index) => time - times[index]!)
  t.ok(
    gaps.every(gap => gap >= 950),
    `gaps of ${gaps.map(Math.round).join(', ')} ms`,
  )
  refused.add(jobs[7]!.id!)
  for (const job of jobs) job.advance()
  await waitFor(() => jobs[7]!.signal.aborted, { timeoutMs: 10_000 })
  t.match(jobs[7]!.signal.reason, { code: 'superseded' })
  t.equal(jobs.filter(job => job.signal.aborted).length, 1)
})

t.test('the end of a job does not wait for the reports of others', async t => {
  const service = await startFakeService(t)
  service.script = bulkAnswer()
  const [first, ...others] = await startJobs(t, service.url, 20)
  const ends: string[] = []
  for (const job of [first!, ...others]) job.advance(3)
  const waiting = waitFor(() => service.received.filter(({ call }) => call === 'POST heartbeats').length >= 2, {
    timeoutMs: 10_000,
  })
  void waiting.then(() => ends.push('the next call for all'))
  t.ok(await first!.complete())
  ends.push('the end')
  await waiting
  t.equal(ends[0], 'the end')
})

t.test('where a call for many is too large or unknown, fewer are sent at once, and nothing is lost', async t => {
  for (const [status, refused] of [
    [413, '<html>no</html>'],
    [404, { code: 'route_not_found', detail: 'No.' }],
    [403, '<html>This path is not allowed</html>'],
  ] as const) {
    const service = await startFakeService(t)
    const good = bulkAnswer()
    service.script = (received, response) => {
      const count = (received.body['heartbeats'] as Sent[] | undefined)?.length ?? 0
      if (count > (status === 413 ? 4 : 0)) return { status, body: refused }
      return good(received, response)
    }
    const problems: Error[] = []
    const jobs = await startJobs(t, service.url, 10, problems)
    for (const job of jobs) job.advance(5)
    const counts = () =>
      service.received
        .filter(({ call }) => call.startsWith('POST heartbeat'))
        .flatMap(({ body }) => (body['heartbeats'] as Sent[] | undefined) ?? [body as unknown as Sent])
        .filter(({ processedCount }) => processedCount === 5).length
    await waitFor(() => counts() >= 10, { timeoutMs: 10_000 })
    t.same(
      await Promise.all(jobs.map(job => job.complete())),
      jobs.map(() => true),
    )
    t.same(problems, [], `after ${status} nobody is told`)
  }
})

t.test('a refusal of the whole call reaches every job, and an outage is told once', async t => {
  const service = await startFakeService(t)
  service.script = bulkAnswer()
  const problems: Error[] = []
  const jobs = await startJobs(t, service.url, 30, problems)
  const good = service.script
  service.script = (received, response) =>
    received.call.startsWith('POST heartbeat')
      ? { status: 401, body: { code: 'unauthenticated', detail: 'Who are you?' } }
      : good(received, response)
  for (const job of jobs) job.advance()
  await waitFor(() => problems.length > 0, { timeoutMs: 10_000 })
  service.script = good
  t.same(
    await Promise.all(jobs.map(job => job.complete())),
    jobs.map(() => true),
  )
  t.ok(problems.every(problem => problem.name === 'RefusedError'))
})

t.test('the counts of many jobs arrive in the service as they were counted', async t => {
  const service = await startService(t)
  const jobs = await startJobs(t, service.url, 40)
  for (const [index, job] of jobs.entries()) {
    job.advance(index + 1)
    job.report({ message: `so far ${index}` })
  }
  const read = async (job: Job) => (await service.call<JobWithWorkers>('GET', `/jobs/${job.id}`)).body
  await waitFor(
    async () => (await Promise.all(jobs.map(read))).every(({ processedCount }, n) => processedCount === n + 1),
    { timeoutMs: 10_000 },
  )
  t.match(await read(jobs[9]!), { message: 'so far 9', status: 'running' })
  t.same(
    await Promise.all(jobs.map(job => job.complete())),
    jobs.map(() => true),
  )
  t.ok((await Promise.all(jobs.map(read))).every(({ status }) => status === 'completed'))
})

t.test('the result of one of many reports raises what its own call would raise', async t => {
  for (const [code, { status }] of Object.entries(PROBLEMS)) {
    const result = { jobId: 'x', workerId: 'default', code, detail: 'A sentence.', jobStatus: 'failed' }
    const alone = errorOfAnswer(status, JSON.stringify(result), undefined)
    let raised: unknown
    try {
      resultOf(result)
    } catch (error) {
      raised = error
    }
    // Of what concerns a call as a whole no result can tell.
    if (['request_timeout', 'too_many_streams'].includes(code)) continue
    t.equal((raised as Error).constructor, alone.constructor, code)
    if (!(alone instanceof RefusedError) || !(raised instanceof RefusedError)) continue
    t.match(raised, { code, message: 'A sentence.', jobStatus: 'failed' })
    const isOfCaller = (error: RefusedError) => [401, 403].includes(error.status)
    t.equal(isOfCaller(raised), isOfCaller(alone), code)
  }
  for (const none of [undefined, null, 'text', 7]) t.throws(() => resultOf(none), UnavailableError)
})

t.test('a report whose job no longer waits for a connection is not sent, and those of others are', async t => {
  const service = await startFakeService(t)
  service.script = bulkAnswer()
  const bundle = new Bundle(createNodeClient({ url: service.url, token: '' }))
  const given = AbortSignal.abort()
  const live = new AbortController().signal
  const send = (jobId: string, signal: AbortSignal) =>
    bundle.send({ jobId, body: {}, connecting: { signal, onMade: () => undefined }, isLast: true })
  const [first, ...others] = await Promise.allSettled([send('a', given), send('b', live), send('c', live)])
  t.match(first, { status: 'rejected', reason: { name: 'UnavailableError' } })
  t.match(others, [
    { status: 'fulfilled', value: { jobId: 'b' } },
    { status: 'fulfilled', value: { jobId: 'c' } },
  ])
  t.match(service.bodies('POST heartbeats'), [{ heartbeats: [{ jobId: 'b' }, { jobId: 'c' }] }])
})

t.test('nothing of a call for many reports is kept once it has been answered', async t => {
  const service = await startFakeService(t)
  service.script = bulkAnswer()
  const bundle = new Bundle(createNodeClient({ url: service.url, token: '' }))
  const forgotten = new Set<number>()
  const registry = new FinalizationRegistry<number>(n => forgotten.add(n))
  const send = async (): Promise<void> => {
    const reports = Array.from({ length: 20 }, (_, n) => {
      const { signal } = new AbortController()
      registry.register(signal, n)
      return bundle.send({ jobId: `${n}`, body: {}, connecting: { signal, onMade: () => undefined }, isLast: true })
    })
    await Promise.all(reports)
  }
  await send()
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  await waitFor(
    () => {
      collect()
      return forgotten.size === 20
    },
    { timeoutMs: 10_000 },
  )
  t.pass('all signals are gone')
})

import t from 'tap'
import type { DurableAnswer } from '../../src/jobs/heartbeat.ts'
import { MAX_COUNT } from '../../src/jobs/job.ts'
import { startService } from '../helpers/service.ts'

const service = await startService(t)

const minutesAgo = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString()

t.test('the first heartbeat starts a pending job', async t => {
  const { id } = await service.createJob()
  const { status, body } = await service.heartbeat(id)
  t.equal(status, 200)
  t.match(body, { status: 'running', applied: true, durable: true, revision: 2, cancelRequested: false })
  t.match(await service.job(id), { status: 'running', liveness: 'ok', startedAt: String, heartbeatAt: String })
  t.same(await service.history(id), ['created', 'started'])
})

t.test('a bare heartbeat changes no revision and does not touch updatedAt', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { processedCount: 5, message: 'five' })
  const before = await service.job(id)
  const { body } = await service.heartbeat(id)
  t.equal(body.revision, before.revision)
  const same = await service.heartbeat(id, { processedCount: 5, message: 'five' })
  t.equal(same.body.revision, before.revision, 'the same numbers again are a bare heartbeat')
  const after = await service.job(id)
  t.equal(after.updatedAt, before.updatedAt)
  t.ok((after.heartbeatAt ?? '') > (before.heartbeatAt ?? ''), 'but it is alive')
})

t.test('400 parallel increments of 1 add up to exactly 400', async t => {
  const { id } = await service.createJob({ totalCount: 1000 })
  await Promise.all(
    Array.from({ length: 400 }, (_, n) =>
      service.call('POST', `/jobs/${id}/increment`, { increment: 1, workerId: `worker-${n % 7}` }),
    ),
  )
  t.match(await service.job(id), { processedCount: 400, progressPercent: 40, remainingCount: 600 })
})

t.test('the counts of several workers are summed', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  await service.heartbeat(id, { workerId: 'a', processedCount: 10 })
  await service.heartbeat(id, { workerId: 'b', processedCount: 20 })
  await service.heartbeat(id, { workerId: 'a', processedCount: 15 })
  const job = await service.job(id)
  t.match(job, { processedCount: 35, progressPercent: 35 })
  t.match(job.workers, [
    { workerId: 'a', processedCount: 15 },
    { workerId: 'b', processedCount: 20 },
  ])
})

t.test("workers' shares of the total are summed, and count only while the job has no total of its own", async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { workerId: 'a', processedCount: 1, totalCount: 10 })
  await service.heartbeat(id, { workerId: 'b', processedCount: 1, totalCount: 30 })
  t.equal((await service.job(id)).totalCount, 40)
  await service.heartbeat(id, { totalCount: 50 })
  t.equal((await service.job(id)).totalCount, 50, 'the job has a total of its own now')
  await service.heartbeat(id, { totalCount: null })
  t.equal((await service.job(id)).totalCount, 40, 'null makes it unknown, and the shares count again')
})

t.test('a total sent without workerId replaces the declared one', async t => {
  const { id } = await service.createJob({ totalCount: 10 })
  await service.call('PUT', `/jobs/${id}`, { totalCount: 200, processedCount: 20 })
  t.match(await service.job(id), { totalCount: 200, progressPercent: 10 })
})

t.test('a total of 0 is a job with nothing to do', async t => {
  const { id } = await service.createJob({ totalCount: 0 })
  await service.heartbeat(id)
  t.match(await service.job(id), { totalCount: 0, remainingCount: 0, progressPercent: 99 })
  await service.call('POST', `/jobs/${id}/complete`)
  t.match(await service.job(id), { status: 'completed', progressPercent: 100 })
})

t.test('the percent is floored and held at 99 before completion', async t => {
  const { id } = await service.createJob({ totalCount: 1000 })
  t.equal((await service.heartbeat(id, { processedCount: 999 })).body.progressPercent, 99)
  t.equal((await service.heartbeat(id, { processedCount: 1000 })).body.progressPercent, 99)
  const other = await service.createJob({ totalCount: 3 })
  t.equal((await service.heartbeat(other.id, { processedCount: 2 })).body.progressPercent, 66)
})

t.test('the percent never moves back within an attempt, except when the known total grew', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  await service.heartbeat(id, { processedCount: 60 })
  t.equal((await service.heartbeat(id, { processedCount: 30 })).body.progressPercent, 60, 'a lower count')
  t.equal(
    (await service.heartbeat(id, { processedCount: 60, totalCount: 400 })).body.progressPercent,
    15,
    'a larger total',
  )
  t.equal((await service.heartbeat(id, { totalCount: null })).body.progressPercent, 15, 'a total that is lost')
})

t.test('a reported percent counts only while no total is known, and several workers’ is their mean', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { workerId: 'a', progressPercent: 50 })
  t.equal(
    (await service.heartbeat(id, { workerId: 'b', progressPercent: 25 })).body.progressPercent,
    50,
    'does not fall',
  )
  t.equal((await service.heartbeat(id, { workerId: 'b', progressPercent: 75 })).body.progressPercent, 62)
  t.equal((await service.heartbeat(id, { workerId: 'a', progressPercent: 100 })).body.progressPercent, 87)
  t.equal((await service.heartbeat(id, { workerId: 'b', progressPercent: 100 })).body.progressPercent, 99, 'held at 99')
  const known = await service.createJob({ totalCount: 100 })
  t.equal((await service.heartbeat(known.id, { processedCount: 10, progressPercent: 90 })).body.progressPercent, 10)
})

t.test('a late report refreshes liveness only', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  await service.heartbeat(id, { processedCount: 50, message: 'new', reportedAt: minutesAgo(1) })
  const late = await service.heartbeat(id, { processedCount: 40, message: 'old', reportedAt: minutesAgo(2) })
  t.match(late.body, { applied: false, progressPercent: 50 })
  t.match(await service.job(id), { processedCount: 50, message: 'new' })
})

t.test('a report older by more than five minutes means that the clock was set, and applies', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  const last = Date.parse('2026-01-01T12:00:00.000Z')
  const ago = (ms: number) => new Date(last - ms).toISOString()
  await service.heartbeat(id, { processedCount: 50, reportedAt: ago(0) })
  t.equal(
    (await service.heartbeat(id, { processedCount: 10, reportedAt: ago(300_000) })).body.applied,
    false,
    'at 5 minutes',
  )
  t.equal(
    (await service.heartbeat(id, { processedCount: 20, reportedAt: ago(300_001) })).body.applied,
    true,
    'beyond them',
  )
  t.equal((await service.job(id)).processedCount, 20)
})

t.test('reports are compared only where both have reportedAt', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { processedCount: 50, reportedAt: minutesAgo(0) })
  t.equal((await service.heartbeat(id, { processedCount: 10 })).body.applied, true)
  t.equal((await service.job(id)).processedCount, 10)
})

t.test('a report of another attempt is refused as superseded', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { attempt: 1, processedCount: 5 })
  await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
  await service.call('POST', `/jobs/${id}/retry`)
  const zombie = await service.call('POST', `/jobs/${id}/heartbeat`, { attempt: 1, processedCount: 9 })
  t.match(zombie, { status: 409, body: { code: 'superseded' } })
  t.match(await service.job(id), { status: 'pending', attempt: 2, processedCount: 0 })
  t.equal((await service.heartbeat(id, { processedCount: 1 })).status, 200, 'without one it is of the current attempt')
  t.match(await service.job(id), {
    processedCount: 1,
    workers: [{ workerId: 'default', attempt: 2, processedCount: 1 }],
  })
})

t.test('a worker of an earlier attempt begins at nothing', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  await service.heartbeat(id, { workerId: 'a', processedCount: 40, message: 'old', payload: { x: 1 } })
  await service.heartbeat(id, { workerId: 'b', processedCount: 40 })
  await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
  await service.call('POST', `/jobs/${id}/retry`)
  await service.call('POST', `/jobs/${id}/increment`, { workerId: 'a', increment: 3 })
  const job = await service.job(id)
  t.match(job, { processedCount: 3, progressPercent: 3, message: null })
  t.equal(job.workers.length, 1, 'and workers of earlier attempts are not shown')
  t.match(job.workers, [{ processedCount: 3, message: null, payload: null }])
})

t.test('a finished job refuses heartbeats with its status', async t => {
  const { id } = await service.createJob()
  await service.call('POST', `/jobs/${id}/complete`)
  const { status, body } = await service.call('POST', `/jobs/${id}/heartbeat`, { processedCount: 1 })
  t.match({ status, body }, { status: 409, body: { code: 'already_finished', jobStatus: 'completed' } })
  t.equal((await service.job(id)).processedCount, 0)
})

t.test('processedCount above totalCount in one report is refused, increments past the total are kept', async t => {
  const { id } = await service.createJob({ totalCount: 10 })
  const refused = await service.call('POST', `/jobs/${id}/heartbeat`, { processedCount: 11, totalCount: 10 })
  t.match(refused, { status: 422, body: { code: 'count_exceeds_total' } })
  await service.call('POST', `/jobs/${id}/increment`, { increment: 12 })
  t.match(await service.job(id), { processedCount: 12, remainingCount: 0, progressPercent: 99 })
})

t.test('a sum above 2^53-1 is held there', async t => {
  const { id } = await service.createJob({ totalCount: MAX_COUNT })
  await service.heartbeat(id, { workerId: 'a', processedCount: MAX_COUNT - 1 })
  await service.call('POST', `/jobs/${id}/increment`, { workerId: 'a', increment: 1000 })
  await service.heartbeat(id, { workerId: 'b', processedCount: MAX_COUNT })
  t.match(await service.job(id), { processedCount: MAX_COUNT, progressPercent: 99 })
})

t.test('absent fields stay, null clears them', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { message: 'hello', stage: 'one', payload: { a: 1 }, unit: 'rows', etaSeconds: 90 })
  await service.heartbeat(id, { processedCount: 1 })
  t.match(await service.job(id), { message: 'hello', stage: 'one', unit: 'rows', etaSource: 'worker' })
  await service.heartbeat(id, { message: null, stage: null, payload: null, etaSeconds: null })
  const job = await service.job(id)
  t.match(job, { message: null, stage: null, unit: 'rows', etaSeconds: null })
  t.match(job.workers, [{ payload: null, message: null }])
})

t.test('the job shows the message and stage of the last report that carried one', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { workerId: 'a', message: 'from a', stage: 'load' })
  await service.heartbeat(id, { workerId: 'b', message: 'from b' })
  await service.heartbeat(id, { workerId: 'a', processedCount: 3 })
  t.match(await service.job(id), { message: 'from b', stage: 'load' })
})

t.test('meta merges key by key, and may not grow beyond 16 KB', async t => {
  const { id } = await service.createJob({ meta: { a: 1, b: 1 } })
  await service.call('PUT', `/jobs/${id}`, { meta: { b: 2, c: { d: 3 } } })
  t.same((await service.job(id)).meta, { a: 1, b: 2, c: { d: 3 } })
  await service.call('PUT', `/jobs/${id}`, { meta: { big: 'x'.repeat(10_000) } })
  const refused = await service.call('PUT', `/jobs/${id}`, { meta: { more: 'x'.repeat(10_000) }, processedCount: 7 })
  t.match(refused, { status: 422, body: { code: 'meta_too_large' } })
  t.equal((await service.job(id)).processedCount, 0, 'a refused report leaves nothing behind')
})

t.test('a job has at most 1,000 workers', async t => {
  const { id } = await service.createJob()
  const heartbeats = Array.from({ length: 1000 }, (_, n) => ({ jobId: id, workerId: `w${n}`, processedCount: 1 }))
  const bulk = await service.call<{ results: DurableAnswer[] }>('POST', '/heartbeats', { heartbeats })
  t.ok(bulk.body.results.every(result => 'durable' in result))
  const refused = await service.call('POST', `/jobs/${id}/heartbeat`, { workerId: 'one more', processedCount: 1 })
  t.match(refused, { status: 422, body: { code: 'too_many_workers' } })
  t.equal((await service.heartbeat(id, { workerId: 'w999', processedCount: 2 })).status, 200, 'those it has go on')
  t.equal((await service.job(id)).processedCount, 1001)
})

t.test('too many new workers in one batch: the first thousand are taken', async t => {
  const { id } = await service.createJob()
  const one = Array.from({ length: 999 }, (_, n) => ({ jobId: id, workerId: `w${n}` }))
  await service.call('POST', '/heartbeats', { heartbeats: one })
  const more = ['x', 'y', 'z'].map(workerId => ({ jobId: id, workerId }))
  const { body } = await service.call<{ results: { code?: string }[] }>('POST', '/heartbeats', { heartbeats: more })
  t.same(
    body.results.map(result => result.code),
    [undefined, 'too_many_workers', 'too_many_workers'],
  )
})

t.test('a bulk answers each item in its place, and a bad one does not fail the others', async t => {
  const one = await service.createJob()
  const two = await service.createJob()
  await service.call('POST', `/jobs/${two.id}/complete`)
  const unknown = '00000000-0000-4000-8000-000000000000'
  const heartbeats = [
    { jobId: one.id, workerId: 'a', processedCount: 1 },
    { jobId: unknown, processedCount: 1 },
    { jobId: two.id, processedCount: 1 },
    { jobId: one.id, workerId: 'b', processedCount: 9, totalCount: 8 },
    { jobId: one.id, workerId: 'b', processedCount: 'many' },
    { jobId: one.id, workerId: 'b', increment: 2 },
    { jobId: one.id, workerId: 'b', increment: 2 },
  ]
  const { status, body } = await service.call<{ results: object[] }>('POST', '/heartbeats', { heartbeats })
  t.equal(status, 200)
  t.match(body.results, [
    { jobId: one.id, workerId: 'a', durable: true },
    { jobId: unknown, workerId: 'default', code: 'job_not_found' },
    { jobId: two.id, code: 'already_finished', jobStatus: 'completed' },
    { jobId: one.id, workerId: 'b', code: 'count_exceeds_total' },
    { jobId: one.id, workerId: 'b', code: 'validation_failed' },
    { jobId: one.id, workerId: 'b', durable: true },
    { jobId: one.id, workerId: 'b', durable: true },
  ])
  t.equal((await service.job(one.id)).processedCount, 5)
})

t.test('the asked-for interval never exceeds a third of the timeout or of STALLED_AFTER_SECONDS', async t => {
  const usual = await service.createJob()
  t.equal((await service.heartbeat(usual.id)).body.heartbeatIntervalMs, 5000)
  const short = await service.createJob({ heartbeatTimeoutSeconds: 3 })
  t.equal((await service.heartbeat(short.id)).body.heartbeatIntervalMs, 1000)
  const never = await service.createJob({ heartbeatTimeoutSeconds: 0 })
  t.equal((await service.heartbeat(never.id)).body.heartbeatIntervalMs, 5000)
})

t.test('a cancellation reaches the worker by its heartbeat', async t => {
  const { id } = await service.createJob({ cancellable: true })
  t.equal((await service.heartbeat(id)).body.cancelRequested, false)
  await service.call('POST', `/jobs/${id}/cancel`)
  t.equal((await service.heartbeat(id)).body.cancelRequested, true)
})

t.test('an empty body of any content type is a bare heartbeat', async t => {
  const { id } = await service.createJob()
  for (const headers of [
    {},
    { 'content-type': 'application/x-www-form-urlencoded' },
    { 'content-type': 'text/plain' },
  ]) {
    const response = await fetch(`${service.url}/api/progress/jobs/${id}/heartbeat`, { method: 'POST', headers })
    t.equal(response.status, 200)
  }
})

t.test('the throughput and ETA follow what was done', async t => {
  const { id } = await service.createJob({ totalCount: 1000 })
  await service.call('POST', `/jobs/${id}/start`)
  await service.age(id, 10)
  await service.heartbeat(id, { processedCount: 100 })
  const job = await service.job(id)
  t.ok(Math.abs((job.throughputPerSecond ?? 0) - 10) < 0.5, `10 a second: ${job.throughputPerSecond}`)
  t.ok(Math.abs((job.etaSeconds ?? 0) - 90) <= 5, `90 seconds left: ${job.etaSeconds}`)
  t.equal(job.etaSource, 'rate')
})

t.test('the interval between advances comes from reportedAt where both reports have it', async t => {
  const { id } = await service.createJob({ totalCount: 1000 })
  const at = (seconds: number) => new Date(Date.parse('2026-01-01T00:00:00Z') + seconds * 1000).toISOString()
  await service.heartbeat(id, { processedCount: 0, reportedAt: at(0) })
  await service.heartbeat(id, { processedCount: 10, reportedAt: at(1) })
  await service.heartbeat(id, { processedCount: 110, reportedAt: at(11) })
  const job = await service.job(id)
  t.ok(Math.abs((job.throughputPerSecond ?? 0) - 10) < 1, `10 a second: ${job.throughputPerSecond}`)
})

t.test("a worker's own ETA wins, and its throughput as well", async t => {
  const { id } = await service.createJob({ totalCount: 1000 })
  await service.heartbeat(id, { processedCount: 1, etaSeconds: 500, throughputPerSecond: 7.5 })
  t.match(await service.job(id), { etaSeconds: 500, etaSource: 'worker', throughputPerSecond: 7.5 })
  await service.heartbeat(id, { processedCount: 2, etaSeconds: null })
  const job = await service.job(id)
  t.match(job, { etaSource: 'rate', etaSeconds: Math.ceil(998 / 7.5) })
})

t.test('the rate of a worker that no longer reports does not count', async t => {
  const { id } = await service.createJob({ totalCount: 1000 })
  await service.heartbeat(id, { workerId: 'gone', processedCount: 1, throughputPerSecond: 100 })
  await service.age(id, 40)
  await service.heartbeat(id, { workerId: 'here', processedCount: 1, throughputPerSecond: 5 })
  t.equal((await service.job(id)).throughputPerSecond, 5)
})

t.test('a worker that was silent for longer than the timeout rates its work anew', async t => {
  const { id } = await service.createJob({ totalCount: 1_000_000 })
  await service.heartbeat(id, { processedCount: 0 })
  await service.age(id, 10)
  await service.heartbeat(id, { processedCount: 100 })
  await service.age(id, 7200)
  await service.heartbeat(id, { processedCount: 110 })
  t.equal((await service.job(id)).throughputPerSecond, null, 'the silence was no work')
  await service.age(id, 10)
  await service.heartbeat(id, { processedCount: 210 })
  const { throughputPerSecond } = await service.job(id)
  t.ok(Math.abs((throughputPerSecond ?? 0) - 10) < 1, `10 a second: ${throughputPerSecond}`)
})

t.test('an unknown job is 404 and says so', async t => {
  const reply = await service.call('POST', '/jobs/00000000-0000-4000-8000-000000000000/heartbeat', {})
  t.match(reply, { status: 404, body: { code: 'job_not_found' } })
})

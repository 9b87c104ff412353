import t from 'tap'
import type { DurableAnswer } from '../../src/contract/heartbeat.ts'
import { MAX_COUNT } from '../../src/contract/job.ts'
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

t.test('a heartbeat that reports nothing new changes neither revision nor updatedAt', async t => {
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

t.test('counts of workers in different units are never added', async t => {
  const { id } = await service.createJob({ unit: 'rows', totalCount: 1000 })
  const after = async (body: object) => {
    await service.heartbeat(id, { ...body })
    const { unit, processedCount, totalCount, progressPercent } = await service.job(id)
    return [unit, processedCount, totalCount, progressPercent]
  }
  const rows = ['rows', 500, 1000, 50]
  t.same(await after({ workerId: 'a', processedCount: 500 }), rows, 'without a unit of its own it counts in the job’s')
  t.same(await after({ workerId: 'b', processedCount: 3, unit: 'files', throughputPerSecond: 7 }), rows)
  t.same(await after({ workerId: 'b', increment: 4, totalCount: 20 }), rows, 'also when it does not say its unit again')
  t.same(
    await after({ processedCount: 8, totalCount: 9, unit: 'bytes' }),
    rows,
    'nor is the total of `default` the job’s',
  )
  t.same(await after({ totalCount: null }), rows)
  t.same(await after({ workerId: 'c', processedCount: 10, unit: 'rows' }), ['rows', 510, 1000, 51])
  t.same(await after({ workerId: 'd', processedCount: 20, unit: 'unknown' }), ['rows', 530, 1000, 53])
  const { workers } = await service.job(id)
  t.same(
    workers.map(({ workerId, unit, processedCount, totalCount }) => [workerId, unit, processedCount, totalCount]),
    [
      ['a', null, 500, null],
      ['b', 'files', 7, 20],
      ['c', 'rows', 10, null],
      ['d', null, 20, null],
      ['default', 'bytes', 8, null],
    ],
  )
  t.not((await service.job(id)).throughputPerSecond, 7)
})

t.test(
  'a reported unit becomes the job’s when no worker has counted in the present one, and the total is dropped',
  async t => {
    const { id } = await service.createJob({ totalCount: 1000 })
    const after = async (body: object) => {
      await service.heartbeat(id, { ...body })
      const { unit, processedCount, totalCount } = await service.job(id)
      return [unit, processedCount, totalCount]
    }
    t.same(await after({ workerId: 'a', processedCount: 400 }), ['unknown', 400, 1000])
    t.same(
      await after({ workerId: 'b', processedCount: 100, unit: 'rows' }),
      ['rows', 500, 1000],
      'an unknown one is known now',
    )
    t.same(await after({ workerId: 'b', processedCount: 2, unit: 'files' }), ['rows', 400, 1000])
    t.same(
      await after({ workerId: 'a', unit: 'files' }),
      ['rows', 0, 1000],
      'the last that counted rows counts no more of them, and has counted nothing else yet',
    )
    t.same(await after({ workerId: 'b' }), ['files', 2, null])
    t.same(await after({ workerId: 'a', increment: 3, totalCount: 10 }), ['files', 5, 10])
    t.same(await after({ totalCount: 30 }), ['files', 5, 30])
    await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
    await service.call('POST', `/jobs/${id}/retry`)
    t.same(await after({ workerId: 'b', processedCount: 1 }), ['files', 1, 30])
    const other = await service.createJob({ unit: 'files', totalCount: 3 })
    await service.heartbeat(other.id, { unit: 'bytes', processedCount: 1 })
    t.match(await service.job(other.id), { unit: 'bytes', processedCount: 1, totalCount: null, progressPercent: 0 })
  },
)

t.test('the count of a worker begins at 0 when the only worker of a job changes its unit', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { processedCount: 500, totalCount: 1000, unit: 'rows' })
  await service.heartbeat(id, { increment: 2, totalCount: 4, unit: 'files' })
  t.match(await service.job(id), { unit: 'files', processedCount: 2, totalCount: 4, progressPercent: 50 })
  await service.heartbeat(id, { unit: 'unknown', processedCount: 3 })
  t.match(await service.job(id), { unit: 'files', processedCount: 3 }, '`unknown` replaces none')
})

t.test(
  'a total that the worker `default` named in its own unit becomes the job’s with that unit, and stays',
  async t => {
    const { id } = await service.createJob({ unit: 'rows' })
    await service.heartbeat(id, { workerId: 'a', processedCount: 10, totalCount: 20 })
    await service.heartbeat(id, { unit: 'files', processedCount: 1, totalCount: 5 })
    await service.heartbeat(id, { workerId: 'a', unit: 'files', processedCount: 1 })
    t.match(await service.job(id), { unit: 'files', processedCount: 2, totalCount: 5 })
    await service.heartbeat(id, { processedCount: 2 })
    t.match(await service.job(id), { unit: 'files', processedCount: 3, totalCount: 5 })
    await service.heartbeat(id, { processedCount: 3 })
    t.match(await service.job(id), { unit: 'files', processedCount: 4, totalCount: 5 })
  },
)

t.test(
  'a worker that names a unit and counts nothing changes neither the unit nor the total that the job was given',
  async t => {
    const { id } = await service.createJob({ unit: 'rows', totalCount: 100 })
    await service.heartbeat(id, { workerId: 'stray', unit: 'files' })
    await service.heartbeat(id, { workerId: 'a', unit: 'rows', processedCount: 30 })
    t.match(await service.job(id), { unit: 'rows', processedCount: 30, totalCount: 100, progressPercent: 30 })

    const byDefault = await service.createJob({ unit: 'rows' })
    await service.heartbeat(byDefault.id, { totalCount: 50 })
    await service.heartbeat(byDefault.id, { workerId: 'stray', unit: 'files' })
    await service.heartbeat(byDefault.id, { processedCount: 10 })
    t.match(await service.job(byDefault.id), { unit: 'rows', processedCount: 10, totalCount: 50, progressPercent: 20 })

    const unnamed = await service.createJob({ totalCount: 50 })
    await service.heartbeat(unnamed.id, { unit: 'files' })
    t.match(await service.job(unnamed.id), { unit: 'files', totalCount: 50 })
  },
)

t.test('the percent of a job begins at 0 in a new unit', async t => {
  const { id } = await service.createJob()
  await service.heartbeat(id, { unit: 'rows', processedCount: 90, totalCount: 100 })
  t.match(await service.job(id), { progressPercent: 90 })
  await service.heartbeat(id, { unit: 'files', processedCount: 1, totalCount: null })
  t.match(await service.job(id), { unit: 'files', processedCount: 1, totalCount: null, progressPercent: 0 })
  await service.heartbeat(id, { totalCount: 4 })
  t.match(await service.job(id), { unit: 'files', progressPercent: 25 })
})

t.test('the first of several units in one request becomes the unit of the job', async t => {
  for (const units of [
    ['rows', 'files', 'bytes'],
    ['files', 'rows', 'bytes'],
  ]) {
    const { id } = await service.createJob()
    const heartbeats = units.map((unit, n) => ({ jobId: id, workerId: `w${n}`, unit, processedCount: 10 + n }))
    await service.call('POST', '/heartbeats', { heartbeats })
    t.match(await service.job(id), { unit: units[0], processedCount: 10 })
  }
})

t.test('the reports of a thousand workers that change their unit at once are all written', async t => {
  const { id } = await service.createJob({ unit: 'rows' })
  const report = async (unit: string) => {
    const heartbeats = Array.from({ length: 1000 }, (_, n) => ({
      jobId: id,
      workerId: `w${n}`,
      unit,
      processedCount: 5,
    }))
    const { status } = await service.call('POST', '/heartbeats', { heartbeats })
    return status
  }
  t.equal(await report('rows'), 200)
  t.equal(await report('files'), 200, 'on disk within the time of a flush')
  t.match(await service.job(id), { unit: 'files', processedCount: 5000 })
})

t.test('counts that workers report in different units at once are not added', async t => {
  const { id } = await service.createJob()
  await Promise.all(
    ['rows', 'files', 'rows', 'files'].map((unit, n) =>
      service.heartbeat(id, { workerId: `worker-${n}`, processedCount: unit === 'rows' ? 100 : 3, unit }),
    ),
  )
  const { unit, processedCount } = await service.job(id)
  t.equal(processedCount, unit === 'rows' ? 200 : 6)
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

t.test('a job with a total of 0 has nothing to do', async t => {
  const { id } = await service.createJob({ totalCount: 0 })
  await service.heartbeat(id)
  t.match(await service.job(id), { totalCount: 0, remainingCount: 0, progressPercent: 99 })
  await service.call('POST', `/jobs/${id}/complete`)
  t.match(await service.job(id), { status: 'completed', progressPercent: 100 })
})

t.test('the percent is rounded down and at most 99 before completion', async t => {
  const { id } = await service.createJob({ totalCount: 1000 })
  t.equal((await service.heartbeat(id, { processedCount: 999 })).body.progressPercent, 99)
  t.equal((await service.heartbeat(id, { processedCount: 1000 })).body.progressPercent, 99)
  const other = await service.createJob({ totalCount: 3 })
  t.equal((await service.heartbeat(other.id, { processedCount: 2 })).body.progressPercent, 66)
})

t.test('the percent follows the counts if a total is known, also when they fall', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  const after = async (body: object) => (await service.heartbeat(id, { ...body })).body.progressPercent
  t.equal(await after({ processedCount: 60 }), 60)
  t.equal(await after({ processedCount: 30 }), 30, 'a worker that begins again at a lower count')
  t.equal(await after({ workerId: 'b', processedCount: 40 }), 70)
  t.equal(await after({ processedCount: 0, message: 'again' }), 40, 'one of several')
  t.equal(await after({ processedCount: 60, totalCount: 400 }), 25, 'a larger total')
  t.equal(await after({ totalCount: 200 }), 50, 'a smaller total')
  t.equal(await after({ totalCount: null }), 50, 'a total that is lost')
  const reported = await service.createJob()
  await service.heartbeat(reported.id, { progressPercent: 60 })
  const known = await service.heartbeat(reported.id, { processedCount: 10, totalCount: 100 })
  t.equal(known.body.progressPercent, 10, 'a total that becomes known')
})

t.test('a reported percent never lowers the percent of a job', async t => {
  const { id } = await service.createJob()
  t.equal((await service.heartbeat(id, { progressPercent: 60 })).body.progressPercent, 60)
  t.equal((await service.heartbeat(id, { progressPercent: 30 })).body.progressPercent, 60)
})

t.test('the percent of a batch falls with the counts of its partitions', async t => {
  const batch = await service.createJob({
    partitions: [
      { name: 'one', totalCount: 50 },
      { name: 'two', totalCount: 50 },
    ],
  })
  const [one] = (batch as unknown as { partitions: { id: string }[] }).partitions
  await service.heartbeat(one?.id ?? '', { processedCount: 40 })
  t.match(await service.job(batch.id), { processedCount: 40, progressPercent: 40 })
  await service.heartbeat(one?.id ?? '', { processedCount: 5 })
  t.match(await service.job(batch.id), { processedCount: 5, progressPercent: 5 })
})

t.test(
  'a reported percent counts only while no total is known, and the percent of several workers is their mean',
  async t => {
    const { id } = await service.createJob()
    await service.heartbeat(id, { workerId: 'a', progressPercent: 50 })
    t.equal(
      (await service.heartbeat(id, { workerId: 'b', progressPercent: 25 })).body.progressPercent,
      50,
      'does not fall',
    )
    t.equal((await service.heartbeat(id, { workerId: 'b', progressPercent: 75 })).body.progressPercent, 62)
    t.equal((await service.heartbeat(id, { workerId: 'a', progressPercent: 100 })).body.progressPercent, 87)
    t.equal(
      (await service.heartbeat(id, { workerId: 'b', progressPercent: 100 })).body.progressPercent,
      99,
      'held at 99',
    )
    const known = await service.createJob({ totalCount: 100 })
    t.equal((await service.heartbeat(known.id, { processedCount: 10, progressPercent: 90 })).body.progressPercent, 10)
  },
)

t.test('a late report refreshes liveness only', async t => {
  const { id } = await service.createJob({ totalCount: 100 })
  await service.heartbeat(id, { processedCount: 50, message: 'new', reportedAt: minutesAgo(1) })
  const late = await service.heartbeat(id, { processedCount: 40, message: 'old', reportedAt: minutesAgo(2) })
  t.match(late.body, { applied: false, progressPercent: 50 })
  t.match(await service.job(id), { processedCount: 50, message: 'new' })
})

t.test(
  'reports of a worker apply again once all of them were late for ten seconds, because its clock was set back',
  async t => {
    for (const workerId of ['default', 'other']) {
      const { id } = await service.createJob({ totalCount: 100 })
      const report = async (processedCount: number, secondsAgo: number) => {
        const reportedAt = new Date(Date.now() - secondsAgo * 1000).toISOString()
        return (await service.heartbeat(id, { workerId, processedCount, reportedAt })).body
      }
      await report(10, 0)
      t.match(await report(11, 120), { applied: false }, 'it may be late')
      await service.age(id, 9)
      t.match(await report(12, 116), { applied: false })
      await service.age(id, 2)
      t.match(await report(13, 113), { applied: true, progressPercent: 13 })
      t.match(await report(14, 112), { applied: true, progressPercent: 14 }, 'and orders what follows')
      t.match(await report(2, 115), { applied: false }, 'what is late by the new clock is late')
      await service.age(id, 11)
      t.match(await report(15, 100), { applied: true })
      t.match(await report(3, 105), { applied: false }, 'one that was in time begins the ten seconds anew')
    }
  },
)

t.test("a change of a worker's clock during its work does not change its rate", async t => {
  for (const jumpSeconds of [3_600, -3_600, 90, -200, 86_400 * 365]) {
    const { id } = await service.createJob({ totalCount: 1_000 })
    const begunMs = Date.now()
    for (let n = 1; n <= 10; n += 1) {
      await service.age(id, 10)
      const reportedAt = new Date(begunMs + n * 10_000 + (n > 5 ? jumpSeconds * 1000 : 0)).toISOString()
      await service.heartbeat(id, { processedCount: n * 10, reportedAt })
      if (jumpSeconds === -200 && n === 6) await service.age(id, 0)
    }
    const { throughputPerSecond, etaSeconds } = await service.job(id)
    t.ok(
      (throughputPerSecond ?? 0) > 0.7 && (throughputPerSecond ?? 0) < 1.4,
      `${jumpSeconds} s: ${throughputPerSecond}/s`,
    )
    t.ok((etaSeconds ?? 0) > 600 && (etaSeconds ?? 0) < 1_400, `${jumpSeconds} s: ${etaSeconds} s left`)
  }
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

t.test('a worker of an earlier attempt begins again with no counts', async t => {
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

t.test('a count beyond the total is kept, also if both come in one report', async t => {
  const past = { processedCount: 12, totalCount: 10, remainingCount: 0, progressPercent: 99 }
  const reports: object[][] = [
    [{ totalCount: 10 }, { processedCount: 12 }],
    [{ processedCount: 12 }, { totalCount: 10 }],
    [{ processedCount: 12, totalCount: 10 }],
    [{ totalCount: 10 }, { increment: 5 }, { increment: 7 }],
    [{ increment: 12, totalCount: 10 }],
    [{ workerId: 'a', processedCount: 12, totalCount: 10 }],
    [
      { workerId: 'a', processedCount: 6, totalCount: 5 },
      { workerId: 'b', processedCount: 6, totalCount: 5 },
    ],
  ]
  for (const bodies of reports) {
    const { id } = await service.createJob()
    for (const body of bodies) t.equal((await service.heartbeat(id, { ...body })).status, 200)
    t.match(await service.job(id), past, JSON.stringify(bodies))
  }
})

t.test('remainingCount is the number of items not done, and 0 for a completed job', async t => {
  const ends: [path: string, body: object | undefined, remainingCount: number][] = [
    ['complete', undefined, 0],
    ['fail', { errorMessage: 'no' }, 70],
    ['cancelled', undefined, 70],
  ]
  for (const [path, body, remainingCount] of ends) {
    const { id } = await service.createJob({ totalCount: 100, cancellable: true })
    await service.heartbeat(id, { processedCount: 30 })
    t.match(await service.call('POST', `/jobs/${id}/${path}`, body), { status: 200, body: { remainingCount } }, path)
    t.match((await service.call('GET', `/jobs/${id}/progress`)).body, { remainingCount })
  }
  const pending = await service.createJob({ totalCount: 7, cancellable: true })
  t.match((await service.call('POST', `/jobs/${pending.id}/cancel`)).body, { remainingCount: 7 })
  const unknown = await service.createJob()
  t.match((await service.call('POST', `/jobs/${unknown.id}/fail`, { errorMessage: 'no' })).body, {
    remainingCount: null,
  })
})

t.test('rates have at most four significant digits', async t => {
  const { id } = await service.createJob({ totalCount: 1_000_000 })
  const rates: [reported: number, shown: number][] = [
    [0, 0],
    [0.000123456, 0.0001235],
    [1.99999, 2],
    [123.456, 123.5],
    [98_765.4321, 98_770],
    [999_999_999_999_999, 1e15],
    [4.9e-300, 4.9e-300],
  ]
  for (const [throughputPerSecond, shown] of rates) {
    await service.heartbeat(id, { workerId: 'a', throughputPerSecond })
    const job = await service.job(id)
    t.equal(job.throughputPerSecond, shown)
    t.match(job.workers, [{ throughputPerSecond: shown }])
  }
})

t.test('a sum above 2^53-1 is cut to it', async t => {
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

t.test('of too many new workers in one flush, the first thousand are accepted', async t => {
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
    { jobId: one.id, workerId: 'b', attempt: 7 },
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
    { jobId: one.id, workerId: 'b', code: 'superseded' },
    { jobId: one.id, workerId: 'b', code: 'validation_failed' },
    { jobId: one.id, workerId: 'b', durable: true },
    { jobId: one.id, workerId: 'b', durable: true },
  ])
  t.equal((await service.job(one.id)).processedCount, 5)
})

t.test('heartbeatIntervalMs is at most a third of the timeout and of STALLED_AFTER_SECONDS', async t => {
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

t.test('the throughput and the ETA follow the counts', async t => {
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

t.test("a worker's own ETA and throughput are used instead of the measured ones", async t => {
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

t.test('a worker that was silent for longer than the timeout gets a new rate', async t => {
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

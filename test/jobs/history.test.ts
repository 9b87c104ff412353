import t from 'tap'
import { startService } from '../helpers/service.ts'
import { startTimeline, type Timeline } from '../helpers/timeline.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'

interface Event {
  id: number
  type: string
  at: string
  actor: string | null
  attempt: number
  data: Record<string, unknown>
}

t.test('the history has every lifecycle change with its time, user, attempt and data', async t => {
  const timeline = await startTimeline(t)
  await timeline.at(1)
  const jobId = await timeline.create({ cancellable: true, total_count: 10, started_by_user_id: 'anne' })
  await timeline.at(2)
  await timeline.report({ jobId, workerId: 'w1', processedCount: 4 })
  await timeline.at(3)
  await timeline.command(jobId, 'fail', { errorMessage: 'disk full' })
  await timeline.at(4)
  await timeline.command(jobId, 'retry')
  await timeline.at(5)
  await timeline.command(jobId, 'start')
  await timeline.at(6)
  await timeline.command(jobId, 'cancel')
  await timeline.at(7)
  await timeline.command(jobId, 'complete', { resultSummary: { rows: 4 } })
  t.same(await timeline.history(jobId), [
    { type: 'created', at: 1, actor: 'anne', attempt: 1, data: {} },
    { type: 'started', at: 2, actor: null, attempt: 1, data: { workerId: 'w1' } },
    {
      type: 'failed',
      at: 3,
      actor: 'someone',
      attempt: 1,
      data: {
        progressPercent: 40,
        processedCount: 4,
        totalCount: 10,
        failureReason: 'worker',
        errorMessage: 'disk full',
      },
    },
    { type: 'retried', at: 4, actor: 'someone', attempt: 2, data: { previousStatus: 'failed' } },
    { type: 'started', at: 5, actor: 'someone', attempt: 2, data: {} },
    { type: 'cancel_requested', at: 6, actor: 'someone', attempt: 2, data: {} },
    {
      type: 'completed',
      at: 7,
      actor: 'someone',
      attempt: 2,
      data: { progressPercent: 100, processedCount: 0, totalCount: 10 },
    },
  ])
})

t.test('the history has a sample of progress after a percent and five seconds', async t => {
  const timeline = await startTimeline(t)
  const jobId = await timeline.create({ total_count: 100 })
  const report = async (at: number, fields: { processedCount?: number; totalCount?: number }) => {
    await timeline.at(at)
    await timeline.report({ jobId, ...fields })
  }
  await report(0, { processedCount: 0 })
  await report(4.999, { processedCount: 20 })
  t.same(await timeline.history(jobId, 'progress'), [], 'too soon')
  await report(5, { processedCount: 20 })
  await report(9, { processedCount: 30 })
  await report(10, { processedCount: 31 })
  t.match(await timeline.history(jobId, 'progress'), [
    { at: 5, actor: null, attempt: 1, data: { progressPercent: 20, processedCount: 20, totalCount: 100 } },
    { at: 10, data: { progressPercent: 31, advancedAt: '2030-01-01T00:00:10.000Z', etaSeconds: Number } },
  ])
  await timeline.at(20)
  await timeline.command(jobId, 'fail', { errorMessage: 'no' })
  await timeline.command(jobId, 'retry')
  await report(21, { processedCount: 1 })
  await report(25, { processedCount: 2 })
  await report(26, { processedCount: 3 })
  t.match((await timeline.history(jobId, 'progress')).slice(2), [{ at: 26, attempt: 2, data: { progressPercent: 3 } }])
})

/** How many samples a job got from one time to another. */
const samplesBetween = async (timeline: Timeline, jobId: string, from: number, to: number): Promise<number> => {
  const samples = await timeline.history(jobId, 'progress')
  return samples.filter(({ at }) => at >= from && at < to).length
}

t.test('half an hour of reports makes at most a hundred samples, which are enough to draw the curve', async t => {
  const timeline = await startTimeline(t)
  const seconds = 1800
  const names = ['steady', 'ahead', 'idle', 'endless', 'growing'] as const
  const ids = await Promise.all(
    names.map(name =>
      timeline.create({ total_count: { steady: 18_000, ahead: 1000, idle: 1000, endless: null, growing: 10 }[name] }),
    ),
  )
  const [steady, ahead, idle, endless, growing] = ids as [string, string, string, string, string]
  // Half of its work in a sixth of the time, and the other half in the rest.
  const aheadAt = (at: number) => Math.floor(at < 300 ? (500 * at) / 300 : 500 + (500 * (at - 300)) / 1500)
  for (const jobId of ids) await timeline.command(jobId, 'start')
  for (let at = 3; at < seconds; at += 3) {
    await timeline.at(at)
    await timeline.report(
      { jobId: steady, processedCount: 10 * at },
      { jobId: ahead, processedCount: aheadAt(at) },
      { jobId: idle, processedCount: Math.min(100, at) },
      { jobId: endless, processedCount: at },
      { jobId: growing, processedCount: 10 * at, totalCount: 10 * at + (at % 2 === 0 ? 1 : 10 * at) },
    )
  }
  for (const [jobId, percentAt] of [
    [steady, (at: number) => at / 18],
    [ahead, (at: number) => aheadAt(at) / 10],
  ] as const) {
    const samples = await timeline.history(jobId, 'progress')
    t.ok(samples.length <= 100, `${samples.length} samples`)
    const points = [{ at: 0, percent: 0 }].concat(
      samples.map(({ at, data }) => ({ at, percent: Number(data['progressPercent']) })),
      { at: seconds, percent: 100 },
    )
    let furthestOff = 0
    for (let at = 0; at < seconds; at += 10) {
      const next = points.findIndex(point => point.at > at)
      const [a, b] = [points[next - 1], points[next]]
      if (!a || !b) throw new Error('no point')
      const drawn = a.percent + ((b.percent - a.percent) * (at - a.at)) / (b.at - a.at)
      furthestOff = Math.max(furthestOff, Math.abs(drawn - percentAt(at)))
    }
    t.ok(furthestOff <= 2, `the curve is ${furthestOff} % off`)
  }

  for (const [jobId, what] of [
    [idle, 'one that stands still'],
    [endless, 'one without a total'],
    [growing, 'one whose percent goes up and down'],
  ] as const) {
    for (const from of [225, 450, 900]) {
      const count = await samplesBetween(timeline, jobId, from, 2 * from)
      t.ok(count >= 13 && count <= 30, `${what}: ${count} from ${from} s to ${2 * from}`)
    }
  }
  const [last] = (await timeline.history(idle, 'progress')).slice(-1)
  t.ok((last?.at ?? 0) > 1700)
  t.match(last?.data, { advancedAt: '2030-01-01T00:01:42.000Z', progressPercent: 10 }, 'alive, but not advancing')
})

t.test('the history can be read by type, and is erased with its job', async t => {
  const service = await startService(t)
  const { id } = await service.createJob({ totalCount: 100 })
  await service.call('POST', `/jobs/${id}/start`)
  for (const processedCount of [10, 20, 30]) {
    await service.age(id, 10)
    await service.database.pool.query(
      "UPDATE public.progress_jobs SET sampled_at = sampled_at - interval '10 seconds' WHERE id = $1",
      [id],
    )
    await service.heartbeat(id, { processedCount })
  }
  const { body } = await service.call<{ items: Event[] }>('GET', `/jobs/${id}/events?type=progress&pageSize=1000`)
  t.match(body.items, [
    { type: 'progress', actor: null, attempt: 1, data: { processedCount: 10, progressPercent: 10 } },
    { data: { processedCount: 20 } },
    { data: { processedCount: 30, totalCount: 100, throughputPerSecond: Number, etaSeconds: Number } },
  ])
  const page = await service.call<{ items: Event[] }>('GET', `/jobs/${id}/events?type=progress&pageSize=2&page=2`)
  t.same(page.body.items, body.items.slice(2))
  t.equal((await service.call('GET', `/jobs/${id}/events?pageSize=1001`)).status, 400)
  t.equal((await service.call('GET', `/jobs/${id}/events?type=unknown`)).status, 400)

  await service.call('POST', `/jobs/${id}/complete`)
  await service.age(id, 31 * 86_400)
  await service.database.pool.query(`SELECT ${FUNCTIONS}.erase_expired(30, 100)`)
  t.equal((await service.call('GET', `/jobs/${id}/events`)).status, 404)
  const { rows } = await service.database.pool.query('SELECT FROM public.job_events WHERE job_id = $1', [id])
  t.equal(rows.length, 0)
})

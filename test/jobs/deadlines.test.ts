import { randomUUID } from 'node:crypto'
import t from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import type { JobDocument } from '../../src/contract/job.ts'
import type { Statistics } from '../../src/contract/statistics.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { startService } from '../helpers/service.ts'
import { startTimeline } from '../helpers/timeline.ts'
import { waitFor } from '../helpers/wait.ts'

const timeline = await startTimeline(t)

const INTERVAL_SECONDS = 5

/** One sweep of deadlines; answers the kinds of the changes that it made of a job, null for one without an alarm. */
const sweep = async (jobId: string): Promise<(string | null)[]> => {
  const rows = await timeline.query(`SELECT job_id, revision, event FROM ${FUNCTIONS}.judge_deadlines($1, 500)`, [
    INTERVAL_SECONDS,
  ])
  return rows
    .filter(row => row['job_id'] === jobId && row['revision'] !== null)
    .map(row => row['event'] as string | null)
}

const documentOf = async (jobId: string): Promise<JobDocument> => {
  const [row] = await timeline.query(
    `SELECT ${FUNCTIONS}.job_document(j) AS job FROM public.progress_jobs j WHERE id = $1`,
    [jobId],
  )
  return row?.['job'] as JobDocument
}

const deadlineOf = async (jobId: string) => (await documentOf(jobId)).deadline

const alarmsOf = async (jobId: string): Promise<string[]> =>
  (await timeline.history(jobId)).map(({ type }) => type).filter(type => ['at_risk', 'overdue'].includes(type))

/** A running job at second 0, whose worker expects to need so many seconds. */
const run = async (fields: Record<string, unknown>, etaSeconds: number | null = null): Promise<string> => {
  await timeline.at(0)
  // Of a type of its own: no other job says how long it takes.
  const id = await timeline.create({ job_type: randomUUID(), ...fields })
  await timeline.report({ jobId: id, etaSeconds })
  return id
}

t.test('a job is overdue once its deadline has passed, not before', async t => {
  const id = await run({ finish_by: timeline.timeAt(100) })
  await timeline.at(100)
  t.same(await sweep(id), [])
  t.equal(await deadlineOf(id), 'on_time')
  await timeline.at(100.001)
  t.same(await sweep(id), ['overdue'])
  t.equal(await deadlineOf(id), 'overdue')
  await timeline.at(200)
  t.same(await sweep(id), [], 'it is told once')
  const [event] = await timeline.history(id, 'overdue')
  t.same(event?.data, { finishBy: timeline.timeAt(100) })
})

t.test('a pending job can be overdue, and its pending timeout stays the same', async t => {
  await timeline.at(0)
  const id = await timeline.create({ finish_by: timeline.timeAt(100), pending_timeout_seconds: 300 })
  const { updatedAt } = await documentOf(id)
  await timeline.at(101)
  t.same(await sweep(id), ['overdue'])
  t.equal((await documentOf(id)).updatedAt, updatedAt)
})

t.test('seconds from the start count from the start of each attempt', async t => {
  await timeline.at(0)
  const id = await timeline.create({ finish_within_seconds: 60 })
  await timeline.at(1000)
  t.same(await sweep(id), [])
  t.match(await documentOf(id), { finishBy: null, finishWithinSeconds: 60, deadline: null })
  await timeline.command(id, 'start')
  t.match(await documentOf(id), { finishBy: timeline.timeAt(1060), deadline: 'on_time' })
  await timeline.at(1061)
  t.same(await sweep(id), ['overdue'])
  await timeline.command(id, 'fail', { errorMessage: 'no' })
  await timeline.command(id, 'retry')
  t.match(await documentOf(id), { finishBy: null, deadline: null })
  await timeline.at(2000)
  await timeline.command(id, 'start')
  t.equal(await deadlineOf(id), 'on_time')
  await timeline.at(2061)
  t.same(await sweep(id), ['overdue'], 'a new attempt tells anew')
})

t.test(
  'a job is at risk when sweeps find its whole range after the deadline twice, and for a tenth of the time left to the deadline',
  async t => {
    const near = await run({ finish_by: timeline.timeAt(20) }, 101)
    const far = await run({ finish_by: timeline.timeAt(110) }, 111)
    t.same(await sweep(near), [])
    await timeline.at(2.4)
    t.same(await sweep(near), [], 'the sweep of another process at about the same time is no second one')
    await timeline.at(5)
    t.same(await sweep(near), ['at_risk'])
    t.match(await documentOf(near), { deadline: 'at_risk', etaSeconds: 96 }, 'the likely end stays where it was')
    const [event] = await timeline.history(near, 'at_risk')
    t.same(event?.data, { finishBy: timeline.timeAt(20), etaSeconds: 96 })
    await timeline.at(9.9)
    t.same(await sweep(far), [], '9.9 s with 100.1 s left')
    await timeline.at(10)
    t.same(await sweep(far), ['at_risk'], '10 s with 100 s left')
  },
)

t.test(
  'a job is at risk if its deadline lies before the whole range of its end, and not if it lies within the range',
  async t => {
    const id = await run({ finish_by: timeline.timeAt(1000) }, 500)
    const sweepTwice = async (at: number, eta: number, spread: number) => {
      await timeline.query(
        'UPDATE public.progress_jobs SET eta_seconds = $2, eta_spread = $3, updated_at = $4 WHERE id = $1',
        [id, eta, spread, timeline.timeAt(at)],
      )
      const told: unknown[] = []
      for (const second of [at, at + 100]) {
        await timeline.at(second)
        told.push(...(await sweep(id)))
      }
      return told
    }
    // 1.2816 standard deviations below 1,500 s are 1,021 s at 0.3, and 972 s at 0.338.
    t.same(await sweepTwice(10, 1500, 0.338), [])
    t.same(await sweepTwice(120, 1500, 0.3), ['at_risk'])
  },
)

t.test('a likely end at the deadline is in time', async t => {
  const id = await run({ finish_by: timeline.timeAt(100) }, 100)
  for (const second of [0, 5, 10]) {
    await timeline.at(second)
    t.same(await sweep(id), [])
  }
})

t.test('one sweep that finds the likely end after the deadline raises no alarm', async t => {
  const id = await run({ finish_by: timeline.timeAt(60) }, 200)
  t.same(await sweep(id), [])
  await timeline.at(4)
  await timeline.report({ jobId: id, etaSeconds: 30 })
  await timeline.at(5)
  t.same(await sweep(id), [])
  await timeline.at(6)
  await timeline.report({ jobId: id, etaSeconds: 200 })
  await timeline.at(10)
  t.same(await sweep(id), [], 'the sweeps are counted from the beginning')
  await timeline.at(15)
  t.same(await sweep(id), ['at_risk'])
})

t.test('a job at risk is back on time when the whole range of its estimate lies before the deadline', async t => {
  const id = await run({ finish_by: timeline.timeAt(1000) }, 2000)
  await sweep(id)
  await timeline.at(100)
  t.same(await sweep(id), ['at_risk'])
  const estimate = (eta: number, spread: number) =>
    timeline.query('UPDATE public.progress_jobs SET eta_seconds = $2, eta_spread = $3, updated_at = $4 WHERE id = $1', [
      id,
      eta,
      spread,
      timeline.timeAt(100),
    ])
  // 1.2816 standard deviations above 450 s are 854 s at 0.5, and 911 s at 0.55.
  await estimate(450, 0.55)
  t.same(await sweep(id), [])
  t.equal(await deadlineOf(id), 'at_risk', 'though its middle lies long before')
  await estimate(450, 0.5)
  t.same(await sweep(id), [null], 'which is no alarm')
  t.equal(await deadlineOf(id), 'on_time')
})

t.test('a job at risk that was back on time raises another alarm only after more than a minute', async t => {
  const id = await run({ finish_by: timeline.timeAt(180) }, 20_000)
  const cycle = async (at: number) => {
    await timeline.at(at)
    await timeline.report({ jobId: id, etaSeconds: 20_000 })
    await sweep(id)
    await timeline.at(at + 17)
    const told = await sweep(id)
    t.equal(await deadlineOf(id), 'at_risk')
    await timeline.at(at + 18)
    await timeline.report({ jobId: id, etaSeconds: 10 })
    await sweep(id)
    t.equal(await deadlineOf(id), 'on_time')
    return told
  }
  t.same(await cycle(0), ['at_risk'])
  t.same(await cycle(61), [null], '60 s after it was back on time')
  t.same(await cycle(123), ['at_risk'], '61 s after it was back on time')
  t.same(await alarmsOf(id), ['at_risk', 'at_risk'])
})

t.test('a job without an estimate is not at risk', async t => {
  const id = await run({ finish_by: timeline.timeAt(100) })
  for (const second of [5, 10]) {
    await timeline.at(second)
    t.same(await sweep(id), [])
  }
})

t.test('a finished job is overdue if it ended after its deadline, whatever a sweep has found', async t => {
  for (const [second, deadline] of [
    [100, 'on_time'],
    [100.001, 'overdue'],
  ] as const) {
    const id = await run({ finish_by: timeline.timeAt(100) }, 200)
    await sweep(id)
    await timeline.at(10)
    t.same(await sweep(id), ['at_risk'])
    await timeline.at(second)
    await timeline.command(id, 'complete')
    t.equal(await deadlineOf(id), deadline)
    await timeline.at(200)
    t.same(await sweep(id), [])
    t.same(await alarmsOf(id), ['at_risk'], 'its end is one change')
  }
})

t.test('PUT gives a job a new deadline in place of the old one, which is judged anew', async t => {
  const id = await run({ finish_by: timeline.timeAt(100) })
  await timeline.at(101)
  t.same(await sweep(id), ['overdue'])
  const { revision } = await documentOf(id)
  await timeline.report({ jobId: id, due: { finishWithinSeconds: 150 } })
  t.match(await documentOf(id), {
    finishBy: timeline.timeAt(150),
    finishWithinSeconds: 150,
    deadline: 'on_time',
    revision: revision + 1,
  })
  await timeline.report({ jobId: id, due: { finishWithinSeconds: 150 } })
  t.match(await documentOf(id), { revision: revision + 1 }, 'the same again changes nothing')
  await timeline.at(151)
  t.same(await sweep(id), ['overdue'])
  await timeline.report({ jobId: id, due: { finishBy: timeline.timeAt(400) } })
  t.match(await documentOf(id), { finishBy: timeline.timeAt(400), finishWithinSeconds: null, deadline: 'on_time' })
  await timeline.report({ jobId: id, due: null })
  t.match(await documentOf(id), { finishBy: null, finishWithinSeconds: null, deadline: null })
  await timeline.at(500)
  t.same(await sweep(id), [])
})

t.test('a batch has a deadline of its own, and its partitions do not', async t => {
  await timeline.at(0)
  const id = await timeline.create({
    children: {},
    partition_count: 1,
    partitions: [{ name: 'a' }],
    finish_by: timeline.timeAt(100),
  })
  await timeline.at(101)
  t.same(await sweep(id), ['overdue'])
  const { rows } = await timeline.pool.query('SELECT finish_by FROM public.progress_jobs WHERE parent_job_id = $1', [
    id,
  ])
  t.same(rows, [{ finish_by: null }])
})

t.test('a sweep judges all jobs, in batches of a limited size', async t => {
  await timeline.at(0)
  const ids = await Promise.all(Array.from({ length: 3 }, () => timeline.create({ finish_by: timeline.timeAt(50) })))
  await timeline.at(60)
  const told: unknown[] = []
  for (const size of [2, 1, 0]) {
    const rows = await timeline.query(`SELECT job_id FROM ${FUNCTIONS}.judge_deadlines($1, 2)`, [INTERVAL_SECONDS])
    t.equal(rows.length, size)
    told.push(...rows.map(row => row['job_id']))
  }
  t.same(told.sort(), ids.sort())
})

/** One sweep for jobs that take longer than usual; answers whether it found the job. */
const markUnusual = async (jobId: string): Promise<boolean> => {
  const rows = await timeline.query(`SELECT job_id FROM ${FUNCTIONS}.mark_unusual(500)`, [])
  return rows.some(row => row['job_id'] === jobId)
}

/** A type of which jobs have completed that took so many seconds. */
const typeThatTook = async (durations: number[]): Promise<string> => {
  const jobType = randomUUID()
  for (const seconds of durations) {
    await timeline.at(-10_000)
    const id = await timeline.create({ job_type: jobType })
    await timeline.command(id, 'start')
    await timeline.at(-10_000 + seconds)
    await timeline.command(id, 'complete')
  }
  return jobType
}

t.test('a job is unusual once it takes longer than 1.5 times the median of its type, not before', async t => {
  const id = await run({ job_type: await typeThatTook([100, 100, 100, 100, 100]) })
  t.match(await documentOf(id), { usualSeconds: 100, unusual: false })
  await timeline.at(150)
  t.equal(await markUnusual(id), false)
  const { revision } = await documentOf(id)
  await timeline.at(150.001)
  t.equal(await markUnusual(id), true)
  t.match(await documentOf(id), { unusual: true, revision: revision + 1 }, 'which readers learn as of any change')
  t.equal(await markUnusual(id), false, 'once')
  t.same(
    (await timeline.history(id)).map(({ type }) => type),
    ['created', 'started'],
    'it is no alarm',
  )
  await timeline.command(id, 'complete')
  t.equal((await documentOf(id)).unusual, true)
})

t.test('a job is not unusual up to the 95th percentile of its type', async t => {
  const id = await run({ job_type: await typeThatTook([100, 100, 100, 100, 100, 400]) })
  // The 95th percentile lies between the fifth and the sixth: 100 + 0.75 * 300.
  await timeline.at(325)
  t.equal(await markUnusual(id), false)
  await timeline.at(325.001)
  t.equal(await markUnusual(id), true)
})

t.test('usualSeconds and unusual need five earlier runs of the type', async t => {
  for (const [runs, usualSeconds] of [
    [4, null],
    [5, 100],
  ] as const) {
    const jobType = await typeThatTook(Array.from({ length: runs }, () => 100))
    for (const learned of [false, true]) {
      // As the service learns it after a completion; before that, only the durations are looked up.
      if (learned) await timeline.query(`SELECT ${FUNCTIONS}.learn_recent('-infinity', 1000)`, [])
      const id = await run({ job_type: jobType })
      t.match(
        await documentOf(id),
        { usualSeconds, etaSource: 'history', unusual: false },
        'the estimate needs one run',
      )
      await timeline.at(1000)
      t.equal(await markUnusual(id), usualSeconds !== null, `${runs} runs, ${learned ? 'learned' : 'looked up'}`)
      await timeline.command(id, 'fail', { errorMessage: 'no' })
      t.match(await documentOf(id), { usualSeconds, unusual: usualSeconds !== null }, 'nor does its end say more')
    }
  }
})

t.test('a job that ended within its usual time is not unusual, however long ago that was', async t => {
  const jobType = await typeThatTook([100, 100, 100, 100, 100])
  const id = await run({ job_type: jobType })
  await timeline.at(149)
  await timeline.command(id, 'fail', { errorMessage: 'no' })
  await timeline.at(1000)
  t.equal(await markUnusual(id), false)
  t.equal((await documentOf(id)).unusual, false)
})

t.test('a new attempt is not unusual because the one before it was', async t => {
  const id = await run({ job_type: await typeThatTook([100, 100, 100, 100, 100]) })
  await timeline.at(200)
  t.equal(await markUnusual(id), true)
  await timeline.command(id, 'fail', { errorMessage: 'no' })
  await timeline.command(id, 'retry')
  t.match(await documentOf(id), { unusual: false, usualSeconds: null })
})

t.test('streams and webhooks tell when a job is at risk, back on time, and overdue', async t => {
  const [service, receiver] = await Promise.all([
    startService(t, { SWEEP_SCHEDULE: '* * * * * *', WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1' }),
    startReceiver(t),
  ])
  await service.call('POST', '/webhooks', { url: receiver.url, events: ['at_risk', 'overdue', 'completed'] })
  const { id } = await service.createJob({ finishWithinSeconds: 3600 })
  const leave = new AbortController()
  t.teardown(() => leave.abort())
  const response = await fetch(`${service.url}/api/progress/jobs/${id}/stream`, {
    headers: { accept: 'application/x-ndjson' },
    signal: leave.signal,
  })
  let told = ''
  const reading = (async () => {
    const decoder = new TextDecoder()
    for await (const chunk of response.body!) told += decoder.decode(chunk as Uint8Array, { stream: true })
  })().catch(() => undefined)
  const frames = () =>
    told
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line) as { event: string; data: Partial<JobDocument> })
  const frame = (event: string, deadline: string) =>
    waitFor(() =>
      frames().find(({ event: name, data }) => name === `progress.job.${event}` && data.deadline === deadline),
    )

  await service.heartbeat(id, { etaSeconds: 7200 })
  // The first sweep that finds the likely end after the deadline was long ago.
  await waitFor(async () => {
    const { rowCount } = await service.database.pool.query(
      "UPDATE public.progress_jobs SET doubted_since = now() - interval '1 hour' WHERE id = $1 AND doubted_since IS NOT NULL",
      [id],
    )
    return rowCount === 1
  })
  await frame('at_risk', 'at_risk')
  t.match(await service.job(id), { deadline: 'at_risk', finishWithinSeconds: 3600 })
  await service.heartbeat(id, { etaSeconds: 60 })
  await waitFor(async () => (await service.job(id)).deadline === 'on_time')
  await service.call('PUT', `/jobs/${id}`, { finishBy: '2020-01-31T12:00:00+01:00' })
  await frame('overdue', 'overdue')
  await service.call('POST', `/jobs/${id}/complete`)
  t.same(await service.history(id), ['created', 'started', 'at_risk', 'overdue', 'completed'])
  await receiver.count(3)
  t.same(receiver.types, ['at_risk', 'overdue', 'completed'])
  t.match(
    receiver.received.map(({ body }) => body.data),
    [
      { deadline: 'at_risk' },
      { deadline: 'overdue', finishBy: '2020-01-31T11:00:00.000Z' },
      { deadline: 'overdue', status: 'completed' },
    ],
  )
  leave.abort()
  await reading
})

t.test('a job has one deadline, with a zone, and null removes it', async t => {
  const service = await startService(t)
  const refused = async (method: string, path: string, body: object) =>
    (await service.call(method, path, { ...(path === '/jobs' && { jobType: 'a', name: 'b' }), ...body })).body
      .errors?.[0]?.path
  const { id } = await service.createJob({ finishBy: '2031-01-31T12:00:00+01:00' })
  t.match(await service.job(id), { finishBy: '2031-01-31T11:00:00.000Z', deadline: 'on_time' })
  for (const [method, path] of [
    ['POST', '/jobs'],
    ['PUT', `/jobs/${id}`],
  ] as const) {
    t.equal(await refused(method, path, { finishBy: '2031-01-31T12:00:00' }), 'finishBy', 'a time without a zone')
    t.equal(await refused(method, path, { finishWithinSeconds: 0 }), 'finishWithinSeconds')
    t.equal(
      await refused(method, path, { finishBy: '2031-01-31T12:00Z', finishWithinSeconds: 1 }),
      'finishWithinSeconds',
    )
  }
  t.equal(
    await refused('POST', `/jobs/${id}/heartbeat`, { finishWithinSeconds: 1 }),
    'finishWithinSeconds',
    'no heartbeat has one',
  )
  await service.call('PUT', `/jobs/${id}`, { finishWithinSeconds: null })
  t.match(await service.job(id), { finishBy: null, deadline: null })
})

t.test('a list shows the jobs of one deadline, and those that take longer than usual', async t => {
  const service = await startService(t)
  const [late, inTime, done, unusual] = await Promise.all([
    service.createJob({ finishBy: '2026-01-31T12:00:00Z' }),
    service.createJob({ finishBy: '2031-01-31T12:00:00Z' }),
    service.createJob({ finishBy: '2026-01-31T12:00:00Z' }),
    service.createJob(),
  ])
  const { pool } = service.database
  await pool.query("UPDATE public.progress_jobs SET deadline = 'overdue' WHERE id = $1", [late.id])
  await pool.query('UPDATE public.progress_jobs SET unusual = true WHERE id = $1', [unusual.id])
  await service.call('POST', `/jobs/${done.id}/complete`)
  const list = async (query: string) =>
    (await service.call<{ items: JobDocument[] }>('GET', `/jobs?${query}`)).body.items.map(({ id }) => id).sort()
  t.same(await list('deadline=overdue'), [late.id])
  t.same(await list('deadline=overdue&includeCompleted=true'), [late.id, done.id].sort())
  t.same(await list('deadline=on_time'), [inTime.id])
  t.same(await list('deadline=on_time&deadline=overdue'), [late.id, inTime.id].sort())
  t.same(await list('unusual=true'), [unusual.id])
  t.same(await list('unusual=false'), [late.id, inTime.id].sort())
  t.equal((await service.call('GET', '/jobs?deadline=soon')).status, 400)
})

t.test('statistics say how many jobs ended after their deadline, and by how much', async t => {
  const service = await startService(t)
  const jobType = randomUUID()
  for (const [seconds, deadline] of [
    [59, { finishWithinSeconds: 60 }],
    [70, { finishWithinSeconds: 60 }],
    [90, { finishWithinSeconds: 60 }],
    [500, {}],
  ] as const) {
    const { id } = await service.createJob({ jobType, ...deadline })
    await service.call('POST', `/jobs/${id}/start`)
    await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
    await service.database.pool.query(
      'UPDATE public.progress_jobs SET started_at = finished_at - make_interval(secs => $2) WHERE id = $1',
      [id, seconds],
    )
  }
  const { body } = await service.call<Statistics>('GET', `/stats?jobType=${jobType}`)
  t.match(body.types, [{ failed: 4, late: 2, lateSeconds: { p50: 20, max: 30 } }])
})

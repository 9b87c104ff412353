import fc from 'fast-check'
import t from 'tap'
import type { DurableAnswer, Heartbeat } from '../../src/contract/heartbeat.ts'
import type { ListedJob, Stage } from '../../src/contract/job.ts'
import { startService } from '../helpers/service.ts'
import { openStream } from '../helpers/stream.ts'
import { startTimeline } from '../helpers/timeline.ts'
import { waitFor } from '../helpers/wait.ts'

const service = await startService(t)

/** A job that is a tenth `load`, eight tenths `work` and a tenth `store`. */
const createStaged = async (fields: Record<string, unknown> = {}) =>
  service.createJob({ stages: [{ name: 'load' }, { name: 'work', weight: 8 }, { name: 'store' }], ...fields })

const percentAfter = async (id: string, report: Record<string, unknown>) => {
  const { status, body } = await service.heartbeat(id, report)
  if (status !== 200) throw new Error(JSON.stringify(body))
  return body.progressPercent
}

/** Reports that are in the past for one another. */
const at = (seconds: number) => ({ reportedAt: new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString() })

t.test('the weight of a stage is 1 by default, and weights are normalised to a sum of 1', async t => {
  const job = await createStaged()
  t.same(job.stages, [
    { name: 'load', weight: 0.1 },
    { name: 'work', weight: 0.8 },
    { name: 'store', weight: 0.1 },
  ])
  t.match(job, { stage: null, totalCount: null, progressPercent: 0, status: 'pending' })
  t.same((await service.job(job.id)).stages, job.stages)
  const plain = await service.createJob()
  t.equal(plain.stages, null)
})

t.test('invalid stages are refused', async t => {
  const tooMany = Array.from({ length: 33 }, (_, n) => ({ name: `s${n}` }))
  const refused: [stages: unknown, path: string][] = [
    [[], 'stages'],
    [tooMany, 'stages'],
    ['load', 'stages'],
    [[{ name: 'a' }, { name: 'a' }], 'stages[1].name'],
    [[{ name: '' }], 'stages[0].name'],
    [[{ name: 'x'.repeat(101) }], 'stages[0].name'],
    [[{ weight: 1 }], 'stages[0].name'],
    [['a'], 'stages[0]'],
    [[{ name: 'a', weight: -1 }], 'stages[0].weight'],
    [[{ name: 'a', weight: 1e7 }], 'stages[0].weight'],
    [[{ name: 'a', weight: '1' }], 'stages[0].weight'],
    [
      [
        { name: 'a', weight: 0 },
        { name: 'b', weight: 0 },
      ],
      'stages',
    ],
    [[{ name: 'a', total: 5 }], 'stages[0].total'],
  ]
  for (const [stages, path] of refused) {
    const { status, body } = await service.call('POST', '/jobs', { jobType: 'test', name: 'x', stages })
    t.match({ status, body }, { status: 400, body: { code: 'validation_failed' } }, JSON.stringify(stages).slice(0, 60))
    t.equal(body.errors?.[0]?.path, path)
  }
  t.equal((await service.createJob({ stages: tooMany.slice(0, 32) })).stages?.length, 32, '32 are fine')
})

t.test('a job with stages cannot have a total at creation, because each stage has a total', async t => {
  const stages = [{ name: 'a' }]
  const reply = await service.call('POST', '/jobs', { jobType: 'test', name: 'x', stages, totalCount: 0 })
  t.match(reply, { status: 422, body: { code: 'invalid_stages' } })
  t.equal((await service.createJob({ stages, totalCount: null })).totalCount, null)
})

t.test("the percent is the sum of the earlier stages' weights and the current stage's part", async t => {
  const { id } = await createStaged()
  t.equal(await percentAfter(id, { stage: 'load' }), 0)
  t.equal(await percentAfter(id, { processedCount: 5, totalCount: 10 }), 5)
  t.equal(await percentAfter(id, { processedCount: 10 }), 10)
  t.equal(await percentAfter(id, { stage: 'work' }), 10)
  t.match(await service.job(id), { stage: 'work', processedCount: 0, totalCount: null, remainingCount: null })
  t.equal(await percentAfter(id, { totalCount: 400 }), 10)
  t.equal(await percentAfter(id, { processedCount: 100 }), 30)
  t.equal(await percentAfter(id, { processedCount: 50 }), 20, 'with the count')
  t.equal(await percentAfter(id, { processedCount: 400 }), 90)
  t.equal(await percentAfter(id, { stage: 'store', processedCount: 1, totalCount: 2 }), 95)
  t.equal(await percentAfter(id, { processedCount: 2 }), 99, 'at most 99')
  t.match(await service.job(id), { stage: 'store', processedCount: 2, totalCount: 2, remainingCount: 0 })
  await service.call('POST', `/jobs/${id}/complete`)
  t.match(await service.job(id), { progressPercent: 100, stage: 'store', processedCount: 2, totalCount: 2 })
})

t.test('a reported percent is that of the stage, and counts only while the stage has no total', async t => {
  const { id } = await createStaged()
  t.equal(await percentAfter(id, { stage: 'work', progressPercent: 50 }), 50)
  t.equal(await percentAfter(id, { stage: 'work', progressPercent: 100 }), 90)
  t.equal(await percentAfter(id, { stage: 'store' }), 90, 'a new stage begins without it')
  t.equal(await percentAfter(id, { totalCount: 4, processedCount: 1, progressPercent: 100 }), 92)
})

t.test("the percent may fall when the stage's total grows, but not below the beginning of the stage", async t => {
  const { id } = await createStaged()
  t.equal(await percentAfter(id, { stage: 'work', processedCount: 5, totalCount: 10 }), 50)
  t.equal(await percentAfter(id, { totalCount: 100 }), 14)
  t.equal(await percentAfter(id, { stage: 'store', totalCount: 5 }), 90)
  t.equal(await percentAfter(id, { totalCount: 5000 }), 90)
})

t.test('a stage that was not declared is refused, and nothing is written', async t => {
  const { id } = await createStaged()
  await service.heartbeat(id, { stage: 'work', processedCount: 3 })
  const before = await service.job(id)
  const bodies = [{ stage: 'rest', processedCount: 9 }, { stage: null, processedCount: 9 }, { stage: 'Work' }]
  for (const body of bodies) {
    const refused = await service.call('POST', `/jobs/${id}/heartbeat`, body)
    t.match(refused, { status: 422, body: { code: 'unknown_stage' } })
    t.match(await service.call('PUT', `/jobs/${id}`, body), { status: 422, body: { code: 'unknown_stage' } })
  }
  t.same(await service.job(id), before)

  const pending = await createStaged()
  t.equal((await service.call('POST', `/jobs/${pending.id}/heartbeat`, { stage: 'rest' })).status, 422)
  t.match(await service.job(pending.id), { status: 'pending', revision: 1, workers: [] }, 'it does not start a job')
  const bulk = await service.call<{ results: object[] }>('POST', '/heartbeats', {
    heartbeats: [
      { jobId: id, workerId: 'b', stage: 'rest' },
      { jobId: id, workerId: 'b', stage: 'work', increment: 1 },
    ],
  })
  t.match(bulk.body.results, [{ code: 'unknown_stage' }, { applied: true }])
})

t.test('a job without declared stages accepts any stage, and null clears it', async t => {
  const { id } = await service.createJob({ totalCount: 10 })
  await service.heartbeat(id, { stage: 'whatever', processedCount: 5 })
  await service.heartbeat(id, { stage: 'else' })
  t.match(await service.job(id), { stage: 'else', processedCount: 5, totalCount: 10, progressPercent: 50 })
  await service.heartbeat(id, { stage: null })
  t.match(await service.job(id), { stage: null, processedCount: 5 })
  t.same(await service.history(id), ['created', 'started'], 'and tells of none')
})

t.test('a report for an earlier stage refreshes liveness only', async t => {
  const { id } = await createStaged()
  await service.heartbeat(id, { stage: 'work', processedCount: 7, totalCount: 10, message: 'at work' })
  const before = await service.job(id)
  const { status, body } = await service.heartbeat(id, {
    stage: 'load',
    processedCount: 1,
    totalCount: 2,
    message: 'loading',
    unit: 'rows',
    payload: { a: 1 },
    etaSeconds: 5,
  })
  t.match({ status, body }, { status: 200, body: { applied: false, revision: before.revision } })
  const after = await service.job(id)
  t.ok((after.heartbeatAt ?? '') > (before.heartbeatAt ?? ''))
  const stable = ({
    heartbeatAt,
    etaSeconds,
    etaLowSeconds,
    etaHighSeconds,
    etaSource,
    throughputPerSecond,
    workers,
    ...rest
  }: typeof before) => ({
    ...rest,
    seen: [heartbeatAt, etaSeconds, etaLowSeconds, etaHighSeconds, etaSource, throughputPerSecond, workers].length,
  })
  t.same(stable(after), stable(before))
  t.match(after.workers, [{ stage: 'work', processedCount: 7, message: 'at work', payload: null }])
})

t.test('a late report for another stage does not move the job', async t => {
  const { id } = await createStaged()
  await service.heartbeat(id, { stage: 'load', processedCount: 3, ...at(30) })
  t.equal((await service.heartbeat(id, { stage: 'store', ...at(20) })).body.applied, false)
  t.match(await service.job(id), { stage: 'load', processedCount: 3 })
})

t.test('an empty stage counts as done', async t => {
  const { id } = await createStaged()
  t.equal(await percentAfter(id, { stage: 'work', totalCount: 0 }), 90)
  t.match(await service.job(id), { totalCount: 0, remainingCount: 0 })
  t.equal(await percentAfter(id, { stage: 'store', totalCount: 0 }), 99)
  await service.call('POST', `/jobs/${id}/complete`)
  t.equal((await service.job(id)).progressPercent, 100)
})

t.test('a stage may have the weight 0', async t => {
  const { id } = await service.createJob({
    stages: [
      { name: 'begin', weight: 0 },
      { name: 'work', weight: 3 },
      { name: 'end', weight: 0 },
    ],
  })
  t.equal(await percentAfter(id, { stage: 'begin', processedCount: 1, totalCount: 1 }), 0)
  t.equal(await percentAfter(id, { stage: 'work', processedCount: 1, totalCount: 2 }), 50)
  t.equal(await percentAfter(id, { stage: 'end' }), 99)
  t.equal(await percentAfter(id, { totalCount: 10, processedCount: 0 }), 99)
})

t.test('stages may be skipped', async t => {
  const { id } = await createStaged()
  t.equal(await percentAfter(id, { stage: 'store' }), 90)
  t.equal((await service.heartbeat(id, { stage: 'work' })).body.applied, false)
})

t.test('a worker that names no stage stays in its own stage, or joins the stage of the job', async t => {
  const { id } = await createStaged()
  await service.heartbeat(id, { workerId: 'a', processedCount: 2 })
  t.match(await service.job(id), { stage: 'load', processedCount: 2 }, 'at first the first')
  await service.heartbeat(id, { workerId: 'b', stage: 'work', processedCount: 30, totalCount: 100 })
  await service.heartbeat(id, { workerId: 'c', processedCount: 10 })
  t.equal((await service.heartbeat(id, { workerId: 'a', processedCount: 9 })).body.applied, false)
  const job = await service.job(id)
  t.match(job, { stage: 'work', processedCount: 40, totalCount: 100, progressPercent: 42 })
  t.match(job.workers, [
    { workerId: 'a', stage: 'load', processedCount: 2 },
    { workerId: 'b', stage: 'work' },
    { workerId: 'c', stage: 'work' },
  ])
  await service.heartbeat(id, { workerId: 'a', stage: 'work', increment: 4 })
  t.match(await service.job(id), { processedCount: 44 }, 'a stage begins at nothing')
})

t.test('the stage of a job is the furthest of one flush, and only workers of that stage are summed', async t => {
  const { id } = await createStaged()
  const heartbeats = [
    { jobId: id, workerId: 'a', stage: 'store', processedCount: 1, totalCount: 4 },
    { jobId: id, workerId: 'b', stage: 'load', processedCount: 100, totalCount: 100 },
    { jobId: id, workerId: 'c', stage: 'store', processedCount: 1, totalCount: 4 },
    { jobId: id, workerId: 'd', stage: 'work', processedCount: 50 },
    { jobId: id, stage: 'work', totalCount: 999 },
  ]
  const { body } = await service.call<{ results: DurableAnswer[] }>('POST', '/heartbeats', { heartbeats })
  t.ok(body.results.every(({ applied, progressPercent }) => applied && progressPercent === 92))
  t.match(await service.job(id), { stage: 'store', processedCount: 2, totalCount: 8, progressPercent: 92 })
})

t.test('PUT, increment and bulk follow the same rules for stages', async t => {
  const { id } = await createStaged()
  await service.call('PUT', `/jobs/${id}`, { stage: 'work', processedCount: 1, totalCount: 10 })
  await service.call('POST', `/jobs/${id}/increment`, { increment: 4 })
  t.match(await service.job(id), { stage: 'work', processedCount: 5, progressPercent: 50 })
  await service.call('POST', `/jobs/${id}/increment`, { increment: 3, workerId: 'new' })
  t.match(await service.job(id), { processedCount: 8, progressPercent: 74 })
  await service.call('PUT', `/jobs/${id}`, { stage: 'store' })
  await service.call('POST', `/jobs/${id}/increment`, { increment: 4 })
  t.match(await service.job(id), { stage: 'store', processedCount: 4, totalCount: null })
  const late = await service.call<DurableAnswer>('POST', `/jobs/${id}/increment`, { increment: 1, workerId: 'new' })
  t.equal(late.body.applied, false, 'its worker is in a stage that the job has left')
})

t.test('each stage of a bulk begins with a count of 0', async t => {
  const { id } = await createStaged()
  const heartbeats = [{ increment: 3 }, { stage: 'work' }, { increment: 2 }, { increment: 2 }].map(report => ({
    jobId: id,
    ...report,
  }))
  await service.call('POST', '/heartbeats', { heartbeats })
  t.match(await service.job(id), { stage: 'work', processedCount: 4 })
})

t.test('the history tells of each stage that was entered, and from which', async t => {
  const { id } = await createStaged()
  await service.heartbeat(id, { stage: 'load', processedCount: 1 })
  await service.heartbeat(id, { stage: 'load', processedCount: 2 })
  await service.heartbeat(id, { stage: 'store', processedCount: 2 })
  await service.heartbeat(id, { stage: 'work' })
  const { body } = await service.call<{ items: object[] }>('GET', `/jobs/${id}/events?type=stage_changed`)
  t.match(body.items, [
    { type: 'stage_changed', attempt: 1, at: String, data: { stage: 'load', progressPercent: 0 } },
    { type: 'stage_changed', attempt: 1, data: { stage: 'store', previousStage: 'load', progressPercent: 90 } },
  ])
  t.equal(body.items.length, 2)
  t.same(await service.history(id), ['created', 'started', 'stage_changed', 'stage_changed'])
})

t.test('a retry begins at the first stage', async t => {
  const { id } = await createStaged()
  await service.heartbeat(id, { stage: 'work', processedCount: 5, totalCount: 10 })
  await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
  t.match(await service.job(id), { stage: 'work', processedCount: 5, progressPercent: 50 }, 'where it failed')
  await service.call('POST', `/jobs/${id}/retry`)
  t.match(await service.job(id), { stage: null, processedCount: 0, totalCount: null, progressPercent: 0 })
  t.equal(await percentAfter(id, { processedCount: 1, totalCount: 2 }), 5)
  t.match(await service.job(id), { stage: 'load' })
})

t.test('the live document has the stages, and the stream has each change of stage', async t => {
  const stream = openStream(t, () => service.url)
  const { id, stages } = await createStaged()
  await waitFor(() => stream.jobs.has(id))
  await service.heartbeat(id, { stage: 'work', processedCount: 1, totalCount: 4 })
  const documentIn = (stage: string) =>
    waitFor(() => {
      const job = stream.jobs.get(id) as { stage?: string } | undefined
      return job?.stage === stage ? job : null
    })
  const expected = { stage: 'work', stages, processedCount: 1, totalCount: 4, progressPercent: 30 }
  t.match(await documentIn('work'), expected)
  await service.heartbeat(id, { stage: 'store' })
  const next = await documentIn('store')
  t.match(next, { processedCount: 0, progressPercent: 90 })
  t.notOk('totalCount' in (next ?? {}), 'entering a stage clears the total')
})

t.test('the partitions of a batch have its stages, and the batch has none', async t => {
  const batch = await service.createJob({
    stages: [{ name: 'a' }, { name: 'b' }],
    partitions: [{ name: 'one' }, { name: 'two' }],
  })
  t.equal(batch.stages, null)
  const { body } = await service.call<{ items: ListedJob[] }>('GET', `/jobs?parentJobId=${batch.id}`)
  const [one] = body.items
  t.same(one?.stages, [
    { name: 'a', weight: 0.5 },
    { name: 'b', weight: 0.5 },
  ])
  t.equal(await percentAfter(one?.id ?? '', { stage: 'b' }), 50)
  t.match(await service.job(batch.id), { progressPercent: 25, processedCount: 0, totalCount: null })
})

/** The rules once more, as small as they can be written: what a flush of reports makes of a job. */
class Model {
  readonly #stages: Stage[]
  readonly #workers = new Map<
    string,
    { place: number; processed: number; total: number | null; percent: number | null }
  >()
  #own: number | null = null
  place = 0
  processed = 0
  total: number | null = null
  percent = 0

  constructor(stages: Stage[]) {
    this.#stages = stages
  }

  #placeOf({ workerId, stage }: Report): number {
    const named = stage === undefined ? this.#workers.get(workerId)?.place || this.place || 1 : 0
    return named || this.#stages.findIndex(({ name }) => name === stage) + 1
  }

  /** The answer to each report. */
  flush(reports: Report[]): (boolean | 'unknown_stage')[] {
    const places = reports.map(report => this.#placeOf(report))
    const answers = places.map(place => (place === 0 ? 'unknown_stage' : place >= this.place))
    if (answers.every(answer => answer === 'unknown_stage')) return answers
    const furthest = Math.max(this.place, ...places.filter((_, n) => answers[n] === true))
    const advances = furthest > this.place
    let own = advances ? null : this.#own
    reports.forEach((report, n) => {
      const place = places[n] ?? 0
      const was = this.#workers.get(report.workerId)
      const begins = { place: 0, processed: 0, total: null, percent: null }
      if (answers[n] === false && !was) this.#workers.set(report.workerId, begins)
      if (answers[n] !== true) return
      const worker = was?.place === place ? was : { ...begins, place }
      worker.processed = (report.processedCount ?? worker.processed) + (report.increment ?? 0)
      if (report.progressPercent !== undefined) worker.percent = report.progressPercent
      if (report.workerId === 'default') {
        if (place === furthest && report.totalCount !== undefined) own = report.totalCount
      } else if (report.totalCount !== undefined) worker.total = report.totalCount
      this.#workers.set(report.workerId, worker)
    })
    this.place = furthest
    this.#own = own
    this.#rollUp(advances)
    return answers
  }

  #rollUp(advances: boolean): void {
    const rows = [...this.#workers.values()].filter(({ place }) => place === this.place)
    const totals = rows.flatMap(({ total }) => total ?? [])
    const percents = rows.flatMap(({ percent }) => percent ?? [])
    const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
    this.processed = sum(rows.map(({ processed }) => processed))
    this.total = this.#own ?? (totals.length > 0 ? sum(totals) : null)
    const mean = percents.length > 0 ? sum(percents) / percents.length : 0
    const fraction = this.total === null ? mean / 100 : this.processed >= this.total ? 1 : this.processed / this.total
    const before = sum(this.#stages.slice(0, this.place - 1).map(({ weight }) => weight))
    const done = before + (this.#stages[this.place - 1]?.weight ?? 0) * fraction
    const computed = Math.min(99, Math.floor(100 * done + 1e-9))
    const mayFall = !advances && this.total !== null
    this.percent = mayFall ? computed : Math.max(this.percent, computed)
  }
}

type Report = Pick<Heartbeat, 'workerId' | 'processedCount' | 'increment' | 'totalCount' | 'progressPercent'> & {
  stage?: string
}

const weights = fc
  .array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 5 })
  .filter(list => list.some(weight => weight > 0))
const reportOf = (workerId: string) =>
  fc
    .record(
      {
        count: fc.oneof(
          fc.record({ processedCount: fc.integer({ min: 0, max: 20 }) }),
          fc.record({ increment: fc.integer({ min: 0, max: 5 }) }),
          fc.constant({}),
        ),
        stage: fc.constantFrom('s0', 's1', 's2', 's3', 's4'),
        totalCount: fc.constantFrom(null, 0, 5, 20, 40),
        progressPercent: fc.constantFrom(null, 0, 30, 100),
      },
      { requiredKeys: ['count'] },
    )
    .map(({ count, ...report }): Report => ({ workerId, ...count, ...report }))
const flushes = fc.array(
  fc
    .tuple(...['default', 'a', 'b'].map(workerId => fc.option(reportOf(workerId), { nil: undefined })))
    .map(reports => reports.filter(report => report !== undefined))
    .filter(reports => reports.length > 0),
  { minLength: 1, maxLength: 10 },
)

t.test('after any reports, a job with stages is as a model of the rules says', async t => {
  const timeline = await startTimeline(t)
  let seconds = 0
  const checked = await fc.check(
    fc.asyncProperty(weights, flushes, async (list, batches) => {
      const sum = list.reduce((total, weight) => total + weight, 0)
      const stages = list.map((weight, n) => ({ name: `s${n}`, weight: weight / sum }))
      const model = new Model(stages)
      const jobId = await timeline.create({ stages })
      for (const reports of batches) {
        await timeline.at((seconds += 1))
        const outcomes = await timeline.report(...reports.map(report => ({ jobId, ...report })))
        const answers = outcomes.map(outcome =>
          outcome.kind === 'written' ? outcome.applied : outcome.kind === 'refused' ? outcome.error.code : outcome.kind,
        )
        const expected = {
          answers: model.flush(reports),
          place: model.place,
          processed: model.processed,
          total: model.total,
          percent: model.percent,
        }
        const { stage, processed, total, percent } = await timeline.see(jobId)
        const found = { answers, place: stages.findIndex(({ name }) => name === stage) + 1, processed, total, percent }
        if (JSON.stringify(found) !== JSON.stringify(expected)) {
          throw new Error(`${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`)
        }
      }
    }),
    { numRuns: 150 },
  )
  t.equal(checked.failed, false, fc.defaultReportMessage(checked) ?? 'holds')
})

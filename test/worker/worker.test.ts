import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { CreateJob } from '../../src/contract/requests.ts'
import type { ListedJob, Page } from '../../src/contract/job.ts'
import { shownText } from '../../src/http/schemas/primitives.ts'
import { createWorker, StopError, type HeadwayWorkerOptions, type Job, type NewJob } from '../../src/worker/headway.ts'
import { patienceAfter } from '../../src/worker/patience.ts'
import { fitShown } from '../../src/worker/texts.ts'
import { goodAnswer, heartbeatAnswer, startFakeService, type Script } from '../helpers/fake-service.ts'
import { startService, type Service } from '../helpers/service.ts'
import { SHOWN_TEXTS, UNSHOWN_TEXTS } from '../helpers/shown-texts.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'

const PROGRAMS = t.testdir()

/** The service accepts every text that the client makes. */
export const accepted = (job: NewJob): CreateJob => job

const connect = (url: string, options: HeadwayWorkerOptions = {}) => {
  const problems: Error[] = []
  const headway = createWorker({
    url,
    token: '',
    watchDeath: false,
    onProblem: problem => problems.push(problem),
    ...options,
  })
  return { headway, problems }
}

const drain = async (items: AsyncIterable<unknown>): Promise<unknown[]> => {
  const seen: unknown[] = []
  for await (const item of items) seen.push(item)
  return seen
}

const aborted = async ({ signal }: Job): Promise<StopError> => {
  if (!signal.aborted) await once(signal, 'abort')
  return signal.reason as StopError
}

const onlyJob = async (service: Service, name: string): Promise<string> => {
  const { body } = await service.call<Page<ListedJob>>(
    'GET',
    `/jobs?includeCompleted=true&search=${encodeURIComponent(name)}`,
  )
  if (body.items.length !== 1) throw new Error(`there are ${body.items.length} jobs named ${name}`)
  return body.items[0]!.id
}

t.test('with a service', async t => {
  // Reports follow the interval: a test need not wait a second for each.
  const service = await startService(t, { HEARTBEAT_INTERVAL_MS: '150' })
  const { headway } = connect(service.url)
  const read = async (name: string) => service.job(await onlyJob(service, name))

  t.test('a loop is a job that completes with all of its items', async t => {
    async function* asynchronous() {
      for (const item of [1, 2, 3]) {
        await turn()
        yield item
      }
    }
    const cases: [
      name: string,
      items: Iterable<unknown> | AsyncIterable<unknown>,
      items: unknown[],
      total: number | null,
    ][] = [
      ['a list', ['a', 'b', 'c'], ['a', 'b', 'c'], 3],
      ['a set', new Set([1, 2]), [1, 2], 2],
      ['an empty list', [], [], 0],
      ['a list of promises', [Promise.resolve(7), Promise.resolve(8)], [7, 8], 2],
      ['a generator', asynchronous(), [1, 2, 3], null],
      ['a text', 'für', ['f', 'ü', 'r'], null],
    ]
    for (const [name, items, expected, totalCount] of cases) {
      t.same(await drain(headway.track(items, { name: `track ${name}`, jobType: 'tracked' })), expected, name)
      t.match(await read(`track ${name}`), {
        jobType: 'tracked',
        status: 'completed',
        processedCount: expected.length,
        totalCount,
        cancellable: true,
      })
    }
    const declared = headway.track(asynchronous(), { name: 'track declared', totalCount: 3, unit: 'rows' })
    t.equal(declared.job, null, 'nothing is made before the loop begins')
    await drain(declared)
    t.match(await read('track declared'), { totalCount: 3, unit: 'rows', jobType: 'worker.test' })
    t.match(await declared.next(), { done: true })
  })

  t.test('a loop that is left early fails its job, unless it says otherwise', async t => {
    for await (const item of headway.track([1, 2, 3], { name: 'left' })) if (item === 2) break
    const left = await waitFor(async () => {
      const job = await read('left')
      return job.status === 'failed' ? job : null
    })
    t.match(left, {
      status: 'failed',
      processedCount: 1,
      errorMessage: 'The loop was left after 1 of 3, by break, return or an error.',
    })

    const found = headway.track([1, 2, 3], { name: 'found' })
    for await (const item of found) {
      if (item !== 2) continue
      await found.job!.complete({ found: item })
      break
    }
    t.match(await read('found'), { status: 'completed', resultSummary: { found: 2 } })

    const wrong = headway.track([1, 2, 3], { name: 'wrong' })
    try {
      for await (const item of wrong) if (item === 2) throw new RangeError('row 2 is wrong')
    } catch (error) {
      await wrong.job!.fail(error)
    }
    const job = await read('wrong')
    t.match(job, { status: 'failed', failureReason: 'worker', errorMessage: 'row 2 is wrong' })
    t.match(job.errorStack, /^RangeError: row 2 is wrong\n +at /)
  })

  t.test('an error of the items is the error of the job, and reaches the loop', async t => {
    async function* broken() {
      yield 1
      await turn()
      throw new Error('the file ends here')
    }
    await t.rejects(drain(headway.track(broken(), { name: 'broken' })), { message: 'the file ends here' })
    await waitFor(async () => (await read('broken')).status === 'failed')
    t.match(await read('broken'), { errorMessage: 'the file ends here', processedCount: 1 })
  })

  t.test('a cancellation is thrown into any loop, and acknowledged', async t => {
    let sourceClosed = false
    function* endless() {
      try {
        for (;;) yield 1
      } finally {
        sourceClosed = true
      }
    }
    const going = drain(headway.track(endless(), { name: 'endless' }))
    const id = await waitFor(() => onlyJob(service, 'endless'))
    await waitFor(async () => (await service.job(id)).status === 'running')
    await service.call('POST', `/jobs/${id}/cancel`)
    await t.rejects(going, { name: 'AbortError', code: 'cancel_requested' })
    t.ok(sourceClosed)
    await waitFor(async () => (await service.job(id)).status === 'cancelled')
    t.same(await service.history(id), ['created', 'started', 'cancel_requested', 'cancelled'])
  })

  t.test('a worker reports absolute counts of its job', async t => {
    const job = await headway.start({ jobType: 'import', name: 'counted', totalCount: 10, unit: 'rows' })
    const id = job.id!
    await waitFor(async () => (await service.job(id)).status === 'running')
    job.advance()
    job.advance(3)
    job.report({
      unit: `${'x'.repeat(29)}🦊!`,
      totalCount: 10,
      message: `${'x'.repeat(499)}🦊!\0`,
      payload: { file: 'a' },
      etaSeconds: 5,
    })
    await waitFor(async () => (await service.job(id)).processedCount === 4)
    t.match(await service.job(id), {
      unit: `${'x'.repeat(29)}🦊`,
      progressPercent: 40,
      etaSeconds: 5,
      message: `${'x'.repeat(499)}🦊`,
    })
    job.advance(20)
    t.ok(await job.complete({ imported: 24, big: null }, { message: `${'y'.repeat(499)}🦊!` }))
    t.match(await service.job(id), {
      message: `${'y'.repeat(499)}🦊`,
      status: 'completed',
      processedCount: 24,
      totalCount: 10,
      resultSummary: { imported: 24 },
    })
    t.ok(await job.fail(new Error('too late')), 'the first ending counts')
    t.match(await service.job(id), { status: 'completed', errorMessage: null })
  })

  t.test(
    'a name, unit or stage that the service would refuse is changed to an accepted one, and no report is lost',
    async t => {
      const unseen = (text: string) => `\u200b\u202e${text}\n`
      for (const text of [
        ...UNSHOWN_TEXTS,
        'x'.repeat(99),
        `${'ന'.repeat(29)}\u200d\u200d`,
        `🏴${'\u{e0067}'.repeat(300)}`,
      ])
        for (const what of ['name', 'jobType', 'stage', 'unit', 'workerId'] as const) {
          const fitting = fitShown(text, what)
          t.ok(fitting === '' || shownText(300).safeParse(fitting).success, `${what}: ${encodeURIComponent(fitting)}`)
          t.equal(fitShown(fitting, what), fitting, 'and is then left as it is')
        }
      for (const text of SHOWN_TEXTS) t.equal(fitShown(text, 'name'), text.trim())

      const name = 'unshown'
      const job = await headway.start(
        { name: unseen(name), jobType: '\n', unit: unseen('rows'), stages: [{ name: unseen('load') }, { name: ' ' }] },
        { workerId: unseen('w') },
      )
      job.report({ stage: unseen('load'), unit: ' ', totalCount: 2 })
      job.report({ stage: '\u200b' })
      job.advance()
      await waitFor(async () => (await service.job(job.id!)).processedCount === 1)
      t.match(await service.job(job.id!), {
        name,
        jobType: 'worker.test',
        unit: 'rows',
        stage: 'load',
        stages: [{ name: 'load' }],
        totalCount: 2,
        workers: [{ workerId: 'w' }],
      })
      t.ok(await job.complete())
    },
  )

  t.test('the count of a worker begins at 0 in each stage', async t => {
    const job = await headway.start({ name: 'staged', stages: [{ name: 'load' }, { name: 'store' }] })
    job.report({ stage: 'load', totalCount: 2 })
    job.advance(2)
    job.report({ stage: 'store', totalCount: 4 })
    job.advance()
    await waitFor(async () => (await service.job(job.id!)).stage === 'store')
    t.match(await service.job(job.id!), { processedCount: 1, totalCount: 4, progressPercent: 62 })
    await job.complete()
  })

  t.test('the signal is aborted when the job is cancelled, and the job ends as the work ends', async t => {
    const start = async (name: string) => {
      const job = await headway.start({ name, cancellable: true })
      await service.call('POST', `/jobs/${job.id}/cancel`)
      // Pending jobs are cancelled at once: the first report is refused then.
      t.match(await aborted(job), { name: 'AbortError' })
      return job
    }
    const running = async (name: string) => {
      const job = await headway.start({ name, cancellable: true })
      await waitFor(async () => (await service.job(job.id!)).status === 'running')
      await service.call('POST', `/jobs/${job.id}/cancel`)
      job.advance()
      t.match(await aborted(job), { code: 'cancel_requested' })
      return job
    }
    t.match((await start('cancelled pending')).signal.aborted, true)
    const [finishes, stops, breaks] = await Promise.all(['finishes', 'stops', 'breaks'].map(running))
    await Promise.all([
      finishes!.complete(),
      stops!.fail(new Error('aborted', { cause: stops!.signal.reason })),
      breaks!.fail(new Error('the disk is full')),
    ])
    t.match(await service.job(finishes!.id!), { status: 'completed' })
    t.match(await service.job(stops!.id!), { status: 'cancelled' })
    t.match(await service.job(breaks!.id!), { status: 'failed', errorMessage: 'the disk is full' })
  })

  t.test('a worker whose job was taken over is told of it, and sends nothing more', async t => {
    const ends: [code: string, jobStatus: string | null, end: (id: string) => Promise<unknown>][] = [
      ['already_finished', 'failed', id => service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'enough' })],
      // In one step: between the end and the retry, a report would find the job ended.
      [
        'superseded',
        null,
        id => service.database.pool.query('UPDATE progress_jobs SET attempt = attempt + 1 WHERE id = $1', [id]),
      ],
    ]
    await Promise.all(
      ends.map(async ([code, jobStatus, end]) => {
        const job = await headway.start({ name: code })
        await waitFor(async () => (await service.job(job.id!)).status === 'running')
        await end(job.id!)
        job.advance()
        t.match(await aborted(job), { code, jobStatus })
        t.notOk(await job.complete())
      }),
    )

    const { headway: other, problems } = connect(service.url)
    const erased = await other.start({ name: 'erased' })
    await waitFor(async () => (await service.job(erased.id!)).status === 'running')
    await service.database.pool.query('DELETE FROM progress_jobs WHERE id = $1', [erased.id])
    erased.advance()
    await waitFor(() => problems.length > 0)
    t.match(problems, [{ code: 'job_not_found' }])
    t.notOk(erased.signal.aborted, 'that a service has lost its jobs is no reason to stop the work')
    t.notOk(await erased.complete())
  })

  t.test(
    'the same key is the same job: a failed job is retried, and only a restart takes over a running job',
    async t => {
      const start = (restart?: boolean) =>
        headway.start(
          { name: 'keyed', totalCount: 3, cancellable: true },
          { idempotencyKey: 'nightly', ...(restart && { restart }) },
        )
      const first = await start()
      first.advance(2)
      await first.fail(new Error('no disk'))
      const second = await start()
      t.equal(second.id, first.id)
      second.advance()
      await waitFor(async () => (await service.job(first.id!)).processedCount === 1)
      t.match(await service.job(first.id!), { status: 'running', attempt: 2 })

      const third = await start(true)
      // Between its end and the next attempt it is finished for a moment.
      t.match(await aborted(second), { code: /^(superseded|already_finished)$/ })
      await waitFor(async () => (await service.job(first.id!)).status === 'running')
      t.match(await service.job(first.id!), { attempt: 3, processedCount: 0, errorMessage: null })
      await service.call('POST', `/jobs/${first.id}/cancel`)
      t.match(await aborted(await start(true)), { code: 'cancel_requested' }, 'a wish to cancel is kept')
      await third.cancelled()
      t.match(await aborted(await start()), { code: 'cancel_requested' }, 'also when it has ended by it')
      const last = await start(true)
      t.ok(await last.complete())
      t.match(await service.job(first.id!), { status: 'completed', attempt: 4 })
      t.match(await aborted(await start(true)), { code: 'already_finished', jobStatus: 'completed' })
    },
  )

  t.test('no value that the work passes makes a call throw', async t => {
    const { headway, problems } = connect(service.url)
    const anything = headway as unknown as { start: (job?: unknown) => Promise<Job>; track: typeof headway.track }
    const job = await anything.start({ totalCount: 10n, meta: { rows: 7n } })
    job.advance(2n)
    for (const odd of ['3', Number.NaN, null]) job.advance(odd as number)
    for (const odd of [null, undefined, { etaSeconds: 5n }, { unit: { toString: null } }, { message: 'fine' }])
      job.report(odd as object)
    const unreadable = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error('unreadable')
        },
      },
    )
    job.report(unreadable)
    job.advance(Symbol('s') as never)
    t.ok(await job.complete({ rows: 10n }))
    t.match(await service.job(job.id!), {
      name: 'worker.test',
      totalCount: 10,
      processedCount: 5,
      message: 'fine',
      meta: { rows: 7 },
      resultSummary: { rows: 10 },
    })
    t.ok((await anything.start()).id)
    t.ok((await anything.start(unreadable)).id)
    const broken = await anything.start()
    const { proxy, revoke } = Proxy.revocable(new Error('gone'), {})
    revoke()
    t.ok(await broken.fail(proxy))
    t.equal((await headway.attach('\ud800')).id, null)
    t.same(await drain(anything.track([1, 2], undefined as never)), [1, 2])
    t.match(problems, [{ code: 'validation_failed' }], 'what is no id')
  })

  t.test('a caller that takes several items at once makes one job', async t => {
    const items = headway.track([1, 2, 3], { name: 'at once' })
    const taken = await Promise.all([items.next(), items.next(), items.next(), items.next()])
    t.same(
      taken.map(({ value }) => value as unknown),
      [1, 2, 3, undefined],
    )
    t.match(await read('at once'), { status: 'completed', processedCount: 3 })
  })

  t.test('a worker can attach to a partition by its id, and to a job that ended as stale', async t => {
    const { body: batch } = await service.call<{ id: string; partitions: { id: string }[] }>('POST', '/jobs', {
      jobType: 'reindex',
      name: 'batch',
      partitions: [{ name: 'A', totalCount: 2 }, { name: 'B' }],
    })
    const [first, second] = batch.partitions.map(({ id }) => id)
    const job = await headway.attach(first!, { workerId: 'one' })
    job.advance(2)
    t.ok(await job.complete())
    t.match(await service.job(batch.id), { status: 'running', processedCount: 2 })

    await service.heartbeat(second!)
    await service.database.pool.query(
      `UPDATE progress_jobs SET status = 'failed', failure_reason = 'stale', finished_at = now(), liveness = NULL WHERE id = $1`,
      [second],
    )
    const back = await headway.attach(second!)
    t.match(await service.job(second!), { status: 'running' })
    t.ok(await back.leave())
    t.match(await service.job(second!), { status: 'running' }, 'a worker that leaves does not end the job')

    const { problems, headway: other } = connect(service.url)
    const refused = await other.attach(batch.id)
    t.match(problems, [{ code: 'is_batch' }])
    t.notOk(refused.signal.aborted, 'reports that nobody wants are no reason to stop the work')
    t.notOk(await refused.complete())
  })
})

t.test('calls to a service with tokens carry the token', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const token = await mint({ features: ['progress.create', 'progress.update', 'progress.view'] })
  const { headway } = connect(service.url, { token: () => Promise.resolve(token) })
  const job = await headway.start({ name: 'with a token' })
  t.ok(await job.complete())
  t.match(await service.as(token).job(job.id!), { status: 'completed' })

  const { headway: stranger, problems } = connect(service.url)
  const refused = await stranger.start({ name: 'without' })
  t.equal(refused.id, null)
  t.match(problems, [{ code: 'unauthenticated' }])
})

t.test('the first report is sent at once, then at most one a second, and the last one always', async t => {
  const service = await startFakeService(t)
  const { headway } = connect(service.url)
  const job = await headway.start({ name: 'busy' })
  const sentReports = () => service.received.filter(({ call }) => call === 'POST heartbeat')
  // Before the first report is sent. When it arrives says less: it may be held up on its way.
  const begunMs = performance.now()
  while (sentReports().length < 2) {
    job.advance()
    await delay(5)
  }
  t.ok(sentReports()[1]!.atMs - begunMs >= 990)
  const [first, second] = service.bodies('POST heartbeat').map(({ processedCount }) => Number(processedCount ?? 0))
  t.ok(first! < second! / 3, 'the first at once')
  job.advance()
  t.ok(await job.complete())
  const reports = service.bodies('POST heartbeat')
  t.equal(reports.length, 3)
  t.ok(Number(reports[2]!['processedCount']) > Number(reports[1]!['processedCount']))
  t.match(service.received.at(-1), { call: 'POST complete', body: { attempt: 1 } })
  const creation = service.received[0]!
  t.match(creation.headers['idempotency-key'], /^[\da-f-]{36}$/)
  for (const { attempt, reportedAt } of reports)
    t.ok(attempt === 1 && Math.abs(Date.parse(String(reportedAt)) - Date.now()) < 60_000)
})

t.test('while the work reports nothing, heartbeats are sent at the interval that the service asks for', async t => {
  const service = await startFakeService(t)
  service.script = (received, response) =>
    received.call === 'POST heartbeat'
      ? { body: heartbeatAnswer({ heartbeatIntervalMs: 60 }) }
      : goodAnswer(received, response)
  const { headway } = connect(service.url)
  const job = await headway.start({ name: 'silent' })
  await waitFor(() => service.bodies('POST heartbeat').length >= 4)
  t.notOk(
    service.bodies('POST heartbeat').some(body => 'processedCount' in body),
    'what was not counted is not reported',
  )
  await job.complete()
})

t.test('a caller whose token is refused waits neither at the start nor at the end', async t => {
  const service = await startFakeService(t)
  service.script = () => ({ status: 401, body: { code: 'unauthenticated', detail: 'Who are you?' } })
  const { headway, problems } = connect(service.url)
  const before = performance.now()
  const job = await headway.start({ name: 'nobody' })
  t.notOk(await job.complete())
  t.ok(performance.now() - before < 1_500)
  t.match(problems, [{ code: 'unauthenticated' }])
})

t.test('a report that a proxy finds too large is sent without its details', async t => {
  const service = await startFakeService(t)
  service.script = (received, response) =>
    'resultSummary' in received.body ? { status: 413, body: '<html>413</html>' } : goodAnswer(received, response)
  const { headway, problems } = connect(service.url)
  const job = await headway.start({ name: 'large' })
  t.ok(await job.complete({ much: 'x' }))
  t.match(problems, [{ code: 'payload_too_large' }])
})

t.test('reports stay in order when the clock is set back', async t => {
  const service = await startFakeService(t)
  const { headway } = connect(service.url)
  const job = await headway.start({ name: 'clock' })
  await waitFor(() => service.bodies('POST heartbeat').length > 0)
  const { Date: RealDate } = globalThis
  t.teardown(() => (globalThis.Date = RealDate))
  globalThis.Date = class extends RealDate {
    constructor(...args: [] | [number]) {
      super(args[0] ?? RealDate.now() - 240_000)
    }
  } as DateConstructor
  job.advance()
  t.ok(await job.complete())
  const [first, second] = service.bodies('POST heartbeat').map(({ reportedAt }) => RealDate.parse(String(reportedAt)))
  t.ok(second! > first!)
})

t.test('the end of a job does not wait for ever for the service', async t => {
  const service = await startFakeService(t)
  const { headway } = connect(service.url, { patienceMs: 300 })
  const job = await headway.start({ name: 'impatient' })
  await service.close()
  t.notOk(await job.complete())
  await service.listen()
  await waitFor(() => service.bodies('POST complete').length > 0, { timeoutMs: 10_000 })
})

t.test('a service that was busy, restarted or answered nonsense gets every report later', async t => {
  const service = await startFakeService(t)
  const nonsense: Script[] = [
    () => ({ body: '<html>Welcome to nginx</html>' }),
    () => ({ body: 'null' }),
    () => ({ body: { ok: true } }),
    () => ({ body: '[[[' }),
    () => ({ status: 404, body: '<h1>Not Found</h1>' }),
    () => ({ status: 302, headers: { location: '/login' } }),
    () => ({ status: 429, body: { code: 'rate_limited', detail: 'Slow down.' }, headers: { 'retry-after': '0' } }),
    () => ({ status: 503, body: { code: 'outcome_unknown', detail: 'Who knows.' } }),
    (_, response) => (response.destroy(), null),
    (_, response) => (
      response.writeHead(200, { 'content-length': '100' }).write('{"id":'),
      setImmediate(() => response.destroy()),
      null
    ),
  ]
  // Each of the four calls of this job gets them all before a good answer.
  const left = new Map<string, Script[]>()
  service.script = (received, response) => {
    const scripts = left.get(received.call) ?? [...nonsense]
    left.set(received.call, scripts)
    const next = scripts.shift()
    return next ? next(received, response) : goodAnswer(received, response)
  }
  // Waiting between tries is tested elsewhere, and would take a minute here.
  const { random } = Math
  Math.random = () => -1.49
  t.teardown(() => (Math.random = random))
  const { headway } = connect(service.url)
  const job = await headway.start({ name: 'tried' })
  job.advance(7)
  t.ok(await job.complete({ done: 7 }))
  t.notOk(job.signal.aborted, 'a 404 of a proxy says nothing about the job')
  t.match(service.bodies('POST heartbeat').at(-1), { processedCount: 7 })
  t.match(service.bodies('POST complete').at(-1), { resultSummary: { done: 7 } })
  t.equal(
    new Set(
      service.received.filter(({ call }) => call === 'POST /jobs').map(({ headers }) => headers['idempotency-key']),
    ).size,
    1,
  )
})

t.test('an end is not sent before a report that is only in memory', async t => {
  const service = await startFakeService(t)
  let buffered = 2
  service.script = (received, response) =>
    received.body['processedCount'] === 3 && buffered-- > 0
      ? { status: 202, body: heartbeatAnswer({ durable: false, cancelRequested: null, status: null }) }
      : goodAnswer(received, response)
  const { headway } = connect(service.url)
  const job = await headway.start({ name: 'buffered' })
  job.report({ processedCount: 3, message: 'three' })
  t.ok(await job.complete())
  const three = { call: 'POST heartbeat', body: { processedCount: 3, message: 'three' } }
  t.match(service.received.slice(-4), [three, three, three, { call: 'POST complete' }])
})

t.test('a refusal of the service is reported once, and the rest is sent without the refused fields', async t => {
  const service = await startFakeService(t)
  const refuse = (code: string, status = 400) => ({ status, body: { code, detail: `It is ${code}.` } })
  service.script = (received, response) => {
    const { call, body } = received
    if (call === 'POST heartbeat' && 'stage' in body) return refuse('unknown_stage', 422)
    if (call === 'POST complete' && 'resultSummary' in body) return refuse('payload_too_large', 413)
    return goodAnswer(received, response)
  }
  const { headway, problems } = connect(service.url)
  const job = await headway.start({ name: 'refused', meta: { big: 1n } })
  job.report({ stage: 'nowhere', processedCount: 2, totalCount: Number.NaN })
  t.ok(await job.complete({ much: 'x' }))
  t.match(problems, [{ code: 'unknown_stage' }, { code: 'payload_too_large' }])
  t.match(service.bodies('POST heartbeat').at(-1), { processedCount: 2 })
  t.match(service.bodies('POST complete').at(-1), { attempt: 1, resultSummary: undefined })
  service.script = (received, response) =>
    received.call === 'POST complete' && 'message' in received.body
      ? refuse('validation_failed')
      : goodAnswer(received, response)
  const older = await headway.start({ name: 'of a service that takes no message' })
  t.ok(await older.complete(undefined, { message: 'done' }))
  problems.pop()

  service.script = () => refuse('validation_failed')
  const hopeless = connect(service.url)
  const never = await hopeless.headway.start({ name: '' })
  t.equal(never.id, null)
  never.advance()
  t.notOk(await never.complete())
  t.notOk(never.signal.aborted)
  t.match(hopeless.problems, [{ code: 'validation_failed' }])

  const lost = connect('localhost:3000')
  const unheard = await lost.headway.start({ name: 'unheard' })
  t.notOk(await unheard.complete())
  t.match(lost.problems, [{ code: 'bad_url', message: /write it as http:/ }])
})

let programs = 0

/** A program that uses the published subpath, in a process of its own. It must lie in this package to find it by its name. */
const runProgram = (t: Test, url: string, source: string) => {
  const file = join(PROGRAMS, `program-${++programs}.mjs`)
  writeFileSync(file, `import { createWorker } from '@headway/worker'\nconst headway = createWorker()\n${source}`)
  const child = spawn(process.execPath, [file], {
    env: { PATH: process.env['PATH'], HEADWAY_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const exited = Promise.all([once(child, 'exit'), text(child.stderr)]).then(([[code, signal], stderr]) => ({
    code: code as number | null,
    signal: signal as NodeJS.Signals | null,
    stderr,
  }))
  return { child, exited, started: once(child.stdout, 'data') }
}

// These wait more than they work.
t.jobs = 4

t.test(
  'while the service is away the work goes on, and the newest state is sent when it is back',
  { buffered: true },
  async t => {
    const service = await startFakeService(t)
    await service.close()
    const { headway, problems } = connect(service.url)
    const before = performance.now()
    const job = await headway.start({ name: 'patient', totalCount: 5 })
    t.ok(performance.now() - before < 4_000, 'a start waits two seconds')
    t.equal(job.id, null)
    for (let row = 0; row < 5; row++) job.advance()
    job.report({ message: 'first' })
    job.report({ message: 'second' })
    await waitFor(() => problems.length > 0)
    await service.listen()
    t.ok(await job.complete())
    t.match(
      service.received.map(({ call }) => call),
      ['POST /jobs', 'POST heartbeat', 'POST complete'],
    )
    t.match(service.bodies('POST heartbeat'), [{ processedCount: 5, message: 'second' }])
    t.match(problems, [{ name: 'UnavailableError' }], 'told once')
    t.equal(problems.length, 1)
  },
)

t.test('an outage delays a program once, and is logged once', { buffered: true }, async t => {
  const service = await startFakeService(t)
  const { random } = Math
  Math.random = () => -1.4
  t.teardown(() => (Math.random = random))
  await service.close()
  const { headway, problems } = connect(service.url, { patienceMs: 500 })
  const first = await headway.start({ name: 'first' })
  t.notOk(await first.complete())
  const before = performance.now()
  for (let loop = 0; loop < 10; loop++) t.same(await drain(headway.track([1, 2], { name: `loop ${loop}` })), [1, 2])
  t.ok(performance.now() - before < 500)
  await waitFor(() => problems.length > 0)
  await service.listen()
  await waitFor(() => service.bodies('POST complete').length === 11, { timeoutMs: 10_000 })
  t.match(problems, [{ name: 'UnavailableError' }])
  t.equal(problems.length, 1)
})

t.test('a service that never answers keeps no process alive', { buffered: true }, async t => {
  const service = await startFakeService(t)
  service.script = (received, response) =>
    received.call === 'POST /jobs' ? goodAnswer(received, response) : new Promise(() => undefined)
  const before = performance.now()
  const program = runProgram(
    t,
    service.url,
    `const job = await headway.start({ name: 'hangs' }); job.advance(); job.advance()`,
  )
  t.match(await program.exited, { code: 0 })
  // The start of two processes, and two seconds for last words.
  t.ok(performance.now() - before < 9_000)
})

/** An address where connections are neither made nor refused, as behind a firewall. */
const startBlackHole = async (t: Test): Promise<string> => {
  const source = `require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () {
    console.log(this.address().port)
  })`
  const child = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [port] = (await once(child.stdout, 'data')) as [Buffer]
  child.kill('SIGSTOP')
  // The system answers for it until its queue is full.
  const sockets = Array.from({ length: 8 }, () =>
    createConnection(Number(port), '127.0.0.1').on('error', () => undefined),
  )
  t.teardown(() => sockets.forEach(socket => socket.destroy()))
  await Promise.all(sockets.slice(0, 2).map(socket => once(socket, 'connect')))
  return `http://127.0.0.1:${Number(port)}`
}

t.test(
  'the end of work waits a tenth of its time for a service that is away, a second at least',
  { buffered: true },
  async t => {
    const minute = 60_000
    const waits = [0, 300, 10_000, minute, 5 * minute, 180 * minute].map(patienceAfter)
    t.same(waits, [1_000, 1_000, 1_000, 6_000, 30_000, 30_000])
    const source = `
    const job = await headway.start({ name: 'short' })
    await new Promise(resolve => setTimeout(resolve, 300))
    await job.complete()
    for await (const item of headway.track([1, 2, 3], { name: 'loop' })) void item`
    const addresses = ['http://127.0.0.1:1', await startBlackHole(t)]
    for (const address of addresses) {
      const before = performance.now()
      t.match(await runProgram(t, address, source).exited, { code: 0, stderr: /127\.0\.0\.1/ })
      // It waits 1.3 s. Half a minute it must not be, on a busy machine either.
      t.ok(performance.now() - before < 9_000, `it took ${performance.now() - before} ms`)
    }
  },
)

t.test('a service that answers slowly does not count as away', { buffered: true }, async t => {
  const service = await startFakeService(t)
  const { headway, problems } = connect(service.url, { patienceMs: 2_000 })
  const job = await headway.start({ name: 'slow' })
  service.script = async (received, response) => {
    await delay(1_200)
    return goodAnswer(received, response)
  }
  job.advance()
  t.ok(await job.complete())
  t.same(problems, [])
})

t.test(
  'a service that has accepted a call has the time of an answer, and a service that refuses connections has a second',
  { buffered: true },
  async t => {
    const service = await startFakeService(t)
    // Each of three calls takes longer than the whole patience of a short job.
    service.script = async (received, response) => {
      await delay(1_300)
      return goodAnswer(received, response)
    }
    const slow = connect(service.url)
    const job = await slow.headway.start({ name: 'short' })
    t.ok(await job.complete(), 'it was heard')
    t.same(slow.problems, [])

    // A service that refuses calls under load is not away.
    let refusals = 4
    service.script = (received, response) =>
      refusals-- > 0
        ? { status: 503, body: { code: 'overloaded', detail: 'Too much.' }, headers: { 'retry-after': '0' } }
        : goodAnswer(received, response)
    const busy = connect(service.url)
    t.ok(await (await busy.headway.start({ name: 'shed' })).complete())

    // A proxy without a service behind it is not, nor is a service without its database.
    for (const body of ['<h1>503</h1>', { code: 'database_unavailable', detail: 'Away.' }]) {
      service.script = () => ({ status: 503, body })
      const away = connect(service.url)
      const before = performance.now()
      t.notOk(await (await away.headway.start({ name: 'away' })).complete())
      t.ok(performance.now() - before < 8_000)
    }
  },
)

t.test('a process does not end while a tracked loop waits for its next item', { buffered: true }, async t => {
  const service = await startFakeService(t)
  const source = `
    async function* items() {
      yield 1
      await new Promise(resolve => setTimeout(resolve, 300).unref())
      yield 2
    }
    const main = async () => {
      let sum = 0
      for await (const item of headway.track(items(), { name: 'weak' })) sum += item
      console.log(sum)
    }
    main().then(() => process.exit(7))`
  const { child, exited } = runProgram(t, service.url, source)
  const output = text(child.stdout)
  t.match(await exited, { code: 7 })
  t.equal(await output, '3\n')
  t.match(service.received.at(-1), { call: 'POST complete' })
})

t.test(
  'a process that dies fails its jobs with the reason, and ends as it would without them',
  { buffered: true },
  async t => {
    const service = await startService(t)
    const begin = (name: string) =>
      `const job = await headway.start({ name: '${name}', totalCount: 9 }); job.advance(4);\n`
    const cases: [
      name: string,
      source: string,
      exit: { code: number | null; signal?: string },
      message: RegExp | null,
      signal?: NodeJS.Signals,
    ][] = [
      ['throws', `setImmediate(() => { throw new TypeError('no such row') })`, { code: 1 }, /^no such row$/],
      ['rejects', `void Promise.reject(new Error('nobody caught me'))`, { code: 1 }, /^nobody caught me$/],
      ['exits', `process.exit(3)`, { code: 3 }, /^The process ended with code 3 before the job had ended\.$/],
      ['forgets', '', { code: 0 }, /^The process ended with code 0/],
      ['ends without waiting', `void job.complete()`, { code: 0 }, null],
      ['leaves', `await job.leave()`, { code: 0 }, null],
      [
        'signalled',
        `console.log(1); setInterval(() => {}, 1e6)`,
        { code: null, signal: 'SIGTERM' },
        /^The process was ended by SIGTERM\.$/,
        'SIGTERM',
      ],
      [
        'handles',
        `process.on('SIGTERM', async () => { await job.complete({ early: true }); process.exit(5) }); console.log(1); setInterval(() => {}, 1e6)`,
        { code: 5 },
        null,
        'SIGTERM',
      ],
      [
        'survives',
        `process.on('uncaughtException', () => job.complete()); setImmediate(() => { throw new Error('survived') })`,
        { code: 0 },
        null,
      ],
    ]
    const run = async ([name, source, exit, message, signal]: (typeof cases)[number]) => {
      const program = runProgram(t, service.url, begin(name) + source)
      if (signal) {
        await program.started
        program.child.kill(signal)
      }
      const ended = await program.exited
      t.match(ended, { code: exit.code, signal: exit.signal ?? null }, name)
      const job = await service.job(await onlyJob(service, name))
      if (message) t.match(job, { status: 'failed', processedCount: 4, errorMessage: message }, name)
      else t.match(job, { status: name === 'leaves' ? 'running' : 'completed', processedCount: 4 }, name)
    }
    // Two at a time: a process starts slowly on a machine that is busy with others.
    const queue = [...cases]
    const worker = async () => {
      for (let next = queue.shift(); next; next = queue.shift()) await run(next)
    }
    await Promise.all([worker(), worker(), worker()])

    const twice = runProgram(
      t,
      service.url,
      `const other = createWorker()
    await headway.start({ name: 'one of two' }); await other.start({ name: 'two of two' })
    console.log(1); setInterval(() => {}, 1e6)`,
    )
    await twice.started
    twice.child.kill('SIGTERM')
    t.match(await twice.exited, { signal: 'SIGTERM' })
    for (const name of ['one of two', 'two of two'])
      t.match(await service.job(await onlyJob(service, name)), { status: 'failed' }, name)

    const loop = runProgram(
      t,
      service.url,
      `for await (const row of headway.track([1, 2, 3], { name: 'loops' })) if (row === 2) throw new Error('row 2')`,
    )
    t.match(await loop.exited, { code: 1, stderr: /row 2/ })
    t.match(await service.job(await onlyJob(service, 'loops')), {
      status: 'failed',
      errorMessage: 'row 2',
      processedCount: 1,
    })
  },
)

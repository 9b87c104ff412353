import t from 'tap'
import type { Service } from '../helpers/service.ts'
import { nothingKnown, startBatchWorld } from './batch-world.ts'

const {
  service,
  other,
  pool,
  post,
  create,
  createBatch,
  partitionsOf,
  eventsOf,
  silence,
  makeStale,
  sweep,
  openStream,
} = await startBatchWorld(t)

const statusesOf = async (batchId: string) => (await partitionsOf(batchId)).map(({ status }) => status)

/** An error that nobody reads. */
const fail = (id: string, to: Service = service) => post(id, 'fail', { errorMessage: 'no more ink' }, to)

const FINAL = ['completed', 'failed', 'cancelled']

const finalEventsOf = async (id: string) => (await service.history(id)).filter(type => FINAL.includes(type))

t.test('a batch ends with its last partition, in the status that follows from the ends of all partitions', async t => {
  for (const [commands, status, failureReason, errorMessage] of [
    [['complete', 'complete'], 'completed', null, null],
    [['complete', 'fail', 'cancel'], 'failed', 'partitions', '1 of 3 partitions failed'],
    [['complete', 'cancel'], 'cancelled', null, null],
    [['cancel', 'cancel'], 'cancelled', null, null],
    [['fail', 'fail'], 'failed', 'partitions', '2 of 2 partitions failed'],
  ] as const) {
    const { id, ids } = await createBatch(nothingKnown(commands.length), { cancellable: true })
    for (const [index, command] of commands.entries()) {
      t.equal((await service.job(id)).finishedAt, null)
      await post(ids[index] ?? '', command, command === 'fail' ? { errorMessage: 'x' } : {})
    }
    const job = await service.job(id)
    t.match(job, { status, failureReason, errorMessage, finishedAt: String, liveness: null }, commands.join(', '))
    t.equal(job.progressPercent === 100, status === 'completed')
    t.same(await finalEventsOf(id), [status])
    const last = (await eventsOf(id)).at(-1)
    t.match(last, {
      type: status,
      at: job.finishedAt ?? '',
      data: failureReason === null ? {} : { failureReason, errorMessage },
    })
  }
})

t.test('a batch begins with the first of its partitions', async t => {
  const HISTORY = ['created', 'started']
  for (const begin of [
    (id: string) => service.heartbeat(id),
    (id: string) => post(id, 'start'),
    (id: string) => post(id, 'complete'),
    (id: string) => fail(id),
  ]) {
    const { id, ids } = await createBatch(nothingKnown(2))
    t.match(await service.job(id), { status: 'pending', startedAt: null, liveness: null })
    await begin(ids[0])
    t.match(await service.job(id), { status: 'running', startedAt: String, liveness: 'ok' })
    t.same(await service.history(id), HISTORY)
    await begin(ids[0])
    t.same(await service.history(id), HISTORY)
  }
})

t.test('a batch whose partitions all end at once on two replicas ends once, and its history says so once', async t => {
  const ROUNDS = 25
  const COMMANDS = [
    ['complete', {}],
    ['complete', {}],
    ['fail', { errorMessage: 'x' }],
    ['cancel', {}],
  ] as const
  const feeds = await Promise.all([service, other].map(to => openStream(t, '/stream?topLevel=true', to)))
  const batches = await Promise.all(
    Array.from({ length: ROUNDS }, () => createBatch(nothingKnown(4), { cancellable: true })),
  )
  for (const [round, { ids }] of batches.entries()) {
    const to = (index: number) => (index % 2 === 0 ? service : other)
    // Every third of them completes, the others end in all the ways there are.
    const replies = await Promise.all(
      ids.map((id, index) => {
        const [command, body] = round % 3 === 0 ? COMMANDS[0] : (COMMANDS[index] ?? COMMANDS[0])
        return post(id, command, body, to(index))
      }),
    )
    t.same(new Set(replies.map(({ status }) => status)), new Set([200]))
  }
  const ended: [id: string, status: string][] = []
  for (const [round, { id }] of batches.entries()) {
    const expected = round % 3 === 0 ? 'completed' : 'failed'
    t.equal((await service.job(id)).status, expected)
    t.same(await finalEventsOf(id), [expected])
    ended.push([id, expected])
  }
  for (const feed of feeds) {
    await feed.until(({ events }) =>
      ended.every(([id, status]) => events.some(({ data }) => data.id === id && data.status === status)),
    )
    for (const [id, status] of ended) {
      const told = feed.events.filter(
        ({ event, data }) => data.id === id && FINAL.includes(event.split('.').at(-1) ?? ''),
      )
      t.same(
        told.map(({ event }) => event),
        [`progress.job.${status}`],
      )
    }
  }
})

t.test('cancelling a batch again is no error, also where a failed partition made it end as failed', async t => {
  const { id, ids } = await createBatch(nothingKnown(2), { cancellable: true })
  await fail(ids[0])
  for (const call of ['first', 'again'])
    t.match(await post(id, 'cancel'), { status: 200, body: { status: 'failed', failureReason: 'partitions' } }, call)
  t.same(await service.history(id), ['created', 'started', 'failed'])
})

t.test('a batch in any state refuses reports and commands that end a job', async t => {
  const states: (() => Promise<string>)[] = [
    async () => (await createBatch(nothingKnown(2))).id,
    async () => {
      const { id, ids } = await createBatch(nothingKnown(2))
      await post(ids[0], 'start')
      return id
    },
    async () => {
      const { id, ids } = await createBatch(nothingKnown(1))
      await post(ids[0], 'complete')
      return id
    },
    async () => {
      const { id, ids } = await createBatch(nothingKnown(1))
      await fail(ids[0])
      return id
    },
    async () => {
      const { id } = await createBatch(nothingKnown(1), { cancellable: true })
      await post(id, 'cancel')
      return id
    },
  ]
  for (const state of states) {
    const id = await state()
    const before = await service.job(id)
    for (const [method, path, body] of [
      ['POST', '/heartbeat', {}],
      ['POST', '/heartbeat', { processedCount: 1, attempt: 1 }],
      ['POST', '/increment', { increment: 1 }],
      ['PUT', '', { message: 'half' }],
      ['POST', '/start', {}],
      ['POST', '/complete', {}],
      ['POST', '/fail', { errorMessage: 'x' }],
      ['POST', '/cancelled', {}],
    ] as const) {
      const reply = await service.call(method, `/jobs/${id}${path}`, body)
      t.match(reply, { status: 409, body: { code: 'is_batch' } }, `${method} ${path} of one that is ${before.status}`)
    }
    t.same(await service.job(id), before)
  }
  const id = await states[0]!()
  const { body } = await service.call<{ results: object[] }>('POST', '/heartbeats', { heartbeats: [{ jobId: id }] })
  t.match(body.results, [{ code: 'is_batch' }])
})

t.test('the sweeper ends partitions and never a batch', async t => {
  const fields = { pendingTimeoutSeconds: 5, heartbeatTimeoutSeconds: 60 }
  const empty = (await create({ jobType: 'test', partitionCount: 2, ...fields })).body.id
  const { id, ids } = await createBatch(nothingKnown(3), fields)
  await post(ids[0], 'start')
  await post(ids[1], 'start')
  for (const batch of [empty, id]) await service.age(batch, 1000)
  await silence(ids[0], 61)
  await sweep()
  t.equal((await service.job(empty)).status, 'pending')
  t.same(await statusesOf(id), ['failed', 'running', 'pending'])
  t.match(await service.job(id), {
    status: 'running',
    children: {
      failed: 1,
      errors: ['p0: No heartbeat for 60 seconds'],
      failures: [{ name: 'p0', failureReason: 'stale' }],
      current: ['p1'],
    },
  })
  await service.age(ids[2], 6)
  await sweep()
  t.same(await statusesOf(id), ['failed', 'running', 'failed'])
  await makeStale(ids[1])
  t.match(await service.job(id), {
    status: 'failed',
    failureReason: 'partitions',
    errorMessage: '3 of 3 partitions failed',
  })
  t.same(await service.history(id), ['created', 'started', 'failed'])
})

t.test('a batch without any started partition fails without a start', async t => {
  const { id, ids } = await createBatch(nothingKnown(2), { pendingTimeoutSeconds: 5 })
  for (const partition of ids) await service.age(partition, 6)
  await sweep()
  t.match(await service.job(id), { status: 'failed', startedAt: null, failureReason: 'partitions' })
  t.same(await service.history(id), ['created', 'failed'])
})

t.test('the cancel of a batch reaches all its partitions, and their workers on any replica', async t => {
  const { id, ids } = await createBatch(nothingKnown(4), { cancellable: true })
  await service.heartbeat(ids[0])
  await post(ids[1], 'start')
  await post(ids[2], 'complete')
  const cancelled = await post(id, 'cancel')
  t.match(cancelled, {
    status: 200,
    body: { status: 'running', cancelRequestedAt: String, children: { cancelled: 1 } },
  })
  t.same(await statusesOf(id), ['running', 'running', 'completed', 'cancelled'])
  t.match((await other.heartbeat(ids[0])).body, { cancelRequested: true, status: 'running' })
  t.match((await other.heartbeat(ids[1])).body, { cancelRequested: true })
  const before = await service.job(id)
  t.match(await post(id, 'cancel', {}, other), { status: 200, body: { revision: before.revision } }, 'the same again')
  await post(ids[0], 'cancelled', {}, other)
  t.equal((await service.job(id)).status, 'running')
  await post(ids[1], 'complete', {}, other)
  t.match(await service.job(id), { status: 'cancelled', children: { completed: 2, cancelled: 2 } })
  t.same(await service.history(id), ['created', 'started', 'cancel_requested', 'cancelled'])
  t.match(await post(id, 'cancel'), { status: 200, body: { status: 'cancelled' } })
})

t.test('a batch that has not begun is cancelled at once', async t => {
  const { id } = await createBatch(nothingKnown(3), { cancellable: true })
  t.match((await service.call('DELETE', `/jobs/${id}`)).body, {
    status: 'cancelled',
    startedAt: null,
    children: { cancelled: 3 },
  })
  t.same(await service.history(id), ['created', 'cancelled'])
})

t.test('a cancelled batch does not wait for partitions that were never created', async t => {
  const empty = (await create({ jobType: 'test', partitionCount: 3, cancellable: true })).body
  t.match((await post(empty.id, 'cancel')).body, { status: 'cancelled', children: { total: 3, cancelled: 0 } })
  const { id, ids } = await createBatch(nothingKnown(2), { cancellable: true, partitionCount: 5 })
  await post(ids[0], 'start')
  t.match((await post(id, 'cancel')).body, { status: 'running' })
  t.match(await create({ parentJobId: id }), { status: 409, body: { code: 'parent_finished' } })
  await post(ids[0], 'complete')
  t.match(await service.job(id), { status: 'cancelled', children: { total: 5, completed: 1, cancelled: 1 } })

  t.match((await post(id, 'retry')).body, { status: 'pending', cancelRequestedAt: null, attempt: 2 })
  for (let left = 3; left > 0; left -= 1) t.equal((await create({ parentJobId: id })).status, 201)
  for (const partition of await partitionsOf(id)) await post(partition.id, 'complete')
  t.match(await service.job(id), { status: 'completed', children: { completed: 5 } })
})

t.test('work that all partitions finish after the cancel is completed', async t => {
  const { id, ids } = await createBatch(nothingKnown(2), { cancellable: true })
  for (const partition of ids) await post(partition, 'start')
  await post(id, 'cancel')
  for (const partition of ids) await post(partition, 'complete')
  t.match(await service.job(id), { status: 'completed', cancelRequestedAt: String })
})

t.test('a cancel of a batch that is not cancellable changes nothing', async t => {
  const { id, ids } = await createBatch(nothingKnown(2))
  await post(ids[0], 'start')
  const before = await service.job(id)
  t.match(await post(id, 'cancel'), { status: 409, body: { code: 'not_cancellable' } })
  t.same(await service.job(id), before)
  t.same(await statusesOf(id), ['running', 'pending'])
})

t.test('the retry of a batch restarts its failed and cancelled partitions, and leaves the completed ones', async t => {
  const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 10 }, { totalCount: 10 }, {}], {
    cancellable: true,
  })
  await service.heartbeat(ids[0], { processedCount: 10 })
  await post(ids[0], 'complete')
  await service.heartbeat(ids[1], { processedCount: 6 })
  await fail(ids[1])
  t.match(await post(id, 'retry'), { status: 409, body: { code: 'not_retryable' } })
  await post(ids[2], 'cancel')
  await service.heartbeat(ids[3] ?? '', { workerId: 'a', processedCount: 3 })
  await makeStale(ids[3] ?? '')
  t.match(await service.job(id), { status: 'failed', processedCount: 19 })
  const retried = (await post(id, 'retry')).body
  t.match(retried, {
    status: 'pending',
    attempt: 2,
    processedCount: 10,
    progressPercent: 25,
    finishedAt: null,
    startedAt: null,
    failureReason: null,
    errorMessage: null,
    children: { pending: 3, completed: 1, failed: 0, cancelled: 0, errors: [] },
  })
  t.same(
    (await partitionsOf(id)).map(({ status, attempt }) => [status, attempt]),
    [
      ['completed', 1],
      ['pending', 2],
      ['pending', 2],
      ['pending', 2],
    ],
  )
  const again = await post(id, 'retry', {}, other)
  t.equal(again.status, 200)
  t.same(again.body, retried)
  t.match((await eventsOf(id)).at(-1), { type: 'retried', attempt: 2, data: { previousStatus: 'failed' } })
  t.match(await service.heartbeat(ids[1], { attempt: 1 }), { status: 409, body: { code: 'superseded' } })
  t.equal((await service.job(id)).status, 'pending')
  for (const partition of ids) await post(partition, 'complete', { attempt: partition === ids[0] ? 1 : 2 })
  t.match(await service.job(id), { status: 'completed', attempt: 2 })
  t.same(await service.history(id), ['created', 'started', 'failed', 'retried', 'started', 'completed'])
  t.match(await post(id, 'retry'), { status: 409, body: { code: 'already_finished', jobStatus: 'completed' } })
})

t.test('the retry of one partition opens its batch again, in the same attempt', async t => {
  const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 10 }])
  await service.heartbeat(ids[0], { processedCount: 8 })
  await fail(ids[0])
  await post(ids[1], 'complete')
  t.match(await service.job(id), { status: 'failed', progressPercent: 90 })
  await post(ids[0], 'retry')
  t.match(await service.job(id), {
    status: 'running',
    attempt: 1,
    liveness: 'ok',
    progressPercent: 50,
    finishedAt: null,
    failureReason: null,
    errorMessage: null,
    children: { pending: 1, completed: 1 },
  })
  await post(ids[0], 'complete')
  t.match(await service.job(id), { status: 'completed', finishedAt: String })
  t.same(await service.history(id), ['created', 'started', 'failed', 'recovered', 'completed'])
})

t.test(
  'the retry of a partition withdraws the cancel request of a finished batch, and is refused while the batch is still ending',
  async t => {
    const { id, ids } = await createBatch(nothingKnown(2), { cancellable: true })
    await post(ids[0], 'start')
    await post(id, 'cancel')
    t.match(await post(ids[1], 'retry'), { status: 409, body: { code: 'not_retryable', detail: /being cancelled/ } })
    await post(ids[0], 'cancelled')
    t.match(await service.job(id), { status: 'cancelled' })
    t.match(await post(ids[1], 'retry'), { status: 200, body: { status: 'pending' } })
    t.match(await service.job(id), { status: 'running', cancelRequestedAt: null, cancelledByUserId: null })
    t.match((await service.heartbeat(ids[1])).body, { cancelRequested: false })
    await post(ids[1], 'complete')
    t.match(await service.job(id), { status: 'cancelled', children: { completed: 1, cancelled: 1 } })
  },
)

t.test('a stale partition that reports again opens its batch again', async t => {
  const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 10 }])
  await post(ids[1], 'complete')
  await service.heartbeat(ids[0], { processedCount: 5 })
  await makeStale(ids[0])
  const failed = await service.job(id)
  t.match(failed, { status: 'failed', errorMessage: '1 of 2 partitions failed', progressPercent: 75 })
  await other.heartbeat(ids[0], { processedCount: 2 })
  t.match(await service.job(id), {
    status: 'running',
    attempt: 1,
    progressPercent: 60,
    liveness: 'ok',
    errorMessage: null,
  })
  t.same(await service.history(id), ['created', 'started', 'failed', 'recovered'])
})

t.test('a stale partition that reports again in a cancelled batch is asked to stop', async t => {
  const { id, ids } = await createBatch(nothingKnown(2), { cancellable: true })
  await post(ids[0], 'start')
  await post(ids[1], 'start')
  await makeStale(ids[0])
  await service.heartbeat(ids[1])
  await post(id, 'cancel')
  await post(ids[1], 'cancelled')
  t.match(await service.job(id), { status: 'failed', cancelRequestedAt: String })
  t.match((await service.heartbeat(ids[0])).body, { status: 'running', cancelRequested: true })
  t.match(await service.job(id), { status: 'running', cancelRequestedAt: String })
  await post(ids[0], 'cancelled')
  t.match(await service.job(id), { status: 'cancelled' })
})

t.test('a stale partition that completes late makes its failed batch a completed batch', async t => {
  const { id, ids } = await createBatch(nothingKnown(2))
  await post(ids[1], 'complete')
  await post(ids[0], 'start')
  await makeStale(ids[0])
  const failed = await service.job(id)
  await post(ids[0], 'complete')
  const completed = await service.job(id)
  t.match(completed, { status: 'completed', failureReason: null, errorMessage: null, progressPercent: 100 })
  t.ok((completed.finishedAt ?? '') >= (failed.finishedAt ?? ''))
  t.same(await service.history(id), ['created', 'started', 'failed', 'completed'])
})

t.test('a failed batch in which another partition completes late stays failed, and ends once', async t => {
  const { id, ids } = await createBatch(nothingKnown(2))
  await fail(ids[1])
  await post(ids[0], 'start')
  await makeStale(ids[0])
  const failed = await service.job(id)
  t.equal(failed.errorMessage, '2 of 2 partitions failed')
  await post(ids[0], 'complete')
  t.match(await service.job(id), {
    status: 'failed',
    errorMessage: '1 of 2 partitions failed',
    finishedAt: failed.finishedAt,
    revision: failed.revision + 1,
  })
  t.same(await service.history(id), ['created', 'started', 'failed'])
})

t.test('a partition that is created while the others end is counted', async t => {
  for (let round = 0; round < 10; round += 1) {
    const { id, ids } = await createBatch(nothingKnown(2), { partitionCount: 3 })
    const [made] = await Promise.all([
      create({ parentJobId: id }, { to: other }),
      post(ids[0], 'complete'),
      post(ids[1], 'complete', {}, other),
    ])
    t.match(await service.job(id), { status: 'running', children: { completed: 2, pending: 1 } })
    await post(made.body.id, 'complete')
    t.match(await service.job(id), { status: 'completed' })
  }
})

t.test('a batch that is erased while its partitions report is gone, with all of them', async t => {
  for (let round = 0; round < 10; round += 1) {
    const { id, ids } = await createBatch(nothingKnown(4))
    for (const partition of ids) await post(partition, 'start')
    for (const partition of ids) await silence(partition, 61)
    await sweep()
    const replies = await Promise.all([
      ...ids.map((partition, index) => (index % 2 === 0 ? service : other).heartbeat(partition, { processedCount: 1 })),
      other.call('DELETE', `/jobs/${id}?purge=true`),
    ])
    const purged = replies.at(-1)?.status
    t.ok(purged === 204 || purged === 409, `${purged}`)
    t.ok(replies.slice(0, -1).every(({ status }) => status === 200 || status === 404))
    const { rows } = await pool.query<{ id: string }>('SELECT id FROM public.progress_jobs WHERE id = ANY ($1)', [
      [id, ...ids],
    ])
    t.equal(rows.length, purged === 204 ? 0 : 5)
  }
})

import t, { type Test } from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import type { JobDocument, JobEvent } from '../../src/contract/job.ts'
import { startService, type Reply, type Service } from '../helpers/service.ts'

const service = await startService(t)

const NOBODY = '00000000-0000-4000-8000-000000000000'

/** One sweep of a process that has been healthy for a day, beside nobody else. */
const endAbandoned = (pool = service.database.pool) =>
  pool.query(`SELECT * FROM ${FUNCTIONS}.end_abandoned('00000000-0000-4000-8000-00000000000a', 5, 500)`)

await service.database.pool.query('DELETE FROM public.service_processes')
await service.database.pool.query(
  `SELECT ${FUNCTIONS}.visit('00000000-0000-4000-8000-00000000000a', 5, false, NULL, NULL)`,
)
await service.database.pool.query("UPDATE public.service_processes SET healthy_since = now() - interval '1 day'")
const keepSeen = () => service.database.pool.query('UPDATE public.service_processes SET seen_at = now()')

const post = (id: string, command: string, body?: object): Promise<Reply<JobDocument & { code?: string }>> =>
  service.call('POST', `/jobs/${id}/${command}`, body)

type State =
  'pending' | 'running' | 'asked to stop' | 'completed' | 'failed' | 'stale' | 'never started' | 'cancelled' | 'retried'

/** Brings a new job into a state. Each is what callers can see, and how they get there. */
const STATES: Record<State, (fields: object) => Promise<JobDocument>> = {
  pending: async (fields: object) => service.createJob({ cancellable: true, ...fields }),
  running: async (fields: object) => {
    const { id } = await STATES.pending(fields)
    return (await post(id, 'start')).body
  },
  'asked to stop': async (fields: object) => {
    const { id } = await STATES.running(fields)
    return (await post(id, 'cancel')).body
  },
  completed: async (fields: object) => {
    const { id } = await STATES.running(fields)
    return (await post(id, 'complete')).body
  },
  failed: async (fields: object) => {
    const { id } = await STATES.running(fields)
    return (await post(id, 'fail', { errorMessage: 'out of paper' })).body
  },
  stale: async (fields: object) => {
    const { id } = await STATES.running(fields)
    await service.age(id, 61)
    await keepSeen()
    await endAbandoned()
    return service.job(id)
  },
  'never started': async (fields: object) => {
    const { id } = await STATES.pending({ ...fields, pendingTimeoutSeconds: 5 })
    await service.age(id, 6)
    await keepSeen()
    await endAbandoned()
    return service.job(id)
  },
  cancelled: async (fields: object) => {
    const { id } = await STATES.pending(fields)
    return (await post(id, 'cancel')).body
  },
  retried: async (fields: object) => {
    const { id } = await STATES.failed(fields)
    return (await post(id, 'retry')).body
  },
}

const COMMANDS = {
  start: (id: string) => post(id, 'start'),
  complete: (id: string) => post(id, 'complete', { resultSummary: { written: 3 } }),
  fail: (id: string) => post(id, 'fail', { errorMessage: 'no more ink' }),
  cancel: (id: string) => post(id, 'cancel'),
  delete: (id: string) => service.call<JobDocument & { code?: string }>('DELETE', `/jobs/${id}`),
  cancelled: (id: string) => post(id, 'cancelled'),
  retry: (id: string) => post(id, 'retry'),
  heartbeat: (id: string) => post(id, 'heartbeat', {}),
} satisfies Record<string, (id: string) => Promise<Reply<{ code?: string }>>>

type Command = keyof typeof COMMANDS

/** Changed nothing and is no error. */
const SAME = 'same'
/** The result of a command: the code of a refusal, `SAME`, or the new status and the entry in the history. */
type Outcome = string | [status: string, event: string]

const FINISHED = 'already_finished'
const NOT_CANCELLABLE = 'not_cancellable'
const COMPLETES: Outcome = ['completed', 'completed']
const FAILS: Outcome = ['failed', 'failed']
const CANCELS: Outcome = ['cancelled', 'cancelled']
const STARTS: Outcome = ['running', 'started']
const ASKS: Outcome = ['running', 'cancel_requested']
const RETRIES: Outcome = ['pending', 'retried']

// prettier-ignore
const TABLE: [state: State, outcomes: Record<Command, Outcome>][] = [
  ['pending',       { start: STARTS,   complete: COMPLETES, fail: FAILS,    cancel: CANCELS,  delete: CANCELS,  cancelled: CANCELS,  retry: 'not_retryable', heartbeat: STARTS }],
  ['running',       { start: SAME,     complete: COMPLETES, fail: FAILS,    cancel: ASKS,     delete: ASKS,     cancelled: CANCELS,  retry: 'not_retryable', heartbeat: SAME }],
  ['asked to stop', { start: SAME,     complete: COMPLETES, fail: FAILS,    cancel: SAME,     delete: SAME,     cancelled: CANCELS,  retry: 'not_retryable', heartbeat: SAME }],
  ['completed',     { start: FINISHED, complete: SAME,      fail: FINISHED, cancel: FINISHED, delete: FINISHED, cancelled: FINISHED, retry: FINISHED,        heartbeat: FINISHED }],
  ['failed',        { start: FINISHED, complete: FINISHED,  fail: SAME,     cancel: FINISHED, delete: FINISHED, cancelled: FINISHED, retry: RETRIES,         heartbeat: FINISHED }],
  ['stale',         { start: FINISHED, complete: COMPLETES, fail: FAILS,    cancel: FINISHED, delete: FINISHED, cancelled: CANCELS,  retry: RETRIES,         heartbeat: ['running', 'recovered'] }],
  ['never started', { start: FINISHED, complete: FINISHED,  fail: SAME,     cancel: FINISHED, delete: FINISHED, cancelled: FINISHED, retry: RETRIES,         heartbeat: FINISHED }],
  ['cancelled',     { start: FINISHED, complete: FINISHED,  fail: FINISHED, cancel: SAME,     delete: SAME,     cancelled: SAME,     retry: RETRIES,         heartbeat: FINISHED }],
  ['retried',       { start: STARTS,   complete: COMPLETES, fail: FAILS,    cancel: CANCELS,  delete: CANCELS,  cancelled: CANCELS,  retry: SAME,            heartbeat: STARTS }],
]

// prettier-ignore
const NOT_CANCELLABLE_TABLE: [state: State, outcomes: Partial<Record<Command, Outcome>>][] = [
  ['pending',   { cancel: NOT_CANCELLABLE, delete: NOT_CANCELLABLE, cancelled: NOT_CANCELLABLE }],
  ['running',   { cancel: NOT_CANCELLABLE, delete: NOT_CANCELLABLE, cancelled: NOT_CANCELLABLE }],
  ['completed', { cancel: FINISHED,        delete: FINISHED,        cancelled: FINISHED }],
  ['failed',    { cancel: FINISHED,        delete: FINISHED,        cancelled: FINISHED }],
  ['stale',     { cancel: FINISHED,        delete: FINISHED,        cancelled: NOT_CANCELLABLE }],
]

const checkOutcome = async (t: Test, job: JobDocument, command: Command, outcome: Outcome) => {
  const before = await service.job(job.id)
  const history = await service.history(job.id)
  const reply = await COMMANDS[command](job.id)
  const after = await service.job(job.id)
  const added = (await service.history(job.id)).slice(history.length)
  if (outcome === SAME) {
    t.match(reply, { status: 200, body: { status: before.status } })
    t.same(added, [])
    if (command !== 'heartbeat') t.same(after, before)
  } else if (typeof outcome === 'string') {
    t.match(reply, { status: 409, body: { status: 409, code: outcome } })
    if (outcome === FINISHED) t.match(reply.body, { jobStatus: before.status })
    t.same(added, [])
    t.same(after, before, 'a refusal changes nothing')
  } else {
    t.match(reply, { status: 200, body: { status: outcome[0], revision: before.revision + 1 } })
    t.match(after, { status: outcome[0], revision: before.revision + 1 })
    t.same(added, [outcome[1]])
  }
}

for (const [state, outcomes] of TABLE) {
  for (const [command, outcome] of Object.entries(outcomes) as [Command, Outcome][]) {
    t.test(`${command} of a job that is ${state}: ${String(outcome)}`, async t =>
      checkOutcome(t, await STATES[state]({}), command, outcome),
    )
  }
}

for (const [state, outcomes] of NOT_CANCELLABLE_TABLE) {
  for (const [command, outcome] of Object.entries(outcomes) as [Command, Outcome][]) {
    t.test(`${command} of a job that is ${state} and not cancellable: ${String(outcome)}`, async t =>
      checkOutcome(t, await STATES[state]({ cancellable: false }), command, outcome),
    )
  }
}

t.test('every command of an unknown job is 404', async t => {
  for (const command of Object.values(COMMANDS)) {
    t.match(await command(NOBODY), { status: 404, body: { code: 'job_not_found' } })
  }
})

t.test('every command of a worker of another attempt is refused as superseded', async t => {
  const running = await STATES.retried({})
  await post(running.id, 'start')
  const before = await service.job(running.id)
  for (const [command, body] of [
    ['start', {}],
    ['complete', {}],
    ['fail', { errorMessage: 'late' }],
    ['cancelled', {}],
    ['heartbeat', { processedCount: 5 }],
  ] as const) {
    for (const attempt of [1, 3]) {
      const reply = await post(running.id, command, { ...body, attempt })
      t.match(reply, { status: 409, body: { code: 'superseded' } }, `${command} of attempt ${attempt}`)
    }
  }
  t.same(await service.job(running.id), before)
  t.match(await post(running.id, 'complete', { attempt: 2 }), { status: 200, body: { status: 'completed' } })
  t.match(await post(running.id, 'complete', { attempt: 1 }), { status: 409, body: { code: 'superseded' } })
})

t.test('complete sets the percent to 100 and the ETA to 0, and keeps the counts as reported', async t => {
  const { id } = await service.createJob({ totalCount: 10 })
  await service.heartbeat(id, { processedCount: 4, etaSeconds: 12 })
  const { body } = await post(id, 'complete', { resultSummary: { written: 4, skipped: [1, 2] } })
  t.match(body, {
    status: 'completed',
    progressPercent: 100,
    etaSeconds: 0,
    etaSource: null,
    processedCount: 4,
    totalCount: 10,
    remainingCount: 0,
    liveness: null,
    finishedAt: String,
    failureReason: null,
  })
  t.same(body.resultSummary, { written: 4, skipped: [1, 2] })
  t.same(await post(id, 'complete', { resultSummary: { other: 1 } }).then(reply => reply.body.resultSummary), {
    written: 4,
    skipped: [1, 2],
  })
})

t.test('complete sets the last message, and without a message that of the last report stays', async t => {
  const saying = async (body: object) => {
    const { id } = await service.createJob()
    await service.heartbeat(id, { message: 'Row 812' })
    return (await post(id, 'complete', body)).body.message
  }
  t.equal(await saying({ message: 'All rows imported' }), 'All rows imported')
  t.equal(await saying({ message: '' }), '')
  t.equal(await saying({}), 'Row 812')
  const { id } = await service.createJob()
  for (const message of ['x'.repeat(501), 'a\0', 7, null]) {
    const refused = await post(id, 'complete', { message })
    t.match(refused, { status: 400, body: { code: 'validation_failed', errors: [{ path: 'message' }] } })
  }
  await post(id, 'complete', { message: 'first' })
  t.equal((await post(id, 'complete', { message: 'second' })).body.message, 'first', 'the same call changes nothing')
})

t.test('a complete or fail of a pending job starts it first', async t => {
  for (const [command, body] of [
    ['complete', {}],
    ['fail', { errorMessage: 'at once' }],
  ] as const) {
    const { id } = await service.createJob()
    const { body: job } = await post(id, command, body)
    t.equal(job.startedAt, job.finishedAt)
    t.type(job.startedAt, 'string')
  }
})

t.test('fail stores the error of the worker, and keeps the percent and the counts', async t => {
  const { id } = await service.createJob({ totalCount: 10 })
  await service.heartbeat(id, { processedCount: 4, etaSeconds: 12 })
  const { body } = await post(id, 'fail', { errorMessage: 'no more ink', errorStack: 'at print (printer.ts:3)' })
  t.match(body, {
    status: 'failed',
    failureReason: 'worker',
    errorMessage: 'no more ink',
    errorStack: 'at print (printer.ts:3)',
    progressPercent: 40,
    processedCount: 4,
    remainingCount: 6,
    etaSeconds: null,
    etaSource: null,
    liveness: null,
  })
})

t.test('a cancelled job has the time of the request, and no start if it never began', async t => {
  const pending = (await post((await STATES.pending({})).id, 'cancel')).body
  t.match(pending, { status: 'cancelled', startedAt: null, liveness: null, failureReason: null })
  t.equal(pending.cancelRequestedAt, pending.finishedAt)
  const asked = await STATES['asked to stop']({})
  t.match(asked, { status: 'running', liveness: 'ok', cancelRequestedAt: String, finishedAt: null })
  const stopped = (await post(asked.id, 'cancelled')).body
  t.match(stopped, { status: 'cancelled', cancelRequestedAt: asked.cancelRequestedAt, finishedAt: String })
})

t.test('work that was finished after a cancel request is completed', async t => {
  const { id } = await STATES['asked to stop']({})
  const { body } = await post(id, 'complete')
  t.match(body, { status: 'completed', cancelRequestedAt: String })
})

t.test('retry resets progress and the end, and keeps history, meta and the declared total', async t => {
  const fields = { totalCount: 10, meta: { file: 'a.csv' }, unit: 'rows', priority: 7, description: 'all of it' }
  const created = await service.createJob({ ...fields, cancellable: true })
  const { id } = created
  await service.heartbeat(id, { processedCount: 4, message: 'four', stage: 'load', etaSeconds: 5 })
  await service.heartbeat(id, { workerId: 'b', processedCount: 2, throughputPerSecond: 3 })
  await post(id, 'cancel')
  await post(id, 'fail', { errorMessage: 'no more ink', errorStack: 'here' })
  const failed = await service.job(id)
  await post(id, 'retry')
  const { workers, ...retried } = await service.job(id)
  t.same(retried, { ...created, attempt: 2, revision: failed.revision + 1, updatedAt: retried.updatedAt })
  t.same(workers, [], 'the workers of the attempt before are none of this one')
  t.same(await service.history(id), ['created', 'started', 'cancel_requested', 'failed', 'retried'])
  await service.heartbeat(id, { workerId: 'b', increment: 1 })
  t.match(await service.job(id), { processedCount: 1, progressPercent: 10, workers: [{ workerId: 'b', attempt: 2 }] })
})

t.test('retry keeps a total that the job got later, and forgets shares of workers', async t => {
  const own = await service.createJob()
  await service.heartbeat(own.id, { totalCount: 50 })
  await post(own.id, 'fail', { errorMessage: 'x' })
  t.equal((await post(own.id, 'retry')).body.totalCount, 50)
  const shared = await service.createJob()
  await service.heartbeat(shared.id, { workerId: 'a', totalCount: 50 })
  await post(shared.id, 'fail', { errorMessage: 'x' })
  t.equal((await post(shared.id, 'retry')).body.totalCount, null)
})

t.test('a stale job that reports again recovers, and its history says so', async t => {
  const { id } = await STATES.stale({})
  t.match(await service.job(id), {
    status: 'failed',
    failureReason: 'stale',
    errorMessage: 'No heartbeat for 60 seconds',
    liveness: null,
  })
  t.match((await service.heartbeat(id, { attempt: 1 })).body, { status: 'running', applied: true })
  t.match(await service.job(id), {
    status: 'running',
    failureReason: null,
    errorMessage: null,
    finishedAt: null,
    liveness: 'ok',
  })
  t.same(await service.history(id), ['created', 'started', 'failed', 'recovered'])
})

t.test('a stale job that its worker ends has no fields of the false alarm left', async t => {
  const completed = (await post((await STATES.stale({})).id, 'complete')).body
  t.match(completed, { status: 'completed', failureReason: null, errorMessage: null, progressPercent: 100 })
  const failed = (await post((await STATES.stale({})).id, 'fail', { errorMessage: 'no more ink' })).body
  t.match(failed, { status: 'failed', failureReason: 'worker', errorMessage: 'no more ink' })
  const cancelled = (await post((await STATES.stale({})).id, 'cancelled')).body
  t.match(cancelled, { status: 'cancelled', failureReason: null, errorMessage: null })
})

t.test('the history has pages of entries with type, time, attempt and data, oldest first', async t => {
  const { id, createdAt } = await service.createJob({ totalCount: 10, cancellable: true })
  await service.heartbeat(id, { workerId: 'a', processedCount: 4 })
  await post(id, 'cancel')
  await post(id, 'fail', { errorMessage: 'no more ink' })
  await post(id, 'retry')
  const job = (await post(id, 'complete')).body
  const all = (await service.call<{ items: JobEvent[]; total: number }>('GET', `/jobs/${id}/events`)).body
  t.equal(all.total, 6)
  t.match(all.items, [
    { type: 'created', attempt: 1, at: createdAt, actor: null, data: {} },
    { type: 'started', attempt: 1, data: { workerId: 'a' } },
    { type: 'cancel_requested', attempt: 1 },
    {
      type: 'failed',
      attempt: 1,
      data: { failureReason: 'worker', errorMessage: 'no more ink', processedCount: 4, totalCount: 10 },
    },
    { type: 'retried', attempt: 2, data: { previousStatus: 'failed' } },
    { type: 'completed', attempt: 2, at: job.finishedAt ?? '', data: { processedCount: 0, totalCount: 10 } },
  ])
  for (const event of all.items) t.same(Object.keys(event).sort(), ['actor', 'at', 'attempt', 'data', 'id', 'type'])
  const second = await service.call<{ items: JobEvent[] }>('GET', `/jobs/${id}/events?pageSize=4&page=2`)
  t.same(second.body, { items: all.items.slice(4), page: 2, pageSize: 4, total: 6 })
})

t.test('only a finished job can be erased, together with its workers and history', async t => {
  for (const state of ['pending', 'running', 'asked to stop', 'retried'] as const) {
    const { id, status } = await STATES[state]({})
    const reply = await service.call('DELETE', `/jobs/${id}?purge=true`)
    t.match(reply, { status: 409, body: { code: 'not_finished' } })
    t.equal((await service.job(id)).status, status)
  }
  for (const state of ['completed', 'failed', 'stale', 'never started', 'cancelled'] as const) {
    const { id } = await STATES[state]({})
    t.match(await service.call('DELETE', `/jobs/${id}?purge=true`), { status: 204, body: null })
    t.match(await service.call('GET', `/jobs/${id}`), { status: 404, body: { code: 'job_not_found' } })
    t.match(await service.call('GET', `/jobs/${id}/events`), { status: 404 })
    t.match(await service.call('DELETE', `/jobs/${id}?purge=true`), { status: 404 })
  }
  const { id } = await service.createJob()
  await service.heartbeat(id, { workerId: 'a' })
  await post(id, 'complete')
  await service.call('DELETE', `/jobs/${id}?purge=true`)
  const { rows } = await service.database.pool.query(
    'SELECT (SELECT count(*) FROM public.job_progress WHERE job_id = $1) + (SELECT count(*) FROM public.job_events WHERE job_id = $1) AS left',
    [id],
  )
  t.same(rows, [{ left: '0' }])
})

/** Entries that end a job for good: a stale one may still heal. */
const finalEvents = async (id: string): Promise<JobEvent[]> => {
  const { body } = await service.call<{ items: JobEvent[] }>('GET', `/jobs/${id}/events?pageSize=100`)
  return body.items.filter(
    ({ type, data }) => ['completed', 'failed', 'cancelled'].includes(type) && data['failureReason'] !== 'stale',
  )
}

t.test('a job that two replicas end at once with any two commands ends once', async t => {
  const other = await startService(t, { database: service.database })
  await service.database.pool.query(
    "DELETE FROM public.service_processes WHERE healthy_since > now() - interval '1 hour'",
  )
  const jobs = await Promise.all(Array.from({ length: 50 }, () => STATES.running({})))
  await Promise.all(jobs.map(job => service.age(job.id, 61)))
  await keepSeen()
  const commands = [
    ['complete', {}],
    ['fail', { errorMessage: 'no more ink' }],
    ['cancel', {}],
    ['cancelled', {}],
  ] as const
  const send = (to: Service, id: string) =>
    commands.map(([command, body]) => to.call('POST', `/jobs/${id}/${command}`, body))
  const [replies] = await Promise.all([
    Promise.all(jobs.map(job => Promise.all([service, other].flatMap(to => send(to, job.id))))),
    ...Array.from({ length: 5 }, () => endAbandoned()),
  ])
  for (const [index, { id }] of jobs.entries()) {
    const statuses = new Set(replies[index]?.map(reply => reply.status))
    t.ok([...statuses].every(status => status === 200 || status === 409))
    const job = await service.job(id)
    const finals = await finalEvents(id)
    t.same(
      finals.map(event => event.type),
      [job.status],
      'one final entry, of the state it is in',
    )
    t.equal(job.revision, (await service.history(id)).length, 'one entry per revision')
  }
})

t.test('reports that come after complete change nothing', async t => {
  const jobs = await Promise.all(Array.from({ length: 20 }, () => STATES.running({ totalCount: 1000 })))
  await Promise.all(
    jobs.flatMap(({ id }) => [
      ...Array.from({ length: 10 }, (_, n) =>
        service.call('POST', `/jobs/${id}/increment`, { increment: 1, workerId: `w${n}` }),
      ),
      post(id, 'complete'),
    ]),
  )
  for (const { id } of jobs) {
    const job = await service.job(id)
    const counted = job.workers.reduce((sum, worker) => sum + Number(worker['processedCount']), 0)
    t.match(job, { status: 'completed', progressPercent: 100, processedCount: counted })
    t.same(await service.history(id), ['created', 'started', 'completed'])
  }
})

t.test('a job that is retried many times at once is retried once', async t => {
  const { id } = await STATES.failed({})
  const replies = await Promise.all(Array.from({ length: 20 }, () => post(id, 'retry')))
  t.ok(replies.every(({ status, body }) => status === 200 && body.attempt === 2))
  t.same((await service.history(id)).filter(type => type === 'retried').length, 1)
})

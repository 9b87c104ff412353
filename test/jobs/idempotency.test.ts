import { randomUUID } from 'node:crypto'
import t from 'tap'
import { openDatabase } from '../../src/database/connection.ts'
import { OPEN_IDENTITY, type Identity } from '../../src/jobs/identity.ts'
import type { HeartbeatIntake } from '../../src/jobs/heartbeats/intake.ts'
import { createUseCases } from '../../src/jobs/create-use-cases.ts'
import { createJobRepository } from '../../src/jobs/repository.ts'
import type { JobChange } from '../../src/contract/change.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startService } from '../helpers/service.ts'

const database = await createTestDatabase(t)
const service = await startService(t, { database })
const opened = openDatabase({
  url: database.url,
  poolSize: 10,
  preparedStatements: true,
  onConnectionError: () => undefined,
})
t.teardown(() => opened.close())

/** The use cases for any identity, and their announcements. No heartbeat is sent through them. */
const useCases = ({ defaultHeartbeatTimeoutSeconds = 60 } = {}) => {
  const announced: JobChange[] = []
  const jobs = createUseCases({
    repository: createJobRepository(opened),
    intake: {} as HeartbeatIntake,
    announce: changes => announced.push(...changes),
    defaultHeartbeatTimeoutSeconds,
  })
  return { jobs, announced }
}

const identityOf = (fields: Partial<Identity>): Identity => ({ ...OPEN_IDENTITY, tenantId: randomUUID(), ...fields })

const create = (key: string, fields: Record<string, unknown> = {}) =>
  service.call<{ id: string; code?: string }>(
    'POST',
    '/jobs',
    { jobType: 'test', name: 'a job', meta: { a: 1, b: { c: 2, d: 3 } }, ...fields },
    { 'idempotency-key': key },
  )

t.test('the same key again answers with the job that the first call made', async t => {
  const key = randomUUID()
  const first = await create(key)
  t.equal(first.status, 201)
  t.equal(first.headers.get('location'), `jobs/${first.body.id}`)
  const again = await create(key)
  t.match(again, { status: 200, body: { id: first.body.id } })
  t.same(again.body, first.body)
  t.same(await service.history(first.body.id), ['created'])
})

t.test('the order of keys in the body does not matter', async t => {
  const key = randomUUID()
  await create(key)
  t.equal((await create(key, { meta: { b: { d: 3, c: 2 }, a: 1 } })).status, 200)
})

t.test('a repeated create is answered with the present state of the job', async t => {
  const key = randomUUID()
  const { id } = (await create(key)).body
  await service.call('POST', `/jobs/${id}/complete`)
  t.match((await create(key)).body, { id, status: 'completed' })
})

t.test('the same key with another body is refused', async t => {
  const key = randomUUID()
  await create(key)
  for (const fields of [
    { name: 'another job' },
    { totalCount: 5 },
    { meta: {} },
    { heartbeatTimeoutSeconds: 61 },
    { cancellable: true },
    { priority: 1 },
  ]) {
    t.match(await create(key, fields), { status: 422, body: { code: 'idempotency_key_reused' } })
  }
})

t.test('20 creations at once with one key make one job', async t => {
  const key = randomUUID()
  const replies = await Promise.all(Array.from({ length: 20 }, () => create(key)))
  t.equal(new Set(replies.map(reply => reply.body.id)).size, 1)
  t.same(replies.map(reply => reply.status).sort(), [...Array<number>(19).fill(200), 201])
})

t.test('a key lives as long as its job', async t => {
  const key = randomUUID()
  const { id } = (await create(key)).body
  await service.call('POST', `/jobs/${id}/complete`)
  await service.call('DELETE', `/jobs/${id}?purge=true`)
  const again = await create(key)
  t.equal(again.status, 201)
  t.not(again.body.id, id)
})

t.test('a key belongs to one tenant and organization', async t => {
  const { jobs } = useCases()
  const tenantId = randomUUID()
  const organizationId = randomUUID()
  const input = { jobType: 'test', name: 'a job' }
  const callers = [
    identityOf({ tenantId, organizationId: null }),
    identityOf({ tenantId, organizationId }),
    identityOf({ tenantId, organizationId: randomUUID() }),
    identityOf({}),
  ]
  const made = await Promise.all(callers.map(caller => jobs.create(caller, input, 'same key')))
  t.ok(made.every(({ created }) => created))
  t.equal(new Set(made.map(({ job }) => job.id)).size, 4)
  for (const [index, caller] of callers.entries()) {
    const { job, created } = await jobs.create(caller, input, 'same key')
    t.same({ id: job.id, created }, { id: made[index]?.job.id, created: false })
  }
})

t.test('a repeated create is compared by its body, and not by its sender or the defaults of the service', async t => {
  const tenantId = randomUUID()
  const input = { jobType: 'test', name: 'a job' }
  const first = await useCases().jobs.create(identityOf({ tenantId, userId: 'anna' }), input, 'k')
  const byAnother = await useCases().jobs.create(identityOf({ tenantId, userId: 'ben' }), input, 'k')
  t.match(byAnother, { created: false, job: { id: first.job.id, startedByUserId: 'anna' } })
  const after = useCases({ defaultHeartbeatTimeoutSeconds: 90 })
  const later = await after.jobs.create(identityOf({ tenantId }), input, 'k')
  t.match(later, { created: false, job: { id: first.job.id, heartbeatTimeoutSeconds: 60 } })
})

t.test('every change is announced once, and a repetition is not announced', async t => {
  const { jobs, announced } = useCases()
  const caller = identityOf({ userId: 'anna' })
  const { job } = await jobs.create(caller, { jobType: 'test', name: 'a job', cancellable: true }, 'k')
  await jobs.create(caller, { jobType: 'test', name: 'a job', cancellable: true }, 'k')
  for (const command of ['start', 'cancel', 'acknowledgeCancel', 'retry', 'complete'] as const) {
    await jobs[command](caller, job.id, {})
    await jobs[command](caller, job.id, {})
  }
  const events = ['created', 'started', 'cancel_requested', 'cancelled', 'retried', 'completed']
  const about = { tenantId: caller.tenantId, jobId: job.id, jobType: 'test', lifecycle: true }
  t.same(
    announced,
    events.map((event, index) => ({ ...about, event, revision: index + 1 })),
  )
})

t.test('the history names who did it', async t => {
  const { jobs } = useCases()
  const tenantId = randomUUID()
  const anna = identityOf({ tenantId, userId: 'anna' })
  const ben = identityOf({ tenantId, userId: 'ben' })
  const { job } = await jobs.create(anna, { jobType: 'test', name: 'a job', cancellable: true }, null)
  await jobs.start(anna, job.id, {})
  await jobs.cancel(ben, job.id)
  const cancelled = await jobs.acknowledgeCancel(anna, job.id, {})
  t.match(cancelled, { startedByUserId: 'anna', cancelledByUserId: 'ben' })
  const { items } = await jobs.events(anna, job.id, { page: 1, pageSize: 20 })
  t.same(
    items.map(({ type, actor }) => [type, actor]),
    [
      ['created', 'anna'],
      ['started', 'anna'],
      ['cancel_requested', 'ben'],
      ['cancelled', 'anna'],
    ],
  )
  const retried = await jobs.retry(ben, job.id)
  t.match(retried, { startedByUserId: 'anna', cancelledByUserId: null })
})

t.test('a job of another tenant, organization or token does not exist', async t => {
  const { jobs } = useCases()
  const tenantId = randomUUID()
  const features = new Set(['progress.view', 'progress.update', 'progress.cancel', 'progress.create'] as const)
  const owner = identityOf({ tenantId, organizationId: randomUUID(), features })
  const { job } = await jobs.create(owner, { jobType: 'test', name: 'a job', cancellable: true }, null)
  const strangers = {
    'another tenant': identityOf({ organizationId: owner.organizationId }),
    'another organization': identityOf({ tenantId, organizationId: randomUUID(), features }),
    'no organization': identityOf({ tenantId, organizationId: null, features }),
    'a token for another job': { ...owner, jobId: randomUUID() },
  }
  const page = { page: 1, pageSize: 20 }
  for (const [name, stranger] of Object.entries(strangers)) {
    for (const call of [
      () => jobs.get(stranger, job.id),
      () => jobs.progress(stranger, job.id),
      () => jobs.events(stranger, job.id, page),
      () => jobs.start(stranger, job.id, {}),
      () => jobs.complete(stranger, job.id, {}),
      () => jobs.fail(stranger, job.id, { errorMessage: 'x' }),
      () => jobs.cancel(stranger, job.id),
      () => jobs.acknowledgeCancel(stranger, job.id, {}),
      () => jobs.retry(stranger, job.id),
      () => jobs.purge(stranger, job.id),
    ]) {
      await t.rejects(async () => call(), { code: 'job_not_found' }, name)
    }
    const list = { includeCompleted: true, sort: { key: 'createdAt', descending: true }, ...page } as const
    t.equal((await jobs.list(stranger, list)).total, 0)
    t.same(await jobs.active(stranger, 30), { active: [], recentlyCompleted: [] })
  }
  t.match(await jobs.get(owner, job.id), { revision: 1 }, 'nothing was done to it')
  t.match(await jobs.get({ ...owner, jobId: job.id }, job.id), { id: job.id }, 'a token for this very job')
  const manager = identityOf({ tenantId, organizationId: null })
  t.match(await jobs.get(manager, job.id), { id: job.id }, 'progress.manage sees every organization')
})

t.test('a token that is limited to one job creates none', async t => {
  const { jobs } = useCases()
  const limited = identityOf({ jobId: randomUUID() })
  await t.rejects(jobs.create(limited, { jobType: 'test', name: 'a job' }, null), { code: 'forbidden' })
})

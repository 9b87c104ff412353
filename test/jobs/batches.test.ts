import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { openDatabase } from '../../src/database/connection.ts'
import type { ListedJob, Page } from '../../src/contract/job.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import { createRetention } from '../../src/jobs/retention.ts'
import { nothingKnown, startBatchWorld } from './batch-world.ts'

const { service, other, pool, post, create, createBatch, partitionsOf, silence, sweep, openStream } =
  await startBatchWorld(t)

const NOBODY = '00000000-0000-4000-8000-000000000000'

t.test('all partitions of a batch are read in one call by index, and then those that have changed', async t => {
  const { body: batch } = await create({
    jobType: 'import',
    name: 'all at once',
    unit: 'rows',
    partitions: Array.from({ length: 120 }, (_, index) => ({ name: `Part ${index}`, totalCount: 10, meta: { index } })),
  })
  type Answer = { items: { id: string; name: string }[]; asOf: string }
  const read = (query = '') => service.call<Answer>('GET', `/jobs/${batch.id}/partitions${query}`)
  const { status, body: all } = await read()
  t.equal(status, 200)
  t.same(
    all.items.map(({ name }) => name),
    Array.from({ length: 120 }, (_, index) => `Part ${index}`),
  )
  const [first] = all.items
  t.match(first, {
    status: 'pending',
    progressPercent: 0,
    totalCount: 10,
    unit: 'rows',
    partitionIndex: 0,
    revision: 1,
  })
  t.notOk('meta' in first! || 'startedAt' in first!, 'what may be large and what is null is left out')
  // As if all this had been a while ago: changes may be seen so much later than they are dated.
  await pool.query(`UPDATE progress_jobs SET updated_at = updated_at - interval '1 minute' WHERE parent_job_id = $1`, [
    batch.id,
  ])
  await service.heartbeat(all.items[7]!.id, { processedCount: 4 })
  const { body: later } = await read(`?since=${all.asOf}`)
  t.match(later.items, [{ name: 'Part 7', status: 'running', processedCount: 4, progressPercent: 40 }])
  t.equal(later.items.length, 1)
  t.ok(later.asOf >= all.asOf)
  const { body: alone } = await create({ jobType: 'import', name: 'no batch' })
  t.match(await service.call('GET', `/jobs/${alone.id}/partitions`), { status: 200, body: { items: [] } })
  t.match(await service.call('GET', `/jobs/${NOBODY}/partitions`), { status: 404, body: { code: 'job_not_found' } })
  t.equal((await read('?since=yesterday')).status, 400)
})

t.test('a batch and its partitions are made in one call, and the partitions are written after the batch', async t => {
  const fields = { cancellable: true, priority: 7, heartbeatTimeoutSeconds: 5, pendingTimeoutSeconds: 600 }
  const stages = [{ name: 'read' }, { name: 'write', weight: 3 }]
  const { status, headers, body } = await create({
    jobType: 'import',
    name: 'all shops',
    unit: 'rows',
    meta: { of: 'the batch' },
    stages,
    ...fields,
    partitions: [{ name: 'Berlin', meta: { city: 1 } }, { name: 'Paris' }, { name: 'Rome' }],
  })
  t.equal(status, 201)
  t.equal(headers.get('location'), `jobs/${body.id}`)
  const { partitions, ...job } = body
  t.match(
    job,
    {
      ...fields,
      jobType: 'import',
      status: 'pending',
      stages: null,
      unit: 'unknown',
      parentJobId: null,
      partitionIndex: null,
      partitionCount: 3,
      meta: { of: 'the batch' },
      children: {
        total: 3,
        pending: 3,
        running: 0,
        stalled: 0,
        completed: 0,
        failed: 0,
        cancelled: 0,
        current: [],
        errors: [],
        failures: [],
      },
    },
    'while no partition says anything, neither does the batch',
  )
  const { workers, ...stored } = await service.job(job.id)
  t.same(job, stored)
  t.same(workers, [])
  const items = await partitionsOf(job.id)
  t.same(
    partitions,
    items.map(({ id, name, partitionIndex }) => ({ id, name, partitionIndex })),
  )
  t.same(
    items.map(({ name }) => name),
    ['Berlin', 'Paris', 'Rome'],
  )
  for (const [index, item] of items.entries()) {
    t.match(item, {
      ...fields,
      jobType: 'import',
      status: 'pending',
      unit: 'rows',
      stages: [
        { name: 'read', weight: 0.25 },
        { name: 'write', weight: 0.75 },
      ],
      meta: index === 0 ? { city: 1 } : {},
      parentJobId: job.id,
      partitionIndex: index,
      partitionCount: 3,
      children: null,
      createdAt: job.createdAt,
    })
    t.same(await service.history(item.id), ['created'])
  }
  t.same(await service.history(job.id), ['created'])
})

t.test('a batch has its total as soon as it is created, if all of its partitions have totals', async t => {
  const { id } = await createBatch([{ totalCount: 30 }, { totalCount: 12 }, { totalCount: 0 }], { unit: 'files' })
  t.match(await service.job(id), { totalCount: 42, processedCount: 0, remainingCount: 42, unit: 'files', revision: 2 })
})

t.test('partitions may be created one by one after their batch, at a given index or the next free one', async t => {
  const batch = (
    await create({ jobType: 'import', partitionCount: 4, cancellable: true, priority: 3, heartbeatTimeoutSeconds: 9 })
  ).body
  t.match(batch, { status: 'pending', partitionCount: 4, children: { total: 4, pending: 0 } })
  t.notHas(batch, 'partitions')
  const follow = async (fields: object) => (await create({ parentJobId: batch.id, ...fields })).body
  const inherited = { jobType: 'import', cancellable: true, priority: 3, heartbeatTimeoutSeconds: 9 }
  t.match(await follow({ partitionIndex: 1, name: 'one' }), { ...inherited, partitionIndex: 1, partitionCount: 4 })
  const own = { priority: 5, heartbeatTimeoutSeconds: 0, pendingTimeoutSeconds: 8, unit: 'rows', totalCount: 10 }
  t.match(await follow({ ...own, jobType: 'import', partitionCount: 4 }), { ...inherited, ...own, partitionIndex: 0 })
  t.match(await follow({ partitionIndex: 3 }), { partitionIndex: 3, priority: 3 })
  t.match((await service.job(batch.id)).children, { total: 4, pending: 3 })
  t.match(await follow({}), { partitionIndex: 2 }, 'the place between')
  const full = await create({ parentJobId: batch.id })
  t.match(full, { status: 422, body: { code: 'invalid_partition', detail: /as many partitions as/ } })
  t.same(
    (await partitionsOf(batch.id)).map(({ partitionIndex }) => partitionIndex),
    [0, 1, 2, 3],
  )
  t.match((await service.job(batch.id)).children, { total: 4, pending: 4 })
})

t.test('a job that has not begun becomes a batch with its first partition', async t => {
  const { id } = await service.createJob({ unit: 'rows' })
  t.match(await create({ parentJobId: id, partitionCount: 2, totalCount: 5 }), { status: 201 })
  t.match(await service.job(id), { partitionCount: 2, children: { total: 2, pending: 1 }, status: 'pending' })
  t.match(await service.heartbeat(id), { status: 409, body: { code: 'is_batch' } })
})

t.test('one idempotency key makes one batch with its partitions, or one partition', async t => {
  const key = randomUUID()
  const fields = { jobType: 'test', partitionCount: 3, partitions: [{ name: 'a' }, { name: 'b' }] }
  const first = await create(fields, { key })
  t.equal(first.status, 201)
  const again = await create(fields, { key, to: other })
  t.equal(again.status, 200)
  t.same(again.body, first.body)
  t.match(await create({ ...fields, partitions: [{ name: 'a' }] }, { key }), {
    status: 422,
    body: { code: 'idempotency_key_reused' },
  })

  const partitionKey = randomUUID()
  const partition = { parentJobId: first.body.id, name: 'c' }
  const made = await create(partition, { key: partitionKey })
  t.match(made, { status: 201, body: { partitionIndex: 2 } })
  const repeated = await create(partition, { key: partitionKey, to: other })
  t.equal(repeated.status, 200)
  t.same(repeated.body, made.body)
  t.equal((await partitionsOf(first.body.id)).length, 3)

  for (const { id } of await partitionsOf(first.body.id)) await post(id, 'complete')
  const late = await create(partition, { key: partitionKey })
  t.match(late, { status: 200, body: { id: made.body.id, status: 'completed' } }, 'also when the batch has ended')
  t.match(await create(partition, { key: randomUUID() }), { status: 409, body: { code: 'parent_finished' } })
})

t.test('the same key used at once on two replicas makes one batch, and one partition', async t => {
  for (let round = 0; round < 5; round += 1) {
    const key = randomUUID()
    const fields = { jobType: 'test', partitions: [{ name: 'a' }, { name: 'b' }], partitionCount: 3 }
    const both = (body: object, key: string) =>
      Promise.all([0, 1, 2, 3].map(n => create(body, { key, to: n % 2 === 0 ? service : other })))
    const replies = await both(fields, key)
    t.same(replies.map(({ status }) => status).sort(), [200, 200, 200, 201])
    for (const { body } of replies) t.same(body, replies[0]?.body)
    const parentJobId = replies[0]?.body.id ?? ''
    const partitions = await both({ parentJobId }, randomUUID())
    t.same(partitions.map(({ status }) => status).sort(), [200, 200, 200, 201])
    t.match((await service.job(parentJobId)).children, { pending: 3 })
  }
})

t.test('partitions that two replicas create at once get different indexes', async t => {
  const { body } = await create({ jobType: 'test', partitionCount: 12 })
  const replies = await Promise.all(
    Array.from({ length: 13 }, (_, n) => create({ parentJobId: body.id }, { to: n % 2 === 0 ? service : other })),
  )
  t.same(replies.map(({ status }) => status).sort(), [...Array.from({ length: 12 }, () => 201), 422])
  t.same(
    (await partitionsOf(body.id)).map(({ partitionIndex }) => partitionIndex),
    [...Array(12).keys()],
  )
})

t.test('a batch of which one partition cannot be stored leaves nothing behind', async t => {
  await pool.query(`
    CREATE FUNCTION refuse_unstorable() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE 'refused' USING ERRCODE = '22000'; END $$;
    CREATE TRIGGER unstorable BEFORE INSERT ON progress_jobs FOR EACH ROW WHEN (NEW.name = 'unstorable')
      EXECUTE FUNCTION refuse_unstorable()`)
  const jobType = randomUUID()
  const count = async () =>
    (await pool.query<{ count: string }>('SELECT count(*) FROM public.progress_jobs WHERE job_type = $1', [jobType]))
      .rows[0]?.count
  t.match(await create({ jobType, partitions: [{ name: 'a' }, { name: 'unstorable' }] }), {
    status: 400,
    body: { code: 'validation_failed' },
  })
  t.equal(await count(), '0')
  const { id } = (await create({ jobType, partitionCount: 2 })).body
  const before = await service.job(id)
  t.match(await create({ parentJobId: id, name: 'unstorable' }), { status: 400 })
  t.same(await service.job(id), before)
  t.equal(await count(), '1')
})

/** A job that belongs to someone else. */
const insertForeign = async (fields: { tenant?: string; organization?: string; key?: string }): Promise<string> => {
  const { rows } = await pool.query<{ id: string }>(
    `INSERT INTO public.progress_jobs (tenant_id, organization_id, job_type, name, heartbeat_timeout_seconds, children,
       partition_count, idempotency_key, idempotency_hash)
     VALUES ($1, $2, 'test', 'foreign', 60, '{}', 2, $3, $4) RETURNING id`,
    [
      fields.tenant ?? OPEN_IDENTITY.tenantId,
      fields.organization ?? null,
      fields.key ?? null,
      fields.key === undefined ? null : 'hash',
    ],
  )
  return rows[0]?.id ?? ''
}

t.test('a job cannot be a partition of a job that is no batch, or of a batch that refuses it', async t => {
  const wants = async (fields: object = {}) => (await create({ jobType: 'test', partitionCount: 2, ...fields })).body.id
  const cases: [name: string, parent: () => Promise<string>, fields: object, status: number, code: string][] = [
    ['an index outside the count', wants, { partitionIndex: 2 }, 422, 'invalid_partition'],
    ['a count that differs', wants, { partitionCount: 3 }, 422, 'invalid_partition'],
    ['a type that differs', wants, { jobType: 'other' }, 422, 'invalid_partition'],
    ['a partition of partitions', wants, { partitions: [{ name: 'a' }] }, 422, 'invalid_partition'],
    ['an unknown parent', async () => NOBODY, {}, 404, 'parent_not_found'],
    ['a parent of another tenant', () => insertForeign({ tenant: randomUUID() }), {}, 404, 'parent_not_found'],
    [
      'an index that is taken',
      async () => {
        const id = await wants()
        await create({ parentJobId: id, partitionIndex: 1 })
        return id
      },
      { partitionIndex: 1 },
      422,
      'invalid_partition',
    ],
    ['a grandchild', async () => (await createBatch([{}])).ids[0], { partitionCount: 1 }, 422, 'invalid_partition'],
    [
      'a parent that has finished',
      async () => {
        const { id, ids } = await createBatch([{}])
        await post(ids[0], 'complete')
        return id
      },
      {},
      409,
      'parent_finished',
    ],
    [
      'a parent that is being cancelled',
      async () => {
        const id = await wants({ cancellable: true })
        const { body } = await create({ parentJobId: id })
        await post(body.id, 'start')
        await post(id, 'cancel')
        return id
      },
      {},
      409,
      'parent_finished',
    ],
    [
      'a parent that has begun to work itself',
      async () => {
        const { id } = await service.createJob()
        await service.heartbeat(id)
        return id
      },
      { partitionCount: 2 },
      422,
      'invalid_partition',
    ],
    [
      'a parent that has finished its own work',
      async () => {
        const { id } = await service.createJob()
        await post(id, 'complete')
        return id
      },
      { partitionCount: 2 },
      409,
      'parent_finished',
    ],
    ['no count at all', async () => (await service.createJob()).id, {}, 422, 'invalid_partition'],
    [
      'a parent with a total',
      async () => (await service.createJob({ totalCount: 5 })).id,
      { partitionCount: 2 },
      422,
      'invalid_partition',
    ],
    [
      'a parent with stages',
      async () => (await service.createJob({ stages: [{ name: 'a' }] })).id,
      { partitionCount: 2 },
      422,
      'invalid_partition',
    ],
  ]
  const sentences = new Set<string>()
  for (const [name, parent, fields, status, code] of cases) {
    const parentJobId = await parent()
    const before = await service.job(parentJobId)
    const reply = await create({ parentJobId, ...fields })
    t.match(reply, { status, body: { status, code } }, name)
    if (code === 'invalid_partition') sentences.add(reply.body.detail)
    if (status !== 404) t.same(await service.job(parentJobId), before, `${name} changes nothing`)
  }
  t.equal(sentences.size, 8, 'each is told why, in a sentence of its own')
})

t.test('a create with fields that exclude each other is refused', async t => {
  const partitions = [{ name: 'a' }, { name: 'b' }]
  for (const fields of [
    { jobType: 'test', partitions, totalCount: 10 },
    { jobType: 'test', partitionCount: 2, totalCount: 10 },
    { jobType: 'test', partitionIndex: 0 },
    { jobType: 'test', partitions, partitionIndex: 0 },
    { jobType: 'test', partitions, partitionCount: 1 },
    { jobType: 'test', partitionCount: 2, stages: [{ name: 'a' }] },
  ]) {
    t.match(await create(fields), { status: 422, body: { code: 'invalid_partition' } }, JSON.stringify(fields))
  }
  t.match(await create({ jobType: 'test', partitions, totalCount: null }), { status: 201 }, 'no total is no total')
})

t.test('a batch of another organization is not found with any key', async t => {
  const key = randomUUID()
  await insertForeign({ key })
  const parent = await insertForeign({ organization: randomUUID() })
  const asOrganization = async (parentJobId: string) => {
    const { rows } = await pool.query<{ code: string }>(
      `SELECT code FROM ${FUNCTIONS}.create_job($1, false, $2, NULL, jsonb_build_object('tenant_id', $1::uuid, 'organization_id', $2::uuid,
         'name', 'a', 'parent_job_id', $3::text, 'idempotency_key', $4::text, 'idempotency_hash', 'hash'))`,
      [OPEN_IDENTITY.tenantId, randomUUID(), parentJobId, key],
    )
    return rows.map(({ code }) => code)
  }
  t.same(await asOrganization(parent), ['parent_not_found'])
  t.same(await asOrganization(NOBODY), ['parent_not_found'], 'the key of another organization is none of its keys')
})

t.test('a batch has the sums of its partitions as soon as their reports are answered', async t => {
  const { id, ids } = await createBatch([{ totalCount: 100 }, { totalCount: 300 }], { unit: 'rows' })
  await service.heartbeat(ids[0], { processedCount: 50 })
  t.match(await other.job(id), {
    status: 'running',
    processedCount: 50,
    totalCount: 400,
    remainingCount: 350,
    progressPercent: 12,
  })
  await other.heartbeat(ids[1], { processedCount: 51, workerId: 'a' })
  const job = await service.job(id)
  t.match(job, { processedCount: 101, progressPercent: 25, unit: 'rows', liveness: 'ok' })
  await service.call('PUT', `/jobs/${ids[0]}`, { processedCount: 99 })
  t.match(await service.job(id), { processedCount: 150, progressPercent: 37 })
  await service.call('POST', `/jobs/${ids[0]}/increment`, { increment: 1 })
  t.match(await service.job(id), { processedCount: 151 })
  await post(ids[0], 'complete')
  t.match(await service.job(id), { processedCount: 151, progressPercent: 37, children: { completed: 1, running: 1 } })
  t.same(await service.history(id), ['created', 'started'])
})

t.test('reports that reach two replicas at the same moment are all in the sum', async t => {
  const { id, ids } = await createBatch(nothingKnown(6))
  const wrong: number[] = []
  for (let round = 1; round <= 40; round += 1) {
    await Promise.all(
      ids.map((partition, index) =>
        (index % 2 === 0 ? service : other).heartbeat(partition, { processedCount: round }),
      ),
    )
    const { processedCount } = await service.job(id)
    if (processedCount !== 6 * round) wrong.push(processedCount)
  }
  t.same(wrong, [])
})

t.test('a completed partition counts as wholly done, whatever it counted', async t => {
  const { id, ids } = await createBatch([{ totalCount: 100 }, { totalCount: 100 }, {}])
  await service.heartbeat(ids[0], { processedCount: 10 })
  await post(ids[0], 'complete')
  await service.heartbeat(ids[2], { processedCount: 100 })
  t.match(await service.job(id), { progressPercent: 33, totalCount: null, processedCount: 110 })
  await post(ids[2], 'complete')
  t.match(await service.job(id), { progressPercent: 66, totalCount: 300, processedCount: 110 })
  await post(ids[1], 'complete')
  t.match(await service.job(id), { status: 'completed', progressPercent: 100, processedCount: 110, remainingCount: 0 })
})

t.test('if a total is unknown or partitions are missing, a batch sums counts and its percent is the mean', async t => {
  const { id, ids } = await createBatch([{ totalCount: 100 }, {}])
  await service.heartbeat(ids[0], { processedCount: 50 })
  await service.heartbeat(ids[1], { processedCount: 7, progressPercent: 25 })
  t.match(await service.job(id), { processedCount: 57, totalCount: null, progressPercent: 37 })
  await service.heartbeat(ids[1], { totalCount: 100 })
  t.match(
    await service.job(id),
    { processedCount: 57, totalCount: 200, progressPercent: 28 },
    'it is that of the counts',
  )

  const few = (await create({ jobType: 'test', partitionCount: 4, partitions: [{ name: 'a', totalCount: 10 }] })).body
  await service.heartbeat(few.partitions?.[0]?.id ?? '', { processedCount: 5 })
  t.match(await service.job(few.id), { processedCount: 5, totalCount: null, progressPercent: 12 })
})

t.test('counts of different units are not summed, and the unit unknown agrees with every unit', async t => {
  const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 30 }, { totalCount: 10 }])
  await service.heartbeat(ids[0], { processedCount: 5, unit: 'rows', throughputPerSecond: 1, etaSeconds: 40 })
  t.match(await service.job(id), { unit: 'rows', processedCount: 5, totalCount: 50, throughputPerSecond: 1 })
  await service.heartbeat(ids[1], { processedCount: 3, unit: 'rows', throughputPerSecond: 2, etaSeconds: 90 })
  const agreed = await service.job(id)
  t.match(agreed, { unit: 'rows', processedCount: 8, throughputPerSecond: 3, progressPercent: 16, etaSource: 'rate' })
  t.equal(agreed.etaSeconds, 90, 'never sooner than the slowest partition')
  await service.heartbeat(ids[1], { unit: 'files', processedCount: 3, totalCount: 30 })
  const differing = await service.job(id)
  t.match(differing, {
    unit: 'unknown',
    processedCount: 0,
    totalCount: null,
    throughputPerSecond: null,
    progressPercent: 20,
    remainingCount: null,
  })
  t.equal(differing.etaSeconds, 90, 'the largest')
  await service.heartbeat(ids[1], { processedCount: 15 })
  t.match(await service.job(id), { processedCount: 0, progressPercent: 33 }, 'the mean of 50, 50 and 0')
})

t.test('a custom unit is kept as it is, and added up only with the same unit', async t => {
  const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 30 }, { totalCount: 10 }])
  const unit = `aé${'🦊'.repeat(28)}`
  await service.heartbeat(ids[0], { processedCount: 5, unit })
  await service.heartbeat(ids[1], { processedCount: 3, unit })
  t.match(await service.job(ids[0]), { unit })
  t.match(await service.job(id), { unit, processedCount: 8, totalCount: 50 })
  for (const other of [unit.slice(1), `${unit.slice(0, -2)} `, 'iterations', 'paths', 'Paths']) {
    const answer = await service.heartbeat(ids[1], { unit: other, processedCount: 3 })
    t.equal(answer.status, 200)
    t.match(await service.job(id), { unit: 'unknown', processedCount: 0, totalCount: null }, JSON.stringify(other))
  }
})

t.test(
  'the estimate of a batch is the later of the one from the sum of rates and that of the slowest partition',
  async t => {
    const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 100 }, { totalCount: 100 }])
    await service.heartbeat(ids[0], { processedCount: 5, throughputPerSecond: 2, etaSeconds: 3 })
    t.equal((await service.job(id)).etaSeconds, 103, '205 left at 2 a second')
    await service.heartbeat(ids[1], { processedCount: 50, throughputPerSecond: 3, etaSeconds: 10 })
    t.match(await service.job(id), { etaSeconds: 31, throughputPerSecond: 5 }, '155 left at 5 a second')
  },
)

t.test('partitions with stages have a mean percent, and no counts to be summed', async t => {
  const { id, ids } = await createBatch(nothingKnown(2), { stages: [{ name: 'a' }, { name: 'b' }] })
  await service.heartbeat(ids[0], { stage: 'b', processedCount: 5, totalCount: 10 })
  await service.heartbeat(ids[1], { processedCount: 5, totalCount: 10 })
  t.match(await service.job(id), {
    progressPercent: 50,
    processedCount: 0,
    totalCount: null,
    unit: 'unknown',
    stage: null,
  })
})

t.test('an advance in a batch makes a new revision, also where counts are not added up', async t => {
  const { id, ids } = await createBatch([{ totalCount: 1000 }, { totalCount: 1000 }])
  await service.heartbeat(ids[0], { processedCount: 1, unit: 'rows' })
  await service.heartbeat(ids[1], { processedCount: 1, unit: 'files' })
  const before = await service.job(id)
  const etag = (await service.call('GET', `/jobs/${id}`)).headers.get('etag') ?? ''
  await service.heartbeat(ids[1], { processedCount: 2 })
  const after = await service.job(id)
  t.equal(after.advancedAt, (await service.job(ids[1])).advancedAt)
  t.not(after.advancedAt, before.advancedAt)
  t.equal(after.revision, before.revision + 1)
  const asked = await service.call('GET', `/jobs/${id}`, undefined, { 'if-none-match': etag })
  t.equal(asked.status, 200)
})

t.test('a batch counts its stalled partitions, changes with each of them, and they can be listed', async t => {
  const { id, ids } = await createBatch(nothingKnown(3), { heartbeatTimeoutSeconds: 0 })
  for (const partition of ids) await service.heartbeat(partition)
  await silence(ids[1], 31)
  await sweep()
  const one = await service.job(id)
  t.equal(one.children?.stalled, 1)
  await silence(ids[2], 31)
  await sweep()
  const two = await service.job(id)
  t.equal(two.children?.stalled, 2)
  t.ok(two.revision > one.revision)
  const listed = async (query: string) => {
    const { body } = await service.call<Page<ListedJob>>('GET', `/jobs?parentJobId=${id}&sort=partitionIndex&${query}`)
    return body.items.map(job => job.id)
  }
  t.same(await listed('liveness=stalled'), ids.slice(1))
  t.same(await listed('liveness=ok'), ids.slice(0, 1))
  t.equal((await service.call('GET', '/jobs?liveness=dead')).status, 400)
  // A batch that was rolled up by a version that did not count them.
  await service.database.pool.query(`UPDATE progress_jobs SET children = children - 'stalled' WHERE id = $1`, [id])
  t.equal((await service.job(id)).children?.stalled, 0)
})

t.test(
  'a batch is stalled as soon as a running partition is stalled, and has the newest heartbeat of its partitions',
  async t => {
    const { id, ids } = await createBatch(nothingKnown(3), { heartbeatTimeoutSeconds: 0 })
    await service.heartbeat(ids[0], { processedCount: 1 })
    await service.heartbeat(ids[1])
    const [first, second] = await partitionsOf(id)
    t.match(await service.job(id), { liveness: 'ok', heartbeatAt: second?.heartbeatAt, advancedAt: first?.advancedAt })
    await silence(ids[0], 31)
    await sweep()
    t.match(await service.job(id), { liveness: 'stalled', status: 'running', children: { running: 2, stalled: 1 } })
    await service.heartbeat(ids[1])
    t.match(await service.job(id), { liveness: 'stalled', heartbeatAt: (await service.job(ids[1])).heartbeatAt })
    await service.heartbeat(ids[0])
    t.match(await service.job(id), { liveness: 'ok', children: { running: 2, stalled: 0 } })
    await silence(ids[0], 31)
    await sweep()
    await post(ids[0], 'complete')
    t.match(await service.job(id), { liveness: 'ok', status: 'running' }, 'what is done is not stalled')
    t.same(await service.history(id), ['created', 'started', 'stalled', 'recovered', 'stalled'])
  },
)

t.test('a batch names five partitions that run, and the five errors that came first', async t => {
  const { id, ids } = await createBatch(nothingKnown(14))
  for (const partition of ids.slice(0, 7).reverse()) await service.heartbeat(partition)
  for (const [place, partition] of ids.slice(7).reverse().entries()) {
    await post(partition, 'fail', { errorMessage: place === 0 ? 'x'.repeat(2000) : `error ${place}` })
  }
  const { children } = await service.job(id)
  t.same(children, {
    total: 14,
    pending: 0,
    running: 7,
    stalled: 0,
    completed: 0,
    failed: 7,
    cancelled: 0,
    current: ['p0', 'p1', 'p2', 'p3', 'p4'],
    errors: [`p13: ${'x'.repeat(500)}`, 'p12: error 1', 'p11: error 2', 'p10: error 3', 'p9: error 4'],
    failures: [13, 12, 11, 10, 9].map(n => ({ id: ids[n], name: `p${n}`, failureReason: 'worker' })),
  })
  await post(ids.at(-1) ?? '', 'retry')
  t.equal((await service.job(id)).children?.errors[4], 'p8: error 5', 'a retried partition has no error')
})

t.test('a bare heartbeat of a partition changes no revision of its batch', async t => {
  const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 10 }])
  await service.heartbeat(ids[0], { processedCount: 5, etaSeconds: 60, throughputPerSecond: 1 })
  const before = await service.job(id)
  await service.heartbeat(ids[0])
  await service.heartbeat(ids[0], { processedCount: 5 })
  await service.heartbeat(ids[0], { throughputPerSecond: 3, etaSeconds: 20 })
  const after = await service.job(id)
  t.match(after, { revision: before.revision, updatedAt: before.updatedAt, etaSource: 'rate' })
  t.ok((after.heartbeatAt ?? '') >= (before.heartbeatAt ?? ''))
  await post(ids[0], 'start')
  t.equal((await service.job(id)).revision, before.revision)
})

t.test('a refused report leaves its batch as it is', async t => {
  const { id, ids } = await createBatch(nothingKnown(2))
  const before = await service.job(id)
  for (const [heartbeat, code] of [
    [{ attempt: 2 }, 'superseded'],
    [{ stage: 'a', meta: {} }, 'validation_failed'],
  ] as const) {
    t.match(await service.heartbeat(ids[0], heartbeat), { body: { code } })
  }
  t.same(await service.job(id), before)
  const stranger = JSON.stringify([
    { i: 0, job_id: ids[0], worker_id: 'a', tenant_id: randomUUID(), all_organizations: true },
  ])
  const { rows } = await pool.query(
    `SELECT code FROM ${FUNCTIONS}.flush(false, NULL, $1, $2, ${Array(13).fill('NULL').join()}) WHERE code IS NOT NULL`,
    [[ids[0]], stranger],
  )
  t.same(rows, [{ code: 'job_not_found' }])
  t.same(await service.job(id), before, 'nor does a stranger start it')
})

t.test('lists of what is active, and streams of it, show a batch and not its partitions', async t => {
  const { id, ids } = await createBatch(nothingKnown(2))
  const feed = await openStream(t, '/stream?topLevel=true', other)
  await service.heartbeat(ids[0], { processedCount: 1 })
  const isShown = async (path: string) => {
    const { body } = await service.call<{ items?: { id: string }[]; active?: { id: string }[] }>('GET', path)
    const shown = (body.items ?? body.active ?? []).map(job => job.id)
    return [id, ...ids].map(jobId => shown.includes(jobId))
  }
  t.same(await isShown('/active'), [true, false, false])
  t.same(await isShown('/jobs?topLevel=true&pageSize=100'), [true, false, false])
  t.same(await isShown('/jobs?topLevel=false&pageSize=100'), [false, true, true])
  const { data } = await feed.until(({ events }) =>
    events.find(({ data }) => data.id === id && data.status === 'running'),
  )
  t.match(data, { processedCount: 1, children: { total: 2, running: 1, current: ['p0'] } })
  await post(ids[0], 'complete')
  await post(ids[1], 'complete')
  await feed.until(({ events }) => events.find(({ data }) => data.id === id && data.status === 'completed'))
  t.notOk(ids.some(partition => feed.raw.includes(partition)))
  const recent = (await service.call<{ recentlyCompleted: { id: string }[] }>('GET', '/active')).body.recentlyCompleted
  t.ok(recent.some(job => job.id === id))
  t.notOk(recent.some(job => ids.includes(job.id)))
})

t.test('the partitions of one batch can be listed by index, and followed', async t => {
  const { id, ids } = await createBatch(nothingKnown(3))
  const strange = await createBatch(nothingKnown(1))
  const feed = await openStream(t, `/stream?parentJobId=${id}`, other)
  t.same(feed.events[0]?.data.jobs.map(job => job.id).sort(), [...ids].sort())
  await service.heartbeat(strange.ids[0])
  await post(ids[1], 'complete')
  await service.heartbeat(ids[2])
  await feed.until(({ events }) => events.find(({ data }) => data.id === ids[2] && data.status === 'running'))
  t.same(
    feed.events.slice(1).map(({ event, data }) => [event, data.id]),
    [
      ['progress.job.completed', ids[1]],
      ['progress.job.started', ids[2]],
    ],
  )
  const list = async (sort: string) => {
    const { body } = await service.call<{ items: { id: string }[] }>('GET', `/jobs?parentJobId=${id}&sort=${sort}`)
    return body.items.map(job => job.id)
  }
  t.same(await list('partitionIndex'), ids, 'also those that have finished')
  t.same(await list('-partitionIndex'), [...ids].reverse())
})

t.test('the stream of a batch shows changes of its partitions until the batch ends', async t => {
  const { id, ids } = await createBatch([{ totalCount: 10 }, { totalCount: 10 }])
  const stream = await openStream(t, `/jobs/${id}/stream`, other)
  await service.heartbeat(ids[0], { processedCount: 5 })
  const { data } = await stream.event('progress.job.started')
  t.match(data, {
    id,
    processedCount: 5,
    progressPercent: 25,
    children: { total: 2, pending: 1, running: 1, current: ['p0'] },
  })
  await service.heartbeat(ids[1], { processedCount: 1 })
  await stream.until(({ events }) => events.find(({ data }) => 'processedCount' in data && data.processedCount === 6))
  await post(ids[0], 'complete')
  t.notOk(stream.ended)
  await post(ids[1], 'fail', { errorMessage: 'no more ink' })
  const last = await stream.event('progress.job.failed')
  t.match(last.data, {
    failureReason: 'partitions',
    errorMessage: '1 of 2 partitions failed',
    children: { completed: 1, failed: 1, errors: ['p1: no more ink'], current: [] },
  })
  await stream.until(({ ended }) => ended)
})

t.test('a partition cannot be erased alone, and is erased with its batch', async t => {
  const { id, ids } = await createBatch(nothingKnown(2))
  await service.heartbeat(ids[0], { workerId: 'a' })
  await post(ids[0], 'complete')
  const purge = (jobId: string) => service.call('DELETE', `/jobs/${jobId}?purge=true`)
  t.match(await purge(ids[0]), { status: 409, body: { code: 'is_partition' } })
  t.match(await purge(ids[1]), { status: 409, body: { code: 'is_partition' } })
  t.match(await purge(id), { status: 409, body: { code: 'not_finished' } })
  await post(ids[1], 'complete')
  t.equal((await purge(id)).status, 204)
  const { rows } = await pool.query(
    `SELECT (SELECT count(*)::integer FROM public.progress_jobs WHERE id = ANY ($1)) AS jobs,
       (SELECT count(*)::integer FROM public.job_progress WHERE job_id = ANY ($1)) AS workers,
       (SELECT count(*)::integer FROM public.job_events WHERE job_id = ANY ($1)) AS events`,
    [[id, ...ids]],
  )
  t.same(rows, [{ jobs: 0, workers: 0, events: 0 }])
  t.match(await create({ parentJobId: id }), { status: 404, body: { code: 'parent_not_found' } })
})

t.test('the retention counts from the end of a batch, and erases partitions of any age with it', async t => {
  const DAY = 86_400
  const database = openDatabase({
    url: service.database.url,
    poolSize: 1,
    preparedStatements: true,
    onConnectionError: () => undefined,
  })
  t.teardown(() => database.close())
  const erase = createRetention({ database, retentionDays: 7, log: pino({ level: 'silent' }) })
  const end = async (seconds: number, partitionSeconds: number) => {
    const { id, ids } = await createBatch(nothingKnown(2))
    for (const partition of ids) await post(partition, 'complete')
    await service.age(id, seconds)
    for (const partition of ids) await service.age(partition, partitionSeconds)
    return [id, ...ids]
  }
  const young = await end(7 * DAY - 3_600, 30 * DAY)
  const old = await end(7 * DAY + 1, 0)
  const running = await createBatch(nothingKnown(2))
  await post(running.ids[0], 'complete')
  await service.age(running.ids[0], 30 * DAY)
  await service.age(running.id, 30 * DAY)
  t.equal(await erase(), 1)
  const { rows } = await pool.query<{ id: string }>('SELECT id FROM public.progress_jobs WHERE id = ANY ($1)', [
    [...young, ...old, running.id, ...running.ids],
  ])
  t.same(rows.map(row => row.id).sort(), [...young, running.id, ...running.ids].sort())
})

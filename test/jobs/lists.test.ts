import { FUNCTIONS } from '../../src/database/functions.ts'
import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/database/connection.ts'
import type { ListedJob } from '../../src/contract/job.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import { createRetention } from '../../src/jobs/retention.ts'
import { startService, type Service } from '../helpers/service.ts'

interface Page {
  items: ListedJob[]
  page: number
  pageSize: number
  total: number
}

const { tenantId } = OPEN_IDENTITY

/** Rows as they may be found, without their history: `fields` are columns, of which several rows may be given. */
const insertJobs = async (
  service: Service,
  ...rows: (Record<string, unknown> & { status?: string })[]
): Promise<string[]> => {
  const ids: string[] = []
  for (const fields of rows) {
    const status = fields.status ?? 'pending'
    const isFinished = ['completed', 'failed', 'cancelled'].includes(status)
    const row: Record<string, unknown> = {
      tenant_id: tenantId,
      job_type: 'test',
      name: 'a job',
      heartbeat_timeout_seconds: 60,
      ...(status === 'running' && { liveness: 'ok', started_at: new Date(), heartbeat_at: new Date() }),
      ...(isFinished && { started_at: new Date(), finished_at: new Date() }),
      ...(status === 'failed' && { failure_reason: 'worker' }),
      ...fields,
    }
    const names = Object.keys(row)
    const { rows: inserted } = await service.database.pool.query<{ id: string }>(
      `INSERT INTO public.progress_jobs (${names.join(', ')}) VALUES (${names.map((_, n) => `$${n + 1}`).join(', ')}) RETURNING id`,
      Object.values(row),
    )
    ids.push(inserted[0]?.id ?? '')
  }
  return ids
}

const list = async (service: Service, query = ''): Promise<Page> =>
  (await service.call<Page>('GET', `/jobs?pageSize=100&${query}`)).body
const listIds = async (service: Service, query = ''): Promise<string[]> =>
  (await list(service, query)).items.map(job => job.id).sort()

const secondsAgo = (seconds: number) => new Date(Date.now() - seconds * 1000)
const idsOf = (jobs: { id: string }[]) => jobs.map(job => job.id)

t.test('the list is filtered by what a caller asks for', async t => {
  const service = await startService(t)
  const organizationId = randomUUID()
  const [pending, running, completed, failed, cancelled, old, other, owned] = (await insertJobs(
    service,
    { status: 'pending' },
    { status: 'running' },
    { status: 'completed', finished_at: secondsAgo(10), started_by_user_id: 'auth0|7' },
    { status: 'failed', finished_at: secondsAgo(10), started_by_user_id: 'auth0|8' },
    { status: 'cancelled', finished_at: secondsAgo(10) },
    { status: 'completed', finished_at: secondsAgo(1000) },
    { status: 'pending', job_type: 'import', started_by_user_id: 'auth0|7' },
    { status: 'pending', organization_id: organizationId },
  )) as [string, string, string, string, string, string, string, string]
  const [open, done] = (await insertJobs(
    service,
    { status: 'running', parent_job_id: running, partition_index: 0, partition_count: 2 },
    {
      status: 'completed',
      parent_job_id: running,
      partition_index: 1,
      partition_count: 2,
      finished_at: secondsAgo(10),
    },
  )) as [string, string]
  const active = [pending, running, other, owned, open]
  const finished = [completed, failed, cancelled, old, done]
  const since = encodeURIComponent(secondsAgo(100).toISOString())
  for (const [query, expected] of [
    ['', active],
    ['includeCompleted=false', active],
    ['includeCompleted=true', [...active, ...finished]],
    ['status=pending', [pending, other, owned]],
    ['status=running', [running, open]],
    ['status=failed', [failed]],
    ['status=failed&status=cancelled&status=running', [failed, cancelled, running, open]],
    ['status=completed&includeCompleted=false', [completed, old, done]],
    ['status=pending&includeCompleted=true', [pending, other, owned]],
    [`parentJobId=${running}`, [open, done]],
    [`parentJobId=${running}&includeCompleted=false`, [open, done]],
    [`parentJobId=${running}&status=running`, [open]],
    ['topLevel=true', [pending, running, other, owned]],
    ['topLevel=false', [open]],
    ['topLevel=false&includeCompleted=true', [open, done]],
    ['jobType=import', [other]],
    ['jobType=impor', []],
    [`organizationId=${organizationId}`, [owned]],
    [`organizationId=${randomUUID()}`, []],
    ['startedByUserId=auth0|7', [other]],
    ['startedByUserId=auth0%7C7&includeCompleted=true', [completed, other]],
    ['startedByUserId=auth0|7&status=completed&status=failed', [completed]],
    ['startedByUserId=auth0|&includeCompleted=true', []],
    [`completedSince=${since}`, [completed, failed, cancelled, done]],
    [`completedSince=${since}&includeCompleted=false`, [completed, failed, cancelled, done]],
    [`completedSince=${since}&status=completed`, [completed, done]],
    [`completedSince=${since}&status=pending`, []],
  ] as const) {
    t.same(await listIds(service, query), [...expected].sort(), query)
    t.equal((await list(service, query)).total, expected.length, `${query}: total`)
  }
})

t.test('a search finds text in names as it was typed, in any case', async t => {
  const service = await startService(t)
  const names = ['100% done', '100 percent', 'a_b', 'axb', 'back\\slash', "it's", 'ÄRGER', 'plain']
  await insertJobs(service, ...names.map(name => ({ name })))
  const search = async (text: string) =>
    (await list(service, `search=${encodeURIComponent(text)}`)).items.map(job => job.name).sort()
  t.same(await search('100%'), ['100% done'])
  t.same(await search('%'), ['100% done'])
  t.same(await search('a_b'), ['a_b'])
  t.same(await search('_'), ['a_b'])
  t.same(await search('\\'), ['back\\slash'])
  t.same(await search('k\\s'), ['back\\slash'])
  t.same(await search('\\_'), [])
  t.same(await search("'"), ["it's"])
  t.same(await search('PLAIN'), ['plain'])
  t.same(await search('LAI'), ['plain'])
  t.same((await search('')).length, names.length)
})

t.test('every sort goes both ways, jobs without the value come last, and pages do not overlap', async t => {
  const service = await startService(t)
  // Half of the values are shared, so that something must settle ties.
  const rows = Array.from({ length: 24 }, (_, n) => ({
    created_at: secondsAgo(1000 - (n >> 1)),
    priority: (n >> 1) - 6,
    ...(n % 3 === 0
      ? { status: 'pending' }
      : n % 3 === 1
        ? { status: 'running', started_at: secondsAgo(500 - (n >> 1)) }
        : { status: 'completed', started_at: secondsAgo(500 - (n >> 1)), finished_at: secondsAgo(100 - (n >> 1)) }),
  }))
  await insertJobs(service, ...rows)
  for (const key of ['createdAt', 'startedAt', 'finishedAt', 'priority'] as const) {
    for (const descending of [false, true]) {
      const sort = `${descending ? '-' : ''}${key}`
      const items: ListedJob[] = []
      for (let page = 1; page <= 5; page += 1) {
        const query = `/jobs?includeCompleted=true&sort=${sort}&pageSize=5&page=${page}`
        const { body } = await service.call<Page>('GET', query)
        t.match(body, { page, pageSize: 5, total: 24 })
        items.push(...body.items)
      }
      t.equal(new Set(idsOf(items)).size, 24, `${sort}: every job once`)
      const values = items.map(job => job[key])
      const known = values.filter(value => value !== null)
      const inOrder = [...known].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
      t.same(known, descending ? inOrder.reverse() : inOrder, sort)
      t.same(values.slice(0, known.length), known, `${sort}: nulls last`)
    }
  }
})

t.test('without a word about it, the newest come first, 20 a page', async t => {
  const service = await startService(t)
  const ids = await insertJobs(service, ...Array.from({ length: 25 }, (_, n) => ({ created_at: secondsAgo(1000 - n) })))
  const { body } = await service.call<Page>('GET', '/jobs')
  t.match(body, { page: 1, pageSize: 20, total: 25 })
  t.same(idsOf(body.items), ids.reverse().slice(0, 20))
  t.same((await service.call<Page>('GET', '/jobs?page=3')).body, { items: [], page: 3, pageSize: 20, total: 25 })
})

t.test('the total stops counting at 10,000', async t => {
  const service = await startService(t)
  const insert = (count: number) =>
    service.database.pool.query(
      `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds)
       SELECT $1, 'test', 'job ' || n, 60 FROM generate_series(1, $2::integer) n`,
      [tenantId, count],
    )
  await insert(9_999)
  t.equal((await list(service)).total, 9_999)
  await insert(51)
  t.equal((await list(service)).total, 10_000)
  const { body } = await service.call<Page>('GET', '/jobs?page=101&pageSize=100')
  t.equal(body.items.length, 50, 'the pages beyond it can still be read')
})

interface Active {
  active: ListedJob[]
  recentlyCompleted: ListedJob[]
}

t.test('a list makes documents only of the jobs of its page', async t => {
  const service = await startService(t)
  const ids = await insertJobs(service, ...Array.from({ length: 30 }, (_, n) => ({ created_at: secondsAgo(n) })))
  await service.database.pool.query(`
    CREATE SEQUENCE made;
    ALTER FUNCTION ${FUNCTIONS}.listed_job_document(public.progress_jobs) RENAME TO uncounted_document;
    CREATE FUNCTION ${FUNCTIONS}.listed_job_document(j public.progress_jobs) RETURNS json LANGUAGE plpgsql STABLE AS $$ BEGIN
      PERFORM nextval('public.made');
      RETURN ${FUNCTIONS}.uncounted_document(j);
    END $$`)
  const countMade = async () => {
    const { rows } = await service.database.pool.query<{ made: string }>("SELECT nextval('made') AS made")
    return Number(rows[0]?.made)
  }
  for (const [page, sort] of [
    [6, 'createdAt'],
    [6, '-createdAt'],
    [6, '-priority'],
    [6, 'startedAt'],
    [7, 'createdAt'],
  ]) {
    const before = await countMade()
    const { body } = await service.call<Page>('GET', `/jobs?pageSize=5&page=${page}&sort=${sort}`)
    const after = await countMade()
    t.equal(body.total, 30)
    t.equal(after - before - 1, body.items.length, `page ${page} by ${sort}`)
    if (sort === '-createdAt') t.same(idsOf(body.items), ids.slice(25))
  }
})

t.test('active and recently finished jobs are listed without partitions', async t => {
  const service = await startService(t)
  const [pending, running, recent, older, old] = (await insertJobs(
    service,
    { created_at: secondsAgo(200) },
    { status: 'running', created_at: secondsAgo(100) },
    { status: 'failed', finished_at: secondsAgo(5) },
    { status: 'cancelled', finished_at: secondsAgo(25) },
    { status: 'completed', finished_at: secondsAgo(35) },
  )) as [string, string, string, string, string]
  await insertJobs(
    service,
    { status: 'running', parent_job_id: running, partition_index: 0, partition_count: 2 },
    { status: 'completed', parent_job_id: running, partition_index: 1, partition_count: 2 },
  )
  const read = async (query: string) => {
    const { body } = await service.call<Active>('GET', `/active${query}`)
    return { active: idsOf(body.active), recentlyCompleted: idsOf(body.recentlyCompleted) }
  }
  t.same(await read(''), { active: [running, pending], recentlyCompleted: [recent, older] }, 'newest first')
  t.same((await read('?recentSeconds=60')).recentlyCompleted, [recent, older, old])
  t.same((await read('?recentSeconds=10')).recentlyCompleted, [recent])
  t.same((await read('?recentSeconds=0')).recentlyCompleted, [])
})

t.test('at most 50 active jobs and 10 finished ones are shown, the newest', async t => {
  const service = await startService(t)
  const active = await insertJobs(
    service,
    ...Array.from({ length: 55 }, (_, n) => ({ created_at: secondsAgo(1000 - n) })),
  )
  const finished = await insertJobs(
    service,
    ...Array.from({ length: 15 }, (_, n) => ({ status: 'completed', finished_at: secondsAgo(20 - n) })),
  )
  const { body } = await service.call<Active>('GET', '/active')
  t.same(idsOf(body.active), active.reverse().slice(0, 50))
  t.same(idsOf(body.recentlyCompleted), finished.reverse().slice(0, 10))
})

t.test('a caller that has these revisions of the active jobs is answered 304', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  const read = (etag = '') => service.call<Active>('GET', '/active', undefined, { 'if-none-match': etag })
  const tagOf = async () => (await read()).headers.get('etag') ?? ''
  const none = await startService(t).then(other => other.call('GET', '/active'))
  const created = await tagOf()
  t.match(created, /^W\/"[\w-]+"$/)
  t.not(none.headers.get('etag'), created)
  const again = await read(`"other", ${created}`)
  t.equal(again.status, 304)
  t.equal(again.headers.get('etag'), created)
  await service.heartbeat(id)
  t.equal((await read(created)).status, 200, 'it was started')
  const started = await tagOf()
  await service.heartbeat(id)
  t.equal((await read(started)).status, 304, 'a bare heartbeat changes nothing')
  await service.call('POST', `/jobs/${id}/complete`)
  t.equal((await read(started)).status, 200)
  const finished = await tagOf()
  await service.age(id, 40)
  t.equal((await read(finished)).status, 200, 'it is no longer among what has just finished')
})

const eraser = (t: Test, service: Service, retentionDays: number) => {
  const database = openDatabase({
    url: service.database.url,
    poolSize: 2,
    preparedStatements: true,
    onConnectionError: () => undefined,
  })
  t.teardown(() => database.close())
  return createRetention({ database, retentionDays, log: pino({ level: 'silent' }) })
}

const DAY = 86_400

t.test('what is known of a type outlives its jobs, and is erased 400 days after the last of them', async t => {
  const service = await startService(t)
  const { pool } = service.database
  await pool.query(
    `INSERT INTO type_histories (tenant_id, job_type, is_partition, newest_at)
     SELECT $1, days::text, false, now() - make_interval(days => days) FROM unnest(ARRAY[1, 399, 401]) AS days`,
    [tenantId],
  )
  await eraser(t, service, 0)()
  const types = async () =>
    (await pool.query<{ job_type: string }>('SELECT job_type FROM type_histories ORDER BY newest_at')).rows.map(
      ({ job_type }) => job_type,
    )
  t.same(await types(), ['401', '399', '1'], '0 keeps everything')
  await eraser(t, service, 7)()
  t.same(await types(), ['399', '1'])
})

t.test(
  'jobs that finished longer ago than the retention are erased with their workers, history and partitions',
  async t => {
    const service = await startService(t)
    const make = async (status: 'completed' | 'failed' | 'running' | 'pending', days: number) => {
      const { id } = await service.createJob()
      if (status !== 'pending') await service.heartbeat(id, { workerId: 'a', processedCount: 1 })
      if (status === 'completed') await service.call('POST', `/jobs/${id}/complete`)
      if (status === 'failed') await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'x' })
      await service.age(id, days * DAY)
      return id
    }
    const erased = [await make('completed', 7.01), await make('failed', 100), await make('pending', 7.01)]
    const kept = [
      await make('completed', 6.99),
      await make('pending', 6.99),
      await make('running', 100),
      await make('pending', 0),
    ]
    t.equal(await eraser(t, service, 7)(), 3)
    for (const id of erased) t.equal((await service.call('GET', `/jobs/${id}`)).status, 404)
    for (const id of kept) t.equal((await service.call('GET', `/jobs/${id}`)).status, 200)
    const { rows } = await service.database.pool.query(
      `SELECT (SELECT count(*)::integer FROM public.job_progress WHERE job_id = ANY ($1)) AS workers,
       (SELECT count(*)::integer FROM public.job_events WHERE job_id = ANY ($1)) AS events`,
      [erased],
    )
    t.same(rows, [{ workers: 0, events: 0 }])
    t.equal(await eraser(t, service, 7)(), 0)
  },
)

t.test('the retention does not wait for locked rows of an expired job, and erases it later', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  await service.heartbeat(id, { workerId: 'a' })
  await service.call('POST', `/jobs/${id}/complete`)
  await service.age(id, 8 * DAY)
  const holder = await service.database.pool.connect()
  t.teardown(() => holder.release(true))
  await holder.query('BEGIN')
  await holder.query('SELECT FROM public.job_progress WHERE job_id = $1 FOR UPDATE', [id])
  t.equal(await eraser(t, service, 7)(), 0, 'a statement that waited would be ended by its timeout')
  await holder.query('ROLLBACK')
  t.equal(await eraser(t, service, 7)(), 1)
})

t.test('RETENTION_DAYS=0 keeps everything', async t => {
  const service = await startService(t)
  const [id] = await insertJobs(service, { status: 'completed', finished_at: secondsAgo(40_000 * DAY) })
  t.equal(await eraser(t, service, 0)(), 0)
  t.same(await listIds(service, 'includeCompleted=true'), [id])
})

t.test('partitions are erased with their batch, not before', async t => {
  const service = await startService(t)
  const [old, fresh] = (await insertJobs(
    service,
    { status: 'completed', finished_at: secondsAgo(31 * DAY), children: {}, partition_count: 2 },
    { status: 'running', children: {}, partition_count: 2 },
  )) as [string, string]
  const partitions = await insertJobs(
    service,
    {
      status: 'completed',
      finished_at: secondsAgo(31 * DAY),
      parent_job_id: old,
      partition_index: 0,
      partition_count: 2,
    },
    {
      status: 'completed',
      finished_at: secondsAgo(31 * DAY),
      parent_job_id: fresh,
      partition_index: 0,
      partition_count: 2,
    },
  )
  t.equal(await eraser(t, service, 30)(), 1)
  t.same(await listIds(service, 'includeCompleted=true'), [fresh, partitions[1] ?? ''].sort())
})

t.test('two processes at once erase several batches of expired jobs, and skip locked ones', async t => {
  const service = await startService(t)
  const { pool } = service.database
  await pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at)
     SELECT $1, 'test', 'job ' || n, 60, 'completed', now() - interval '40 days', now() - interval '31 days'
     FROM generate_series(1, 1201) n`,
    [tenantId],
  )
  const holder = await pool.connect()
  try {
    await holder.query('BEGIN')
    const { rows } = await holder.query<{ id: string }>('SELECT id FROM public.progress_jobs LIMIT 1 FOR UPDATE')
    await Promise.all([eraser(t, service, 30)(), eraser(t, service, 30)()])
    // Of two that run at once, one may stop early at what the other holds.
    await eraser(t, service, 30)()
    t.same(await listIds(service, 'includeCompleted=true'), idsOf(rows))
    await holder.query('COMMIT')
  } finally {
    holder.release()
  }
  t.equal(await eraser(t, service, 30)(), 1)
})

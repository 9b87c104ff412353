import { randomUUID } from 'node:crypto'
import t from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { openDatabase, type Database } from '../../src/database/connection.ts'
import { flushHeartbeats } from '../../src/jobs/heartbeats/statement.ts'
import type { Heartbeat } from '../../src/contract/heartbeat.ts'
import { OPEN_IDENTITY, scopeOf, type Scope } from '../../src/jobs/identity.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { entryOf } from '../helpers/entry.ts'

const { url, pool } = await createTestDatabase(t)
const database = openDatabase({ url, poolSize: 2, preparedStatements: true, onConnectionError: () => undefined })
t.teardown(() => database.close())

const everywhere = scopeOf(OPEN_IDENTITY)
const createJob = async (fields: { tenantId?: string; organizationId?: string } = {}): Promise<string> => {
  const { rows } = await pool.query<{ id: string }>(
    `INSERT INTO public.progress_jobs (tenant_id, organization_id, job_type, name, heartbeat_timeout_seconds)
    VALUES ($1, $2, 'import', 'Import', 60) RETURNING id`,
    [fields.tenantId ?? everywhere.tenantId, fields.organizationId ?? null],
  )
  return rows[0]!.id
}

const report = async (
  reports: { heartbeat: Partial<Heartbeat> & { jobId: string }; scope?: Scope }[],
  skipLocked = false,
) => {
  const entries = reports.map(({ heartbeat, scope }) => entryOf(heartbeat, scope && { scope }))
  const { outcomes } = await flushHeartbeats(database, entries, skipLocked)
  return outcomes.map(outcome => (outcome.kind === 'refused' ? outcome.error.code : outcome.kind))
}

const workerRows = async (jobIds: string[]) => {
  const { rows } = await pool.query<Record<string, unknown>>(
    `SELECT worker_id, processed_count::integer, total_count::integer, message, reported_at, heartbeats::integer
    FROM public.job_progress WHERE job_id = ANY ($1) ORDER BY array_position($1, job_id)`,
    [jobIds],
  )
  return rows
}

t.test('plans that were made while there was one job find each job by its id', async t => {
  const { pool: fresh } = await createTestDatabase(t)
  const client = await fresh.connect()
  t.teardown(() => client.release())
  const query = async (name: string, text: string, values: unknown[]) =>
    (await client.query<object>({ name, text, values })).rows
  const { rows: jobs } = await client.query<{ id: string }>(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds)
    VALUES ($1, 'import', 'Import', 60) RETURNING id`,
    [everywhere.tenantId],
  )
  const jobId = jobs[0]!.id
  const write = (fields: Partial<Heartbeat>) =>
    flushHeartbeats({ query } as unknown as Database, [entryOf({ jobId, ...fields })], false)
  // Within a transaction, a session keeps its counts for itself.
  await client.query('BEGIN')
  // The first one is written by flush_any, the second one by flush_plain.
  await write({ processedCount: 1 })
  await write({ processedCount: 2 })
  const { rows: used } = await client.query<{ name: string }>(
    `SELECT indexrelid::regclass::text AS name FROM pg_index
    WHERE indrelid = 'public.progress_jobs'::regclass AND pg_stat_get_xact_numscans(indexrelid) > 0 ORDER BY 1`,
  )
  await client.query('COMMIT')
  t.same(
    used.map(({ name }) => name.replace('public.', '')),
    ['progress_jobs_batch', 'progress_jobs_durations', 'progress_jobs_pkey'],
    'and that of durations where the job starts',
  )
})

t.test(
  'a key finds its job by an index of keys, although the session knew the table when it was nearly empty',
  async t => {
    const { pool: fresh } = await createTestDatabase(t)
    const client = await fresh.connect()
    t.teardown(() => client.release())
    const insert = (count: number) =>
      client.query(
        `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds)
      SELECT $1, 'import', 'Import', 60 FROM generate_series(1, $2::integer)`,
        [everywhere.tenantId, count],
      )
    const find = () => client.query(`SELECT * FROM ${FUNCTIONS}.existing_job($1, NULL, 'a key')`, [everywhere.tenantId])
    const scansByTime = async () => {
      const { rows } = await client.query<{ count: string }>(
        `SELECT pg_stat_get_xact_numscans('public.progress_jobs_created'::regclass) AS count`,
      )
      return Number(rows[0]!.count)
    }
    await insert(1)
    await client.query('BEGIN')
    // A session may keep a plan from the sixth call on.
    for (let n = 0; n < 9; n += 1) await find()
    await insert(3_000)
    const before = await scansByTime()
    await find()
    t.equal(await scansByTime(), before)
    await client.query('COMMIT')
  },
)

t.test('each heartbeat of a flush is written with its own fields, and fields that it leaves out stay', async t => {
  const jobIds = await Promise.all(Array.from({ length: 7 }, () => createJob()))
  const [a = '', b = '', c = '', d = '', e = '', f = '', g = ''] = jobIds
  const workers = [{}, {}, { workerId: 'w' }, {}, {}, { workerId: 'a "quoted", {braced} \\ name' }, {}]
  const first = jobIds.map((jobId, i) => ({ heartbeat: { jobId, processedCount: 5, ...workers[i] } }))
  t.same(await report(first), Array(7).fill('written'), 'the first ones, which only flush_any writes')

  const message = 'NULL, {"\\n'
  const reportedAt = '2026-01-02T03:04:05.678Z'
  const outcomes = await report([
    { heartbeat: { jobId: a, processedCount: 6 } },
    { heartbeat: { jobId: b, increment: 3 } },
    { heartbeat: { jobId: c, workerId: 'w', totalCount: 50 } },
    // A heartbeat that is not plain, among plain ones.
    { heartbeat: { jobId: d, processedCount: 7, payload: { at: 'd' } } },
    { heartbeat: { jobId: e, message, attempt: 1 } },
    { heartbeat: { jobId: f, workerId: 'a "quoted", {braced} \\ name', reportedAt, processedCount: 9 } },
    { heartbeat: { jobId: g, attempt: 2, processedCount: 8 } },
  ])
  t.same(outcomes, [...Array<string>(6).fill('written'), 'superseded'])
  const unchanged = { worker_id: 'default', processed_count: 5, total_count: null, message: null, reported_at: null }
  t.same(await workerRows(jobIds), [
    { ...unchanged, processed_count: 6, heartbeats: 2 },
    { ...unchanged, processed_count: 8, heartbeats: 2 },
    { ...unchanged, worker_id: 'w', total_count: 50, heartbeats: 2 },
    { ...unchanged, processed_count: 7, heartbeats: 2 },
    { ...unchanged, message, heartbeats: 2 },
    {
      ...unchanged,
      worker_id: 'a "quoted", {braced} \\ name',
      processed_count: 9,
      reported_at: new Date(reportedAt),
      heartbeats: 2,
    },
    { ...unchanged, heartbeats: 1 },
  ])
})

t.test('each heartbeat of a flush is written with the rights of its own sender', async t => {
  const tenantId = randomUUID()
  const organizationId = randomUUID()
  const own = await createJob()
  const foreign = await createJob({ tenantId })
  const organizations = await createJob({ organizationId })
  const free = await createJob()
  const named = await createJob()
  const jobIds = [own, foreign, organizations, free, named]
  const manager = { ...everywhere, tenantId }
  const member = { ...everywhere, allOrganizations: false, organizationId }
  const nobody = { ...everywhere, allOrganizations: false, organizationId: null }
  const reports = (scopes: Scope[]) =>
    jobIds.map((jobId, i) => ({ heartbeat: { jobId, increment: 1 }, scope: scopes[i]! }))
  const right = [everywhere, manager, member, nobody, { ...everywhere, jobId: named }]
  const wrong = [manager, everywhere, nobody, member, { ...everywhere, jobId: own }]

  t.same(await report(reports(right)), Array(5).fill('written'), 'the first ones')
  t.same(await report(reports(right)), Array(5).fill('written'))
  t.same(await report(reports(wrong)), Array(5).fill('job_not_found'))
  t.same(
    (await workerRows(jobIds)).map(row => row['processed_count']),
    Array(5).fill(2),
  )
  // Each alone among permitted ones, so that no column is the same for all.
  for (const [i, jobId] of jobIds.entries()) {
    const mixed = right.map((scope, place) => (place === i ? wrong[i]! : scope))
    const expected = jobIds.map(id => (id === jobId ? 'job_not_found' : 'written'))
    t.same(await report(reports(mixed)), expected)
  }
})

t.test('the history names the user of the first report, also if it is a plain heartbeat', async t => {
  const jobIds = [await createJob(), await createJob()]
  await report([{ heartbeat: { jobId: jobIds[0]!, processedCount: 1 } }])
  await report(
    jobIds.map(jobId => ({ heartbeat: { jobId, processedCount: 2 }, scope: { ...everywhere, actor: `of ${jobId}` } })),
  )
  const { rows } = await pool.query("SELECT actor FROM public.job_events WHERE job_id = $1 AND type = 'started'", [
    jobIds[1],
  ])
  t.same(rows, [{ actor: `of ${jobIds[1]}` }])
})

t.test('a plain heartbeat of a partition whose batch is locked is written later', async t => {
  const { rows } = await pool.query<{ id: string }>(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, children, partition_count)
    VALUES ($1, 'import', 'Batch', 60, '{}', 1) RETURNING id`,
    [everywhere.tenantId],
  )
  const batchId = rows[0]!.id
  const partitionId = await createJob()
  await pool.query(
    'UPDATE public.progress_jobs SET parent_job_id = $1, partition_index = 0, partition_count = 1 WHERE id = $2',
    [batchId, partitionId],
  )
  const free = await createJob()
  const reports = [partitionId, free].map(jobId => ({ heartbeat: { jobId, increment: 1 } }))
  t.same(await report(reports), ['written', 'written'], 'the first ones')
  const holder = await pool.connect()
  try {
    await holder.query('BEGIN')
    await holder.query('SELECT FROM public.progress_jobs WHERE id = $1 FOR NO KEY UPDATE', [batchId])
    t.same(await report(reports, true), ['locked', 'written'])
    await holder.query('ROLLBACK')
  } finally {
    holder.release()
  }
  t.match(await workerRows([partitionId, free]), [{ processed_count: 1 }, { processed_count: 2 }])
})

t.test('no SQL function is called for each heartbeat of a flush: the planner writes all of them out', async t => {
  const alone = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined })
  t.teardown(() => alone.close())
  const count = 40
  const jobIds = await Promise.all(Array.from({ length: count }, () => createJob()))
  const flush = (fields: Partial<Heartbeat>) =>
    flushHeartbeats(
      alone,
      jobIds.map(jobId => entryOf({ jobId, ...fields })),
      false,
    )
  /** SQL functions that this transaction has called as functions, at least once for each heartbeat. */
  const called = async () => {
    const rows = await alone.query<{ name: string }>(
      null,
      `SELECT p.proname::text AS name FROM pg_catalog.pg_stat_xact_user_functions s
       JOIN pg_catalog.pg_proc p ON p.oid = s.funcid JOIN pg_catalog.pg_language l ON l.oid = p.prolang
       WHERE l.lanname = 'sql' AND s.calls >= $1 ORDER BY 1`,
      [count],
    )
    return rows.map(({ name }) => name)
  }
  for (const workerId of ['one', 'two', 'three']) await flush({ workerId, processedCount: 1, totalCount: 9 })
  for (const [what, fields] of [
    ['plain', { workerId: 'one', processedCount: 2 }],
    ['of a new worker', { workerId: 'four', processedCount: 2, totalCount: 9 }],
    ['with a payload', { workerId: 'two', processedCount: 3, payload: { at: 3 } }],
  ] as const) {
    await alone.query(null, 'BEGIN', [])
    await alone.query(null, "SET LOCAL track_functions = 'all'", [])
    await flush(fields)
    t.same(await called(), [], what)
    await alone.query(null, 'ROLLBACK', [])
  }
})

t.test(
  'a flush with the parameters of another version fails as an unknown function, so that heartbeats are kept',
  async t => {
    const parameters = Array.from({ length: 17 }, (_, i) => `$${i + 1}`)
    for (let known = 1; known < parameters.length; known += 1) {
      const statement = `SELECT * FROM ${FUNCTIONS}.flush(${parameters.slice(0, known).join()})`
      // undefined_function: a defect, not bad data (database/failures.ts).
      await t.rejects(pool.query(statement, Array(known).fill(null)), { code: '42883' }, `${known} parameters`)
    }
  },
)

import { randomUUID } from 'node:crypto'
import t from 'tap'
import { openDatabase } from '../../src/database/connection.ts'
import { OPEN_IDENTITY, scopeOf, type Scope } from '../../src/jobs/identity.ts'
import { createJobRepository } from '../../src/jobs/repository.ts'
import type { Statistics, TypeStatistics } from '../../src/contract/statistics.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { startService, type Service } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

const { tenantId } = OPEN_IDENTITY

const DAY_MS = 86_400_000
const NOW = Date.UTC(2026, 2, 15, 12)
const secondsBefore = (seconds: number, timeMs = NOW) => new Date(timeMs - seconds * 1000)

interface Finished {
  status?: 'completed' | 'failed' | 'cancelled'
  /** From start to end. */
  seconds?: number
  finishedAt?: Date
  processedCount?: number
  [column: string]: unknown
}

/** A job as it is once it has finished, without its history. The other fields are columns. */
const insertFinished = async (service: Service, job: Finished = {}): Promise<string> => {
  const { status = 'completed', seconds = 10, finishedAt = secondsBefore(60), processedCount = 0, ...columns } = job
  const row: Record<string, unknown> = {
    tenant_id: tenantId,
    job_type: 'test',
    name: 'a job',
    heartbeat_timeout_seconds: 60,
    status,
    started_at: new Date(finishedAt.getTime() - seconds * 1000),
    finished_at: finishedAt,
    processed_count: processedCount,
    ...(status === 'failed' && { failure_reason: 'worker' }),
    ...columns,
  }
  const names = Object.keys(row)
  const { rows } = await service.database.pool.query<{ id: string }>(
    `INSERT INTO public.progress_jobs (${names.join(', ')}) VALUES (${names.map((_, n) => `$${n + 1}`).join(', ')}) RETURNING id`,
    Object.values(row),
  )
  return rows[0]?.id ?? ''
}

const insertEvent = (service: Service, jobId: string, type: string, at: Date, data: object = {}, attempt = 1) =>
  service.database.pool.query(
    'INSERT INTO public.job_events (job_id, type, at, attempt, data) VALUES ($1, $2, $3, $4, $5)',
    [jobId, type, at, attempt, data],
  )

const STALE = { failureReason: 'stale' }

const read = async (service: Service, query: Record<string, string> = {}): Promise<Statistics> => {
  const { status, body } = await service.call<Statistics>('GET', `/stats?${new URLSearchParams(query).toString()}`)
  if (status !== 200) throw new Error(JSON.stringify(body))
  return body
}

/** The week before NOW. */
const WEEK = { since: new Date(NOW - 7 * DAY_MS).toISOString(), until: new Date(NOW).toISOString() }

const NOTHING = {
  completed: 0,
  failed: 0,
  cancelled: 0,
  failureRate: null,
  durationSeconds: { p50: null, p95: null, max: null },
  itemsPerSecond: null,
  unit: null,
  stale: 0,
  recovered: 0,
  late: 0,
  lateSeconds: { p50: null, max: null },
}

t.test('without finished jobs there are no types', async t => {
  const service = await startService(t)
  await service.createJob()
  t.same(await read(service, WEEK), { ...WEEK, types: [] })
})

t.test('outcomes are counted by type, and types are sorted by name', async t => {
  const service = await startService(t)
  for (const status of ['completed', 'completed', 'completed', 'failed', 'cancelled', 'cancelled'] as const) {
    await insertFinished(service, { status, job_type: 'b' })
  }
  await insertFinished(service, { status: 'cancelled', job_type: 'c' })
  // As a pending job ends: it was never started.
  await insertFinished(service, {
    status: 'failed',
    job_type: 'c:2',
    started_at: null,
    failure_reason: 'never_started',
  })
  await insertFinished(service, { job_type: 'B' })
  const { types } = await read(service, WEEK)
  t.match(types, [
    { jobType: 'B', completed: 1, failed: 0, cancelled: 0, failureRate: 0 },
    { jobType: 'b', completed: 3, failed: 1, cancelled: 2, failureRate: 0.25 },
    { jobType: 'c', completed: 0, failed: 0, cancelled: 1 },
    { jobType: 'c:2', completed: 0, failed: 1, cancelled: 0, failureRate: 1 },
  ])
  t.same(types[2], { ...NOTHING, jobType: 'c', cancelled: 1 }, 'cancelled jobs alone have no rate and no duration')
})

t.test('durations are those of completed jobs, and percentiles lie between their neighbours', async t => {
  const service = await startService(t)
  // 1..101 seconds, so that the percentiles are whole; inserted in no order.
  for (let n = 0; n <= 100; n += 1) await insertFinished(service, { job_type: 'many', seconds: ((n * 37) % 101) + 1 })
  await insertFinished(service, { job_type: 'many', status: 'failed', seconds: 5000 })
  await insertFinished(service, { job_type: 'many', status: 'cancelled', seconds: 5000 })
  await insertFinished(service, { job_type: 'one', seconds: 1.234 })
  await insertFinished(service, { job_type: 'two', seconds: 10 })
  await insertFinished(service, { job_type: 'two', seconds: 20 })
  const { types } = await read(service, WEEK)
  t.same(
    types.map(type => [type.jobType, type.durationSeconds]),
    [
      ['many', { p50: 51, p95: 96, max: 101 }],
      ['one', { p50: 1.234, p95: 1.234, max: 1.234 }],
      ['two', { p50: 15, p95: 19.5, max: 20 }],
    ],
  )
})

t.test('items per second are of completed jobs that counted something', async t => {
  const service = await startService(t)
  await insertFinished(service, { job_type: 'rows', seconds: 10, processedCount: 100 })
  await insertFinished(service, { job_type: 'rows', seconds: 30, processedCount: 100 })
  await insertFinished(service, { job_type: 'rows', seconds: 1000, processedCount: 0 })
  await insertFinished(service, { job_type: 'rows', seconds: 1000, processedCount: 7, status: 'failed' })
  await insertFinished(service, { job_type: 'none', seconds: 10 })
  await insertFinished(service, { job_type: 'at once', seconds: 0, processedCount: 5 })
  await insertFinished(service, { job_type: 'huge', seconds: 1, processedCount: Number.MAX_SAFE_INTEGER })
  await insertFinished(service, { job_type: 'huge', seconds: 1, processedCount: Number.MAX_SAFE_INTEGER })
  await service.database.pool.query(`UPDATE progress_jobs SET unit = 'bytes' WHERE job_type = 'huge'`)
  const { types } = await read(service, WEEK)
  t.same(
    types.map(type => [type.jobType, type.itemsPerSecond, type.unit]),
    [
      ['at once', null, null],
      ['huge', 9_007_000_000_000_000, 'bytes'],
      ['none', null, null],
      ['rows', 5, 'unknown'],
    ],
  )
})

t.test('counts of different units are not added up, and an unknown unit agrees with every other', async t => {
  const service = await startService(t)
  for (const [job_type, unit, processedCount = 100, status = 'completed'] of [
    ['mixed', 'bytes', 1_000_000],
    ['mixed', 'files'],
    ['own', 'Äpfel 🍏'],
    ['own', 'äpfel 🍏'],
    ['known and unknown', 'unknown'],
    ['known and unknown', 'rows'],
    ['only one has counted', 'rows'],
    ['only one has counted', 'bytes', 0],
    ['only one has completed', 'rows'],
    ['only one has completed', 'bytes', 7, 'failed'],
    ['unknown', 'unknown'],
  ] as [string, string, number?, Finished['status']?][]) {
    await insertFinished(service, { job_type, unit, processedCount, status, seconds: 10 })
  }
  const { types } = await read(service, WEEK)
  t.same(
    types.map(type => [type.jobType, type.itemsPerSecond, type.unit]),
    [
      ['known and unknown', 10, 'rows'],
      ['mixed', null, null],
      ['only one has completed', 10, 'rows'],
      ['only one has counted', 10, 'rows'],
      ['own', null, null],
      ['unknown', 10, 'unknown'],
    ],
  )
})

t.test('a job counts in the period in which it finished: since is included, until is not', async t => {
  const service = await startService(t)
  const since = Date.parse(WEEK.since)
  for (const [job_type, finishedMs] of [
    ['a millisecond early', since - 1],
    ['at since', since],
    ['a millisecond before until', NOW - 1],
    ['at until', NOW],
  ] as const) {
    await insertFinished(service, { job_type, finishedAt: new Date(finishedMs) })
  }
  const names = async (query: Record<string, string>) => (await read(service, query)).types.map(type => type.jobType)
  t.same(await names(WEEK), ['a millisecond before until', 'at since'])
  t.same(await names({ until: WEEK.until }), ['a millisecond before until', 'at since'], 'since is 7 days before until')
  t.same(await names({ since: WEEK.until, until: secondsBefore(-1).toISOString() }), ['at until'])
  t.same(await names({ since: '2026-03-15T13:00:00+01:00', until: '2026-03-15T14:00:00+01:00' }), ['at until'])
})

t.test('by default statistics have the last 7 days, including a job that has just finished', async t => {
  const service = await startService(t)
  const now = Date.now()
  await insertFinished(service, { job_type: 'old', finishedAt: secondsBefore(7 * 86_400 + 5, now) })
  await insertFinished(service, { job_type: 'young', finishedAt: secondsBefore(7 * 86_400 - 60, now) })
  const { id } = await service.createJob({ jobType: 'just now' })
  await service.heartbeat(id, { processedCount: 3 })
  await service.call('POST', `/jobs/${id}/complete`)
  const { types, since, until } = await read(service)
  t.match(types, [
    { jobType: 'just now', completed: 1 },
    { jobType: 'young', completed: 1 },
  ])
  t.equal(Date.parse(until) - Date.parse(since), 7 * DAY_MS)
  t.ok(Math.abs(Date.parse(until) - Date.now()) < 60_000, until)
  const sinceOld = secondsBefore(8 * 86_400, now).toISOString()
  const wider = await read(service, { since: sinceOld })
  t.equal(wider.since, sinceOld)
  t.same(
    wider.types.map(type => type.jobType),
    ['just now', 'old', 'young'],
  )
})

t.test('jobType limits statistics to the type with exactly this name', async t => {
  const service = await startService(t)
  await insertFinished(service, { job_type: 'import' })
  const stale = await insertFinished(service, { job_type: 'import:rows' })
  await insertEvent(service, stale, 'failed', secondsBefore(100), STALE)
  t.match(await read(service, { ...WEEK, jobType: 'import' }), { types: [{ jobType: 'import', stale: 0 }] })
  t.match(await read(service, { ...WEEK, jobType: 'import:rows' }), { types: [{ jobType: 'import:rows', stale: 1 }] })
  t.same((await read(service, { ...WEEK, jobType: 'Import' })).types, [])
})

t.test('a batch is one job: its partitions count neither as jobs nor twice as work', async t => {
  const service = await startService(t)
  const batch = await insertFinished(service, {
    children: {},
    partition_count: 2,
    seconds: 20,
    processedCount: 100,
    status: 'completed',
  })
  for (const partition_index of [0, 1]) {
    const id = await insertFinished(service, {
      parent_job_id: batch,
      partition_index,
      partition_count: 2,
      seconds: 20,
      processedCount: 50,
    })
    await insertEvent(service, id, 'failed', secondsBefore(70), STALE)
  }
  t.match((await read(service, WEEK)).types, [
    { completed: 1, durationSeconds: { p50: 20 }, itemsPerSecond: 5, stale: 2, recovered: 0 },
  ])
})

t.test('stale and recovered are counted from the history, also after the job has recovered', async t => {
  const service = await startService(t)
  const at = (seconds: number) => secondsBefore(seconds)
  const histories: Record<string, [type: string, at: Date, data?: object, attempt?: number][]> = {
    'stale for good': [['failed', at(50), STALE]],
    'recovered, then completed': [
      ['failed', at(50), STALE],
      ['recovered', at(40)],
      ['completed', at(30)],
    ],
    'completed after all, without a heartbeat': [
      ['failed', at(50), STALE],
      ['completed', at(30)],
    ],
    'stale twice': [
      ['failed', at(50), STALE],
      ['recovered', at(40)],
      ['failed', at(30), STALE],
    ],
    'retried, not recovered': [
      ['failed', at(50), STALE],
      ['retried', at(40), {}, 2],
      ['completed', at(30), {}, 2],
    ],
    'failed by its worker': [['failed', at(50), { failureReason: 'worker' }]],
    'stalled, then recovered': [
      ['stalled', at(50)],
      ['recovered', at(40)],
    ],
    'stale at until': [['failed', at(0), STALE]],
    'stale before since': [['failed', at(7 * 86_400 + 1), STALE]],
    'stale at since': [['failed', at(7 * 86_400), STALE]],
  }
  for (const [job_type, events] of Object.entries(histories)) {
    const id = await insertFinished(service, { job_type })
    for (const [type, when, data, attempt] of events) await insertEvent(service, id, type, when, data, attempt)
  }
  const { types } = await read(service, WEEK)
  t.same(Object.fromEntries(types.map(({ jobType, stale, recovered }) => [jobType, [stale, recovered]])), {
    'stale for good': [1, 0],
    'recovered, then completed': [1, 1],
    'completed after all, without a heartbeat': [1, 1],
    'stale twice': [1, 1],
    'retried, not recovered': [1, 0],
    'failed by its worker': [0, 0],
    'stalled, then recovered': [0, 0],
    'stale at until': [0, 0],
    'stale before since': [0, 0],
    'stale at since': [1, 0],
  })
})

t.test('a job that runs again after its alarm shows in the statistics before it has finished', async t => {
  const service = await startService(t)
  const { id } = await service.createJob({ jobType: 'slow' })
  await service.heartbeat(id, { processedCount: 1 })
  const { rowCount } = await service.database.pool.query(
    `WITH ended AS (
       UPDATE public.progress_jobs SET status = 'failed', failure_reason = 'stale', liveness = NULL, finished_at = now()
       WHERE id = $1 RETURNING id
     )
     INSERT INTO public.job_events (job_id, type, at, attempt, data) SELECT id, 'failed', now(), 1, $2 FROM ended`,
    [id, STALE],
  )
  t.equal(rowCount, 1)
  t.same((await read(service)).types, [{ ...NOTHING, jobType: 'slow', failed: 1, failureRate: 1, stale: 1 }])
  await service.heartbeat(id, { processedCount: 2 })
  t.same((await read(service)).types, [{ ...NOTHING, jobType: 'slow', stale: 1, recovered: 1 }])
})

/** The statistics for a scope other than that of an open service. */
const readAs = async ({ url }: TestDatabase, scope: Partial<Scope>): Promise<TypeStatistics[]> => {
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined })
  try {
    const { types } = await createJobRepository(database).statistics(
      { ...scopeOf(OPEN_IDENTITY), allOrganizations: false, ...scope },
      { since: new Date(WEEK.since), until: new Date(WEEK.until) },
    )
    return types
  } finally {
    await database.close()
  }
}

t.test('jobs of other tenants, organizations and scopes are not counted', async t => {
  const service = await startService(t)
  const [otherTenant, ours, theirs] = [randomUUID(), randomUUID(), randomUUID()]
  const ids: Record<string, string> = {}
  for (const [job_type, columns] of Object.entries({
    none: {},
    ours: { organization_id: ours },
    theirs: { organization_id: theirs },
    foreign: { tenant_id: otherTenant },
    'foreign ours': { tenant_id: otherTenant, organization_id: ours },
  })) {
    const id = await insertFinished(service, { job_type, ...columns })
    await insertEvent(service, id, 'failed', secondsBefore(100), STALE)
    ids[job_type] = id
  }
  const numbers = (types: TypeStatistics[]) => types.map(type => [type.jobType, type.completed, type.stale])
  const seen = (...names: string[]) => names.map(name => [name, 1, 1])
  t.same(numbers((await read(service, WEEK)).types), seen('none', 'ours', 'theirs'), 'over HTTP')
  const all = { allOrganizations: true }
  for (const [scope, expected] of [
    [{}, seen('none')],
    [{ organizationId: ours }, seen('ours')],
    [{ organizationId: randomUUID() }, []],
    [{ tenantId: otherTenant }, seen('foreign')],
    [{ tenantId: otherTenant, organizationId: ours }, seen('foreign ours')],
    [{ tenantId: otherTenant, ...all }, seen('foreign', 'foreign ours')],
    [{ jobId: ids.theirs ?? '', ...all }, seen('theirs')],
    [{ jobId: ids.theirs ?? '' }, []],
    [{ jobId: ids.foreign ?? '', ...all }, []],
  ] as const) {
    t.same(numbers(await readAs(service.database, scope)), expected, JSON.stringify(scope))
  }
})

t.test('ten thousand finished jobs are counted without reading their rows', async t => {
  const database = await createTestDatabase(t)
  await database.pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at, meta,
       organization_id, processed_count, unit)
     SELECT $1, 'type ' || n % 7, 'a job', 60, 'completed', $2::timestamptz - interval '1 hour',
       $2::timestamptz - n * interval '1 second', jsonb_build_object('key', repeat('x', 500)),
       CASE WHEN n % 2 = 0 THEN gen_random_uuid() END, n, 'rows'
     FROM generate_series(1, 10000) n`,
    [tenantId, new Date(NOW)],
  )
  // It passes over a page that the checkpointer is writing out just then.
  await waitFor(async () => {
    await database.pool.query('VACUUM (ANALYZE) progress_jobs')
    const { rows } = await database.pool.query<{ done: boolean }>(
      "SELECT relallvisible = relpages AS done FROM pg_class WHERE oid = 'progress_jobs'::regclass",
    )
    return rows[0]?.done
  })
  const look = async () => {
    const { rows } = await database.pool.query<{ scans: number; index_scans: number; rows: number }>(
      `SELECT t.seq_scan::integer AS scans, i.idx_scan::integer AS index_scans, t.idx_tup_fetch::integer AS rows
       FROM pg_stat_user_tables t JOIN pg_stat_user_indexes i USING (relid) WHERE i.indexrelname = 'progress_jobs_finished'`,
    )
    return rows[0]
  }
  const before = await look()
  t.equal(
    (await readAs(database, {})).reduce((sum, { completed, unit }) => sum + (unit === 'rows' ? completed : 0), 0),
    5_000,
  )
  // A backend tells of its work when it ends.
  const after = await waitFor(async () => {
    const seen = await look()
    return seen?.index_scans === before?.index_scans ? null : seen
  })
  t.same(after, { ...before, index_scans: (before?.index_scans ?? 0) + 1 })
})

t.test('a series has each period of the time, also those without jobs, in UTC and with weeks from Monday', async t => {
  const service = await startService(t)
  // NOW is a Sunday at noon.
  await insertFinished(service, { seconds: 10 })
  await insertFinished(service, { seconds: 20, job_type: 'other', finish_by: secondsBefore(100) })
  await insertFinished(service, { status: 'failed', finishedAt: secondsBefore(2 * 86_400) })
  const ask = async (query: Record<string, string>) => (await read(service, { ...WEEK, ...query })).series
  const empty = { completed: 0, failed: 0, cancelled: 0, durationSeconds: { p50: null, p95: null }, late: 0 }
  t.same(await ask({}), undefined)
  t.same(await ask({ bucket: 'day', since: '2026-03-13T06:00:00Z' }), [
    { ...empty, start: '2026-03-13T00:00:00.000Z', failed: 1 },
    { ...empty, start: '2026-03-14T00:00:00.000Z' },
    { ...empty, start: '2026-03-15T00:00:00.000Z', completed: 2, durationSeconds: { p50: 15, p95: 19.5 }, late: 1 },
  ])
  t.match(await ask({ bucket: 'week' }), [
    { start: '2026-03-02T00:00:00.000Z', completed: 0 },
    { start: '2026-03-09T00:00:00.000Z', completed: 2, failed: 1 },
  ])
  t.match(await ask({ bucket: 'hour', jobType: 'other', since: '2026-03-15T10:30:00Z' }), [
    { start: '2026-03-15T10:00:00.000Z', completed: 0 },
    { start: '2026-03-15T11:00:00.000Z', completed: 1, durationSeconds: { p50: 20 } },
  ])
})

t.test('a series of more than 1,000 periods is refused, and the refusal names the field', async t => {
  const service = await startService(t)
  const ask = (hours: number) =>
    service.call('GET', `/stats?bucket=hour&since=${secondsBefore(hours * 3600).toISOString()}&until=${WEEK.until}`)
  t.equal((await ask(1000)).status, 200)
  t.match(await ask(1001), { status: 400, body: { code: 'validation_failed', errors: [{ path: 'bucket' }] } })
  t.match(await service.call('GET', '/stats?bucket=month'), { status: 400, body: { errors: [{ path: 'bucket' }] } })
})

t.test('a wrong period is refused, and the refusal names the field', async t => {
  const service = await startService(t)
  const day = (n: number) => new Date(Date.UTC(2026, 0, 1) + n * DAY_MS).toISOString()
  for (const [query, path] of [
    [{ since: 'yesterday' }, 'since'],
    [{ until: '2026-02-30T00:00:00Z' }, 'until'],
    [{ until: '' }, 'until'],
    [{ since: day(1), until: day(1) }, 'since'],
    [{ since: day(2), until: day(1) }, 'since'],
    [{ since: '2999-01-01T00:00:00Z' }, 'since'],
    [{ since: new Date(Date.parse(day(0)) - 1).toISOString(), until: day(366) }, 'since'],
    [{ since: '2001-01-01T00:00:00Z' }, 'since'],
    [{ jobType: '' }, 'jobType'],
    [{ jobType: 'x'.repeat(101) }, 'jobType'],
    [{ type: 'test' }, 'type'],
  ] as const) {
    const { status, body } = await service.call('GET', `/stats?${new URLSearchParams(query).toString()}`)
    t.match(
      { status, body },
      { status: 400, body: { code: 'validation_failed', errors: [{ path }] } },
      JSON.stringify(query),
    )
  }
  const leapYear = { since: day(0), until: day(366) }
  t.same(await read(service, leapYear), { ...leapYear, types: [] })
  t.same((await read(service, { until: '9999-12-31T23:59:59.999Z' })).types, [])
  t.same((await read(service, { until: '2000-01-01T00:00:00Z' })).since, '1999-12-25T00:00:00.000Z')
})

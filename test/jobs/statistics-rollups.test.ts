import { randomInt, randomUUID } from 'node:crypto'
import pg from 'pg'
import t from 'tap'
import type { Test } from 'tap'
import type { PeriodStatistics, Statistics, StatisticsBucket, TypeStatistics } from '../../src/contract/statistics.ts'
import { openDatabase, type Database } from '../../src/database/connection.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { createHeartbeatWrite } from '../../src/jobs/heartbeats/write.ts'
import { OPEN_IDENTITY, scopeOf, type Scope } from '../../src/jobs/identity.ts'
import { createJobRepository } from '../../src/jobs/repository.ts'
import { createRetention } from '../../src/jobs/retention.ts'
import { ACCURACY } from '../../src/jobs/statistics/counts.ts'
import type { StatisticsQuery } from '../../src/jobs/statistics/read.ts'
import { createRollUp, type RollUpOptions } from '../../src/jobs/statistics/roll-up.ts'
import { periodsOf, startOf } from '../../src/jobs/statistics/series.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { entryOf } from '../helpers/entry.ts'
import { waitFor } from '../helpers/wait.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NOW = Date.now()
const TODAY = startOf('day', NOW)

const TENANTS = [OPEN_IDENTITY.tenantId, '00000000-0000-4000-8000-000000000002'] as const
const ORGANIZATIONS = [null, '00000000-0000-4000-8000-000000000011', '00000000-0000-4000-8000-000000000012'] as const
const TYPES = ['import', 'export:rows', 'Äpfel "\\ 🍏', '__proto__']

interface World {
  pool: pg.Pool
  url: string
  database: Database
  repository: ReturnType<typeof createJobRepository>
}

const openWorld = async (t: Test): Promise<World> => {
  const { pool, url }: TestDatabase = await createTestDatabase(t)
  const database = openDatabase({ url, poolSize: 4, preparedStatements: true, onConnectionError: () => undefined })
  t.teardown(() => database.close())
  return { pool, url, database, repository: createJobRepository(database) }
}

/** Runs until no transaction is waited for: those of other tests on the same server count, too. */
const inTime = async (run: () => Promise<number | null>): Promise<number> => {
  let pieces = 0
  await waitFor(async () => {
    const made = await run()
    pieces = made ?? 0
    return made !== null
  })
  return pieces
}

/** Rolls up all that can be. */
const rollUp = async (database: Database, options: Partial<RollUpOptions> = {}): Promise<void> => {
  await inTime(createRollUp({ database, runMs: 60_000, marksEveryMs: 0, ...options }))
}

const levels = async ({ pool }: World, tenantId: string = TENANTS[0]): Promise<Record<string, number>> => {
  const { rows } = await pool.query<{ level: string; count: number }>(
    `SELECT level, count(*)::integer FROM statistics_rollups WHERE tenant_id = $1 AND whose = 0 GROUP BY level`,
    [tenantId],
  )
  return Object.fromEntries(rows.map(({ level, count }) => [level, count]))
}

/** The statistics as one statement over the jobs: what every answer must agree with. */
const EXACT = `
  WITH seen AS (
    SELECT * FROM public.progress_jobs j WHERE ${FUNCTIONS}.sees(j, $1, $2, $3, $4) AND (j.job_type = $7 OR $7 IS NULL)
  ), outcomes AS (
    SELECT CASE WHEN $8 THEN job_type ELSE '' END COLLATE "C" AS job_type, count(completed_seconds)::integer AS completed,
      count(failure_reason)::integer AS failed,
      (count(*) - count(completed_seconds) - count(failure_reason))::integer AS cancelled,
      percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY completed_seconds) AS seconds,
      sum(completed_count) / nullif(sum(completed_seconds) FILTER (WHERE completed_count > 0), 0) AS items_per_second,
      min(completed_unit COLLATE "C") FILTER (WHERE completed_unit <> 'unknown') AS first_unit,
      max(completed_unit COLLATE "C") FILTER (WHERE completed_unit <> 'unknown') AS last_unit,
      (count(*) FILTER (WHERE late_seconds > 0))::integer AS late,
      percentile_cont(ARRAY[0.5, 1]) WITHIN GROUP (ORDER BY late_seconds) FILTER (WHERE late_seconds > 0) AS late_seconds
    FROM seen WHERE parent_job_id IS NULL AND finished_at >= $5 AND finished_at < $6 GROUP BY 1
  ), alarmed AS (
    SELECT CASE WHEN $8 THEN seen.job_type ELSE '' END COLLATE "C" AS job_type, bool_or(EXISTS (
        SELECT FROM public.job_events l WHERE l.job_id = e.job_id AND l.id > e.id AND l.attempt = e.attempt
          AND l.type IN ('recovered', 'completed', 'failed', 'cancelled'))) AS recovered
    FROM public.job_events e JOIN seen ON seen.id = e.job_id
    WHERE e.type = 'failed' AND e.data ->> 'failureReason' = 'stale' AND e.at >= $5 AND e.at < $6 GROUP BY 1, seen.id
  ), alarms AS (
    SELECT job_type, count(*)::integer AS stale, (count(*) FILTER (WHERE recovered))::integer AS recovered FROM alarmed GROUP BY 1
  )
  SELECT job_type, completed, failed, cancelled, seconds, items_per_second, first_unit, last_unit, late, late_seconds, stale, recovered
  FROM outcomes FULL JOIN alarms USING (job_type) ORDER BY 1`

interface Exact {
  job_type: string
  completed: number | null
  failed: number | null
  cancelled: number | null
  seconds: (number | null)[] | null
  items_per_second: number | null
  first_unit: string | null
  last_unit: string | null
  late: number | null
  late_seconds: (number | null)[] | null
  stale: number | null
  recovered: number | null
}

const readExact = async (
  { pool }: World,
  scope: Scope,
  sinceMs: number,
  untilMs: number,
  jobType: string | undefined,
  byType: boolean,
): Promise<Exact[]> => {
  const { rows } = await pool.query<Exact>(EXACT, [
    scope.tenantId,
    scope.allOrganizations,
    scope.organizationId,
    scope.jobId,
    new Date(sinceMs),
    new Date(untilMs),
    jobType ?? null,
    byType,
  ])
  return rows
}

/** Answers are rounded to milliseconds. */
const isNear = (given: number | null, exact: number | null | undefined): boolean =>
  given === null || exact == null
    ? given === (exact ?? null)
    : Math.abs(given - exact) <= ACCURACY * Math.abs(exact) + 0.0011

const isExact = (given: number | null, exact: number | null | undefined): boolean =>
  given === null || exact == null ? given === (exact ?? null) : Math.abs(given - exact) <= 0.0006

/** What is wrong with an answer; '' if nothing is. */
const faultOf = (given: TypeStatistics | PeriodStatistics, exact: Exact | undefined): string => {
  for (const name of ['completed', 'failed', 'cancelled', 'late'] as const) {
    if (given[name] !== (exact?.[name] ?? 0)) return `${name} is ${given[name]}, and should be ${exact?.[name] ?? 0}`
  }
  const { p50, p95 } = given.durationSeconds
  const [exact50, exact95] = exact?.seconds ?? []
  if (!isNear(p50, exact50)) return `the median is ${p50}, and should be ${exact50}`
  if (!isNear(p95, exact95)) return `the 95th percentile is ${p95}, and should be ${exact95}`
  return ''
}

const faultOfType = (given: TypeStatistics, exact: Exact): string => {
  const rate = exact.first_unit === exact.last_unit ? exact.items_per_second : null
  const [late50, lateMax] = exact.late_seconds ?? []
  const { max } = given.durationSeconds
  if (!isExact(max, exact.seconds?.[2])) return `the longest is ${max}, and should be ${exact.seconds?.[2]}`
  if (given.stale !== (exact.stale ?? 0)) return `stale is ${given.stale}, and should be ${exact.stale}`
  if (given.recovered !== (exact.recovered ?? 0))
    return `recovered is ${given.recovered}, and should be ${exact.recovered}`
  if (!isNear(given.lateSeconds.p50, late50))
    return `the median lateness is ${given.lateSeconds.p50}, and should be ${late50}`
  if (!isExact(given.lateSeconds.max, lateMax))
    return `the latest is ${given.lateSeconds.max}, and should be ${lateMax}`
  if (given.itemsPerSecond === null ? rate !== null : Math.abs(given.itemsPerSecond / (rate ?? 0) - 1) > 0.001) {
    return `the speed is ${given.itemsPerSecond}, and should be ${rate}`
  }
  if (given.unit !== (rate === null ? null : (exact.first_unit ?? 'unknown'))) return `the unit is ${given.unit}`
  return faultOf(given, exact)
}

const faultOfAnswer = async (
  world: World,
  scope: Scope,
  query: StatisticsQuery,
  answer: Statistics,
): Promise<string> => {
  const { jobType, bucket } = query
  const [sinceMs, untilMs] = [Date.parse(answer.since), Date.parse(answer.until)]
  const exact = await readExact(world, scope, sinceMs, untilMs, jobType, true)
  const names = answer.types.map(type => type.jobType)
  if (names.join() !== exact.map(type => type.job_type).join()) return `the types are ${names.join()}`
  for (const [n, type] of answer.types.entries()) {
    const fault = faultOfType(type, exact[n] as Exact)
    if (fault !== '') return `of ${type.jobType}, ${fault}`
  }
  if (bucket === undefined) return answer.series === undefined ? '' : 'there is a series'
  const starts = periodsOf(bucket, sinceMs, untilMs)
  if (answer.series?.map(period => Date.parse(period.start)).join() !== starts.join()) return 'periods are missing'
  for (const outcome of ['completed', 'failed', 'cancelled', 'late'] as const) {
    const sum = (all: readonly Record<typeof outcome, number>[]) =>
      all.reduce((total, each) => total + each[outcome], 0)
    if (sum(answer.series) !== sum(answer.types)) return `the series has ${sum(answer.series)} ${outcome}`
  }
  // Some of the periods, and always the first and the last one.
  const looked = new Set([0, starts.length - 1, randomInt(starts.length), randomInt(starts.length)])
  for (const n of looked) {
    const start = starts[n] ?? 0
    const [from, to] = [Math.max(start, sinceMs), Math.min(starts[n + 1] ?? untilMs, untilMs)]
    const [period] = await readExact(world, scope, from, to, jobType, false)
    const fault = faultOf(answer.series[n] as PeriodStatistics, period)
    if (fault !== '') return `in the ${bucket} of ${new Date(start).toISOString()}, ${fault}`
  }
  return ''
}

const scopeWith = (over: Partial<Scope>): Scope => ({ ...scopeOf(OPEN_IDENTITY), allOrganizations: false, ...over })

/** The answer for a window agrees with the jobs; else the text says how it does not. */
const check = async (t: Test, world: World, scope: Scope, query: StatisticsQuery, when: string): Promise<void> => {
  const answer = await world.repository.statistics(scope, query)
  const fault = await faultOfAnswer(world, scope, query, answer)
  if (fault !== '') t.fail(`${when}: ${fault}`, { scope, query })
}

interface Draw {
  (below: number): number
  of: <T>(list: readonly T[]) => T
}

/** Numbers that are the same for the same seed (mulberry32). */
const drawFrom = (seed: number): Draw => {
  let state = seed
  const draw = (below: number): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
  return Object.assign(draw, { of: <T>(list: readonly T[]) => list[draw(list.length)] as T })
}

interface Job {
  tenantId: string
  organizationId: string | null
  jobType: string
  status: 'completed' | 'failed' | 'cancelled'
  failureReason?: 'worker' | 'stale'
  seconds: number
  finishedMs: number
  processed: number
  unit: string
  lateSeconds?: number
  isPartition?: boolean
}

const INSERT = `
  WITH given AS MATERIALIZED (SELECT gen_random_uuid() AS id, g.* FROM jsonb_to_recordset($1) AS g (
    "tenantId" uuid, "organizationId" uuid, "jobType" text, status text, "failureReason" text, seconds float8, "finishedMs" float8,
    processed bigint, unit text, "lateSeconds" float8, "isPartition" boolean)
  ), batch AS (
    INSERT INTO public.progress_jobs (id, tenant_id, job_type, name, heartbeat_timeout_seconds, children, partition_count)
    SELECT gen_random_uuid(), "tenantId", 'batch', 'a batch', 60, '{}', 1 FROM given WHERE "isPartition"
    RETURNING id, tenant_id
  ), placed AS (
    SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY id) AS place FROM batch
  ), inserted AS (
    INSERT INTO public.progress_jobs (id, tenant_id, organization_id, job_type, name, heartbeat_timeout_seconds, status, started_at,
      finished_at, heartbeat_at, updated_at, processed_count, unit, failure_reason, finish_by, parent_job_id, partition_index, partition_count)
    SELECT g.id, g."tenantId", g."organizationId", g."jobType", 'a job', 60, g.status,
      date_trunc('milliseconds', to_timestamp(g."finishedMs" / 1000) - g.seconds * interval '1 second'), date_trunc('milliseconds', to_timestamp(g."finishedMs" / 1000)),
      to_timestamp(g."finishedMs" / 1000), to_timestamp(g."finishedMs" / 1000), g.processed, g.unit, g."failureReason",
      date_trunc('milliseconds', to_timestamp(g."finishedMs" / 1000) - g."lateSeconds" * interval '1 second'),
      p.id, CASE WHEN p.id IS NOT NULL THEN 0 END, CASE WHEN p.id IS NOT NULL THEN 1 END
    FROM (SELECT *, row_number() OVER (PARTITION BY "tenantId", "isPartition" ORDER BY id) AS place FROM given) g
    LEFT JOIN placed p ON g."isPartition" AND p.tenant_id = g."tenantId" AND p.place = g.place
    RETURNING id, finished_at, failure_reason
  ), events AS (
    INSERT INTO public.job_events (job_id, type, at, attempt, data)
    SELECT id, 'failed', finished_at, 1, '{"failureReason": "stale"}' FROM inserted WHERE failure_reason = 'stale'
  )
  SELECT id FROM inserted`

const insert = async (to: Pick<pg.Pool, 'query'>, jobs: readonly Job[]): Promise<string[]> => {
  const { rows } = await to.query<{ id: string }>(INSERT, [JSON.stringify(jobs)])
  return rows.map(({ id }) => id)
}

const drawJob = (draw: Draw, finishedMs: number): Job => {
  const status = draw.of(['completed', 'completed', 'completed', 'failed', 'cancelled'] as const)
  return {
    tenantId: draw.of([TENANTS[0], TENANTS[0], TENANTS[1]]),
    organizationId: draw.of(ORGANIZATIONS),
    jobType: draw.of(TYPES),
    status,
    ...(status === 'failed' && { failureReason: draw.of(['worker', 'stale'] as const) }),
    // From nothing to a week, each order of magnitude as likely as the others; now and then the clock was set back.
    seconds: draw(40) === 0 ? -draw(50) : Math.round(10 ** (draw(1000) / 112 - 3) * 1000) / 1000,
    finishedMs,
    processed: draw.of([0, 1, 1000]),
    unit: draw.of(['rows', 'rows', 'rows', 'rows', 'rows', 'files', 'unknown']),
    ...(draw(4) === 0 && { lateSeconds: draw(2000) / 10 - 50 }),
    ...(draw(20) === 0 && { isPartition: true }),
  }
}

/** Hours and days with many jobs, and jobs at any time of the last hundred days. */
const drawJobs = (draw: Draw): Job[] => {
  const hours = Array.from({ length: 8 }, () => startOf('hour', NOW) - (1 + draw(100 * 24)) * HOUR_MS)
  const recent = [2, 3, 27, 30].map(before => startOf('hour', NOW) - before * HOUR_MS)
  return [
    ...[...hours, ...recent].flatMap(hour => Array.from({ length: 110 }, () => drawJob(draw, hour + draw(HOUR_MS)))),
    ...Array.from({ length: 500 }, () => drawJob(draw, NOW - draw(100 * DAY_MS))),
  ]
}

const drawScope = (draw: Draw): Scope => {
  const tenantId = draw.of([TENANTS[0], TENANTS[0], TENANTS[1]])
  const organizationId = draw.of(ORGANIZATIONS)
  return scopeWith(draw(3) === 0 ? { tenantId, organizationId } : { tenantId, allOrganizations: true })
}

const drawQuery = (draw: Draw): StatisticsQuery => {
  const bucket: StatisticsBucket | undefined = draw.of([undefined, 'hour', 'day', 'week'])
  const untilMs = draw.of([NOW + 60_000, TODAY, NOW - draw(60 * DAY_MS), startOf('hour', NOW) - draw(500) * HOUR_MS])
  const days = bucket === 'hour' ? 41 : 110
  const sinceMs = draw.of([untilMs - 1 - draw(days * DAY_MS), startOf('day', untilMs) - (1 + draw(days - 2)) * DAY_MS])
  return {
    since: new Date(sinceMs),
    until: new Date(untilMs),
    ...(bucket !== undefined && { bucket }),
    ...(draw(4) === 0 && { jobType: draw.of(TYPES) }),
  }
}

const findJob = async (
  { pool }: World,
  draw: Draw,
  where: string,
): Promise<{ id: string; tenant_id: string } | undefined> => {
  const { rows } = await pool.query<{ id: string; tenant_id: string }>(
    `SELECT id, tenant_id FROM progress_jobs WHERE ${where} ORDER BY md5(id::text || $1) LIMIT 1`,
    [String(draw(1e9))],
  )
  return rows[0]
}

/** What changes finished jobs of the past. Each answers what it did. */
const changes = (world: World, draw: Draw): Record<string, () => Promise<unknown>> => {
  const { pool, database, repository } = world
  const write = createHeartbeatWrite(database)
  const everywhere = (tenantId: string) => scopeWith({ tenantId, allOrganizations: true })
  const command = async (name: 'retry' | 'complete', where: string) => {
    const job = await findJob(world, draw, where)
    return job && repository.change(everywhere(job.tenant_id), job.id, name, null, {})
  }
  const STALE = "failure_reason = 'stale' AND parent_job_id IS NULL"
  return {
    'a retry': () => command('retry', "status IN ('failed', 'cancelled') AND parent_job_id IS NULL"),
    'an end after all': () => command('complete', STALE),
    async 'a recovery'() {
      const job = await findJob(world, draw, STALE)
      if (!job) return
      const { failure } = await write(
        [entryOf({ jobId: job.id, processedCount: 1 }, { scope: everywhere(job.tenant_id) })],
        false,
      )
      if (failure) throw new Error('the heartbeat was not written', { cause: failure.cause })
    },
    async 'an erased job'() {
      const job = await findJob(world, draw, 'finished_at IS NOT NULL AND parent_job_id IS NULL')
      if (job) await repository.purge(everywhere(job.tenant_id), job.id)
    },
    // Partitions are erased with their batch, and their alarms with them.
    'erased batches': () =>
      pool.query(
        'DELETE FROM progress_jobs WHERE id IN (SELECT id FROM progress_jobs WHERE children IS NOT NULL LIMIT 3)',
      ),
    'the retention': () =>
      createRetention({
        database,
        retentionDays: 60 + draw(40),
        log: { info: () => undefined, warn: () => undefined } as never,
      })(),
    'an import': () =>
      insert(
        pool,
        Array.from({ length: 5 }, () => drawJob(draw, NOW - draw(100 * DAY_MS))),
      ),
    async 'a job of another type'() {
      const job = await findJob(world, draw, 'finished_at IS NOT NULL')
      await pool.query('UPDATE progress_jobs SET job_type = $1, organization_id = $2 WHERE id = $3', [
        draw.of(TYPES),
        draw.of(ORGANIZATIONS),
        job?.id,
      ])
    },
    async 'another deadline'() {
      const job = await findJob(world, draw, 'finished_at IS NOT NULL')
      await pool.query("UPDATE progress_jobs SET finish_by = finished_at - interval '7 seconds' WHERE id = $1", [
        job?.id,
      ])
    },
    // A job that is ended for its silence a second time counts once, in a window that has both ends.
    async 'a second alarm'() {
      const job = await findJob(world, draw, STALE)
      await pool.query(
        `INSERT INTO job_events (job_id, type, at, attempt, data)
         SELECT id, e.type, finished_at + e.later, attempt, e.data FROM progress_jobs CROSS JOIN (VALUES
           ('recovered', interval '0', '{}'), ('failed', $2::interval, '{"failureReason": "stale"}'::jsonb)) e (type, later, data)
         WHERE id = $1 AND finished_at < now() - interval '3 days'`,
        [job?.id, draw.of(['1 minute', '2 hours', '50 hours'])],
      )
    },
    'an erased history': () =>
      pool.query(
        "DELETE FROM job_events WHERE id IN (SELECT id FROM job_events WHERE type = 'failed' ORDER BY id LIMIT 2)",
      ),
  }
}

t.test('counts are exact and percentiles within 1 %, whatever changes between roll-ups', async t => {
  const seed = Number(process.env['STATISTICS_SEED'] ?? randomInt(2 ** 31))
  const draw = drawFrom(seed)
  const world = await openWorld(t)
  const checks = async (when: string, times: number) => {
    for (let n = 0; n < times; n += 1) await check(t, world, drawScope(draw), drawQuery(draw), `seed ${seed}, ${when}`)
  }
  await insert(world.pool, drawJobs(draw))
  await checks('before the first roll-up', 2)
  await rollUp(world.database)
  const stored = await levels(world)
  t.ok((stored['hour'] ?? 0) >= 3 && (stored['day'] ?? 0) > 50 && (stored['month'] ?? 0) >= 2, JSON.stringify(stored))
  await checks('after the first roll-up', 6)
  const possible = Object.entries(changes(world, draw))
  const steps = Number(process.env['STATISTICS_STEPS'] ?? 24)
  for (let step = 0; step < steps; step += 1) {
    const [name, change] = possible[step % possible.length] as (typeof possible)[number]
    await change()
    await checks(`after ${name} (step ${step})`, 2)
    if (draw(2) === 0) await rollUp(world.database)
    await checks(`after ${name} and perhaps a roll-up (step ${step})`, 2)
  }
  await rollUp(world.database)
  const { rows } = await world.pool.query('SELECT FROM statistics_marks')
  t.equal(rows.length, 0, 'nothing is left to count again')
  await checks('in the end', 6)
})

t.test('a change of the past is counted at once, and what is stored is counted again', async t => {
  const world = await openWorld(t)
  // It has looked at the time before the transaction below begins.
  const run = createRollUp({ database: world.database, runMs: 60_000, marksEveryMs: 0 })
  const scope = scopeWith({ allOrganizations: true })
  const all = { since: new Date(NOW - 100 * DAY_MS) }
  const totals = async () => {
    const { types } = await world.repository.statistics(scope, all)
    return types.reduce((total, { completed, failed, cancelled }) => total + completed + failed + cancelled, 0)
  }
  const finishedMs = startOf('day', NOW - 50 * DAY_MS)
  const [first = ''] = await insert(world.pool, [
    ...Array.from({ length: 60 }, (_, n) => ({
      ...drawJob(drawFrom(n), finishedMs + n),
      tenantId: TENANTS[0],
      isPartition: false,
    })),
  ])
  await inTime(run)
  t.same(await levels(world), { hour: 1, day: 1, month: 1 })
  t.equal(await totals(), 60)
  const client = new pg.Client(world.url)
  await client.connect()
  t.teardown(() => client.end())
  await client.query('BEGIN')
  await client.query('DELETE FROM progress_jobs WHERE id = $1', [first])
  await inTime(run)
  t.equal(await totals(), 60, 'while the change is not committed')
  await client.query('COMMIT')
  t.equal(await totals(), 59, 'at once')
  await inTime(run)
  t.same(await levels(world), { hour: 1, day: 1, month: 1 })
  t.equal(await totals(), 59)
  await world.pool.query('DELETE FROM progress_jobs')
  t.equal(await totals(), 0)
  await inTime(run)
  t.same(await levels(world), {}, 'nothing is stored of what was erased')
})

t.test('an hour is rolled up only when every transaction is over that may have ended a job in it', async t => {
  const world = await openWorld(t)
  const scope = scopeWith({ allOrganizations: true })
  const hour = startOf('hour', NOW) - 26 * HOUR_MS
  const jobs = Array.from({ length: 60 }, (_, n) => ({
    ...drawJob(drawFrom(n), hour + n),
    tenantId: TENANTS[0],
    isPartition: false,
  }))
  const totals = async () => {
    const { types } = await world.repository.statistics(scope, {
      since: new Date(hour),
      until: new Date(hour + HOUR_MS),
    })
    return types.reduce((total, { completed, failed, cancelled }) => total + completed + failed + cancelled, 0)
  }
  await insert(world.pool, jobs)
  const client = new pg.Client(world.url)
  await client.connect()
  t.teardown(() => client.end())
  // It has ended jobs in that hour, when that was the present hour, so that no trigger has marked it.
  await client.query("SET session_replication_role = 'replica'; BEGIN")
  await insert(client, jobs)
  const run = createRollUp({ database: world.database, runMs: 60_000, marksEveryMs: 0 })
  await run()
  t.equal(await run(), null)
  t.same(await levels(world), {}, 'nothing is rolled up while the transaction is open')
  t.equal(await totals(), 60)
  await client.query('COMMIT')
  t.equal(await totals(), 120)
  await inTime(run)
  t.match(await levels(world), { hour: 1 })
  t.equal(await totals(), 120)
})

t.test('replicas that roll up at the same time store each period once', async t => {
  const draw = drawFrom(7)
  const world = await openWorld(t)
  await insert(world.pool, drawJobs(draw))
  const replicas = Array.from({ length: 3 }, () => {
    const database = openDatabase({
      url: world.url,
      poolSize: 1,
      preparedStatements: true,
      onConnectionError: () => undefined,
    })
    t.teardown(() => database.close())
    return createRollUp({ database, runMs: 60_000, marksEveryMs: 0 })
  })
  await Promise.all(replicas.map(inTime))
  for (let round = 0; round < 3; round += 1) {
    await Promise.all([...replicas.map(run => run()), changes(world, draw)['an import']?.()])
    await check(
      t,
      world,
      scopeWith({ allOrganizations: true }),
      { since: new Date(NOW - 105 * DAY_MS), bucket: 'day' },
      `round ${round}`,
    )
  }
  await Promise.all(replicas.map(run => run()))
  await rollUp(world.database)
  for (let n = 0; n < 6; n += 1) await check(t, world, drawScope(draw), drawQuery(draw), 'in the end')
})

t.test(
  'jobs that are older than the roll-ups are rolled up in steps, newest first, and counted all the while',
  async t => {
    const world = await openWorld(t)
    const scope = scopeWith({ allOrganizations: true })
    const draw = drawFrom(3)
    // A job in every twenty days of three years, as before an upgrade.
    await world.pool.query('ALTER TABLE progress_jobs DISABLE TRIGGER USER')
    await insert(
      world.pool,
      Array.from({ length: 55 }, (_, n) => ({
        ...drawJob(draw, TODAY - n * 20 * DAY_MS - HOUR_MS),
        tenantId: TENANTS[0],
        isPartition: false,
      })),
    )
    await world.pool.query('ALTER TABLE progress_jobs ENABLE TRIGGER USER')
    const run = createRollUp({ database: world.database, runMs: 0 })
    await run()
    t.equal(await inTime(run), 0, 'a run without time does nothing')
    const step = async () => {
      const { rows } = await world.pool.query<{ done: string | null }>(
        `SELECT ${FUNCTIONS}.roll_up_statistics($1, NULL) AS done`,
        // All that is before this day is over, also in the first minutes of the day.
        [new Date(TODAY)],
      )
      return rows[0]?.done
    }
    for (let days = 0; days < 12;) {
      if ((await step()) !== 'past') continue
      days += 1
      const { rows } = await world.pool.query<{ oldest: Date }>(
        "SELECT min(starts_at) AS oldest FROM statistics_rollups WHERE level = 'day'",
      )
      t.equal(rows[0]?.oldest.getTime(), TODAY - ((days - 1) * 20 + 1) * DAY_MS, 'the newest of those that are left')
      if (days % 4 === 0) await check(t, world, scope, { since: new Date(NOW - 366 * DAY_MS) }, `after ${days} days`)
    }
    await rollUp(world.database)
    t.equal(await step(), null)
    t.equal((await levels(world))['day'], 55)
    await check(t, world, scope, { since: new Date(NOW - 366 * DAY_MS), bucket: 'week' }, 'in the end')
  },
)

t.test(
  'months are added up after their days, a tenant at a time, so that no number of tenants takes too long',
  async t => {
    const world = await openWorld(t)
    const lastMonth = new Date(TODAY)
    lastMonth.setUTCDate(0)
    const monthMs = Date.UTC(lastMonth.getUTCFullYear(), lastMonth.getUTCMonth())
    // Two days: the first one is the oldest of all, so that the month is whole.
    await insert(
      world.pool,
      TENANTS.flatMap(tenantId =>
        [monthMs, monthMs + 5 * DAY_MS].map(ms => ({ ...drawJob(drawFrom(1), ms), tenantId, isPartition: false })),
      ),
    )
    const step = async (statement: string, time: Date) =>
      (await world.pool.query<{ done: string | boolean | null }>(`SELECT ${FUNCTIONS}.${statement} AS done`, [time]))
        .rows[0]?.done
    const done: (string | boolean)[] = []
    for (
      let piece;
      done.length < 50 && (piece = await step('roll_up_statistics($1, 9223372036854775807)', new Date(TODAY)));
    ) {
      done.push(piece)
      if (piece !== 'month') t.notOk((await levels(world))['month'], `after ${String(piece)}`)
    }
    t.same(done, ['marks', 'marks', 'past', 'past', 'month'])
    for (const tenantId of TENANTS) t.same(await levels(world, tenantId), { day: 2, month: 1 })
    await world.pool.query("DELETE FROM statistics_rollups WHERE level = 'month'")
    const months = async () => Promise.all(TENANTS.map(async id => (await levels(world, id))['month'] ?? 0))
    t.equal(await step("store_month($1, '0 seconds')", new Date(monthMs)), false)
    t.equal(Math.max(...(await months())) + Math.min(...(await months())), 1, 'one tenant a time')
    t.equal(await step("store_month($1, '0 seconds')", new Date(monthMs)), false)
    t.same(await months(), [1, 1])
    t.equal(await step("store_month($1, '0 seconds')", new Date(monthMs)), true, 'nothing is left')
  },
)

/** The database of a world, with what is done before and after each piece of a roll-up. */
const watched = (
  { database }: World,
  { before, after }: { before?: () => void; after?: (piece: string | null) => void },
) => {
  const query = async (...[name, text, values]: Parameters<Database['query']>) => {
    const isPiece = name === 'headway_roll_up_statistics'
    if (isPiece) before?.()
    const rows = await database.query<{ done: string | null }>(name, text, values)
    if (isPiece) after?.(rows[0]?.done ?? null)
    return rows
  }
  return { ...database, query } as unknown as Database
}

t.test('a run goes on until nothing is left, and rests after each piece for as long as the piece took', async t => {
  const world = await openWorld(t)
  await insert(
    world.pool,
    Array.from({ length: 20 }, (_, n) => ({
      ...drawJob(drawFrom(n), TODAY - n * DAY_MS - HOUR_MS),
      tenantId: TENANTS[0],
      isPartition: false,
    })),
  )
  const rests: number[] = []
  let isResting = false
  const begunMs = performance.now()
  const rest = async (tookMs: number) => {
    rests.push(tookMs)
    isResting = true
    await new Promise(resolve => setImmediate(resolve))
    isResting = false
  }
  const database = watched(world, { before: () => t.notOk(isResting) })
  const pieces = await inTime(createRollUp({ database, rest }))
  t.equal((await levels(world))['day'], 20)
  t.equal(rests.length, pieces)
  const workedMs = rests.reduce((sum, ms) => sum + ms, 0)
  t.ok(rests.every(ms => ms > 0) && workedMs < performance.now() - begunMs)
})

t.test('changes that go on do not keep the past from being rolled up', async t => {
  const world = await openWorld(t)
  const ids = await insert(
    world.pool,
    Array.from({ length: 30 }, (_, n) => ({
      ...drawJob(drawFrom(n), TODAY - n * DAY_MS - HOUR_MS),
      tenantId: TENANTS[0],
      isPartition: false,
    })),
  )
  await world.pool.query('TRUNCATE statistics_marks')
  const pieces: (string | null)[] = []
  // Somebody erases old jobs meanwhile, as the retention does.
  const rest = async () => {
    const id = ids.length > 20 && ids.pop()
    if (id) await world.pool.query('DELETE FROM progress_jobs WHERE id = $1', [id])
  }
  await world.pool.query('DELETE FROM progress_jobs WHERE id = $1', [ids.pop()])
  const database = watched(world, { after: piece => pieces.push(piece) })
  await inTime(createRollUp({ database, rest }))
  t.same(
    pieces.filter(piece => piece === 'marks'),
    ['marks'],
    'the mark that was there when the run began',
  )
  t.ok(pieces.includes('past'))
  await inTime(createRollUp({ database, rest }))
  t.equal((await levels(world))['day'], 20)
})

t.test('a token of one job, and a job that no roll-up knows, are counted from the jobs', async t => {
  const world = await openWorld(t)
  const [id = ''] = await insert(world.pool, [
    { ...drawJob(drawFrom(1), NOW - 40 * DAY_MS), tenantId: TENANTS[0], isPartition: false },
  ])
  await rollUp(world.database)
  const query = { since: new Date(NOW - 100 * DAY_MS), bucket: 'day' } as const
  await check(t, world, scopeWith({ allOrganizations: true, jobId: id }), query, 'its job')
  const other = await world.repository.statistics(scopeWith({ allOrganizations: true, jobId: randomUUID() }), query)
  t.same(other.types, [])
})

t.test('without the triggers, what is stored is forgotten: changes may have been missed', async t => {
  const world = await openWorld(t)
  await insert(world.pool, [{ ...drawJob(drawFrom(1), NOW - 40 * DAY_MS), tenantId: TENANTS[0], isPartition: false }])
  await rollUp(world.database)
  t.match(await levels(world), { day: 1 })
  await world.pool.query('TRUNCATE progress_jobs CASCADE')
  t.same(await levels(world), {})
  t.same(
    (await world.repository.statistics(scopeWith({ allOrganizations: true }), { since: new Date(NOW - 100 * DAY_MS) }))
      .types,
    [],
  )
})

import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openDatabase, type Database } from '../../src/database/connection.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'
import type { JobDocument, JobEvent } from '../../src/contract/job.ts'
import { createSchedule } from '../../src/jobs/schedule.ts'
import { createSweeper } from '../../src/jobs/sweeper.ts'
import type { JobChange } from '../../src/contract/change.ts'
import type { TestDatabase } from '../helpers/database.ts'
import { startService, type Service } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

const INTERVAL_SECONDS = 5
const STALLED_AFTER_SECONDS = 30

interface World {
  service: Service
  database: Database
}

/** From now on the clock stands for all functions of the database: a rule of 30 seconds holds to the millisecond, however busy the machine. */
const stopClock = async ({ pool }: TestDatabase): Promise<void> => {
  const { rows: clock } = await pool.query<{ now: string }>("SELECT date_trunc('milliseconds', now())::text AS now")
  await pool.query(
    `CREATE FUNCTION ${FUNCTIONS}.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT '${clock[0]?.now}'::timestamptz $$`,
  )
  const { rows } = await pool.query<{ definition: string }>(
    `SELECT pg_get_functiondef(oid) AS definition FROM pg_proc
     WHERE pronamespace = $1::regnamespace AND prokind = 'f' AND prosrc ~ '(now|clock_timestamp)\\(\\)'`,
    [FUNCTIONS],
  )
  for (const { definition } of rows) {
    if (definition.includes(`${FUNCTIONS}.now() RETURNS`)) continue
    await pool.query(definition.replace(/(?<![.\w])(?:now|clock_timestamp)\(\)/g, `${FUNCTIONS}.now()`))
  }
}

/** A service on a database of its own that never sweeps and is no process to wait for: tests bring their own sweepers. */
const startWorld = async (t: Test): Promise<World> => {
  const service = await startService(t)
  await stopClock(service.database)
  await service.database.pool.query('DELETE FROM public.service_processes')
  const database = openDatabase({
    url: service.database.url,
    poolSize: 5,
    preparedStatements: true,
    onConnectionError: () => undefined,
  })
  t.teardown(() => database.close())
  return { service, database }
}

interface SweeperFields {
  /** Since when the process has been healthy: its first visit, moved into the past. */
  healthyForSeconds?: number
  intake?: () => { oldestWaitMs: number; refused: number }
  /** How long ago the process began. */
  age?: number
  database?: Database
}

/** Another process that sweeps. */
const startSweeper = async (
  world: World,
  {
    healthyForSeconds = 0,
    intake = () => ({ oldestWaitMs: 0, refused: 0 }),
    database = world.database,
    age = A_DAY,
  }: SweeperFields = {},
) => {
  const announced: JobChange[] = []
  const { pool } = world.service.database
  const sweeper = createSweeper({
    database,
    announce: changes => announced.push(...changes),
    log: pino({ level: 'silent' }),
    intake,
    stalledAfterSeconds: STALLED_AFTER_SECONDS,
    intervalSeconds: INTERVAL_SECONDS,
  })
  const known = (await pool.query<{ id: string }>('SELECT id FROM public.service_processes')).rows.map(row => row.id)
  await sweeper.sweep()
  const { rows } = await pool.query<{ id: string }>('SELECT id FROM public.service_processes WHERE id <> ALL ($1)', [
    known,
  ])
  const id = rows[0]?.id ?? ''
  const move = (column: string, seconds: number) =>
    pool.query(`UPDATE public.service_processes SET ${column} = ${column} - make_interval(secs => $2) WHERE id = $1`, [
      id,
      seconds,
    ])
  await move('healthy_since', healthyForSeconds)
  await move('started_at', age)
  return {
    ...sweeper,
    announced,
    beHealthyFor: (seconds: number) => move('healthy_since', seconds),
    /** As if the last visit had been so many seconds earlier than it was. */
    missVisits: (seconds: number) => move('seen_at', seconds),
    healthyForSeconds: async () => {
      const found = await pool.query<{ seconds: number }>(
        `SELECT date_part('epoch', ${FUNCTIONS}.now() - healthy_since) AS seconds FROM public.service_processes WHERE id = $1`,
        [id],
      )
      return found.rows[0]?.seconds ?? NaN
    },
  }
}

const A_DAY = 86_400

const startJob = async ({ service }: World, fields: Record<string, unknown> = {}): Promise<JobDocument> => {
  const { id } = await service.createJob(fields)
  return (await service.call<JobDocument>('POST', `/jobs/${id}/start`)).body
}

/** A running job whose last heartbeat came so many seconds ago. */
const startSilentJob = async (world: World, seconds: number, fields: Record<string, unknown> = {}) => {
  const { id } = await startJob(world, fields)
  await world.service.age(id, seconds)
  return id
}

const lastEvent = async ({ service }: World, id: string): Promise<JobEvent | undefined> =>
  (await service.call<{ items: JobEvent[] }>('GET', `/jobs/${id}/events?pageSize=100`)).body.items.at(-1)

const versionsOf = async ({ service }: World, id: string) => {
  const { rows } = await service.database.pool.query<Record<string, unknown>>(
    'SELECT lifecycle, lifecycle_revision, revision, finished_xact FROM public.progress_jobs WHERE id = $1',
    [id],
  )
  return rows[0]
}

t.test('a job is stalled after 30 seconds of silence, not before', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const early = await startSilentJob(world, 30)
  const late = await startSilentJob(world, 30.001, { totalCount: 10 })
  t.same(await sweeper.sweep(), { stalled: 1, ended: 0, skipped: null })
  t.match(await world.service.job(early), { status: 'running', liveness: 'ok', revision: 2 })
  const stalled = await world.service.job(late)
  t.match(stalled, { status: 'running', liveness: 'stalled', revision: 3, finishedAt: null })
  t.same(await versionsOf(world, late), {
    lifecycle: 'stalled',
    lifecycle_revision: '3',
    revision: '3',
    finished_xact: null,
  })
  t.same(await world.service.history(late), ['created', 'started', 'stalled'])
  t.match(await lastEvent(world, late), { actor: null, attempt: 1, data: { heartbeatAt: stalled.heartbeatAt } })
  const tenantId = stalled.tenantId
  t.match(sweeper.announced, [{ tenantId, jobId: late, revision: 3, lifecycle: true, event: 'stalled' }])
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null }, 'it is marked once')
})

t.test(
  "a worker's own liveness is stalled after 30 seconds of its silence, while others keep the job alive",
  async t => {
    const world = await startWorld(t)
    const { service } = world
    const { pool } = service.database
    const sweeper = await startSweeper(world, { healthyForSeconds: 1_000 })
    const job = await startJob(world)
    for (const workerId of ['awake', 'dozing', 'silent']) await service.heartbeat(job.id, { workerId })
    const speak = (workerId: string, agoSeconds: number) =>
      pool.query(
        'UPDATE public.job_progress SET heartbeat_at = now() - make_interval(secs => $3) WHERE job_id = $1 AND worker_id = $2',
        [job.id, workerId, agoSeconds],
      )
    await speak('dozing', 20)
    await speak('silent', 31)
    const seen = async () => {
      const { liveness, workers } = await service.job(job.id)
      return [liveness, ...workers.map(worker => worker.liveness)]
    }
    t.same(await seen(), ['ok', 'ok', 'ok', 'stalled'])

    await pool.query('UPDATE public.service_processes SET waiting_job_ids = ARRAY[$1::uuid]', [job.id])
    t.same(await seen(), ['ok', 'ok', 'ok', 'ok'], 'what it has said may wait behind a lock')
    await pool.query("UPDATE public.service_processes SET waiting_job_ids = '{}', healthy_since = now()")
    t.same(await seen(), ['ok', 'ok', 'ok', 'ok'], 'the silence may be the fault of the service')
    await sweeper.beHealthyFor(1_000)
    t.same(await seen(), ['ok', 'ok', 'ok', 'stalled'])
    await speak('silent', -3_600)
    t.same(await seen(), ['ok', 'ok', 'ok', 'stalled'], 'its last report is of before the clock was set back')

    await service.heartbeat(job.id, { workerId: 'silent' })
    t.same(await seen(), ['ok', 'ok', 'ok', 'ok'], 'it has spoken')
    await service.age(job.id, 31)
    for (const workerId of ['awake', 'dozing', 'silent']) await speak(workerId, 31)
    await sweeper.sweep()
    t.same(await seen(), ['stalled', 'stalled', 'stalled', 'stalled'])
    await service.call('POST', `/jobs/${job.id}/complete`)
    t.same(await seen(), [null, null, null, null])
  },
)

t.test('a job is ended after its own timeout, not before', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const cases = await Promise.all(
    [
      [60, 60, 'running'],
      [60, 60.001, 'failed'],
      [1, 2, 'failed'],
      [300, 300, 'running'],
      [300, 300.001, 'failed'],
      [86_400, 86_400, 'running'],
      [0, 1_000_000, 'running'],
    ].map(async ([timeout, silence, status]) => ({
      name: `a timeout of ${timeout} s after ${silence} s`,
      id: await startSilentJob(world, Number(silence), { heartbeatTimeoutSeconds: timeout }),
      status,
    })),
  )
  t.equal((await sweeper.sweep()).ended, 3)
  for (const { name, id, status } of cases) t.equal((await world.service.job(id)).status, status, name)
})

t.test('a stale job has the failure reason stale', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const { id } = await world.service.createJob({ totalCount: 10 })
  await world.service.heartbeat(id, { processedCount: 4, etaSeconds: 9 })
  await world.service.age(id, 61)
  const before = await world.service.job(id)
  await sweeper.sweep()
  const job = await world.service.job(id)
  t.match(job, {
    status: 'failed',
    failureReason: 'stale',
    errorMessage: 'No heartbeat for 60 seconds',
    liveness: null,
    etaSeconds: null,
    etaSource: null,
    processedCount: 4,
    progressPercent: 40,
    heartbeatAt: before.heartbeatAt,
    revision: before.revision + 1,
  })
  t.equal(job.finishedAt, job.updatedAt)
  t.match(
    await versionsOf(world, id),
    { lifecycle: 'failed', lifecycle_revision: '3', revision: '3', finished_xact: /^\d+$/ },
    'with its transaction, by which readers who were away are told',
  )
  t.match(await lastEvent(world, id), {
    type: 'failed',
    actor: null,
    at: job.finishedAt ?? '',
    data: { failureReason: 'stale', heartbeatAt: job.heartbeatAt, processedCount: 4, totalCount: 10 },
  })
  t.match(sweeper.announced, [{ tenantId: job.tenantId, jobId: id, revision: 3, lifecycle: true, event: 'failed' }])
})

t.test('a silent job that was asked to stop is cancelled', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const id = await startSilentJob(world, 61, { cancellable: true })
  await world.service.call('POST', `/jobs/${id}/cancel`)
  await sweeper.sweep()
  t.match(await world.service.job(id), {
    status: 'cancelled',
    failureReason: null,
    errorMessage: null,
    cancelRequestedAt: String,
  })
  t.match(await lastEvent(world, id), { type: 'cancelled' })
  t.match(await world.service.heartbeat(id), { status: 409, body: { code: 'already_finished' } })
})

t.test('a pending job fails when nobody starts it in time, and waits for ever without a timeout', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const create = async (age: number, pendingTimeoutSeconds: number | null) => {
    const { id } = await world.service.createJob({ pendingTimeoutSeconds })
    await world.service.age(id, age)
    return id
  }
  const early = await create(119, 120)
  const late = await create(121, 120)
  const patient = await create(1_000_000, null)
  t.equal((await sweeper.sweep()).ended, 1)
  t.equal((await world.service.job(early)).status, 'pending')
  t.equal((await world.service.job(patient)).status, 'pending')
  t.match(await world.service.job(late), {
    status: 'failed',
    failureReason: 'never_started',
    errorMessage: 'Not started within 120 seconds',
    startedAt: null,
  })
  t.match(await world.service.heartbeat(late), { status: 409, body: { code: 'already_finished' } }, 'no false alarm')
})

t.test('the pending timeout begins anew with a retry', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const { id } = await world.service.createJob({ pendingTimeoutSeconds: 120 })
  await world.service.age(id, 121)
  await sweeper.sweep()
  await world.service.call('POST', `/jobs/${id}/retry`)
  t.equal((await sweeper.sweep()).ended, 0)
  t.equal((await world.service.job(id)).status, 'pending')
})

t.test('a heartbeat recovers a stale job and un-stalls a stalled one', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const stalled = await startSilentJob(world, 31)
  const stale = await startSilentJob(world, 61)
  await sweeper.sweep()
  for (const [id, history] of [
    [stalled, ['created', 'started', 'stalled', 'recovered']],
    [stale, ['created', 'started', 'failed', 'recovered']],
  ] as const) {
    await world.service.heartbeat(id, { workerId: 'a' })
    t.match(await world.service.job(id), {
      status: 'running',
      liveness: 'ok',
      failureReason: null,
      errorMessage: null,
      finishedAt: null,
      revision: 4,
    })
    t.same(await world.service.history(id), history)
    t.same(await versionsOf(world, id), {
      lifecycle: 'recovered',
      lifecycle_revision: '4',
      revision: '4',
      finished_xact: null,
    })
    t.match(await lastEvent(world, id), { data: { workerId: 'a' } })
  }
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null })
})

t.test('a new process judges no job before it has been healthy for as long as the timeout', async t => {
  for (const [healthyForSeconds, stalled, ended] of [
    [0, 0, 0],
    [28, 0, 0],
    [31, 1, 0],
    [58, 1, 0],
    [61, 0, 1],
  ] as const) {
    const world = await startWorld(t)
    const sweeper = await startSweeper(world, { healthyForSeconds })
    await startSilentJob(world, 1000)
    t.same(await sweeper.sweep(), { stalled, ended, skipped: null }, `after ${healthyForSeconds} s`)
  }
})

t.test('after a gap of more than three intervals between two sweeps, the healthy time begins anew', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  await sweeper.missVisits(3 * INTERVAL_SECONDS - 1)
  await sweeper.sweep()
  t.ok((await sweeper.healthyForSeconds()) >= A_DAY, 'three intervals are no gap')
  const id = await startSilentJob(world, 1000)
  await sweeper.missVisits(3 * INTERVAL_SECONDS + 1)
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null })
  t.ok((await sweeper.healthyForSeconds()) < 10)
  t.equal((await world.service.job(id)).status, 'running')
})

t.test('when the clock was set, the healthy time begins anew', async t => {
  for (const seconds of [-3600, 3600]) {
    const world = await startWorld(t)
    const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
    await startSilentJob(world, 1000)
    await sweeper.missVisits(seconds)
    t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null }, `by ${seconds} s`)
    t.ok((await sweeper.healthyForSeconds()) < 10)
  }
})

t.test("a silent job is ended though the database's clock was set back since its last heartbeat", async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: 50 })
  const running = await startSilentJob(world, -3_600)
  const { id: pending } = await world.service.createJob({ pendingTimeoutSeconds: 60 })
  await world.service.age(pending, -3_600)
  t.equal((await sweeper.sweep()).ended, 0, 'not before it has been silent for its timeout since then')
  await sweeper.beHealthyFor(11)
  t.equal((await sweeper.sweep()).ended, 2)
  t.match(await world.service.job(running), { failureReason: 'stale' })
  t.match(await world.service.job(pending), { failureReason: 'never_started' })
})

t.test('schedules go on while the wall clock is set ahead and back, and take no run twice', async t => {
  const RealDate = Date
  let offsetMs = 0
  globalThis.Date = class extends RealDate {
    constructor(...parts: [] | [number]) {
      if (parts.length === 0) super(RealDate.now() + offsetMs)
      else super(...parts)
    }
    static override now() {
      return RealDate.now() + offsetMs
    }
  } as DateConstructor
  const runs: number[] = []
  const schedule = createSchedule(
    'test',
    '* * * * * *',
    async () => runs.push(performance.now()),
    pino({ level: 'silent' }),
  )
  t.teardown(async () => {
    globalThis.Date = RealDate
    await schedule.stop()
  })
  schedule.start()
  for (const moveMs of [0, 3_600_000, -2 * 86_400_000]) {
    offsetMs += moveMs
    const before = runs.length
    const begun = performance.now()
    while (runs.length < before + 1) {
      if (performance.now() - begun > 10_000) throw new Error(`no run after the clock was moved by ${moveMs} ms`)
      await new Promise(resolve => setTimeout(resolve, 20))
    }
  }
  const gaps = runs.slice(1).map((run, index) => run - (runs[index] ?? 0))
  t.ok(
    gaps.every(ms => ms > 100),
    gaps.join(', '),
  )
})

t.test('the time since the last sweep counts from the last sweep that came to its end', async t => {
  const world = await startWorld(t)
  let breaks = false
  const database = hinder(world.database, async name => {
    if (breaks && name === 'headway_end_abandoned') throw new Error('connection lost')
  })
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY, database })
  await waitFor(() => sweeper.sinceLastMs() >= 20)
  breaks = true
  await t.rejects(sweeper.sweep())
  t.ok(sweeper.sinceLastMs() >= 20)
  breaks = false
  const before = sweeper.sinceLastMs()
  await sweeper.sweep()
  t.ok(sweeper.sinceLastMs() < before)
})

/** The database, with something in the way of a statement. */
const hinder = (database: Database, before: (name: string | null) => Promise<void>): Database => ({
  ...database,
  query: async <Row extends object>(name: string | null, text: string, values: unknown[]) => {
    await before(name)
    return database.query<Row>(name, text, values)
  },
})

t.test(
  'a process that could not reach the database judges no job until it has been healthy for the timeout',
  async t => {
    const world = await startWorld(t)
    let away = false
    const database = hinder(world.database, async () => {
      if (away) throw new Error('connection refused')
    })
    const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY, database })
    await startSilentJob(world, 1000)
    away = true
    t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: 'database' })
    away = false
    t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null })
    t.ok((await sweeper.healthyForSeconds()) < 10)
  },
)

t.test('after a sweep that fails, the healthy time begins anew', async t => {
  const world = await startWorld(t)
  let away = true
  const database = hinder(world.database, async name => {
    if (away && name === 'headway_end_abandoned') throw new Error('connection lost')
  })
  const sweeper = await startSweeper(world, { healthyForSeconds: 0, database }).catch(() => null)
  t.equal(sweeper, null, 'the error is for whoever scheduled it')
  away = false
  const other = await startSweeper(world, { healthyForSeconds: A_DAY, database })
  await startSilentJob(world, 1000)
  away = true
  await t.rejects(other.sweep(), { message: 'connection lost' })
  away = false
  t.same(await other.sweep(), { stalled: 0, ended: 0, skipped: null })
})

t.test('a database that takes more than two seconds to answer is in trouble', async t => {
  const world = await startWorld(t)
  let inTheWay = Promise.resolve()
  const database = hinder(world.database, async name => {
    if (name === 'headway_visit') await inTheWay
  })
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY, database })
  await startSilentJob(world, 1000)
  inTheWay = world.service.database.pool.query('SELECT pg_sleep(2.1)').then(() => undefined)
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: 'database' })
  inTheWay = Promise.resolve()
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null })
  t.ok((await sweeper.healthyForSeconds()) < 10)
})

t.test('a process that was suspended in the middle of a sweep judges no job in that sweep', async t => {
  const world = await startWorld(t)
  const asleep = { statement: '' }
  const database = hinder(world.database, async name => {
    if (name !== asleep.statement) return
    // While it slept, an hour went by without a visit.
    await world.service.database.pool.query("UPDATE public.service_processes SET seen_at = seen_at - interval '1 hour'")
  })
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY, database })
  const stale = await startSilentJob(world, 61)
  const stalled = await startSilentJob(world, 31)
  for (const statement of ['headway_end_abandoned', 'headway_mark_stalled']) {
    asleep.statement = statement
    if (statement === 'headway_mark_stalled') await world.service.heartbeat(stale)
    t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null }, `before ${statement}`)
    await world.service.database.pool.query(
      "UPDATE public.service_processes SET seen_at = now(), healthy_since = now() - interval '1 day'",
    )
  }
  t.equal((await world.service.job(stale)).status, 'running')
  t.equal((await world.service.job(stalled)).liveness, 'ok')
})

t.test('no job is judged while a report has waited for more than two seconds in the intake', async t => {
  const world = await startWorld(t)
  const intake = { oldestWaitMs: 0, refused: 0 }
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY, intake: () => intake })
  // Silence counts up to where all reports are written: two seconds less than it was.
  await startSilentJob(world, 70)
  intake.oldestWaitMs = 2_001
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: 'intake' })
  intake.oldestWaitMs = 2_000
  t.equal((await sweeper.sweep()).ended, 0, 'and the healthy window begins anew after that')
  await sweeper.beHealthyFor(A_DAY)
  t.equal((await sweeper.sweep()).ended, 1)
})

t.test('no job is judged while the intake refuses reports', async t => {
  const world = await startWorld(t)
  const intake = { oldestWaitMs: 0, refused: 0 }
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY, intake: () => intake })
  await startSilentJob(world, 61)
  intake.refused = 1
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: 'intake' })
  t.same(
    await sweeper.sweep(),
    { stalled: 0, ended: 0, skipped: null },
    'and the healthy window begins anew after that',
  )
  await sweeper.beHealthyFor(A_DAY)
  t.equal((await sweeper.sweep()).ended, 1)
})

t.test("the record of a process from before the database's clock was set back delays no verdict", async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const troubled = await startSweeper(world, { healthyForSeconds: -1 })
  await startSilentJob(world, 61)
  t.equal((await sweeper.sweep()).ended, 0, 'while its trouble is of now')
  await troubled.beHealthyFor(-3_600)
  await troubled.missVisits(-3_600)
  t.equal((await sweeper.sweep()).ended, 1)
})

t.test(
  'no job is judged while reports wait in another process, and until that process has been healthy for the timeout',
  async t => {
    const world = await startWorld(t)
    const intake = { oldestWaitMs: 0, refused: 0 }
    const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
    const other = await startSweeper(world, { healthyForSeconds: A_DAY, intake: () => intake })
    await startSilentJob(world, 61)
    intake.oldestWaitMs = 2_001
    t.equal((await other.sweep()).skipped, 'intake')
    t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null }, 'the other one says so at once')
    intake.oldestWaitMs = 0
    await other.sweep()
    await other.beHealthyFor(58)
    t.same(await sweeper.sweep(), { stalled: 1, ended: 0, skipped: null }, 'a shorter time is enough to stall it')
    await other.beHealthyFor(3)
    t.equal((await sweeper.sweep()).ended, 1)
  },
)

t.test('one healthy hour of a process is enough to judge any timeout', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: 3_590 })
  const silent = await startSilentJob(world, 86_401, { heartbeatTimeoutSeconds: 86_400 })
  t.equal((await sweeper.sweep()).ended, 0)
  await sweeper.beHealthyFor(10)
  t.equal((await sweeper.sweep()).ended, 1)
  t.equal((await world.service.job(silent)).status, 'failed')
})

t.test('a process that went missing right after its start delays no verdict', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const age = 2 * INTERVAL_SECONDS
  const crashed = await startSweeper(world, { age, healthyForSeconds: age })
  await crashed.missVisits(2 * INTERVAL_SECONDS)
  await startSilentJob(world, 61)
  t.equal((await sweeper.sweep()).ended, 1)
})

t.test('a process that went missing delays the verdict by one timeout at most', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const missing = await startSweeper(world, { healthyForSeconds: A_DAY })
  const short = await startSilentJob(world, 1000, { heartbeatTimeoutSeconds: 20 })
  const long = await startSilentJob(world, 1000, { heartbeatTimeoutSeconds: 60 })
  await missing.missVisits(10)
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null }, 'its workers may be on their way')
  await missing.missVisits(20)
  t.equal((await sweeper.sweep()).ended, 1, 'they had 20 seconds for that')
  t.equal((await world.service.job(short)).status, 'failed')
  t.equal((await world.service.job(long)).status, 'running')
  await missing.missVisits(30)
  t.equal((await sweeper.sweep()).ended, 0, 'not yet missing for 60 seconds, counted from when it was due')
  await missing.missVisits(10)
  t.equal((await sweeper.sweep()).ended, 1)
})

t.test('a process that is healthy, or was closed, delays no verdict', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const present = await startSweeper(world, { healthyForSeconds: A_DAY })
  const closed = await startSweeper(world, { healthyForSeconds: A_DAY })
  await startSweeper(world, { age: 0 })
  await present.missVisits(INTERVAL_SECONDS)
  await closed.missVisits(20)
  await closed.close()
  await startSilentJob(world, 61)
  t.equal((await sweeper.sweep()).ended, 1)
})

t.test('processes that were not seen for a day are forgotten', async t => {
  const world = await startWorld(t)
  const gone = await startSweeper(world)
  await gone.missVisits(A_DAY + 1)
  await startSweeper(world)
  const { rows } = await world.service.database.pool.query('SELECT FROM public.service_processes')
  t.equal(rows.length, 1)
})

t.test('several sweepers at once mark each job once, in batches of a limited size', async t => {
  const world = await startWorld(t)
  const { pool } = world.service.database
  const tenantId = randomUUID()
  await pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, status, liveness, started_at, heartbeat_at, heartbeat_timeout_seconds)
     SELECT $1, 'test', 'job ' || n, 'running', 'ok', now() - interval '1 hour',
       now() - CASE WHEN n % 2 = 0 THEN interval '61 seconds' ELSE interval '31 seconds' END, 60
     FROM generate_series(1, 2400) n`,
    [tenantId],
  )
  const sweepers = []
  for (let n = 0; n < 3; n += 1) sweepers.push(await startSweeper(world, { healthyForSeconds: A_DAY }))
  await Promise.all(sweepers.map(sweeper => sweeper.sweep()))
  // Jobs that another sweep had locked were left to it. The next sweep finds the jobs that it left.
  await sweepers[0]?.sweep()
  const { rows } = await pool.query(
    `SELECT status, liveness, lifecycle, revision, lifecycle_revision, count(*)::integer AS jobs,
       sum((SELECT count(*) FROM public.job_events e WHERE e.job_id = j.id AND e.type = j.lifecycle))::integer AS events
     FROM public.progress_jobs j GROUP BY 1, 2, 3, 4, 5 ORDER BY 1`,
  )
  const versions = { revision: '2', lifecycle_revision: '2', jobs: 1200, events: 1200 }
  t.same(rows, [
    { status: 'failed', liveness: null, lifecycle: 'failed', ...versions },
    { status: 'running', liveness: 'stalled', lifecycle: 'stalled', ...versions },
  ])
  const torn = await pool.query('SELECT FROM public.progress_jobs WHERE finished_at <> updated_at')
  t.equal(torn.rows.length, 0, 'a job ends at one moment')
  const announced = sweepers.flatMap(sweeper => sweeper.announced)
  t.equal(announced.length, 2400)
  t.equal(new Set(announced.map(change => change.jobId)).size, 2400, 'each is announced once')
})

t.test('one sweep marks all silent jobs', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  await world.service.database.pool.query(
    `INSERT INTO public.progress_jobs (tenant_id, job_type, name, status, liveness, started_at, heartbeat_at, heartbeat_timeout_seconds)
     SELECT $1, 'test', 'job ' || n, 'running', 'ok', now(), now() - interval '61 seconds', 60 * (n % 2)
     FROM generate_series(1, 2400) n`,
    [randomUUID()],
  )
  t.same(await sweeper.sweep(), { stalled: 1200, ended: 1200, skipped: null })
})

t.test('a locked job is skipped, and judged later by its newest state', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const id = await startSilentJob(world, 61)
  const holder = await world.service.database.pool.connect()
  try {
    await holder.query('BEGIN')
    await holder.query('SELECT FROM public.progress_jobs WHERE id = $1 FOR UPDATE', [id])
    t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null })
    await holder.query('UPDATE public.progress_jobs SET heartbeat_at = now() WHERE id = $1', [id])
    await holder.query('COMMIT')
  } finally {
    holder.release()
  }
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null })
  t.equal((await world.service.job(id)).status, 'running')
})

t.test('jobs whose heartbeats race with the sweeper run on, and each end by the sweeper has a recovery', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const jobIds = await Promise.all(Array.from({ length: 100 }, () => startSilentJob(world, 61)))
  await Promise.all([
    ...jobIds.map(id => world.service.heartbeat(id, { attempt: 1 })),
    ...Array.from({ length: 5 }, () => sweeper.sweep()),
  ])
  for (const id of jobIds) {
    const job = await world.service.job(id)
    t.match(job, { status: 'running', failureReason: null, finishedAt: null, liveness: 'ok' })
    const verdicts = (await world.service.history(id)).slice(2)
    t.match(verdicts.join(), /^(?:(?:failed|stalled),recovered)?$/)
    // Created, started, the first report of its worker (which recovers the job where it must).
    t.equal(job.revision, verdicts.length === 0 ? 3 : 4)
  }
})

t.test('a batch is never judged for silence, because it has no heartbeats', async t => {
  const world = await startWorld(t)
  const sweeper = await startSweeper(world, { healthyForSeconds: A_DAY })
  const id = await startSilentJob(world, 1000)
  await world.service.database.pool.query(
    `UPDATE public.progress_jobs SET children = '{}', partition_count = 1 WHERE id = $1`,
    [id],
  )
  t.same(await sweeper.sweep(), { stalled: 0, ended: 0, skipped: null })
})

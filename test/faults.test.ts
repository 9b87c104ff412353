import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { HeartbeatAnswer } from '../src/jobs/heartbeat.ts'
import { OPEN_IDENTITY, scopeOf } from '../src/jobs/identity.ts'
import { createHeartbeatIntake } from '../src/jobs/intake.ts'
import type { JobDocument, WorkerDocument } from '../src/jobs/job.ts'
import { createTestDatabase, withDatabase } from './helpers/database.ts'
import {
  copyData,
  lives,
  makeDirectory,
  pauseServer,
  postgresOf,
  preload,
  spawnService,
  type ServiceProcess,
} from './helpers/process.ts'
import { startProxy } from './helpers/proxy.ts'
import { openStream, type StreamReader } from './helpers/stream.ts'
import { waitFor } from './helpers/wait.ts'

const IS_LINUX = process.platform === 'linux'

/** Generous: the machine may be busy with other test files. */
const until = <T>(condition: () => T | Promise<T>): Promise<NonNullable<T>> =>
  waitFor(condition, { timeoutMs: 20_000 }) as Promise<NonNullable<T>>

interface Reply<Body> {
  status: number
  headers: Headers
  body: Body
  tookMs: number
}

interface Problem {
  code: string
}

/** One call under /api/progress. */
const call = async <Body = HeartbeatAnswer & Problem>(
  url: string,
  method: string,
  path: string,
  body?: unknown,
): Promise<Reply<Body>> => {
  const begun = performance.now()
  const response = await fetch(`${url}/api/progress${path}`, {
    method,
    ...(body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  })
  const answer = (await response.json()) as Body
  return { status: response.status, headers: response.headers, body: answer, tookMs: performance.now() - begun }
}

const beat = (url: string, jobId: string, body: object) => call(url, 'POST', `/jobs/${jobId}/heartbeat`, body)
const increment = (url: string, jobId: string, body: object) => call(url, 'POST', `/jobs/${jobId}/increment`, body)

/** Jobs that are taken for dead after five seconds of silence. */
const createJobs = async (url: string, count: number): Promise<string[]> => {
  const replies = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      call<JobDocument>(url, 'POST', '/jobs', { jobType: 'fault', name: `job ${index}`, heartbeatTimeoutSeconds: 5 }),
    ),
  )
  return replies.map(({ body }) => body.id)
}

const readJob = async (url: string, jobId: string) =>
  (await call<JobDocument & { workers: WorkerDocument[] }>(url, 'GET', `/jobs/${jobId}`)).body

const query = async <Row extends object>(url: string, sql: string, values: unknown[] = []): Promise<Row[]> => {
  const client = new pg.Client(url)
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query(sql, values)).rows as Row[]
  } finally {
    await client.end()
  }
}

/** `job/worker` → count, as stored. */
const readCounts = async (databaseUrl: string): Promise<Map<string, number>> => {
  const rows = await query<{ row: string; count: string }>(
    databaseUrl,
    "SELECT job_id || '/' || worker_id AS row, processed_count AS count FROM job_progress",
  )
  return new Map(rows.map(({ row, count }) => [row, Number(count)]))
}

/** The verdicts that no job deserved. */
const readFailures = (databaseUrl: string) =>
  query(databaseUrl, "SELECT job_id, data FROM job_events WHERE type IN ('failed', 'cancelled')")

const CONNECTIONS = 8

/** What workers were told, so that it can be compared with what is stored. */
class Load {
  /** `job/worker` → highest absolute count answered `durable: true`, and highest that was accepted at all. */
  readonly durable = new Map<string, number>()
  readonly buffered = new Map<string, number>()
  /** `job/worker` → sum of the increments answered 200, and of those whose outcome their worker cannot know. */
  readonly added = new Map<string, number>()
  readonly unknown = new Map<string, number>()
  readonly refusals = new Map<string, number>()
  answers = 0
  #ended = false
  readonly #connections: Promise<void>[]
  readonly #jobIds: string[]
  readonly #url: (turn: number) => string

  constructor(t: Test, jobIds: string[], url: (turn: number) => string) {
    this.#jobIds = jobIds
    this.#url = url
    this.#connections = Array.from({ length: CONNECTIONS }, (_, index) => this.#run(index))
    t.teardown(() => this.end())
  }

  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(this.#connections)
  }

  /** Each connection walks over all jobs, so that no job is silent, and over the replicas. */
  async #run(connection: number): Promise<void> {
    for (let turn = connection * 7; !this.#ended; turn += 1) {
      const jobId = this.#jobIds[turn % this.#jobIds.length]!
      if (turn % 3 === 0) await this.#increment(turn, jobId, `adds-${connection}`)
      else await this.#report(turn, jobId, `counts-${connection}`)
    }
  }

  async #report(turn: number, jobId: string, workerId: string): Promise<void> {
    const row = `${jobId}/${workerId}`
    try {
      const { status, body } = await beat(this.#url(turn), jobId, { workerId, processedCount: turn })
      if (status === 200) this.durable.set(row, turn)
      else if (status === 202) this.buffered.set(row, turn)
      else this.#refused(body.code)
    } catch {
      this.#refused('reset')
    }
  }

  async #increment(turn: number, jobId: string, workerId: string): Promise<void> {
    const row = `${jobId}/${workerId}`
    const by = 1 + (turn % 5)
    let sums = this.unknown
    try {
      const { status, body } = await increment(this.#url(turn), jobId, { workerId, increment: by })
      if (status === 200) sums = this.added
      else if (status !== 202) this.#refused(body.code)
    } catch {
      this.#refused('reset')
    }
    this.answers += sums === this.added ? 1 : 0
    sums.set(row, (sums.get(row) ?? 0) + by)
  }

  #refused(code: string): void {
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1)
  }
}

/** Nothing that was answered 200 is lost, and nothing is counted twice. */
const assertKept = (t: Test, load: Load, stored: Map<string, number>): void => {
  const lost = [...load.durable].filter(([row, count]) => (stored.get(row) ?? 0) < count)
  t.same(lost, [], `each of ${load.durable.size} durable counts is there`)
  const rows = new Set([...load.added.keys(), ...load.unknown.keys()])
  const wrong = [...rows].filter(row => {
    const sure = load.added.get(row) ?? 0
    const count = stored.get(row) ?? 0
    return count < sure || count > sure + (load.unknown.get(row) ?? 0)
  })
  t.same(wrong, [], `each of ${rows.size} sums is that of its increments, no more and no less`)
  t.ok(load.durable.size > 0 && load.added.size > 0, 'the load was real')
}

/** Each stream ends where the service itself says that its jobs are. */
const assertConverged = async (t: Test, url: string, jobIds: string[], streams: StreamReader[]): Promise<void> => {
  await until(async () => {
    const jobs = await Promise.all(jobIds.map(jobId => readJob(url, jobId)))
    return streams.every(stream =>
      jobs.every(({ id, revision, status }) => {
        const seen = stream.jobs.get(id)
        return seen?.revision === revision && seen.status === status
      }),
    )
  })
  t.pass('every stream shows what GET shows')
}

/** Buffered counts are written as well, sooner or later. */
const untilWritten = (databaseUrl: string, load: Load) =>
  until(async () => {
    const stored = await readCounts(databaseUrl)
    return [...load.buffered].every(([row, count]) => (stored.get(row) ?? 0) >= count) ? stored : null
  })

const SETTINGS = { LOG_LEVEL: 'info', SWEEP_SCHEDULE: '* * * * * *', LIVE_INTERVAL_MS: '100' }

// Most of the time is spent waiting for a database that is away.
t.jobs = 2

/** A data directory with a migrated cluster in it. */
const seed = makeDirectory(t)
t.before(async () => {
  const service = await spawnService(t, { HEADWAY_DATA_DIR: seed }).ready()
  await service.kill('SIGTERM')
})

/** Two replicas that share the embedded Postgres of a data directory of their own. */
const startPair = async (t: Test, settings: Record<string, string> = {}) => {
  const dataDir = copyData(t, seed)
  const services = [0, 1].map(() => spawnService(t, { ...SETTINGS, HEADWAY_DATA_DIR: dataDir, ...settings }))
  const [first, second] = await Promise.all(services.map(service => service.ready()))
  return { first: first!, second: second!, services, postgres: postgresOf(dataDir) }
}

const untilReady = (services: ServiceProcess[]) =>
  Promise.all(services.map(service => until(async () => (await service.readiness())?.degraded?.length === 0)))

t.test('Postgres killed under load loses nothing durable, fails no job, and streams converge', async t => {
  const { first, second, services, postgres } = await startPair(t)
  const jobIds = await createJobs(first.url, 50)
  const streams = services.map(service => openStream(t, () => service.url))
  const load = new Load(t, jobIds, turn => (turn % 2 === 0 ? first : second).url)
  await until(() => load.answers > 100)
  const killed = postgres.serverPid()
  process.kill(killed, 'SIGKILL')
  await until(() => postgres.serverPid() !== killed && !lives(killed))
  const answers = load.answers
  await until(() => load.answers > answers + 100)
  await load.end()
  await untilReady(services)
  assertKept(t, load, await untilWritten(postgres.url(), load))
  t.same(await readFailures(postgres.url()), [])
  await assertConverged(t, first.url, jobIds, streams)
  await assertConverged(t, second.url, jobIds, streams)
})

t.test('the service killed under load loses nothing durable, fails no job, and leaves no orphan', async t => {
  const { first, second, services, postgres } = await startPair(t)
  const jobIds = await createJobs(first.url, 50)
  const alive = () => services.filter(({ child }) => child.exitCode === null && child.signalCode === null)
  // A worker whose replica has died goes to the other one, as behind a load balancer.
  const stream = openStream(t, () => alive()[0]!.url)
  const load = new Load(t, jobIds, turn => alive()[turn % alive().length]!.url)
  await until(() => load.answers > 100 && stream.jobs.size === 50)
  await first.kill('SIGKILL')
  const answers = load.answers
  await until(() => load.answers > answers + 100)
  // Longer than a timeout: the verdict that the crash delays must not fall on those that report.
  const begun = performance.now()
  await until(() => performance.now() - begun > 6_000)
  await load.end()
  await untilReady([second])
  assertKept(t, load, await readCounts(postgres.url()))
  t.same(await readFailures(postgres.url()), [])
  await assertConverged(t, second.url, jobIds, [stream])
  t.ok(stream.connects > 1, 'its stream was cut and came back')
  const pids = [postgres.serverPid(), postgres.guardPid()]
  t.ok(pids.every(lives))
  await second.kill('SIGKILL')
  await until(() => !pids.some(lives))
})

t.test('a host whose clock is moved loses nothing, fails no job, and streams converge', async t => {
  const { first, second, services, postgres } = await startPair(t, preload('move-clock'))
  const jobIds = await createJobs(first.url, 50)
  const streams = services.map(service => openStream(t, () => service.url))
  const load = new Load(t, jobIds, turn => (turn % 2 === 0 ? first : second).url)
  for (let move = 0; move < 3; move += 1) {
    const answers = load.answers
    await until(() => load.answers > answers + 100)
    // One host of the two: their clocks differ by an hour, one way and the other.
    first.child.kill('SIGUSR2')
  }
  const begun = performance.now()
  // Longer than a timeout.
  await until(() => performance.now() - begun > 6_000)
  await load.end()
  assertKept(t, load, await readCounts(postgres.url()))
  t.same(await readFailures(postgres.url()), [])
  const jobs = await Promise.all(jobIds.map(jobId => readJob(first.url, jobId)))
  t.ok(
    jobs.every(job => Math.abs(Date.parse(job.updatedAt) - Date.now()) < 60_000),
    'all times are those of the database',
  )
  await assertConverged(t, first.url, jobIds, streams)
  await assertConverged(t, second.url, jobIds, streams)
})

t.test(
  'while Postgres stands still, heartbeats are answered 202 in time, and written in order after',
  { skip: !IS_LINUX },
  async t => {
    const dataDir = copyData(t, seed)
    const service = await spawnService(t, { ...SETTINGS, HEADWAY_DATA_DIR: dataDir }).ready()
    const postgres = postgresOf(dataDir)
    const jobIds = await createJobs(service.url, 50)
    await Promise.all(jobIds.map(jobId => beat(service.url, jobId, { processedCount: 1 })))

    const begun = performance.now()
    const { resume } = pauseServer(t, postgres.serverPid())
    const paused = await beat(service.url, jobIds[0]!, { processedCount: 2, message: 'first' })
    t.equal(paused.status, 202)
    t.ok(paused.tookMs < 2_700, `answered after ${Math.round(paused.tookMs)} ms`)
    // Fills the queue, so that what comes later is refused instead of kept.
    const bulks = jobIds.map(jobId =>
      call<{ results: HeartbeatAnswer[] }>(service.url, 'POST', '/heartbeats', {
        heartbeats: Array.from({ length: 999 }, (_, index) => ({ jobId, workerId: `bulk-${index}`, increment: 1 })),
      }),
    )
    const more = Array.from({ length: 20 }, (_, index) =>
      beat(service.url, jobIds[0]!, { processedCount: index + 3, message: `report ${index}` }),
    )
    const statuses = (await Promise.all([...bulks, ...more])).map(({ status }) => status)
    t.same([...new Set(statuses)], [202])
    const full = await call(service.url, 'POST', '/heartbeats', {
      heartbeats: jobIds.map(jobId => ({ jobId, workerId: 'one too many', increment: 1 })),
    })
    t.match([full.status, full.body.code, full.headers.get('retry-after')], [503, 'overloaded', '1'])
    await until(() => performance.now() - begun > 6_000)
    resume()

    await until(async () => (await readCounts(postgres.url())).size >= 50 * 1_000)
    const counts = await readCounts(postgres.url())
    t.same(
      [...counts].filter(([row, count]) => count !== (row.startsWith(jobIds[0]!) && row.endsWith('/default') ? 22 : 1)),
      [],
    )
    t.equal((await readJob(service.url, jobIds[0]!)).message, 'report 19')
    t.same(await readFailures(postgres.url()), [], 'nobody was judged for the silence of the database')
  },
)

t.test('a job that reports again after a pause of the database is not judged before', { skip: !IS_LINUX }, async t => {
  const { first, second, services, postgres } = await startPair(t)
  const jobIds = await createJobs(first.url, 50)
  const load = new Load(t, jobIds, turn => (turn % 2 === 0 ? first : second).url)
  await until(() => load.answers > 50)
  const begun = performance.now()
  const { resume } = pauseServer(t, postgres.serverPid())
  await until(() => performance.now() - begun > 6_000)
  resume()
  const answers = load.answers
  await until(() => load.answers > answers + 100)
  await load.end()
  await untilReady(services)
  assertKept(t, load, await untilWritten(postgres.url(), load))
  t.same(await readFailures(postgres.url()), [])
})

const LISTENER = "FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^(LISTEN|NOTIFY) headway'"

t.test('a cut listener comes back, and a deaf one is replaced by reconcile', async t => {
  const database = await createTestDatabase(t)
  const { proxy, url: listenUrl } = await startProxy(t, database.url)
  const service = await spawnService(t, {
    ...SETTINGS,
    DATABASE_URL: database.url,
    DATABASE_LISTEN_URL: listenUrl,
  }).ready()
  await untilReady([service])
  const [jobId = ''] = await createJobs(service.url, 1)
  const stream = openStream(t, () => service.url)
  await until(() => stream.jobs.has(jobId))
  let count = 0
  /** Milliseconds from the answer of a report to its event. */
  const report = async (): Promise<number> => {
    count += 1
    await beat(service.url, jobId, { processedCount: count })
    const begun = performance.now()
    await until(() => stream.jobs.get(jobId)?.processedCount === count)
    return performance.now() - begun
  }
  await report()

  const killed = await query<{ pid: number }>(database.url, `SELECT pid, pg_terminate_backend(pid) ${LISTENER}`)
  t.equal(killed.length, 1, 'there is one listener')
  await until(
    async () => (await query(database.url, `SELECT pid ${LISTENER} AND pid <> $1`, [killed[0]!.pid])).length > 0,
  )
  await untilReady([service])
  t.ok((await report()) < 1_000)

  proxy.blackHole()
  // It hears of the hole by its own unanswered ping.
  await until(async () => (await service.readiness())?.degraded?.includes('listener'))
  t.equal((await service.readiness())?.status, 'ready', 'degraded, not down')
  t.ok((await report()) < 2_500, 'reconcile sees the change')

  proxy.heal()
  await untilReady([service])
  t.ok(Math.max(await report(), await report()) < 1_000, 'hints arrive again')
  t.equal(stream.connects, 1, 'the stream was never cut')
})

const isFlush = (chunk: Buffer) => chunk.includes('headway_flush')

t.test('a slow database makes larger batches, and every heartbeat is durable', async t => {
  const database = await createTestDatabase(t)
  const { proxy, url } = await startProxy(t, database.url)
  const service = await spawnService(t, { ...SETTINGS, DATABASE_URL: url, DATABASE_LISTEN_URL: database.url }).ready()
  const jobIds = await createJobs(service.url, 50)
  let flushes = 0
  proxy.judge = chunk => {
    if (isFlush(chunk)) flushes += 1
    return 'pass'
  }
  proxy.delayMs = 200
  const replies = await Promise.all(
    Array.from({ length: 50 }, async (_, worker) => {
      const statuses = []
      for (let turn = 1; turn <= 4; turn += 1) {
        const jobId = jobIds[(worker + turn) % 50]!
        statuses.push((await increment(service.url, jobId, { workerId: `w-${worker}`, increment: 1 })).status)
      }
      return statuses
    }),
  )
  t.ok(replies.flat().every(status => status === 200))
  t.ok(flushes <= 20, `200 heartbeats took ${flushes} flushes`)
  const stored = await readCounts(database.url)
  t.equal(
    [...stored.values()].reduce((sum, one) => sum + one, 0),
    200,
  )
})

t.test('heartbeats wait for a full disk, and count once when there is room again', async t => {
  const database = await createTestDatabase(t)
  const service = await spawnService(t, { ...SETTINGS, DATABASE_URL: database.url }).ready()
  const jobIds = await createJobs(service.url, 3)
  await database.pool.query(`
    CREATE TABLE full_disk ();
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF EXISTS (SELECT FROM public.full_disk) THEN RAISE 'no space left' USING ERRCODE = '53100'; END IF;
        RETURN NEW;
      END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON job_progress FOR EACH ROW EXECUTE FUNCTION refuse();
    INSERT INTO full_disk DEFAULT VALUES`)
  const replies = await Promise.all(
    jobIds.flatMap(jobId => [1, 2, 3].map(by => increment(service.url, jobId, { increment: by }))),
  )
  t.same(
    replies.map(({ status }) => status),
    Array.from({ length: 9 }, () => 202),
  )
  t.equal((await readCounts(database.url)).size, 0)
  await database.pool.query('DELETE FROM full_disk')
  await until(async () => (await readCounts(database.url)).size === 3)
  // Behind everything that waited: once this is durable, nothing else is on its way.
  await Promise.all(jobIds.map(jobId => increment(service.url, jobId, { increment: 10 })))
  t.same([...(await readCounts(database.url)).values()], [16, 16, 16])
})

t.test("someone's open transaction holds up the heartbeats of its own rows alone", async t => {
  const database = await createTestDatabase(t)
  const service = await spawnService(t, { ...SETTINGS, DATABASE_URL: database.url }).ready()
  for (const table of ['progress_jobs', 'job_progress']) {
    const jobIds = await createJobs(service.url, 20)
    await Promise.all(jobIds.map(jobId => beat(service.url, jobId, { processedCount: 1 })))
    const held = jobIds[7]!
    const holder = await database.pool.connect()
    await holder.query('BEGIN')
    const key = table === 'progress_jobs' ? 'id' : 'job_id'
    await holder.query(`SELECT FROM ${table} WHERE ${key} = $1 FOR UPDATE`, [held])
    for (const count of [2, 3]) {
      const replies = await Promise.all(jobIds.map(jobId => beat(service.url, jobId, { processedCount: count })))
      const waiting = replies.flatMap(({ status }, index) => (status === 200 ? [] : [jobIds[index]]))
      t.same(waiting, [held], `${table} is locked`)
    }
    await holder.query('COMMIT')
    holder.release()
    await until(async () => (await readCounts(database.url)).get(`${held}/default`) === 3)
  }
})

t.test('an increment whose commit was not confirmed is never repeated, an absolute count is', async t => {
  for (const verdict of ['cut_after_answer', 'cut'] as const) {
    const database = await createTestDatabase(t)
    const { proxy, url } = await startProxy(t, database.url)
    const service = await spawnService(t, { ...SETTINGS, DATABASE_URL: url, DATABASE_LISTEN_URL: database.url }).ready()
    const [jobId = ''] = await createJobs(service.url, 1)
    const cutNextFlush = () => {
      proxy.judge = chunk => {
        if (!isFlush(chunk)) return 'pass'
        proxy.judge = () => 'pass'
        return verdict
      }
    }
    t.equal((await increment(service.url, jobId, { workerId: 'adds', increment: 5 })).status, 200)
    cutNextFlush()
    const lost = await increment(service.url, jobId, { workerId: 'adds', increment: 7 })
    t.match([lost.status, lost.body.code, lost.headers.get('retry-after')], [503, 'outcome_unknown', '1'])
    cutNextFlush()
    const absolute = await beat(service.url, jobId, { workerId: 'counts', processedCount: 30 })
    t.equal(absolute.status, 200, 'written again')
    await increment(service.url, jobId, { workerId: 'adds', increment: 1 })
    const { workers } = await readJob(service.url, jobId)
    t.strictSame(
      Object.fromEntries(workers.map(({ workerId, processedCount }) => [workerId, processedCount])),
      { adds: verdict === 'cut' ? 6 : 13, counts: 30 },
      verdict === 'cut' ? 'the statement did not arrive' : 'its answer did not arrive',
    )
    await service.kill('SIGKILL')
  }
})

t.test('replicas that start at once on an empty database all serve', async t => {
  const admin = process.env['TEST_DATABASE_URL']!
  const name = `${process.env['TEST_TEMPLATE']!.replace('template', 'test')}_${randomBytes(6).toString('hex')}`
  await query(admin, `CREATE DATABASE "${name}"`)
  t.teardown(() => query(admin, `DROP DATABASE "${name}" WITH (FORCE)`))
  const settings = { ...SETTINGS, DATABASE_URL: withDatabase(admin, name) }
  const services = await Promise.all([1, 2, 3].map(() => spawnService(t, settings).ready()))
  await untilReady(services)
  const [jobId = ''] = await createJobs(services[0]!.url, 1)
  for (const { url } of services) t.equal((await increment(url, jobId, { increment: 1 })).status, 200)
  t.equal((await readJob(services[2]!.url, jobId)).processedCount, 3)
})

const silent = pino({ level: 'silent' })

t.test(
  'a report that arrives while the last one is being answered is written as well',
  { timeout: 10_000 },
  async t => {
    const intake = createHeartbeatIntake({
      write: async entries => ({
        written: entries,
        outcomes: entries.map(() => ({
          kind: 'written',
          status: 'running',
          cancelRequested: false,
          progressPercent: 0,
          revision: 1,
          applied: true,
          heartbeatTimeoutSeconds: 60,
          changed: false,
          lifecycleChanged: false,
        })),
        batches: [],
        failure: null,
        unwritten: [],
      }),
      announce: () => undefined,
      heartbeatIntervalMs: 5_000,
      stalledAfterSeconds: 30,
      answerWithinMs: 200,
      log: silent,
    })
    t.teardown(() => intake.close(0))
    const scope = scopeOf(OPEN_IDENTITY)
    for (let ticks = 0; ticks < 12; ticks += 1) {
      await intake.submit(scope, { jobId: 'job', workerId: 'w' })
      for (let tick = 0; tick < ticks; tick += 1) await Promise.resolve()
      t.equal((await intake.submit(scope, { jobId: 'job', workerId: 'w' })).durable, true, `${ticks} turns later`)
    }
  },
)

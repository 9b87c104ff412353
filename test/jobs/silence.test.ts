import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/database/connection.ts'
import { UnreachableError } from '../../src/database/failures.ts'
import { OPEN_IDENTITY, scopeOf } from '../../src/jobs/identity.ts'
import { createHeartbeatIntake, type HeartbeatIntake } from '../../src/jobs/heartbeats/intake.ts'
import { createUseCases } from '../../src/jobs/create-use-cases.ts'
import { createInTurn, takeTurns } from '../../src/jobs/in-turn.ts'
import type { Jobs } from '../../src/jobs/use-cases.ts'
import type { JobRepository } from '../../src/jobs/repository.ts'
import { createSweeper } from '../../src/jobs/sweeper.ts'
import { createHeartbeatWrite } from '../../src/jobs/heartbeats/write.ts'
import { countTurnedAway, TurnedAway } from '../../src/jobs/turned-away.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { waitFor } from '../helpers/wait.ts'

const scope = scopeOf(OPEN_IDENTITY)
const log = pino({ level: 'silent' })

const TIMEOUT_SECONDS = 1
/** Of sweeps. These come sooner: a busy machine must not make a process look missing. */
const INTERVAL_SECONDS = 10
const RUNS = Number(process.env['SILENCE_RUNS'] ?? 1)

/** The parts of a replica that take reports and judge silence: the real intake, flushes and sweeper. */
const startReplica = (t: Test, { url }: TestDatabase) => {
  const database = openDatabase({ url, poolSize: 5, preparedStatements: true, onConnectionError: () => undefined })
  const intake = createHeartbeatIntake({
    write: createHeartbeatWrite(database),
    announce: () => undefined,
    log,
    heartbeatIntervalMs: 1_000,
    stalledAfterSeconds: TIMEOUT_SECONDS,
    answerWithinMs: 100,
  })
  const sweeper = createSweeper({
    database,
    announce: () => undefined,
    log,
    intake: () => intake.unwritten(),
    stalledAfterSeconds: TIMEOUT_SECONDS,
    intervalSeconds: INTERVAL_SECONDS,
  })
  t.teardown(async () => {
    await intake.close(0)
    await database.close()
  })
  return { intake, sweeper }
}
type Replica = ReturnType<typeof startReplica>

/** Running jobs, the last three of them partitions of the batch that comes last. */
const insertJobs = async ({ pool }: TestDatabase): Promise<{ jobIds: string[]; batchId: string }> => {
  const { rows } = await pool.query<{ id: string }>(
    `INSERT INTO progress_jobs (tenant_id, job_type, name, status, liveness, started_at, heartbeat_at,
       heartbeat_timeout_seconds, partition_count, children)
     SELECT $1, 't', 'job ' || n, 'running', CASE WHEN n < 9 THEN 'ok' ELSE 'ok' END, now(), now(), $2,
       CASE WHEN n = 9 THEN 3 END, CASE WHEN n = 9 THEN '{}'::jsonb END
     FROM generate_series(1, 9) n RETURNING id`,
    [scope.tenantId, TIMEOUT_SECONDS],
  )
  const ids = rows.map(({ id }) => id)
  const batchId = ids.pop() ?? ''
  await pool.query(
    `UPDATE progress_jobs SET parent_job_id = $1, partition_count = 3, partition_index = array_position($2::uuid[], id) - 1
     WHERE id = ANY ($2)`,
    [batchId, ids.slice(-3)],
  )
  return { jobIds: ids, batchId }
}

const TABLES = ['progress_jobs', 'job_progress', 'job_events', 'service_processes', 'webhooks', 'webhook_messages']
const TABLE_MODES = ['ROW EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE']
const ROW_MODES = ['KEY SHARE', 'SHARE', 'NO KEY UPDATE', 'UPDATE']

interface Lock {
  statement: string
  /** Which row, where it is one. */
  place: number
  holdMs: number
  pauseMs: number
}

/** Locks of other sessions on tables and rows: LOCK TABLE as CREATE INDEX, REINDEX, VACUUM FULL and ALTER TABLE take it. */
const locks = fc.record({
  statement: fc.oneof(
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...TABLES), fc.constantFrom(...TABLE_MODES))
        .map(([table, mode]) => `LOCK TABLE ${table} IN ${mode} MODE`),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        'LOCK TABLE job_progress IN SHARE MODE',
        'LOCK TABLE job_progress IN ACCESS EXCLUSIVE MODE',
      ),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(
          fc.constantFrom('progress_jobs WHERE id = $1', 'job_progress WHERE job_id = $1'),
          fc.constantFrom(...ROW_MODES),
        )
        .map(([row, mode]) => `SELECT FROM ${row} FOR ${mode}`),
    },
    { weight: 1, arbitrary: fc.constant('SELECT FROM service_processes FOR UPDATE') },
  ),
  place: fc.nat(8),
  holdMs: fc.constantFrom(100, 400, 900, 1_400, 1_900, 2_600),
  pauseMs: fc.constantFrom(0, 50, 200),
})

const hold = async (pool: pg.Pool, { statement, place, holdMs, pauseMs }: Lock, ids: string[]): Promise<void> => {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    // A session that waits for a table makes all later sessions wait, too.
    await client.query("SET LOCAL lock_timeout = '2s'")
    await client.query(statement, statement.includes('$1') ? [ids[place % ids.length]] : []).catch(() => undefined)
    await delay(holdMs)
    await client.query('ROLLBACK')
  } finally {
    client.release()
  }
  await delay(pauseMs)
}

const countEnded = async (pool: pg.Pool): Promise<number> => {
  const { rows } = await pool.query("SELECT FROM job_events WHERE type = 'failed'")
  return rows.length
}

t.test('live jobs are not ended while an index is built on job_progress', async t => {
  const database = await createTestDatabase(t)
  const { pool } = database
  const { intake, sweeper } = startReplica(t, database)
  const { jobIds } = await insertJobs(database)
  await sweeper.sweep()
  await pool.query("UPDATE service_processes SET healthy_since = now() - interval '1 day'")
  const holder = await pool.connect()
  await holder.query('BEGIN')
  await holder.query('LOCK TABLE job_progress IN SHARE MODE')
  // Until all of them have been silent for their timeout in the eyes of the database.
  const begun = performance.now()
  while (performance.now() < begun + 1_500) {
    const answers = jobIds.map(jobId => intake.submit(scope, { jobId, workerId: 'w' }))
    t.ok((await Promise.all(answers)).every(({ durable }) => !durable))
    t.match(await sweeper.sweep(), { ended: 0 })
  }
  t.equal(await countEnded(pool), 0)
  await holder.query('ROLLBACK')
  holder.release()
  await waitFor(() => intake.stats().pending === 0)
})

/** PostgreSQL manual, appendix A: disk full, out of memory, read-only, missing rights, too many connections, … */
const REASONS = [
  '53100',
  '53200',
  '25006',
  '42501',
  '53300',
  '58030',
  'XX001',
  '57014',
  '55P03',
  '40001',
  '0A000',
  '42P01',
]

t.test('a report that cannot be written for any reason waits, and its caller is told', async t => {
  const database = await createTestDatabase(t)
  const { pool } = database
  const { intake } = startReplica(t, database)
  const { jobIds } = await insertJobs(database)
  await pool.query('CREATE TABLE reason (code text)')
  await pool.query(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      RAISE EXCEPTION 'no' USING ERRCODE = (SELECT code FROM reason);
    END $$`)
  for (const code of REASONS) {
    await pool.query('DELETE FROM reason')
    await pool.query('INSERT INTO reason VALUES ($1)', [code])
    await pool.query('CREATE TRIGGER fails BEFORE INSERT OR UPDATE ON job_progress EXECUTE FUNCTION fail()')
    t.match(await intake.submit(scope, { jobId: jobIds[0] ?? '', workerId: 'w' }), { durable: false }, code)
    const { oldestWaitMs, lockedJobIds } = intake.unwritten()
    t.ok(oldestWaitMs >= 90, `${code}: ${oldestWaitMs} ms`)
    t.same(lockedJobIds, [])
    await pool.query('DROP TRIGGER fails ON job_progress')
    await waitFor(() => intake.stats().pending === 0)
    t.equal(intake.oldestWaitMs(), 0)
  }
})

t.test('a job whose row was locked is not ended before the reports that waited for it are written', async t => {
  const database = await createTestDatabase(t)
  const { pool } = database
  const [here, there] = [startReplica(t, database), startReplica(t, database)]
  const { jobIds } = await insertJobs(database)
  const [jobId = '', silent = ''] = jobIds
  const holder = await pool.connect()
  await holder.query('BEGIN')
  await holder.query('SELECT FROM progress_jobs WHERE id = $1 FOR UPDATE', [jobId])
  await here.intake.submit(scope, { jobId, workerId: 'w' })
  await waitFor(() => here.intake.unwritten().lockedJobIds?.length === 1)
  t.equal(here.intake.oldestWaitMs(), 0, 'it holds up no verdict on others')
  await here.sweeper.sweep()
  await there.sweeper.sweep()
  // The others may be silent for as long as this test takes.
  await pool.query(
    `UPDATE progress_jobs SET heartbeat_timeout_seconds = 600,
       heartbeat_at = CASE WHEN id = $1 THEN now() - interval '1 hour' ELSE heartbeat_at END WHERE id <> $2`,
    [silent, jobId],
  )
  await holder.query("UPDATE progress_jobs SET heartbeat_at = now() - interval '1 hour' WHERE id = $1", [jobId])
  await pool.query("UPDATE service_processes SET healthy_since = now() - interval '1 day'")
  await holder.query('COMMIT')
  holder.release()
  // At once: the flush tries the job again in a quarter of a second.
  const verdicts = await there.sweeper.sweep()
  t.equal(verdicts.ended, 1, 'of the silent one')
  const { rows } = await pool.query<{ status: string }>('SELECT status FROM progress_jobs WHERE id = $1', [jobId])
  t.equal(rows[0]?.status, 'running')
})

t.test('silence counts only up to the moment at which all processes have written their reports', async t => {
  const database = await createTestDatabase(t)
  const { pool } = database
  const [here, there] = [startReplica(t, database), startReplica(t, database)]
  await insertJobs(database)
  await here.sweeper.sweep()
  await there.sweeper.sweep()
  const move = (heard: string) =>
    pool.query(
      `UPDATE service_processes SET healthy_since = now() - interval '1 day', seen_at = now(),
         heard_until = heard_until - $1::interval`,
      [heard],
    )
  await pool.query("UPDATE progress_jobs SET heartbeat_at = now() - interval '1 minute'")
  await pool.query('UPDATE progress_jobs SET heartbeat_timeout_seconds = 30')
  await move('31 seconds')
  t.equal((await here.sweeper.sweep()).ended, 0, 'the other one has written nothing for 31 seconds')
  t.equal((await there.sweeper.sweep()).ended, 8)
})

/** Use cases whose commands end as `change` ends. */
const createFailing = (change: () => Promise<never>): Jobs =>
  createUseCases({
    repository: { change } as unknown as JobRepository,
    intake: {} as HeartbeatIntake,
    announce: () => undefined,
    defaultHeartbeatTimeoutSeconds: 60,
  })

t.test(
  'a command that the database cannot carry out counts as turned away, and one that waits for a lock does not',
  async t => {
    const turnedAway = new TurnedAway()
    const jobsOver = (error: Error) =>
      countTurnedAway(
        createFailing(() => Promise.reject(error)),
        turnedAway,
      )
    const stateOf = (code: string) => Object.assign(new pg.DatabaseError('no', 0, 'error'), { code })
    await t.rejects(jobsOver(stateOf('57014')).start(OPEN_IDENTITY, 'a', {}), { code: 'database_unavailable' })
    t.equal(turnedAway.total, 0)
    for (const error of [new UnreachableError(new Error('away')), stateOf('53100')]) {
      await t.rejects(jobsOver(error).start(OPEN_IDENTITY, 'a', {}), { code: 'database_unavailable' })
    }
    t.equal(turnedAway.total, 2)
  },
)

t.test(
  'a command that gets no turn in time counts as turned away, and a command refused for too many waiting calls of its caller does not',
  async t => {
    const turnedAway = new TurnedAway()
    let end: () => void = () => undefined
    const held = new Promise<never>((_resolve, reject) => {
      end = () => reject(new UnreachableError(new Error('away')))
    })
    const { inTurn } = createInTurn(1, { maxWaitingPerCaller: 1, patienceMs: 20 })
    const jobs = countTurnedAway(
      takeTurns(
        createFailing(() => held),
        inTurn,
      ),
      turnedAway,
    )
    const commands = [
      (jobs: Jobs) => jobs.start(OPEN_IDENTITY, 'a', {}),
      (jobs: Jobs) => jobs.complete(OPEN_IDENTITY, 'a', {}),
      (jobs: Jobs) => jobs.fail(OPEN_IDENTITY, 'a', { errorMessage: 'no' }),
      (jobs: Jobs) => jobs.cancel(OPEN_IDENTITY, 'a'),
      (jobs: Jobs) => jobs.acknowledgeCancel(OPEN_IDENTITY, 'a', {}),
      (jobs: Jobs) => jobs.retry(OPEN_IDENTITY, 'a'),
    ]
    const underWay = jobs.start(OPEN_IDENTITY, 'a', {})
    for (const [index, command] of commands.entries()) {
      const waiting = command(jobs)
      await t.rejects(jobs.complete(OPEN_IDENTITY, 'a', {}), { code: 'rate_limited' })
      t.equal(turnedAway.total, index)
      await t.rejects(waiting, { code: 'overloaded' })
      t.equal(turnedAway.total, index + 1)
    }
    end()
    await t.rejects(underWay, { code: 'database_unavailable' })
    t.equal(turnedAway.total, commands.length + 1)
  },
)

t.test('no job is ended for a silence that locks in the database have caused', async t => {
  const property = fc.asyncProperty(
    fc.array(locks, { minLength: 3, maxLength: 5 }),
    fc.array(locks, { minLength: 1, maxLength: 3 }),
    fc.boolean(),
    async (some, others, isHealthy) => {
      const database = await createTestDatabase(t)
      const { pool } = database
      const replicas: Replica[] = [startReplica(t, database), startReplica(t, database)]
      const { jobIds, batchId } = await insertJobs(database)
      const alive = jobIds.slice(1)
      const heard = new Map<string, number[]>(jobIds.map(id => [id, []]))
      let goesOn = true
      const work = async (jobId: string, index: number) => {
        for (let count = 1; goesOn; count += 1) {
          heard.get(jobId)?.push(Date.now())
          const report = { jobId, workerId: `w${count % 2}`, processedCount: count }
          replicas[(count + index) % 2]?.intake.submit(scope, report).catch(() => undefined)
          await delay(150 + 20 * index)
        }
      }
      const sweep = async ({ sweeper }: Replica) => {
        while (goesOn) {
          await sweeper.sweep().catch(() => undefined)
          // As if the trouble had been over for a day: no verdict may hang on the healthy window alone.
          if (isHealthy) await pool.query("UPDATE service_processes SET healthy_since = now() - interval '1 day'")
          await delay(100)
        }
      }
      const stand = async (all: Lock[]) => {
        for (const lock of all) await hold(pool, lock, [...jobIds, batchId])
      }
      const busy = [...alive.map(work), ...replicas.map(sweep)]
      await Promise.all([stand(some), stand(others)])
      const dead = jobIds[0] ?? ''
      const statusOf = async (id: string) =>
        (await pool.query<{ status: string }>('SELECT status FROM progress_jobs WHERE id = $1', [id])).rows[0]?.status
      await waitFor(async () => (await statusOf(dead)) === 'failed', { timeoutMs: 20_000 })
      goesOn = false
      await Promise.all(busy)
      const { rows } = await pool.query<{ job_id: string; type: string; hb: number; at: number }>(
        `SELECT job_id, type, date_part('epoch', (data ->> 'heartbeatAt')::timestamptz) * 1000 AS hb,
           date_part('epoch', at) * 1000 AS at
         FROM job_events WHERE type IN ('failed', 'stalled') AND job_id <> $1`,
        [batchId],
      )
      const wrong = rows.filter(({ job_id: jobId, hb }) =>
        heard.get(jobId)?.some(ms => ms > hb + 3 && ms < hb + TIMEOUT_SECONDS * 1000 - 3),
      )
      await Promise.all(replicas.map(({ intake }) => intake.close(0)))
      if (wrong.length > 0) throw new Error(`${wrong.length} verdicts: ${JSON.stringify(wrong.slice(0, 3))}`)
    },
  )
  const checked = await fc.check(property, { numRuns: RUNS, endOnFailure: true })
  t.equal(checked.failed, false, fc.defaultReportMessage(checked) ?? 'holds')
})

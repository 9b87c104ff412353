import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import pg from 'pg'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/database/connection.ts'
import { startEmbeddedPostgres } from '../../src/database/embedded/embedded.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { migrate } from '../../src/database/migrate.ts'
import type { Heartbeat } from '../../src/contract/heartbeat.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import type { JobStatus } from '../../src/contract/states.ts'
import { createHeartbeatWrite } from '../../src/jobs/heartbeats/write.ts'
import { entryOf } from '../helpers/entry.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeDirectory } from '../helpers/process.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

const { tenantId } = OPEN_IDENTITY

const UNKNOWN_JOB = '00000000-0000-4000-8000-000000000000'

const insertJobs = async (pool: pg.Pool, status: JobStatus, count = 1): Promise<string[]> => {
  const { rows } = await pool.query<{ id: string }>(
    `INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, liveness, started_at,
       heartbeat_at, finished_at, failure_reason)
     SELECT $1, 'test', 'job ' || n, 60, $2, CASE $2 WHEN 'running' THEN 'ok' END,
       CASE WHEN $2 <> 'pending' THEN now() END, CASE WHEN $2 <> 'pending' THEN now() END,
       CASE WHEN $2 NOT IN ('pending', 'running') THEN now() END, CASE $2 WHEN 'failed' THEN 'worker' END
     FROM generate_series(1, $3::integer) n RETURNING id`,
    [tenantId, status, count],
  )
  return rows.map(row => row.id)
}

// prettier-ignore
const JOB_CHECKS: [constraint: string, of: JobStatus, changes: string[]][] = [
  ['progress_jobs_status', 'pending', ["status = 'paused', started_at = now()"]],
  ['progress_jobs_unit', 'pending', ["unit = ''", "unit = repeat('x', 31)"]],
  ['progress_jobs_percent', 'pending', ['progress_percent = -1', 'progress_percent = 101']],
  ['progress_jobs_percent_100_is_completed', 'running', ['progress_percent = 100']],
  ['progress_jobs_counts', 'running', [
    'processed_count = -1', 'processed_count = 9007199254740992', 'total_count = -1', 'total_count = 9007199254740992',
    'own_total_count = -1', 'own_total_count = 9007199254740992', 'eta_seconds = -1', 'eta_seconds = 9007199254740992',
  ]],
  ['progress_jobs_throughput', 'running', ['throughput_per_second = -0.1', "throughput_per_second = 'infinity'", "throughput_per_second = 'NaN'"]],
  ['progress_jobs_eta_source', 'running', ["eta_source = 'guess'"]],
  ['progress_jobs_finished', 'running', ['finished_at = now()', "status = 'completed', liveness = NULL"]],
  ['progress_jobs_finished', 'completed', ['finished_at = NULL']],
  ['progress_jobs_started', 'running', ['started_at = NULL']],
  ['progress_jobs_started', 'completed', ['started_at = NULL']],
  ['progress_jobs_heartbeat', 'running', ['heartbeat_at = NULL']],
  ['progress_jobs_liveness', 'running', ['liveness = NULL', "liveness = 'asleep'"]],
  ['progress_jobs_liveness', 'pending', ["liveness = 'ok'"]],
  ['progress_jobs_liveness', 'completed', ["liveness = 'ok'"]],
  ['progress_jobs_failure', 'failed', ['failure_reason = NULL']],
  ['progress_jobs_failure', 'completed', ["failure_reason = 'worker'"]],
  ['progress_jobs_failure_reason', 'failed', ["failure_reason = 'boredom'"]],
  ['progress_jobs_attempt', 'pending', ['attempt = 0']],
  ['progress_jobs_timeouts', 'pending', ['heartbeat_timeout_seconds = -1', 'heartbeat_timeout_seconds = 86401', 'pending_timeout_seconds = 0']],
  ['progress_jobs_partition_place', 'pending', [
    'partition_index = 0', 'parent_job_id = id, partition_count = 1',
    'parent_job_id = id, partition_index = -1, partition_count = 1',
    "parent_job_id = id, partition_index = 0, partition_count = 1, children = '{}'",
  ]],
  ['progress_jobs_partition_count', 'pending', [
    'partition_count = 1', "children = '{}'", 'parent_job_id = id, partition_index = 0',
    "children = '{}', partition_count = 0", "children = '{}', partition_count = 1001",
    'parent_job_id = id, partition_index = 1, partition_count = 1',
  ]],
  ['progress_jobs_sampled', 'running', ['sampled_at = now()', 'sampled_percent = 1']],
  ['progress_jobs_expected', 'running', ['expected_seconds = -1', "expected_seconds = 'infinity'"]],
  ['progress_jobs_revision', 'pending', ['revision = 0', 'lifecycle_revision = 0', 'lifecycle_revision = revision + 1']],
  ['progress_jobs_lifecycle', 'pending', ["lifecycle = 'paused'"]],
  ['progress_jobs_deadline', 'pending', [
    "deadline = 'late'", 'finish_by = now(), finish_within_seconds = 60', 'finish_within_seconds = 0',
  ]],
  ['progress_jobs_idempotency_pair', 'pending', ["idempotency_key = 'k'", "idempotency_hash = 'h'"]],
]

/** Each statement adds a row that the constraint refuses. */
const STATISTICS_CHECKS: [constraint: string, statements: string[]][] = [
  [
    'statistics_rollups_level',
    [
      `INSERT INTO statistics_rollups (tenant_id, level, starts_at, whose, organization_id, types, total)
       VALUES ('${UNKNOWN_JOB}', 'year', now(), 0, '${UNKNOWN_JOB}', '{}', '{}')`,
    ],
  ],
  [
    'statistics_rollups_whose',
    [-1, 3].map(
      whose => `INSERT INTO statistics_rollups (tenant_id, level, starts_at, whose, organization_id, types, total)
        VALUES ('${UNKNOWN_JOB}', 'day', now(), ${whose}, '${UNKNOWN_JOB}', '{}', '{}')`,
    ),
  ],
  [
    'statistics_coverage_single',
    [
      `INSERT INTO statistics_coverage (single, days_from, days_until, hours_until) VALUES (false, now(), now(), now())`,
    ],
  ],
]

const WORKER_CHECKS: [constraint: string, changes: string[]][] = [
  ['job_progress_unit', ["unit = ''", "unit = repeat('x', 31)"]],
  [
    'job_progress_counts',
    [
      'processed_count = -1',
      'total_count = -1',
      'processed_count = 9007199254740992',
      'total_count = 9007199254740992',
    ],
  ],
  ['job_progress_percent', ['progress_percent = -1', 'progress_percent = 101']],
  ['job_progress_throughput', ['throughput_per_second = -1', "throughput_per_second = 'NaN'"]],
  [
    'job_progress_rate',
    ['rate_whole = -1', "rate_whole = 'infinity'", "rate_recent = 'infinity'", 'rate_recent = -0.1'],
  ],
]

const WEBHOOK_CHECKS: [constraint: string, table: string, changes: string[]][] = [
  ['webhooks_progress_interval', 'webhooks', ['progress_interval_seconds = 0', 'progress_interval_seconds = 86401']],
  ['webhooks_gone', 'webhooks', ['gone = true']],
  ['webhooks_kind', 'webhooks', ["kind = 'pager', url = NULL"]],
  ['webhooks_url', 'webhooks', ["kind = 'slack'", 'url = NULL']],
  ['webhooks_language', 'webhooks', ["language = 'it'"]],
  ['chat_messages_posts', 'chat_messages', ['posts = 0']],
  ['webhooks_previous_secret', 'webhooks', ["previous_secret = 'x'", 'previous_secret_until = now()']],
  ['webhooks_failures', 'webhooks', ['consecutive_failures = -1, failing_since = now()']],
  ['webhooks_dropped', 'webhooks', ['dropped_count = 1', 'dropped_at = now()']],
  ['webhooks_failing_since', 'webhooks', ['consecutive_failures = 1', 'failing_since = now()']],
  ['webhook_deliveries_status', 'webhook_deliveries', ["status = 'lost', finished_at = now()"]],
  ['webhook_deliveries_finished_at', 'webhook_deliveries', ["status = 'dead'", 'finished_at = now()']],
  [
    'webhook_deliveries_claim',
    'webhook_deliveries',
    ["claim = gen_random_uuid(), status = 'delivered', finished_at = now()"],
  ],
  ['webhook_deliveries_attempts', 'webhook_deliveries', ['attempts = -1']],
]

const CHECK_VIOLATION = '23514'
const FOREIGN_KEY_VIOLATION = '23503'
const UNIQUE_VIOLATION = '23505'

t.test('the database refuses rows that break an invariant', async t => {
  const { pool } = await createTestDatabase(t)
  for (const [constraint, status, changes] of JOB_CHECKS) {
    const [id] = await insertJobs(pool, status)
    for (const change of changes) {
      await t.rejects(
        pool.query(`UPDATE progress_jobs SET ${change} WHERE id = $1`, [id]),
        { code: CHECK_VIOLATION, constraint },
        `${constraint}, ${status}: ${change}`,
      )
    }
  }
  const [id] = await insertJobs(pool, 'running')
  await pool.query(
    `INSERT INTO job_progress (job_id, worker_id, attempt, heartbeat_at, created_at, rate_since, rate_at)
     VALUES ($1, 'a', 1, now(), now(), now(), now())`,
    [id],
  )
  for (const [constraint, changes] of WORKER_CHECKS) {
    for (const change of changes) {
      await t.rejects(
        pool.query(`UPDATE job_progress SET ${change}`),
        { code: CHECK_VIOLATION, constraint },
        `${constraint}: ${change}`,
      )
    }
  }
  await pool.query(
    `WITH w AS (INSERT INTO webhooks (tenant_id, url, events, secret) VALUES ($1, 'https://example.com', '{}', 's') RETURNING id)
     INSERT INTO webhook_deliveries (webhook_id, type, body, due_at, expires_at)
     SELECT id, 'webhook.test', '{}', now(), now() FROM w`,
    [tenantId],
  )
  await pool.query(
    `INSERT INTO chat_messages (webhook_id, job_id, job_attempt, reference, posts, revision, updated_at)
     SELECT id, id, 1, 'x', 1, 1, now() FROM webhooks`,
  )
  for (const [constraint, table, changes] of WEBHOOK_CHECKS) {
    for (const change of changes) {
      await t.rejects(
        pool.query(`UPDATE ${table} SET ${change}`),
        { code: CHECK_VIOLATION, constraint },
        `${constraint}: ${change}`,
      )
    }
  }
  for (const [constraint, statements] of STATISTICS_CHECKS) {
    for (const statement of statements) {
      await t.rejects(pool.query(statement), { code: CHECK_VIOLATION, constraint }, constraint)
    }
  }
  const { rows } = await pool.query<{ conname: string }>(
    "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace",
  )
  const tried = new Set(
    [...JOB_CHECKS, ...WORKER_CHECKS, ...WEBHOOK_CHECKS, ...STATISTICS_CHECKS].map(([constraint]) => constraint),
  )
  t.same(rows.map(row => row.conname).sort(), [...tried].sort(), 'every CHECK has its case')
})

t.test('workers, history and partitions belong to a job that exists', async t => {
  const { pool } = await createTestDatabase(t)
  for (const [constraint, statement] of [
    [
      'job_progress_job',
      `INSERT INTO job_progress (job_id, worker_id, attempt, heartbeat_at, created_at, rate_since, rate_at)
       VALUES ($1, 'a', 1, now(), now(), now(), now())`,
    ],
    ['job_events_job', "INSERT INTO job_events (job_id, type, at, attempt) VALUES ($1, 'created', now(), 1)"],
    [
      'progress_jobs_parent',
      `INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, parent_job_id, partition_index,
         partition_count) VALUES ($1, 'test', 'a job', 60, $1, 0, 1)`,
    ],
  ] as const) {
    await t.rejects(pool.query(statement, [UNKNOWN_JOB]), { code: FOREIGN_KEY_VIOLATION, constraint })
  }
})

t.test(
  'two partitions of a batch never have the same index, and two jobs of an organization never have the same key',
  async t => {
    const { pool } = await createTestDatabase(t)
    const [batch, one, two] = await insertJobs(pool, 'pending', 3)
    const place = 'UPDATE progress_jobs SET parent_job_id = $1, partition_index = 0, partition_count = 1 WHERE id = $2'
    await pool.query(place, [batch, one])
    await t.rejects(pool.query(place, [batch, two]), { code: UNIQUE_VIOLATION, constraint: 'progress_jobs_partition' })
    const key =
      "UPDATE progress_jobs SET idempotency_key = 'k', idempotency_hash = 'h', organization_id = $2 WHERE id = $1"
    const taken = { code: UNIQUE_VIOLATION, constraint: 'progress_jobs_idempotency' }
    const organizationId = randomUUID()
    await pool.query(key, [one, null])
    await t.rejects(pool.query(key, [two, null]), taken)
    await pool.query(key, [two, organizationId])
    await t.rejects(pool.query(key, [batch, organizationId]), taken)
  },
)

const emptyDatabase = async (t: Test): Promise<TestDatabase> => {
  const database = await createTestDatabase(t)
  await database.pool.query(`DROP SCHEMA public, headway, ${FUNCTIONS}, drizzle CASCADE`)
  await database.pool.query('CREATE SCHEMA public')
  return database
}

/** As if the functions of this generation had had another text, which happens while they are being written. */
const MARK_AS_OLDER = `COMMENT ON SCHEMA ${FUNCTIONS} IS 'Functions of Headway, older'`

/** Everything that a migration could make anew: relations and functions by identity, and the applied migrations. */
const inventory = async ({ pool }: TestDatabase) => {
  const { rows: relations } = await pool.query(
    `SELECT oid, relname, relfilenode FROM pg_class
     WHERE relnamespace IN ('public'::regnamespace, 'drizzle'::regnamespace) ORDER BY oid`,
  )
  const { rows: functions } = await pool.query<{ oid: number; proname: string }>(
    "SELECT oid, proname FROM pg_proc WHERE pronamespace IN ('headway'::regnamespace, $1::regnamespace) ORDER BY oid",
    [FUNCTIONS],
  )
  const { rows: applied } = await pool.query('SELECT * FROM drizzle.__drizzle_migrations ORDER BY id')
  return { relations, functions, applied }
}

interface Journal {
  entries: { idx: number; when: number; tag: string }[]
}
const drizzleFolder = new URL('../../drizzle/', import.meta.url)
const { entries: journal } = JSON.parse(readFileSync(new URL('meta/_journal.json', drizzleFolder), 'utf8')) as Journal

t.test('20 replicas that start at once on an empty database create the tables once', async t => {
  const database = await emptyDatabase(t)
  await Promise.all(Array.from({ length: 20 }, () => migrate(database.url)))
  const { applied, functions } = await inventory(database)
  t.equal(applied.length, journal.length)
  t.ok(functions.some(({ proname }) => proname === 'flush'))
  t.equal((await insertJobs(database.pool, 'pending')).length, 1)
})

t.test('migrating again changes nothing', async t => {
  const database = await createTestDatabase(t)
  const before = await inventory(database)
  await migrate(database.url)
  t.same(await inventory(database), before)
})

t.test('functions are created again when their text has changed, and the old ones are dropped', async t => {
  const database = await createTestDatabase(t)
  const before = await inventory(database)
  await database.pool.query(
    `CREATE FUNCTION ${FUNCTIONS}.of_an_older_text() RETURNS integer LANGUAGE sql AS 'SELECT 1'; ${MARK_AS_OLDER}`,
  )
  await migrate(database.url)
  const after = await inventory(database)
  const namesOf = ({ functions }: { functions: { proname: string }[] }) => functions.map(row => row.proname).sort()
  t.same(namesOf(after), namesOf(before))
  const oids = new Set(before.functions.map(row => row.oid))
  t.notOk(after.functions.some(({ oid }) => oids.has(oid)))
  t.same(after.relations, before.relations, 'the tables stay')
})

t.test('no heartbeat is lost while another replica creates the functions again', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  let upgrading = true
  const upgrade = async () => {
    for (let n = 0; n < 5; n += 1) {
      await service.database.pool.query(MARK_AS_OLDER)
      await migrate(service.database.url)
    }
    upgrading = false
  }
  let sent = 0
  const report = async (workerId: string) => {
    while (upgrading) {
      sent += 1
      const { status } = await service.call('POST', `/jobs/${id}/increment`, { workerId, increment: 1 })
      t.ok(status === 200 || status === 202, String(status))
    }
  }
  await Promise.all([upgrade(), ...['a', 'b', 'c', 'd'].map(report)])
  t.equal(await waitFor(async () => (await service.job(id)).processedCount === sent && sent), sent)
})

t.test(
  'the times of the migrations increase, because a later migration with an earlier time would never be applied',
  async t => {
    t.same(
      journal.map(({ when }) => when),
      journal.map(({ when }) => when).sort((a, b) => a - b),
    )
    t.equal(new Set(journal.map(({ when }) => when)).size, journal.length)
    t.same(
      journal.map(({ idx }) => idx),
      [...journal.keys()],
    )
    for (const { tag } of journal) t.ok(existsSync(new URL(`${tag}.sql`, drizzleFolder)), tag)
  },
)

/** A message of the Postgres protocol (https://www.postgresql.org/docs/current/protocol-message-formats.html). */
const message = (type: string, ...parts: (string | number[])[]): Buffer => {
  const body = Buffer.concat(parts.map(part => Buffer.from(part as string)))
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

/** A server that lets everyone in and answers every query with one row of one integer. */
const startAnsweringServer = async (t: Test, answer: string): Promise<string> => {
  const ready = message('Z', 'I')
  const int4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0]
  const row = Buffer.concat([
    message('T', [0, 1], 'version\0', int4),
    message('D', [0, 1], [0, 0, 0, answer.length], answer),
    message('C', 'SELECT 1\0'),
    ready,
  ])
  const server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      socket.write(Buffer.concat([message('R', [0, 0, 0, 0]), ready]))
      socket.on('data', data => {
        if (data.toString('latin1', 0, 1) === 'Q') socket.write(row)
      })
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return `postgres://x:x@127.0.0.1:${(server.address() as AddressInfo).port}/x?sslmode=disable`
}

t.test('a server before version 14 is refused with a sentence', async t => {
  await t.rejects(migrate(await startAnsweringServer(t, '130018')), {
    message: 'Cannot use the database: the server is PostgreSQL 13, and Headway needs 14 or later. Upgrade the server.',
  })
})

const open = (t: Test, { url }: Pick<TestDatabase, 'url'>, poolSize = 1) => {
  const database = openDatabase({ url, poolSize, preparedStatements: true, onConnectionError: () => undefined })
  let closed: Promise<void> | undefined
  const close = () => (closed ??= database.close())
  t.teardown(close)
  return { ...database, close }
}

interface TableStats {
  relname: string
  updates: number
  hot: number
  seq_scan: number
}

const readStats = async ({ pool }: Pick<TestDatabase, 'pool'>): Promise<TableStats[]> => {
  const { rows } = await pool.query<TableStats>(
    `SELECT relname, n_tup_upd::integer AS updates, n_tup_hot_upd::integer AS hot, seq_scan::integer
     FROM pg_stat_user_tables WHERE relname IN ('progress_jobs', 'job_progress') ORDER BY relname`,
  )
  return rows
}

/** A server of its own: a transaction that is open in any database keeps outdated rows of all of them from being pruned. */
const createOwnDatabase = async (t: Test): Promise<Pick<TestDatabase, 'url' | 'pool'>> => {
  const settings = { fsync: 'off', max_connections: '20' }
  const server = await startEmbeddedPostgres({ dataDir: makeDirectory(t), settings, log: () => undefined })
  t.teardown(() => server.stop())
  await migrate(server.url)
  const pool = new pg.Pool({ connectionString: server.url })
  pool.on('error', () => undefined)
  t.teardown(() => pool.end())
  return { url: server.url, pool }
}

t.test('heartbeats of 5,000 running jobs never scan a table, and over 95 % of their updates are HOT', async t => {
  const database = await createOwnDatabase(t)
  const jobIds = await insertJobs(database.pool, 'running', 5000)
  // As on a server that has run for a while: the planner knows how large the tables are.
  await database.pool.query('ANALYZE')
  const before = await readStats(database)
  const connection = open(t, database)
  const write = createHeartbeatWrite(connection)
  let reports = 0
  const report = async (ids: string[], processedCount: number, skipLocked: boolean) => {
    const entries = ids.map(jobId => entryOf({ jobId, processedCount, message: `row ${processedCount}` }))
    const { failure, outcomes } = await write(entries, skipLocked)
    if (failure) throw failure.cause as Error
    if (outcomes.some(outcome => outcome.kind !== 'written')) throw new Error('a report was not written')
    reports += ids.length
  }
  for (let round = 1; round <= 8; round += 1) {
    for (let from = 0; from < jobIds.length; from += 1000) {
      await report(jobIds.slice(from, from + 1000), round, round % 2 === 0)
    }
    for (let one = 0; one < 50; one += 1) await report(jobIds.slice(one, one + 1), 10 * round + one, false)
  }
  // A backend tells of its work when it ends.
  await connection.close()
  const after = await waitFor(async () => {
    const stats = await readStats(database)
    return stats.every(({ updates }) => updates >= reports - jobIds.length) ? stats : null
  })
  if (!after) throw new Error('no statistics')
  for (const [index, { relname, updates, hot, seq_scan }] of after.entries()) {
    t.equal(seq_scan - (before[index]?.seq_scan ?? 0), 0, `${relname}: scans`)
    t.ok(hot / updates > 0.95, `${relname}: ${hot} of ${updates} are HOT`)
  }
})

t.test('an open transaction of another session on one job does not delay the other jobs', async t => {
  const service = await startService(t)
  const held = await service.createJob()
  const others = await Promise.all(Array.from({ length: 10 }, () => service.createJob()))
  const report = async (id: string, processedCount: number): Promise<number> => {
    const begun = performance.now()
    t.match(await service.heartbeat(id, { processedCount }), { status: 200, body: { durable: true } })
    return performance.now() - begun
  }
  const undisturbed = Math.max(...(await Promise.all(others.map(({ id }) => report(id, 1)))))
  const holder = await service.database.pool.connect()
  let waiting: ReturnType<typeof service.heartbeat> | undefined
  try {
    await holder.query('BEGIN')
    await holder.query('SELECT FROM progress_jobs WHERE id = $1 FOR UPDATE', [held.id])
    waiting = service.heartbeat(held.id, { increment: 3 })
    for (let round = 2; round <= 4; round += 1) {
      const took = Math.max(...(await Promise.all(others.map(({ id }) => report(id, round)))))
      t.ok(took < 1000 + 10 * undisturbed, `round ${round}: ${took} ms, ${undisturbed} ms without the transaction`)
    }
    t.match(await service.job(held.id), { status: 'pending', processedCount: 0 })
    await holder.query('COMMIT')
  } finally {
    holder.release()
  }
  t.match((await waiting).body, { status: 'running', durable: true }, 'written after the release')
  t.match(await service.job(held.id), { processedCount: 3 })
})

t.test('a report that the database cannot store fails alone', async t => {
  const database = await createTestDatabase(t)
  const jobIds = await insertJobs(database.pool, 'running', 20)
  const write = createHeartbeatWrite(open(t, database))
  for (const [name, poison] of Object.entries<Partial<Heartbeat>>({
    'a NUL in text': { message: 'a\u0000b' },
    'a NUL in JSON': { payload: { key: 'a\u0000b' } },
    'a lone surrogate': { message: '\ud800' },
    'a count beyond a bigint': { processedCount: 1e300 },
    'a negative count': { processedCount: -1 },
    'a percent beyond 100': { progressPercent: 101 },
    'no date': { reportedAt: 'yesterday noon' },
    'no UUID': { jobId: 'job 7' },
  })) {
    for (const place of [0, 7, 19]) {
      const entries = jobIds.map(jobId => entryOf({ jobId, increment: 1 }))
      const { heartbeat } = entries[place]!
      entries[place] = { ...entries[place]!, heartbeat: { jobId: heartbeat.jobId, workerId: 'default', ...poison } }
      const { outcomes, failure } = await write(entries, false)
      t.equal(failure, null, `${name}: ${String(failure?.cause)}`)
      t.same(
        outcomes.map(outcome => outcome.kind),
        entries.map((_, index) => (index === place ? 'refused' : 'written')),
        `${name} at place ${place}`,
      )
      t.match(outcomes[place], { error: { code: 'validation_failed' } })
    }
  }
  const { rows } = await database.pool.query<{ count: number }>(
    'SELECT sum(processed_count)::integer AS count FROM progress_jobs',
  )
  t.equal(rows[0]?.count, 8 * 3 * 19, 'every other report was counted once')
})

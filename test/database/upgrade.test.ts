import pg from 'pg'
import t, { type Test } from 'tap'
import { dump } from '../../src/database/dump/dump.ts'
import { restore } from '../../src/database/dump/restore.ts'
import { DUMPED_TABLES } from '../../src/database/dump/tables.ts'
import { migrate } from '../../src/database/migrate.ts'
import { migrationNames } from '../../src/database/migrations.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { LIFECYCLES } from '../../src/contract/states.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import type { ListedJob, Page } from '../../src/contract/job.ts'
import type { WebhookDocument } from '../../src/contract/webhook.ts'
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { blocksOf, readFromRoot } from '../helpers/manual.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { startService } from '../helpers/service.ts'

const { tenantId } = OPEN_IDENTITY
const ID = (last: string) => `0197a3c2-5b1e-7c44-9d0a-${last.padStart(12, '0')}`

/**
 * What a database of the oldest version held: a job of each status and reason, a batch, workers and their history. One job has
 * names that no version takes any more.
 */
const OLD_JOBS = `
  INSERT INTO progress_jobs (id, tenant_id, job_type, name, status, progress_percent, processed_count, total_count,
    own_total_count, unit, liveness, started_at, heartbeat_at, finished_at, failure_reason, error_message, cancellable,
    cancel_requested_at, heartbeat_timeout_seconds, pending_timeout_seconds, revision, lifecycle, lifecycle_revision,
    idempotency_key, idempotency_hash, result_summary, stage, stages)
  SELECT ('${ID('0').slice(0, -2)}' || right('0' || n, 2))::uuid, '${tenantId}', 'old', name, status, percent, done, total,
    total, unit, CASE WHEN status = 'running' THEN liveness END,
    CASE WHEN started THEN now() - interval '1 hour' END, CASE WHEN started THEN now() END,
    CASE WHEN status NOT IN ('pending', 'running') THEN now() END, reason, CASE WHEN status = 'failed' THEN 'no room' END,
    status = 'cancelled', CASE WHEN status = 'cancelled' THEN now() END, CASE WHEN n = 3 THEN 0 ELSE 3600 END,
    CASE WHEN reason = 'never_started' THEN 60 END, 7, lifecycle, 5, key, CASE WHEN key <> '' THEN repeat('0', 64) END,
    CASE WHEN status = 'completed' THEN '{"rows": 1}'::jsonb END, stage,
    CASE WHEN stage <> '' THEN '[{"name": "load", "weight": 1}, {"name": "index", "weight": 3}]'::jsonb END
  FROM (VALUES
    (1, 'waits', 'pending', 0, 0, NULL::bigint, 'unknown', NULL, false, NULL, 'created', 'key', NULL),
    (2, 'runs', 'running', 50, 5, 10, 'items', 'ok', true, NULL, 'started', NULL, NULL),
    (3, 'is silent', 'running', 10, 1, 10, 'rows', 'stalled', true, NULL, 'stalled', NULL, 'load'),
    (4, 'is done', 'completed', 100, 12, 10, 'files', NULL, true, NULL, 'completed', NULL, NULL),
    (5, 'counted nothing', 'completed', 100, 0, NULL, 'unknown', NULL, true, NULL, 'completed', NULL, NULL),
    (6, 'failed', 'failed', 30, 3, 10, 'bytes', NULL, true, 'worker', 'failed', NULL, NULL),
    (7, 'was silent', 'failed', 30, 3, 10, 'records', NULL, true, 'stale', 'failed', NULL, NULL),
    (8, 'never began', 'failed', 0, 0, 10, 'chunks', NULL, false, 'never_started', 'failed', NULL, NULL),
    (9, 'was cancelled', 'cancelled', 20, 2, 10, 'items', NULL, true, NULL, 'cancelled', NULL, NULL),
    (10, E'turns\\u202e round\\n', 'running', 50, 5, 10, 'items', 'ok', true, NULL, 'started', NULL, NULL)
  ) AS old (n, name, status, percent, done, total, unit, liveness, started, reason, lifecycle, key, stage);
  INSERT INTO progress_jobs (id, tenant_id, job_type, name, status, liveness, started_at, heartbeat_timeout_seconds,
    partition_count, children, processed_count, progress_percent)
  VALUES ('${ID('20')}', '${tenantId}', 'old', 'a batch', 'running', 'ok', now(), 3600, 2, '{"total": 2, "pending": 1,
    "running": 1, "stalled": 0, "completed": 0, "failed": 0, "cancelled": 0, "current": ["part 0"], "errors": []}', 3, 0);
  INSERT INTO progress_jobs (id, tenant_id, job_type, name, status, liveness, started_at, heartbeat_at,
    heartbeat_timeout_seconds, parent_job_id, partition_index, partition_count, processed_count)
  VALUES
    ('${ID('21')}', '${tenantId}', 'old', 'part 0', 'running', 'ok', now(), now(), 3600, '${ID('20')}', 0, 2, 3),
    ('${ID('22')}', '${tenantId}', 'old', 'part 1', 'pending', NULL, NULL, NULL, 3600, '${ID('20')}', 1, 2, 0);
  INSERT INTO job_progress (job_id, worker_id, attempt, processed_count, total_count, heartbeat_at, created_at, rate_since,
    rate_at, payload, rate_whole, rate_recent, message)
  SELECT id, w, attempt, processed_count, total_count, heartbeat_at, created_at, now(), now(), '{"of": [1, "two"]}', 0.1, 1e-7,
    E'a\\tb\\\\.'
  FROM progress_jobs, unnest(CASE WHEN name LIKE 'turns%' THEN ARRAY[E'w\\u200b'] ELSE ARRAY['default'] END) w
  WHERE heartbeat_at IS NOT NULL;
  INSERT INTO job_events (job_id, type, at, actor, attempt, data)
  SELECT id, type, now(), 'someone', 1, CASE type WHEN 'failed' THEN jsonb_build_object('failureReason', failure_reason)
    ELSE '{}' END
  FROM progress_jobs, unnest(ARRAY['created', lifecycle]) type;
`

/** Rows of later versions, by the table or column that they need. */
const LATER: [needs: string, table: string, insert: string][] = [
  [
    'id',
    'webhooks',
    `INSERT INTO webhooks (id, tenant_id, url, events, secret, consecutive_failures) VALUES
       ('${ID('30')}', '${tenantId}', 'https://example.com/a', '{completed}', 'whsec_a', 0)`,
  ],
  [
    'id',
    'webhook_deliveries',
    `INSERT INTO webhook_deliveries (webhook_id, job_id, type, body, status, due_at, expires_at, claim, finished_at) VALUES
       ('${ID('30')}', '${ID('4')}', 'progress.job.completed', '{}', 'waiting', now() + '1 day', now() + '3 days',
         '${ID('31')}', NULL),
       ('${ID('30')}', '${ID('4')}', 'progress.job.created', '{}', 'delivered', now(), now() + '3 days', NULL, now())`,
  ],
  [
    'id',
    'webhook_messages',
    `INSERT INTO webhook_messages (webhook_ids, job_id, type, revision, body)
       VALUES ('{${ID('30')}}', '${ID('4')}', 'progress.job.completed', 7, '{}')`,
  ],
  ['waiting', 'webhook_backlogs', `INSERT INTO webhook_backlogs VALUES ('${ID('30')}', '${tenantId}', 1, now())`],
  [
    'finished_xact',
    'progress_jobs',
    'UPDATE progress_jobs SET finished_xact = pg_current_xact_id() WHERE finished_at IS NOT NULL',
  ],
  ['unit', 'job_progress', "UPDATE job_progress SET unit = 'files'"],
  [
    'id',
    'untold_changes',
    `INSERT INTO untold_changes (tenant_id, job_id, job_type, revision) VALUES ('${tenantId}', '${ID('4')}', 'old', 7)`,
  ],
]

const fill = async (pool: pg.Pool): Promise<void> => {
  await pool.query(OLD_JOBS)
  for (const [column, table, insert] of LATER) {
    const { rowCount } = await pool.query(
      "SELECT FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 AND column_name = $2",
      [table, column],
    )
    if (rowCount === 1) await pool.query(insert)
  }
}

type Row = Record<string, unknown>

/** Each row under its table and key. */
const rowsOf = async (pool: pg.Pool): Promise<Map<string, Row>> => {
  const rows = new Map<string, Row>()
  for (const table of DUMPED_TABLES) {
    const { rowCount } = await pool.query('SELECT WHERE to_regclass($1) IS NOT NULL', [`public.${table}`])
    if (rowCount === 0) continue
    const found = await pool.query<{ row: Row }>(`SELECT to_jsonb(t) AS row FROM public.${table} t`)
    for (const { row } of found.rows) {
      const key = [row['id'] ?? row['webhook_id'] ?? row['job_id'], row['worker_id']].join(' ')
      rows.set(`${table} ${key}`, row)
    }
  }
  return rows
}

/** The differences from before, one sentence each. A new column is no difference. */
const lossesOf = (before: Map<string, Row>, after: Map<string, Row>, but: readonly string[] = []): string[] =>
  [...before].flatMap(([key, row]) => {
    const now = after.get(key)
    if (!now) return [`${key} is missing`]
    return Object.entries(row)
      .filter(([name, value]) => !but.includes(name) && JSON.stringify(value) !== JSON.stringify(now[name]))
      .map(([name, value]) => `${key}: ${name} was ${JSON.stringify(value)} and is ${JSON.stringify(now[name])}`)
  })

/** Computed from other columns; its rule changed in 0008, for jobs that ended before all was done. */
const COMPUTED = ['remaining_count']

const dumpOf = async (url: string): Promise<Buffer[]> => {
  const pieces: Buffer[] = []
  await dump(url, '0.0.0', async given => {
    for await (const piece of given) pieces.push(piece)
  })
  return pieces
}

async function* each(pieces: Buffer[]) {
  yield* pieces
}

// They wait more than they work.
t.jobs = 3

for (const name of await migrationNames()) {
  t.test(
    `no row of a database at ${name} is lost by an upgrade, or by a dump that is restored`,
    { buffered: true },
    async t => {
      const database = await createEmptyDatabase(t)
      await migrate(database.url, { upTo: name })
      await fill(database.pool)
      const before = await rowsOf(database.pool)
      t.ok(before.size > 40)
      const old = await dumpOf(database.url)
      const told: string[] = []
      await migrate(database.url, { onMigration: migration => told.push(migration) })
      const names = await migrationNames()
      t.same(told, names.slice(names.indexOf(name) + 1), 'each migration is told')
      const after = await rowsOf(database.pool)
      t.same(lossesOf(before, after, COMPUTED), [])

      const restored = await createEmptyDatabase(t)
      await restore(restored.url, each(old))
      const there = await rowsOf(restored.pool)
      t.same(lossesOf(after, there, ['finished_xact']), [])
      t.equal(there.size, after.size)
      const refused = { code: 'validation_failed', message: /The dump is of an older version/ }
      const empty = await createEmptyDatabase(t)
      await migrate(empty.url)
      if (name !== names.at(-1)) await t.rejects(restore(empty.url, each(old)), refused)
    },
  )
}

const assertServes = async (t: Test, database: TestDatabase): Promise<void> => {
  const service = await startService(t, { database })
  const list = await service.call<Page<ListedJob>>('GET', '/jobs?includeCompleted=true&pageSize=100')
  t.equal(list.body.total, 13)
  for (const { id, status } of list.body.items) {
    t.match(await service.call('GET', `/jobs/${id}`), { status: 200, body: { id, status } })
    t.match(await service.call('GET', `/jobs/${id}/events`), {
      status: 200,
      body: { items: [{ type: 'created' }, {}] },
    })
  }
  t.match(await service.job(ID('4')), { remainingCount: 0, progressPercent: 100, resultSummary: { rows: 1 } })
  t.match(await service.job(ID('6')), { remainingCount: 7, errorMessage: 'no room', failureReason: 'worker' })
  t.match(await service.job(ID('20')), { children: { total: 2, running: 1 } })
  const statistics = await service.call<{ items: object[] }>('GET', '/stats')
  t.equal(statistics.status, 200)

  t.match(await service.heartbeat(ID('2'), { processedCount: 7 }), { status: 200 })
  t.match(await service.job(ID('2')), { processedCount: 7, progressPercent: 70 })
  t.match(await service.heartbeat(ID('3'), { processedCount: 2, stage: 'load' }), { status: 200 })
  t.match(await service.job(ID('3')), { liveness: 'ok' })
  t.match(await service.heartbeat(ID('1'), { processedCount: 1 }), { status: 200 }, 'a job that waited begins')
  t.match(await service.call('POST', `/jobs/${ID('2')}/complete`), { status: 200 })
  t.match(await service.call('POST', `/jobs/${ID('7')}/retry`), { status: 200, body: { attempt: 2 } })
  t.match(await service.heartbeat(ID('22'), { processedCount: 1 }), { status: 200 })
  for (const part of ['21', '22']) await service.call('POST', `/jobs/${ID(part)}/complete`)
  t.match(await service.job(ID('20')), { status: 'completed', children: { completed: 2 } })
  t.match(await service.call('DELETE', `/jobs/${ID('8')}?purge=true`), { status: 204 })
  await database.pool.query("SELECT headway.update_job_progress($1, message => 'by SQL')", [ID('3')])

  const strange = await service.job(ID('10'))
  t.match(strange, { name: 'turns\u202e round\n', workers: [{ workerId: 'w\u200b' }] }, 'old names are answered')
  const refused = await service.heartbeat(ID('10'), { workerId: 'w\u200b', processedCount: 6 })
  t.match(refused, { status: 400, body: { code: 'validation_failed' } })
  t.match(await service.heartbeat(ID('10'), { workerId: 'w', processedCount: 6 }), { status: 200 })
  t.match(await service.call('POST', `/jobs/${ID('10')}/complete`), { status: 200 }, 'and their jobs can end')
}

t.test('a database of the oldest version serves all of its jobs after an upgrade', { buffered: true }, async t => {
  const names = await migrationNames()
  const database = await createEmptyDatabase(t)
  await migrate(database.url, { upTo: names[0]! })
  await fill(database.pool)
  const found = await database.pool.query<{ id: string }>(blocksOf('docs/operate/upgrade.md').at(-1)!.code)
  t.same(
    found.rows.map(({ id }) => id),
    [ID('10')],
    'the statement of the page finds the workers whose reports will be refused',
  )
  await migrate(database.url)
  await assertServes(t, database)
})

t.test('a webhook that failed before its pauses had a begin gets one', { buffered: true }, async t => {
  const database = await createEmptyDatabase(t)
  await migrate(database.url, { upTo: '0003_webhooks' })
  await fill(database.pool)
  await database.pool.query('UPDATE webhooks SET consecutive_failures = 3')
  await migrate(database.url)
  const service = await startService(t, { database })
  const { status, body } = await service.call<{ items: WebhookDocument[] }>('GET', '/webhooks')
  t.match([status, body.items[0]], [200, { id: ID('30'), consecutiveFailures: 3 }])
})

t.test('a webhook for all changes of an earlier version is told of those of this one, and no other is', async t => {
  const database = await createEmptyDatabase(t)
  await migrate(database.url, { upTo: '0016_deadlines' })
  const before = LIFECYCLES.filter(each => each !== 'at_risk' && each !== 'overdue')
  const make = async (events: string[]): Promise<string> => {
    const { rows } = await database.pool.query<{ id: string }>(
      `INSERT INTO webhooks (tenant_id, url, events, secret) VALUES ($1, 'https://hooks.example.com/', $2, 'whsec_x') RETURNING id`,
      [tenantId, events],
    )
    return rows[0]!.id
  }
  const kinds = [
    { id: await make(before), events: [...LIFECYCLES] },
    { id: await make(before.slice(1)), events: before.slice(1) },
    { id: await make([]), events: [] },
  ]
  await migrate(database.url)
  const late = {
    tenant_id: tenantId,
    job_type: 'late',
    name: 'late',
    heartbeat_timeout_seconds: 0,
    finish_by: '2026-01-31T12:00:00Z',
  }
  await database.pool.query(`SELECT ${FUNCTIONS}.create_job($1, true, NULL, NULL, $2)`, [tenantId, late])
  await database.pool.query(`SELECT ${FUNCTIONS}.judge_deadlines(5, 500)`)
  const { rows } = await database.pool.query(
    "SELECT unnest(webhook_ids) AS id FROM webhook_messages WHERE type = 'progress.job.overdue'",
  )
  t.same(rows, [{ id: kinds[0]!.id }])
  const service = await startService(t, { database })
  const { body } = await service.call<{ items: WebhookDocument[] }>('GET', '/webhooks')
  for (const { id, events } of kinds) t.same(body.items.find(each => each.id === id)?.events, events)
})

t.test('the page on upgrades says what each migration has changed', { buffered: true }, async t => {
  const page = readFromRoot('docs/operate/upgrade.md')
  for (const name of await migrationNames()) t.ok(page.includes(`\`${name}\``), name)
})

t.test('jobs of another table are imported by the statements of the manual, once', { buffered: true }, async t => {
  const database = await createTestDatabase(t)
  const { pool } = database
  await pool.query(`
    CREATE TABLE entity_index_jobs (id uuid PRIMARY KEY, entity_type text, status text, tenant_id uuid, organization_id uuid,
      partition_index integer, partition_count integer, processed_count integer, total_count integer,
      started_at timestamptz, heartbeat_at timestamptz, finished_at timestamptz);
    INSERT INTO entity_index_jobs VALUES
      ('${ID('1')}', 'products', 'reindexing', '${tenantId}', NULL, NULL, NULL, 30, 40, now() - '1 minute'::interval, now(), NULL),
      ('${ID('2')}', 'orders', 'purging', '${tenantId}', NULL, NULL, NULL, 90, 100, now() - '3 days'::interval,
        now() - '2 days'::interval, now() - '2 days'::interval),
      ('${ID('3')}', 'orders', 'reindexing', '${tenantId}', NULL, 0, 4, 5, NULL, now() - '1 day'::interval, now() - '1 day'::interval, NULL),
      ('${ID('4')}', 'orders', 'reindexing', '${tenantId}', NULL, 1, 4, 50, 40, now() - '1 hour'::interval, now(), NULL),
      ('${ID('5')}', 'notes', 'reindexing', '${tenantId}', NULL, NULL, NULL, -1, 0, NULL, NULL, now() - '1 day'::interval)`)
  const [service, receiver] = await Promise.all([
    startService(t, { database, WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1' }),
    startReceiver(t),
  ])
  t.equal((await service.call('POST', '/webhooks', { url: receiver.url })).status, 201)
  const recipe = blocksOf('docs/operate/import.md').find(({ language }) => language === 'sql')!.code
  await pool.query(recipe)
  await pool.query(recipe)

  const list = await service.call<Page<ListedJob>>('GET', '/jobs?includeCompleted=true&pageSize=100')
  t.equal(list.body.total, 5)
  t.match(await service.job(ID('1')), {
    name: 'Reindexing products',
    status: 'running',
    progressPercent: 75,
    unit: 'records',
  })
  t.match(await service.job(ID('2')), {
    jobType: 'purging:orders',
    status: 'completed',
    processedCount: 90,
    progressPercent: 100,
  })
  t.match(await service.job(ID('3')), {
    name: 'Reindexing orders (part 1 of 4)',
    status: 'failed',
    failureReason: 'stale',
  })
  t.match(await service.job(ID('4')), { status: 'running', progressPercent: 99, processedCount: 50, totalCount: 40 })
  t.match(await service.job(ID('5')), { status: 'completed', processedCount: 0 })
  t.same(await service.history(ID('1')), ['created', 'started'])
  t.same(await service.history(ID('2')), ['created', 'started', 'completed'])
  t.same(await service.history(ID('3')), ['created', 'started', 'failed'])
  t.equal((await service.call('GET', '/stats')).status, 200)

  t.equal((await service.call('POST', `/jobs/${ID('1')}/increment`, { increment: 2 })).status, 200)
  t.match(await service.job(ID('1')), { processedCount: 32, progressPercent: 80, liveness: 'ok', workerCount: 1 })
  await pool.query(recipe)
  t.equal((await service.job(ID('1'))).processedCount, 32, 'what Headway knows stays')
  t.equal((await service.call('POST', `/jobs/${ID('1')}/complete`)).status, 200)
  t.equal((await service.call('POST', `/jobs/${ID('3')}/retry`)).status, 200)
  await receiver.count(2)
  t.same(
    receiver.types.sort(),
    ['completed', 'retried'],
    'webhooks are told of what happens now, not of what was imported',
  )
})

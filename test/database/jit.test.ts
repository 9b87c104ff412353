import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openDatabase, type Database } from '../../src/database/connection.ts'
import { countJobs } from '../../src/jobs/job-counts.ts'
import { createLiveSource } from '../../src/jobs/live-source.ts'
import { createJobRepository } from '../../src/jobs/repository.ts'
import { createRetention } from '../../src/jobs/retention.ts'
import { createSweeper } from '../../src/jobs/sweeper.ts'
import { createHeartbeatWrite } from '../../src/jobs/heartbeats/write.ts'
import { createOutbox } from '../../src/webhooks/outbox.ts'
import { createWebhookRepository } from '../../src/webhooks/repository.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { OPEN_IDENTITY, scopeOf } from '../../src/jobs/identity.ts'
import { entryOf } from '../helpers/entry.ts'
import { filter } from '../live/world.ts'

const log = pino({ level: 'silent' })
const SCOPE = scopeOf(OPEN_IDENTITY)
const TENANT = SCOPE.tenantId

const FILTER = filter({ tenantId: TENANT })
const LIST = { sort: { key: 'createdAt', descending: true }, includeCompleted: false, page: 1, pageSize: 50 } as const
const newWebhook = () => ({
  id: randomUUID(),
  kind: 'webhook' as const,
  settings: {},
  sealedSettings: null,
  language: 'en' as const,
  url: 'https://example.com/',
  description: null,
  events: ['created' as const],
  jobType: null,
  organizationId: null,
  topLevel: false,
  progressIntervalSeconds: 1,
  enabled: true,
})

/** Every statement that is a call of a function, as the service makes it. */
const callFunctions = async (database: Database, { pool }: TestDatabase) => {
  const repository = createJobRepository(database)
  const newJob = { tenant_id: TENANT, job_type: 'a', name: 'a', heartbeat_timeout_seconds: 60, cancellable: true }
  const make = async (fields: object = {}) => {
    const made = await repository.create(SCOPE, { ...newJob, ...fields } as Parameters<typeof repository.create>[1])
    if (made?.code !== null) throw new Error(JSON.stringify(made))
    return made.job
  }
  const outbox = createOutbox({ database, perWebhook: 8, leaseSeconds: 60 })
  const [job, other] = [await make(), await make()]
  const batch = await make({ partition_count: 2, children: {}, partitions: [{ name: 'p' }, { name: 'q' }] })
  await repository.change(SCOPE, job.id, 'start', null, {})
  const write = createHeartbeatWrite(database)
  const partition = batch.partitions![0]!.id
  for (const entries of [
    [entryOf({ jobId: job.id, processedCount: 1 })],
    [entryOf({ jobId: job.id, processedCount: 2 }), entryOf({ jobId: partition, processedCount: 1 })],
    [entryOf({ jobId: other.id, progressPercent: 5, stage: 'a' })],
  ])
    for (const skipLocked of [false, true]) {
      const { failure } = await write(entries, skipLocked)
      if (failure) throw failure.cause as Error
    }
  await outbox.queueProgress()
  await outbox.queueDeliveries()
  for (const delivery of await outbox.claim({ free: 10, taken: new Map([[TENANT, 1]]) })) {
    await outbox.finish(delivery, {
      outcome: 'failed',
      responseStatus: 500,
      error: 'no',
      delaySeconds: 1,
      pauseSeconds: 0,
    })
  }
  await outbox.erase(7)
  await createLiveSource(database, (_party, _width, useCase) => useCase()).readRevisions([TENANT], [job.id], null)
  const sweeper = createSweeper({
    database,
    announce: () => undefined,
    intake: () => ({ oldestWaitMs: 0, refused: 0 }),
    stalledAfterSeconds: 30,
    intervalSeconds: 60,
    log,
  })
  await sweeper.sweep()
  // A process that is healthy for long enough to judge, and jobs that are silent for as long.
  await pool.query("UPDATE service_processes SET healthy_since = now() - interval '1 day'", [])
  await pool.query("UPDATE progress_jobs SET heartbeat_at = now() - interval '45 seconds' WHERE id = $1", [job.id])
  await pool.query("UPDATE progress_jobs SET heartbeat_at = now() - interval '1 hour' WHERE id = $1", [partition])
  const swept = await sweeper.sweep()
  if (swept.stalled + swept.ended < 2) throw new Error(`nobody was judged: ${JSON.stringify(swept)}`)
  for (const command of ['complete', 'cancel', 'retry'] as const)
    await repository.change(SCOPE, command === 'complete' ? job.id : batch.id, command, null, {})
  await createRetention({ database, retentionDays: 30, log })()
  return { job, batch }
}

/** Everything else that it asks. */
const askEverything = async (database: Database, jobId: string) => {
  const repository = createJobRepository(database)
  const source = createLiveSource(database, (_party, _width, useCase) => useCase())
  await repository.find(SCOPE, jobId)
  await repository.findProgress(SCOPE, jobId)
  await repository.listEvents(SCOPE, jobId, { page: 1, pageSize: 50 })
  await repository.list(SCOPE, LIST)
  await repository.list(SCOPE, {
    ...LIST,
    includeCompleted: true,
    search: 'a',
    sort: { key: 'startedAt', descending: true },
  })
  await repository.listActive(SCOPE)
  await repository.listRecentlyFinished(SCOPE, 30)
  await repository.statistics(SCOPE, {})
  await source.readDocuments([jobId])
  await source.readSnapshot(FILTER, null, 100)
  await countJobs(database)
  await createOutbox({ database, perWebhook: 8, leaseSeconds: 60 }).count()
  const webhooks = createWebhookRepository(database)
  const [webhook] = await webhooks.list(TENANT)
  await webhooks.listDeliveries(webhook!.id, { page: 1, pageSize: 50 })
  await webhooks.update(TENANT, webhook!.id, { enabled: true })
  await webhooks.queue(webhook!.id, 'webhook.test', '{}')
  await repository.purge(SCOPE, jobId)
}

/** Plans of all statements, those inside of functions included (https://www.postgresql.org/docs/current/auto-explain.html). */
const explain = async (t: Test, { url }: TestDatabase, preparedStatements: boolean) => {
  const database = openDatabase({ url, poolSize: 1, preparedStatements, onConnectionError: () => undefined })
  t.teardown(() => database.close())
  const plans: string[] = []
  // The only connection of the pool, as Drizzle has it.
  await database.transaction(async transaction => {
    const { session } = transaction as unknown as { session: { client: pg.ClientBase } }
    session.client.on('notice', notice => plans.push(notice.message ?? ''))
  })
  return { database, plans }
}

/** Whatever reads a table costs more than JIT takes to be worth its while, as on a server with very large ones. */
const makeExpensive = async ({ url, pool }: TestDatabase) => {
  const settings = {
    jit: 'on',
    jit_above_cost: '1000',
    seq_page_cost: '1000000',
    random_page_cost: '1000000',
    session_preload_libraries: 'auto_explain',
    'auto_explain.log_min_duration': '0',
    'auto_explain.log_nested_statements': 'on',
    'auto_explain.log_level': 'notice',
  }
  for (const [name, value] of Object.entries(settings))
    await pool.query(`ALTER DATABASE "${new URL(url).pathname.slice(1)}" SET ${name} = '${value}'`)
}

const isCompiled = (plan: string): boolean => /^\s*JIT:/m.test(plan)

t.test('each function with settings of its own sets jit off, because sessions of a pooler may have jit on', async t => {
  const { pool } = await createTestDatabase(t)
  const { rows } = await pool.query<{ name: string; settings: string[] }>(
    `SELECT proname AS name, proconfig AS settings FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^headway' AND proconfig IS NOT NULL`,
  )
  t.ok(rows.length > 15)
  for (const { name, settings } of rows) t.ok(settings.includes('jit=off'), name)
})

t.test('jit compiles no statement of the service, and behind a pooler no statement inside a function', async t => {
  const test = await createTestDatabase(t)
  const { rows } = await test.pool.query<{ jit: boolean }>('SELECT pg_jit_available() AS jit')
  if (!rows[0]?.jit) {
    t.pass('this server has no JIT: `npm run test:servers` runs this on one that has')
    return
  }
  await makeExpensive(test)
  const check = new pg.Client(test.url)
  const seen: string[] = []
  check.on('notice', notice => seen.push(notice.message ?? ''))
  await check.connect()
  await check.query('SELECT count(*) FROM progress_jobs')
  await check.end()
  t.ok(seen.some(isCompiled), 'a session of somebody else compiles')

  for (const preparedStatements of [true, false]) {
    const { database, plans } = await explain(t, test, preparedStatements)
    await createWebhookRepository(database).create(TENANT, newWebhook(), 'whsec_x', 50)
    plans.length = 0
    const { batch } = await callFunctions(database, test)
    if (preparedStatements) await askEverything(database, batch.id)
    t.ok(plans.length > 200, `${plans.length} plans`)
    t.same(
      plans.filter(isCompiled).map(plan => plan.slice(0, 300)),
      [],
    )
  }
})

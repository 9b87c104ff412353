import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { openDatabase, type Database } from '../../src/database/connection.ts'
import { TABLES as ALL_TABLES } from '../../src/database/fitness.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { migrate } from '../../src/database/migrate.ts'
import { createReadiness } from '../../src/readiness.ts'
import { createTestDatabase, withDatabase } from '../helpers/database.ts'
import type { LogLine } from '../helpers/process.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { startService } from '../helpers/service.ts'
import { openStream } from '../helpers/stream.ts'
import { waitFor } from '../helpers/wait.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TABLES = [
  'job_events',
  'job_progress',
  'progress_jobs',
  'service_processes',
  'webhook_deliveries',
  'webhook_messages',
  'webhooks',
]

/** The files below a folder that end so, with their text. */
const readFiles = (folder: string, ending: string): [path: string, text: string][] =>
  readdirSync(ROOT + folder, { recursive: true })
    .map(name => `${folder}/${String(name)}`)
    .filter(path => path.endsWith(ending))
    .map(path => [path, readFileSync(ROOT + path, 'utf8')])

t.test('every statement names the schema of each table, and of each function of its version', async t => {
  const table = TABLES.join('|')
  const unqualified = (pattern: string, files: [path: string, text: string][]) =>
    files.flatMap(([path, text]) =>
      text
        .split('\n')
        .flatMap((line, n) => (new RegExp(pattern, 'i').test(line) ? [`${path}:${n + 1}: ${line.trim()}`] : [])),
    )
  // In SQL a table's name stands for its rows and their type; before a dot, for rows that have been found already.
  const functions = readFiles('src/database/functions', '.sql').map(
    ([path, text]) => [path, text.replaceAll(/--.*/g, '')] as [string, string],
  )
  t.same(unqualified(`(?<![\\w."'])(${table})\\b(?!\\.)`, functions), [])
  t.same(unqualified(`\\b(table|on|update|references) "(${table})"`, readFiles('drizzle', '.sql')), [])
  const code = readFiles('src', '.ts')
  t.same(unqualified(`\\b(from|join|into|update|table)\\s+"?(${table})\\b`, code), [])
  t.same(unqualified('\\b(select|from|join)\\b.*\\bheadway\\.\\w+\\(', code), [])
  t.ok(functions.length > 10 && code.length > 100)
})

t.test('the service works with any search_path of its role, and writes nothing into other schemas', async t => {
  const database = await createTestDatabase(t)
  const { pool } = database
  const name = new URL(database.url).pathname.slice(1)
  await pool.query(`DROP SCHEMA public, headway, ${FUNCTIONS}, drizzle CASCADE; CREATE SCHEMA public;
    CREATE SCHEMA elsewhere; ALTER DATABASE "${name}" SET search_path = elsewhere`)
  await migrate(database.url)
  for (const table of TABLES) await pool.query(`CREATE TABLE elsewhere.${table} (LIKE public.${table})`)
  // Without session settings, as behind a transaction pooler: nothing but the role's own search_path.
  const receiver = await startReceiver(t)
  const service = await startService(t, {
    database,
    PREPARED_STATEMENTS: 'false',
    WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1',
    SWEEP_SCHEDULE: '* * * * * *',
    RETENTION_SCHEDULE: '* * * * * *',
    RETENTION_DAYS: '1',
  })
  const stream = openStream(t, () => service.url)
  const { body: webhook } = await service.call<{ id: string }>('POST', '/webhooks', { url: receiver.url })
  const silent = await service.createJob({ pendingTimeoutSeconds: 1 })
  const { id, jobType } = await service.createJob({ totalCount: 10 })
  await waitFor(() => stream.jobs.has(id))
  for (const body of [{ processedCount: 5 }, { workerId: 'b', message: 'two', stage: 'load' }])
    t.match(await service.heartbeat(id, body), { status: 200 })
  await waitFor(() => stream.jobs.get(id)?.processedCount === 5)
  t.match(await service.job(id), { processedCount: 5, workers: [{ workerId: 'b' }, { workerId: 'default' }] })
  const batch = await service.createJob({ partitions: [{ name: 'one' }, { name: 'two' }], cancellable: true })
  for (const path of [`/jobs/${id}/complete`, `/jobs/${batch.id}/cancel`, `/jobs/${batch.id}/retry`])
    t.match(await service.call('POST', path), { status: 200 }, path)
  for (const path of [
    '/jobs?includeCompleted=true&search=job',
    '/active',
    `/jobs/${id}/events`,
    `/jobs/${id}/progress`,
    '/stats',
    '/webhooks',
    `/webhooks/${webhook.id}`,
    `/webhooks/${webhook.id}/deliveries`,
  ])
    t.match(await service.call('GET', path), { status: 200 }, path)
  t.match((await service.call('GET', `/stats?jobType=${jobType}`)).body, { types: [{ completed: 1 }] })
  t.match(await service.call('PUT', `/webhooks/${webhook.id}`, { description: 'mine' }), { status: 200 })
  t.match(await service.call('POST', `/webhooks/${webhook.id}/rotate-secret`), { status: 200 })
  t.match(await service.call('POST', `/webhooks/${webhook.id}/test`), { status: 202 })
  await waitFor(() => receiver.received.some(({ body }) => body.type === 'webhook.test'))
  await waitFor(() => receiver.types.includes('completed'))
  t.match(await service.call('GET', `/jobs/${randomUUID()}`), { status: 404 })
  t.match(await service.call('DELETE', `/jobs/${id}?purge=true`), { status: 204 })
  t.match(await service.call('DELETE', `/webhooks/${webhook.id}`), { status: 204 })
  await waitFor(async () => (await service.job(silent.id)).failureReason === 'never_started')
  await pool.query("UPDATE public.progress_jobs SET finished_at = now() - interval '2 days' WHERE id = $1", [silent.id])
  await waitFor(async () => (await service.call('GET', `/jobs/${silent.id}`)).status === 404)
  t.match(await (await fetch(`${service.url}/metrics`)).text(), /headway_jobs\{.*running/)
  t.equal((await fetch(`${service.url}/readyz`)).status, 200)
  await service.close()
  for (const table of TABLES) t.same((await pool.query(`SELECT FROM elsewhere.${table}`)).rows, [], table)
})

const open = (t: Test, url: string): Database => {
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined })
  t.teardown(() => database.close())
  return database
}

t.test('the service is ready only if each of its pools can do its work', async t => {
  const database = await createTestDatabase(t)
  const without = await createTestDatabase(t)
  await without.pool.query(`DROP SCHEMA ${FUNCTIONS} CASCADE`)
  const [sound, broken, away] = [
    open(t, database.url),
    open(t, without.url),
    open(t, withDatabase(database.url, 'no_such_database')),
  ]
  const reasonOf = (...databases: Database[]) => createReadiness({ databases, isFlushRefused: () => false })()
  t.equal(await reasonOf(sound, sound), null)
  t.equal(await reasonOf(sound, broken), 'statements')
  t.equal(await reasonOf(broken, sound), 'statements')
  t.equal(await reasonOf(sound, away), 'database')
  t.equal(await reasonOf(away, sound), 'database')
  await without.pool.query('DROP TABLE public.service_processes')
  t.equal(await reasonOf(sound, broken), 'statements')
})

t.test('a table that one pool may not read, and a server that one pool may not write to, are not ready', async t => {
  const { url, pool } = await createTestDatabase(t)
  const sound = open(t, url)
  const reasonOf = (...databases: Database[]) => createReadiness({ databases, isFlushRefused: () => false })()
  const role = `role_${randomUUID().replaceAll('-', '')}`
  await pool.query(`CREATE ROLE ${role} LOGIN PASSWORD 'password'; GRANT USAGE ON SCHEMA public TO ${role}`)
  t.teardown(() => pool.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`))
  await pool.query(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${role}`)
  const asRole = new URL(url)
  asRole.username = role
  asRole.password = 'password'
  const limited = open(t, asRole.href)
  t.equal(await reasonOf(sound, limited), null)
  for (const table of ALL_TABLES) {
    await pool.query(`REVOKE SELECT ON public.${table} FROM ${role}`)
    t.equal(await reasonOf(sound, limited), 'statements', table)
    t.equal(await reasonOf(limited, sound), 'statements', table)
    await pool.query(`GRANT SELECT ON public.${table} TO ${role}`)
  }
  t.equal(await reasonOf(limited, limited), null)

  const readOnly = new URL(url)
  readOnly.searchParams.set('options', '-c default_transaction_read_only=on')
  const standby = open(t, readOnly.href)
  t.equal(await reasonOf(sound, standby), 'read_only')
  t.equal(await reasonOf(standby, sound), 'read_only')
})

t.test(
  'heartbeats that the database refuses wait, /readyz and the log say so, and they are written when the database accepts them',
  async t => {
    const lines: LogLine[] = []
    const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line) as LogLine) })
    const service = await startService(t, { log })
    const { pool } = service.database
    const { id } = await service.createJob()
    const ready = async () => {
      const response = await fetch(`${service.url}/readyz`)
      return { status: response.status, body: (await response.json()) as { reason?: string } }
    }
    const refused = async () => {
      const text = await (await fetch(`${service.url}/metrics`)).text()
      return /^headway_flush_refused (\d)/m.exec(text)?.[1]
    }
    const takeAway: [away: string, back: string][] = [
      [`ALTER SCHEMA ${FUNCTIONS} RENAME TO elsewhere`, `ALTER SCHEMA elsewhere RENAME TO ${FUNCTIONS}`],
      ['ALTER TABLE public.job_progress RENAME TO elsewhere', 'ALTER TABLE public.elsewhere RENAME TO job_progress'],
    ]
    let sent = 0
    for (const [away, back] of takeAway) {
      lines.length = 0
      await pool.query(away)
      const answers = Promise.all(
        [1, 2, 3].map(n => service.call('POST', `/jobs/${id}/increment`, { workerId: `w${n}`, increment: 1 })),
      )
      sent += 3
      await waitFor(async () => (await ready()).body.reason === 'heartbeats')
      t.equal((await ready()).status, 503)
      t.equal(await refused(), '1')
      const loud = lines.filter(({ level, msg }) => level === 50 && /refuses to write heartbeats/.test(msg))
      t.equal(loud.length, 1, 'loudly, and not once a flush')
      await pool.query(back)
      await waitFor(async () => (await ready()).status === 200)
      t.equal(await refused(), '0')
      for (const { status } of await answers) t.ok(status === 200 || status === 202, `${away}: ${status}`)
      await waitFor(async () => (await service.job(id)).processedCount === sent)
    }
  },
)

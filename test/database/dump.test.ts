import { randomBytes } from 'node:crypto'
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import pg from 'pg'
import t from 'tap'
import { dump, type Counts } from '../../src/database/dump/dump.ts'
import { restore } from '../../src/database/dump/restore.ts'
import { DUMPED_TABLES, LEFT_OUT_TABLES } from '../../src/database/dump/tables.ts'
import type { JobDocument, JobEvent, Page } from '../../src/contract/job.ts'
import type { WebhookWithSecret } from '../../src/contract/webhook.ts'
import { createEmptyDatabase, createTestDatabase } from '../helpers/database.ts'
import { spawnHeadway } from '../helpers/headway.ts'
import { makeDirectory, spawnService } from '../helpers/process.ts'
import { startReceiver, verify } from '../helpers/receiver.ts'
import { startService } from '../helpers/service.ts'
import { openStream } from '../helpers/stream.ts'
import { waitFor } from '../helpers/wait.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

const TENANT = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'

const DAMAGED = { code: 'validation_failed', message: /The dump is cut short or damaged/ }

/** Every row as a document. What is left out belongs to one server (src/database/dump/tables.ts). */
const contentOf = async (pool: Pick<pg.Pool, 'query'>): Promise<Record<string, unknown[]>> => {
  const content: Record<string, unknown[]> = {}
  for (const table of DUMPED_TABLES) {
    const { rows } = await pool.query<{ row: unknown }>(
      `SELECT to_jsonb(t) - 'finished_xact' AS row FROM public.${table} t ORDER BY (to_jsonb(t))::text`,
    )
    content[table] = rows.map(({ row }) => row)
  }
  return content
}

/** A dump in memory. `onPiece` is awaited before the next piece is read. */
const dumpToMemory = async (url: string, onPiece?: () => Promise<void>) => {
  const pieces: Buffer[] = []
  const counts: Counts = await dump(url, '0.0.0', async given => {
    for await (const piece of given) {
      pieces.push(piece)
      await onPiece?.()
    }
  })
  return { counts, bytes: Buffer.concat(pieces) }
}

async function* cut(bytes: Buffer, size = bytes.length) {
  for (let start = 0; start < bytes.length; start += size) yield bytes.subarray(start, start + size)
}

const insertJob = (pool: pg.Pool, name: string, fields: { meta?: object; message?: string } = {}) =>
  pool.query<{ id: string }>(
    `WITH job AS (
       INSERT INTO progress_jobs (tenant_id, job_type, name, message, meta, heartbeat_timeout_seconds)
       VALUES ($1, 'test', $2, $3, $4, 60) RETURNING id
     ), event AS (INSERT INTO job_events (job_id, type, at, attempt) SELECT id, 'created', now(), 1 FROM job)
     SELECT id FROM job`,
    [TENANT, name, fields.message, fields.meta ?? {}],
  )

// They wait more than they work.
t.jobs = 3

t.test('moving from the embedded Postgres to another one takes a dump and a restore', { buffered: true }, async t => {
  const dataDir = makeDirectory(t)
  const service = await spawnService(t, { HEADWAY_DATA_DIR: dataDir, WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1' }).ready()
  const call = async <Body>(method: string, path: string, body?: object, headers = {}) => {
    const response = await fetch(`${service.url}/api/progress${path}`, {
      method,
      headers: { ...(body && { 'content-type': 'application/json' }), ...headers },
      ...(body && { body: JSON.stringify(body) }),
    })
    return (await response.json()) as Body
  }
  const create = (fields: object, headers = {}) =>
    call<JobDocument>('POST', '/jobs', { jobType: 'test', name: 'a job', ...fields }, headers)
  const receiver = await startReceiver(t)
  receiver.answerWith(500)
  const webhook = await call<WebhookWithSecret>('POST', '/webhooks', { url: receiver.url })
  const running = await create({ totalCount: 10, meta: { of: 'running' }, heartbeatTimeoutSeconds: 0 })
  await call('POST', `/jobs/${running.id}/heartbeat`, { workerId: 'a', processedCount: 5, message: 'half' })
  const failed = await create({})
  await call('POST', `/jobs/${failed.id}/fail`, { errorMessage: 'no room' })
  const completed = await create({ cancellable: true })
  await call('POST', `/jobs/${completed.id}/heartbeat`, { processedCount: 1 })
  await call('POST', `/jobs/${completed.id}/complete`, { resultSummary: { rows: 1 } })
  const key = { 'idempotency-key': 'once' }
  const keyed = await create({ name: 'once' }, key)
  const batch = await create({
    name: 'batch',
    partitions: [{ name: 'one' }, { name: 'two' }],
    heartbeatTimeoutSeconds: 0,
  })
  await receiver.count(1)
  let streamUrl = service.url
  const stream = openStream(t, () => streamUrl)
  await waitFor(() => stream.jobs.has(running.id))

  const file = join(makeDirectory(t), 'headway.dump.gz')
  const whileServing = await spawnHeadway(t, ['dump', file], { HEADWAY_DATA_DIR: dataDir }).ended
  t.match(whileServing, { code: 0, stderr: /The dump contains the secrets of 1 webhooks/ })
  t.equal(statSync(file).mode & 0o777, 0o600)
  await service.kill('SIGTERM')
  t.match(
    await spawnHeadway(t, ['dump', file], { HEADWAY_DATA_DIR: dataDir }).ended,
    { code: 0 },
    'while it is stopped',
  )
  t.same(readdirSync(join(file, '..')), ['headway.dump.gz'])
  const before = await spawnHeadway(t, ['database', process.execPath, '-e', 'console.log(process.env.PGPASSWORD)'], {
    HEADWAY_DATA_DIR: dataDir,
  }).ended
  t.equal(before.stdout.trim(), readFileSync(join(dataDir, 'postgres/cluster/password'), 'utf8'))

  const database = await createEmptyDatabase(t)
  const said = await spawnHeadway(t, ['restore', file], { DATABASE_URL: database.url }).ended
  t.match(said, { code: 0, stdout: /7 jobs and 1 webhooks of / }, said.stderr)
  const { pool } = database
  const restored = await contentOf(pool)
  t.match(restored['webhooks'], [{ id: webhook.id, secret: webhook.secret }])
  t.ok((restored['webhook_deliveries'] ?? []).length > 0)
  t.equal((restored['job_progress'] ?? []).length, 2)
  t.match((await pool.query('SELECT count(*)::integer AS count FROM service_processes')).rows, [{ count: 0 }])

  const positions = await pool.query('SELECT FROM progress_jobs WHERE finished_xact IS NOT NULL')
  t.equal(positions.rowCount, 0, 'no position in the order of commits of the other server')

  receiver.answerWith(204)
  const mine = await startService(t, { database, WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1', LIVE_INTERVAL_MS: '50' })
  t.match(await mine.job(running.id), { processedCount: 5, message: 'half', meta: { of: 'running' } })
  t.match(await mine.job(failed.id), { status: 'failed', errorMessage: 'no room' })
  t.match(await mine.job(completed.id), { status: 'completed', resultSummary: { rows: 1 } })
  const again = await mine.call<JobDocument>('POST', '/jobs', { jobType: 'test', name: 'once' }, key)
  t.equal(again.body.id, keyed.id, 'a key is remembered')
  t.match(await mine.job(batch.id), { status: 'pending', children: { total: 2 } })

  // It resumes from a position of the other server.
  const { connects } = stream
  streamUrl = mine.url
  await waitFor(() => stream.connects > connects)
  t.equal(stream.jobs.get(running.id)?.status, 'running')
  const { revision } = await mine.job(running.id)
  const waiting = mine.call<JobDocument>('GET', `/jobs/${running.id}`, undefined, {
    prefer: 'wait=10',
    'if-none-match': `"${running.id}-${revision}"`,
  })
  await mine.heartbeat(running.id, { workerId: 'a', processedCount: 6 })
  await mine.call('POST', `/jobs/${running.id}/complete`)
  t.equal((await waiting).status, 200)
  await waitFor(() => stream.jobs.get(running.id)?.status === 'completed')
  await pool.query("UPDATE webhook_deliveries SET due_at = now(), claim = NULL WHERE status = 'waiting'")
  await pool.query('UPDATE webhooks SET paused_until = NULL')
  await mine.call('PUT', `/webhooks/${webhook.id}`, {})
  await waitFor(() =>
    receiver.received.some(({ body }) => body.data.status === 'completed' && body.data.id === running.id),
  )
  t.ok(verify(webhook.secret, receiver.received.at(-1)!), 'signed by the secret of before')
  const history = await mine.call<Page<JobEvent>>('GET', `/jobs/${running.id}/events`)
  const ids = history.body.items.map(({ id }) => id)
  t.equal(new Set(ids).size, ids.length)
})

t.test('a restored database has every row as it was, whatever it contains', { buffered: true }, async t => {
  const source = await createTestDatabase(t)
  const { pool } = source
  const hostile = [
    '\\.',
    '\\N',
    'a\tb\r\nc',
    '\n\\.\n',
    '\\\\',
    '\\x00 \\000 \\u0000',
    '😀 \u{10ffff}',
    '',
    ' ',
    '"',
    "'",
    '{}',
  ]
  for (const message of hostile) await insertJob(pool, `${message}-`, { message, meta: { [message]: message } })
  await pool.query(
    `INSERT INTO webhooks (tenant_id, url, events, secret) VALUES ($1, 'https://example.com', $2, 'whsec_x')`,
    [TENANT, ['a,b', '{"c"}', '\\', 'NULL', '']],
  )
  await pool.query("INSERT INTO untold_changes (tenant_id, job_id, job_type, revision) VALUES ($1, $1, '\\.', 1)", [
    TENANT,
  ])
  await pool.query(
    'INSERT INTO service_processes (id, started_at, seen_at, healthy_since) VALUES ($1, now(), now(), now())',
    [TENANT],
  )
  await pool.query("SELECT nextval('job_events_id_seq') FROM generate_series(1, 100)")
  const isRestored = async (pieceBytes: number) => {
    const { bytes } = await dumpToMemory(source.url)
    const target = await createEmptyDatabase(t)
    await restore(target.url, cut(bytes, pieceBytes))
    t.strictSame(await contentOf(target.pool), await contentOf(pool), `in pieces of ${pieceBytes} bytes`)
    return target.pool
  }
  // Each border of pieces lies everywhere once: within the line that ends the rows as well.
  await isRestored(3)
  await insertJob(pool, 'large', { message: randomBytes(750_000).toString('base64') })
  const restored = await isRestored(4_093)
  const { rows } = await restored.query(
    "SELECT nextval('job_events_id_seq')::integer AS next, (SELECT count(*)::integer FROM service_processes) AS processes",
  )
  t.same(
    rows,
    [{ next: 100 + hostile.length + 2, processes: 0 }],
    'no number is used again, and processes stay where they are',
  )
})

t.test('a dump is of one moment, whatever is written meanwhile', { buffered: true }, async t => {
  const source = await createTestDatabase(t)
  for (let index = 0; index < 3; index += 1) await insertJob(source.pool, `before ${index}`)
  const before = await contentOf(source.pool)
  const { bytes } = await dumpToMemory(source.url, async () => {
    await insertJob(source.pool, 'meanwhile')
    await source.pool.query("UPDATE progress_jobs SET message = 'meanwhile'")
    await source.pool.query('DELETE FROM job_events WHERE id = (SELECT min(id) FROM job_events)')
  })
  const target = await createEmptyDatabase(t)
  await restore(target.url, cut(bytes))
  t.same(await contentOf(target.pool), before)
  const { rows } = await target.pool.query<{ id: string }>(
    "INSERT INTO job_events (job_id, type, at, attempt) SELECT id, 'started', now(), 1 FROM progress_jobs LIMIT 1 RETURNING id",
  )
  t.ok(Number(rows[0]?.id) > 3, 'a new entry comes after all others')
})

t.test(
  'a dump that was cut or changed anywhere is refused, and nothing of it is restored',
  { buffered: true },
  async t => {
    const source = await createTestDatabase(t)
    await insertJob(source.pool, 'a job')
    const { bytes } = await dumpToMemory(source.url)
    const target = await createEmptyDatabase(t)
    const isRefused = async (damaged: Buffer, what: string) => {
      await t.rejects(restore(target.url, cut(damaged)), { code: 'validation_failed' }, what)
    }
    const content = bytes.toString()
    const ends = [...content.matchAll(/\n/g)].map(({ index }) => index)
    // From the end of the head on: before it there is no table.
    for (const end of ends.slice(1, -1)) {
      await isRefused(bytes.subarray(0, end), `cut before byte ${end}`)
      await isRefused(bytes.subarray(0, end + 1), `cut after byte ${end}`)
    }
    await isRefused(bytes.subarray(0, bytes.length - 1), 'without its last byte')
    await isRefused(Buffer.from(content.replace('a job', 'A job')), 'another name')
    await isRefused(Buffer.from(content.replace(/^(.{8}-.{27}\t.*)\n/m, '$1\n$1\n')), 'a row twice')
    await isRefused(Buffer.from(content.replace('\tpending\t', '\tasleep\t')), 'a row that breaks an invariant')
    await isRefused(Buffer.concat([bytes, bytes]), 'two dumps in one file')
    await isRefused(Buffer.from(content.replace('"progress_jobs"', '"pg_authid"')), 'a table of somebody else')
    for (const rows of Object.values(await contentOf(target.pool))) t.same(rows, [])
    await restore(target.url, cut(bytes))
    t.same(await contentOf(target.pool), await contentOf(source.pool), 'a good dump is restored after all these')
  },
)

t.test('a dump is restored into an empty database only', { buffered: true }, async t => {
  const source = await createTestDatabase(t)
  const { bytes } = await dumpToMemory(source.url)
  for (const fill of [
    (pool: pg.Pool) => insertJob(pool, 'mine'),
    (pool: pg.Pool) =>
      pool.query("INSERT INTO webhooks (tenant_id, url, events, secret) VALUES ($1, 'u', '{}', 's')", [TENANT]),
  ]) {
    const target = await createTestDatabase(t)
    await fill(target.pool)
    const before = await contentOf(target.pool)
    await t.rejects(restore(target.url, cut(bytes)), {
      code: 'validation_failed',
      message: /has jobs or webhooks already/,
    })
    t.same(await contentOf(target.pool), before)
  }
  const target = await createTestDatabase(t)
  await restore(target.url, cut(bytes))
  t.pass('tables without a row count as empty')
})

t.test('a dump or a database of a newer version is refused with a sentence', { buffered: true }, async t => {
  const source = await createTestDatabase(t)
  const { bytes } = await dumpToMemory(source.url)
  const target = await createEmptyDatabase(t)
  const newer = { code: 'validation_failed', message: /A newer Headway/ }
  const changed = (from: RegExp, to: string) => cut(Buffer.from(bytes.toString().replace(from, to)))
  await t.rejects(restore(target.url, changed(/"headwayDump":1/, '"headwayDump":2')), newer)
  await t.rejects(restore(target.url, changed(/"migration":"[^"]*"/, '"migration":"9999_later"')), newer)
  await t.rejects(restore(target.url, cut(Buffer.from('SELECT 1;\n'))), { message: /is no dump of Headway/ })
  await t.rejects(dumpToMemory(target.url), { code: 'validation_failed', message: /holds nothing of Headway/ })
  await source.pool.query(
    "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) SELECT 'newer', max(created_at) + 1 FROM drizzle.__drizzle_migrations",
  )
  await t.rejects(dumpToMemory(source.url), newer)
})

t.test('a dump that cannot be written to its end is reported and leaves no file', { buffered: true }, async t => {
  const { url, pool } = await createTestDatabase(t)
  await insertJob(pool, 'large', { message: randomBytes(750_000).toString('base64') })
  const directory = t.testdir({ 'old.dump': 'the one before' })
  const shell = async (command: string) => {
    const child = spawn('bash', ['-c', command], {
      cwd: directory,
      env: { PATH: process.env['PATH'], DATABASE_URL: url, NODE: process.execPath, MAIN },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const [stderr, code] = await Promise.all([
      text(child.stderr),
      new Promise<number | null>(resolve => child.once('close', resolve)),
    ])
    return { stderr, code }
  }
  const [full, cutPipe] = await Promise.all([
    // A limit on the size of files is like a full disk: a write fails. The modules that tap preloads would end the process instead.
    shell('unset NODE_OPTIONS; ulimit -f 100; "$NODE" "$MAIN" dump old.dump'),
    shell('"$NODE" "$MAIN" dump - | head -c 1000; exit ${PIPESTATUS[0]}'),
  ])
  t.match(full, { code: 2, stderr: /The dump cannot be written to old\.dump/ })
  t.match(cutPipe, { code: 2, stderr: /The dump cannot be written to standard output/ })
  t.same(readdirSync(directory), ['old.dump'])
  t.equal(readFileSync(join(directory, 'old.dump'), 'utf8'), 'the one before')
})

t.test('a dump that is told to stop ends and leaves no file', { buffered: true }, async t => {
  const { url, pool } = await createTestDatabase(t)
  const directory = t.testdir()
  const holder = await pool.connect()
  await holder.query('BEGIN; LOCK TABLE job_events IN ACCESS EXCLUSIVE MODE')
  const { child, ended } = spawnHeadway(t, ['dump', join(directory, 'headway.dump')], { DATABASE_URL: url })
  await waitFor(async () => {
    const { rowCount } = await pool.query(
      "SELECT FROM pg_locks WHERE NOT granted AND relation = 'job_events'::regclass",
    )
    return rowCount === 1
  })
  t.match(readdirSync(directory), [/^headway\.dump\..*\.part$/])
  child.kill('SIGTERM')
  t.match(await ended, { code: 2, stderr: /The dump was stopped before its end/ })
  t.same(readdirSync(directory), [])
  await holder.query('ROLLBACK')
  holder.release()
})

t.test(
  'a dump can be compressed and come by standard input, and a compressed dump that was cut is refused',
  { buffered: true },
  async t => {
    const source = await createTestDatabase(t)
    await insertJob(source.pool, 'a job')
    const { bytes } = await dumpToMemory(source.url)
    const compressed = gzipSync(bytes)
    const target = await createEmptyDatabase(t)
    const file = join(t.testdir(), 'cut.gz')
    writeFileSync(file, compressed.subarray(0, compressed.length - 20))
    const environment = { PATH: process.env['PATH'], DATABASE_URL: target.url }
    const cutShort = await spawnHeadway(t, ['restore', file], { DATABASE_URL: target.url }).ended
    t.match(cutShort, { code: 2, stderr: new RegExp(DAMAGED.message) })
    const child = spawn(process.execPath, [MAIN, 'restore', '-'], {
      env: environment,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    child.stdin.end(compressed)
    t.match(await text(child.stdout), /^1 jobs/)
    t.same(await contentOf(target.pool), await contentOf(source.pool))
  },
)

t.test('each table is part of a dump, or is left out on purpose', { buffered: true }, async t => {
  const { pool } = await createTestDatabase(t)
  const { rows } = await pool.query<{ relname: string }>(
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1",
  )
  t.same(
    rows.map(({ relname }) => relname),
    [...DUMPED_TABLES, ...LEFT_OUT_TABLES].sort(),
  )
})

t.test('a dump of a directory without an embedded Postgres makes none there', { buffered: true }, async t => {
  const dataDir = join(makeDirectory(t), 'nothing')
  for (const args of [['dump', '-'], ['database']]) {
    const { code, stderr } = await spawnHeadway(t, args, { HEADWAY_DATA_DIR: dataDir }).ended
    t.match([code, stderr], [2, /holds no embedded Postgres/])
  }
  t.notOk(statSync(dataDir, { throwIfNoEntry: false }))
})

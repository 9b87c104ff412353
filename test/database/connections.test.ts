import pg from 'pg'
import t, { type Test } from 'tap'
import { startEmbeddedPostgres } from '../../src/database/embedded/embedded.ts'
import { migrate } from '../../src/database/migrate.ts'
import { openDatabase, type Database } from '../../src/database/connection.ts'
import { ConnectionLostError, letGoOf, UnreachableError } from '../../src/database/failures.ts'
import { cancelOrphans } from '../../src/database/orphans.ts'
import { NoSlotError } from '../../src/database/slots.ts'
import { OPEN_IDENTITY, scopeOf } from '../../src/jobs/identity.ts'
import { toJobColumns } from '../../src/jobs/job-columns.ts'
import { createJobRepository } from '../../src/jobs/repository.ts'
import { makeDirectory } from '../helpers/process.ts'
import { startProxy } from '../helpers/proxy.ts'
import { waitFor } from '../helpers/wait.ts'

const POOL_SIZE = 4
const PATIENCE_MS = 300

/** Generous: the machine may be busy with other test files. */
const until = <T>(condition: () => T | Promise<T>) => waitFor(condition, { timeoutMs: 20_000 })

/** A server of its own, whose standby can go away. */
let url = ''
t.before(async () => {
  const settings = { fsync: 'off', max_connections: '30' }
  const server = await startEmbeddedPostgres({ dataDir: makeDirectory(t), settings, log: () => undefined })
  t.teardown(() => server.stop())
  url = server.url
  await migrate(url)
  await ask('CREATE TABLE written (word text)')
})

/** One statement on a connection of its own, as an administrator who comes to look would run it. */
const ask = async <Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Row>(sql, values)).rows
  } finally {
    await client.end()
  }
}

const setStandby = async (name: string): Promise<void> => {
  await ask(`ALTER SYSTEM SET synchronous_standby_names = '${name}'`)
  await ask('SELECT pg_reload_conf()')
  await until(
    async () =>
      (await ask<{ is: string }>("SELECT current_setting('synchronous_standby_names') AS is"))[0]?.is === name,
  )
}

/** No commit ends before the end of `t`, or before the function that this answers has been called. */
const takeStandbyAway = async (t: Test): Promise<() => Promise<void>> => {
  const bringBack = () => setStandby('')
  t.teardown(bringBack)
  await setStandby('nobody')
  return bringBack
}

/** Backends of this test's pools: the service that brings the server along has connections of its own. */
const countBackends = async (name: string): Promise<number> => {
  const sql = 'SELECT count(*)::integer AS count FROM pg_stat_activity WHERE application_name = $1'
  return (await ask<{ count: number }>(sql, [name]))[0]?.count ?? NaN
}

let pools = 0
const open = (t: Test, through = url): { database: Database; name: string } => {
  const name = `pool ${++pools}`
  const named = new URL(through)
  named.searchParams.set('application_name', name)
  const database = openDatabase({
    url: named.href,
    poolSize: POOL_SIZE,
    preparedStatements: true,
    onConnectionError: () => undefined,
    answerWithinMs: PATIENCE_MS,
  })
  let closed: Promise<void> | null = null
  const close = () => (closed ??= database.close())
  t.teardown(close)
  return { database: { ...database, close }, name }
}

const WRITE = 'INSERT INTO public.written VALUES ($1)'

/** Writes a word, and answers why that failed. */
const write = (database: Database, word = 'a word'): Promise<unknown> =>
  database.query(null, WRITE, [word]).then(
    () => null,
    (error: unknown) => error,
  )

t.test('a backend that waits for a standby counts in its pool until the server has ended the backend', async t => {
  const { database, name } = open(t)
  const bringBack = await takeStandbyAway(t)
  let going = true
  const failures: unknown[] = []
  const callers = Array.from({ length: 3 * POOL_SIZE }, async () => {
    while (going) failures.push(await write(database))
  })
  const counts: number[] = []
  // Each of them is cancelled many times over meanwhile.
  await until(async () => {
    counts.push(await countBackends(name))
    return failures.length > 5 * POOL_SIZE
  })
  t.ok(Math.max(...counts) <= POOL_SIZE, `the server had ${Math.max(...counts)} backends of a pool of ${POOL_SIZE}`)
  t.same(
    failures.filter(failure => !(failure instanceof ConnectionLostError)),
    [],
    'whether anything was written is unknown to each of the callers',
  )
  going = false
  await bringBack()
  await Promise.all(callers)
  t.equal(await write(database), null, 'with the standby back, everything is as before')
})

t.test('the caller of a failed statement can wait until the server has ended what the statement was doing', async t => {
  const { database, name } = open(t)
  await takeStandbyAway(t)
  const failure = await write(database)
  t.equal(database.connections().busy, 1, 'nobody uses it, and it counts')
  await letGoOf(failure)
  t.equal(database.connections().busy, 0)
  t.equal(await countBackends(name), 0)
})

t.test('a bounded number of callers waits for a connection, and the others are refused at once', async t => {
  const { database } = open(t)
  await takeStandbyAway(t)
  const taken = Array.from({ length: POOL_SIZE }, () => write(database))
  const waiting = Array.from({ length: 200 }, () => write(database))
  const refused = await write(database)
  t.type(refused, UnreachableError)
  t.type((refused as Error).cause, NoSlotError)
  t.equal(database.connections().waiting, 200, 'the others wait')
  await database.close()
  await Promise.all([...taken, ...waiting])
})

t.test('a process that closes leaves no backend that waits for a standby', async t => {
  const { database, name } = open(t)
  await takeStandbyAway(t)
  const failures = Array.from({ length: POOL_SIZE }, () => write(database))
  await until(async () => (await countBackends(name)) === POOL_SIZE)
  await database.close()
  t.equal(await countBackends(name), 0)
  for (const failure of await Promise.all(failures)) t.type(failure, ConnectionLostError)
})

t.test('a process that starts cancels statements of dead processes that wait for a standby', async t => {
  await takeStandbyAway(t)
  const orphan = new pg.Client({ connectionString: url, application_name: 'dead' })
  orphan.on('error', () => undefined)
  await orphan.connect()
  orphan.query(WRITE, ['of a dead process']).catch(() => undefined)
  const waits = "SELECT FROM pg_stat_activity WHERE application_name = 'dead' AND wait_event = 'SyncRep'"
  await until(async () => (await ask(waits)).length === 1)
  ;(orphan as unknown as { connection: { stream: { destroy: () => void } } }).connection.stream.destroy()
  const starting = new pg.Client({ connectionString: url, application_name: 'dead' })
  await starting.connect()
  t.teardown(() => starting.end())
  await cancelOrphans(starting, 3_600)
  t.equal((await ask(waits)).length, 1, 'it is too young: its process may live')
  await cancelOrphans(starting, 0)
  await until(async () => (await ask(waits)).length === 0)
})

t.test('a repeated create is not acknowledged before the standby has the job of the first create', async t => {
  const { database } = open(t)
  const repository = createJobRepository(database)
  const job = toJobColumns(OPEN_IDENTITY, { jobType: 'test', name: 'a job' }, 'a key', 60)
  const create = () => repository.create(scopeOf(OPEN_IDENTITY), job)
  const bringBack = await takeStandbyAway(t)
  await t.rejects(create(), ConnectionLostError)
  await until(async () => (await ask('SELECT FROM progress_jobs')).length === 1)
  await t.rejects(create(), ConnectionLostError, 'the job is there, but the standby may not have it')
  await bringBack()
  t.match(await create(), { code: 'exists' })
})

t.test('when one connection is not answered, those that have rested since before are replaced, not tried', async t => {
  const { proxy, url: through } = await startProxy(t, url)
  const { database, name } = open(t, through)
  await Promise.all(Array.from({ length: POOL_SIZE }, () => write(database)))
  const before = await countBackends(name)
  proxy.forgetAll()
  const failure = await write(database)
  t.type(failure, ConnectionLostError)
  const failures = []
  for (let turn = 0; turn < 2 * POOL_SIZE; turn += 1) failures.push(await write(database))
  t.same(failures, Array(2 * POOL_SIZE).fill(null), 'one caller has waited for all')
  await letGoOf(failure)
  await until(() => database.connections().busy === 0)
  t.ok((await countBackends(name)) <= before, 'the server has ended those that it had')
})

t.test('a connection that was answered lately rests on when another one is not', async t => {
  const { database } = open(t)
  const pid = async () => (await database.query<{ pid: number }>(null, 'SELECT pg_backend_pid() AS pid', []))[0]?.pid
  // Both connections are made, so that the late statement begins before the other one is answered.
  await Promise.all([pid(), pid()])
  const late = database.query(null, 'SELECT pg_sleep(60)', [])
  const begun = await pid()
  await t.rejects(late, ConnectionLostError)
  await until(() => database.connections().busy === 0)
  t.equal(await pid(), begun)
})

t.test('connections that the network has dropped silently are ended at the server, and replaced', async t => {
  const { proxy, url: through } = await startProxy(t, url)
  const { database, name } = open(t, through)
  t.same(await Promise.all(Array.from({ length: POOL_SIZE }, () => write(database))), Array(POOL_SIZE).fill(null))
  const forgotten = await countBackends(name)
  proxy.forgetAll()
  const failures = await Promise.all(Array.from({ length: forgotten }, () => write(database)))
  for (const failure of failures) t.type(failure, ConnectionLostError)
  for (const failure of failures) await letGoOf(failure)
  t.equal(database.connections().busy, 0)
  t.ok((await countBackends(name)) <= 1, 'only that which has ended the others is there')
  t.equal(await write(database), null)
})

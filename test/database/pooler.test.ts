import { spawn, spawnSync } from 'node:child_process'
import { statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { freePort } from '../../src/demo/free-port.ts'
import { refuseUnfitPool } from '../../src/database/pooler.ts'
import { createTestDatabase, withDatabase, type TestDatabase } from '../helpers/database.ts'
import { makeDirectory, spawnService } from '../helpers/process.ts'
import { waitFor } from '../helpers/wait.ts'

t.jobs = 2

const answers = (port: number): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

/** PgBouncer before the server of a database, which it offers in each of its modes; the addresses of both. */
const startPooler = async (t: Test, { url }: TestDatabase): Promise<{ transaction: string; session: string }> => {
  const server = new URL(url)
  const socketDir = server.searchParams.get('host')
  const directory = makeDirectory(t)
  const quoted = (text: string) => `"${decodeURIComponent(text).replaceAll('"', '""')}"`
  writeFileSync(join(directory, 'users'), `${quoted(server.username)} ${quoted(server.password)}\n`)
  const target = `host=${socketDir ?? server.hostname} port=${server.port || '5432'} dbname=${server.pathname.slice(1)}`
  const port = await freePort()
  const settings = [
    '[databases]',
    ...['transaction', 'session'].map(mode => `${mode} = ${target} pool_mode=${mode}`),
    '[pgbouncer]',
    `listen_addr = 127.0.0.1\nlisten_port = ${port}\nunix_socket_dir =\nauth_type = ${server.password === '' ? 'trust' : 'scram-sha-256'}`,
    `auth_file = ${join(directory, 'users')}`,
  ]
  writeFileSync(join(directory, 'settings'), `${settings.join('\n')}\n`)
  // It refuses root, and the server's socket is closed to others than the user of Postgres.
  const owner = process.getuid?.() === 0 ? { uid: socketDir === null ? 65534 : statSync(socketDir).uid } : {}
  const child = spawn('pgbouncer', [join(directory, 'settings')], { ...owner, stdio: 'ignore' })
  t.teardown(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  await waitFor(() => answers(port))
  const through = (mode: string) => {
    const other = new URL(withDatabase(url, mode))
    other.searchParams.delete('host')
    other.hostname = '127.0.0.1'
    other.port = String(port)
    return other.href
  }
  return { transaction: through('transaction'), session: through('session') }
}

const isInstalled = spawnSync('pgbouncer', ['--version']).status === 0
const withPooler = { skip: !isInstalled && 'PgBouncer is not installed (apt-get install -y pgbouncer)' }

/** Starts the service, which must refuse; answers its sentence. */
const refusedStart = async (t: Test, settings: Record<string, string>): Promise<string> => {
  const service = spawnService(t, settings)
  t.equal((await service.exited).code, 1)
  t.match(service.stderr, /^Cannot use the database: [^\n]+\.\n$/, 'one line')
  return service.stderr
}

const OFF = { DATABASE_PREPARED_STATEMENTS: 'false' }

t.test(
  'behind a pooler in transaction mode, each missing setting is named, and the service works with both',
  withPooler,
  async t => {
    const database = await createTestDatabase(t)
    const { transaction: url } = await startPooler(t, database)
    const direct = { DATABASE_LISTEN_URL: database.url }
    const [withNeither, withoutListening, withStatements] = await Promise.all([
      refusedStart(t, { DATABASE_URL: url }),
      refusedStart(t, { DATABASE_URL: url, ...OFF }),
      refusedStart(t, { DATABASE_URL: url, ...direct }),
    ])
    const neither =
      /Set DATABASE_LISTEN_URL to the address of the server itself, and DATABASE_PREPARED_STATEMENTS=false/
    t.match(withNeither, neither)
    t.match(withoutListening, neither)
    t.match(
      withStatements,
      /in transaction mode.* Set DATABASE_PREPARED_STATEMENTS=false, or correct DATABASE_URL\.\n$/,
    )
    t.notMatch(withStatements, 'LISTEN_URL')
    t.match(
      await refusedStart(t, { DATABASE_URL: url, DATABASE_LISTEN_URL: url, ...OFF }),
      /or correct DATABASE_LISTEN_URL/,
    )

    // No lock of a refused start stays in a session of the pooler: this one would wait for it.
    const service = await spawnService(t, { DATABASE_URL: url, ...direct, ...OFF }).ready()
    const call = async (method: string, path: string, body: object) => {
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(`${service.url}/api/progress${path}`, {
        method,
        headers,
        body: JSON.stringify(body),
      })
      return { status: response.status, body: (await response.json()) as { id: string } }
    }
    const { body: job } = await call('POST', '/jobs', { name: 'a job', jobType: 'test', totalCount: 20 })
    const reports = Array.from({ length: 20 }, (_, i) =>
      call('POST', `/jobs/${job.id}/increment`, { workerId: `worker ${i}`, increment: 1 }),
    )
    for (const { status } of await Promise.all(reports)) t.equal(status, 200)
    t.match(
      await waitFor(async () => (await service.readiness())?.degraded?.length === 0),
      true,
      'it hears changes as well',
    )
  },
)

t.test(
  'the service works behind a pooler in session mode, and a parameter that the pooler refuses is named',
  withPooler,
  async t => {
    const database = await createTestDatabase(t)
    const { session: url } = await startPooler(t, database)
    t.match(
      await refusedStart(t, { DATABASE_URL: url }),
      /refuses the settings of a session \(.*statement_timeout.*\)\. Set DATABASE_PREP/,
    )
    const service = await spawnService(t, { DATABASE_URL: url, ...OFF }).ready()
    t.equal(await waitFor(async () => (await service.readiness())?.degraded?.length === 0), true)
  },
)

t.test('DATABASE_URL and DATABASE_LISTEN_URL of two databases are refused', async t => {
  const [one, other] = await Promise.all([createTestDatabase(t), createTestDatabase(t)])
  const pool = { url: one.url, preparedStatements: true }
  await t.rejects(refuseUnfitPool({ ...pool, listenUrl: other.url }), {
    code: 'database_unavailable',
    message: /two databases/,
  })
  const sameByAnotherName = new URL(one.url)
  sameByAnotherName.searchParams.set('application_name', 'other')
  await t.resolves(refuseUnfitPool({ ...pool, listenUrl: sameByAnotherName.href }))
})

t.test(
  'a start that waits for another migration says so, and names the session to end if no migration runs',
  async t => {
    const { url, pool } = await createTestDatabase(t)
    const holder = new pg.Client(url)
    holder.on('error', () => undefined)
    await holder.connect()
    t.teardown(() => holder.end().catch(() => undefined))
    const { rows } = await holder.query<{ pid: number }>('SELECT pg_advisory_lock(5272015421), pg_backend_pid() AS pid')
    const service = spawnService(t, { DATABASE_URL: url })
    await waitFor(() => service.log.length > 0, { timeoutMs: 20_000 })
    const told = String(service.log[0]?.msg)
    t.match(told, `Another process brings the database up to date, and is waited for.`)
    t.match(told, `SELECT pg_terminate_backend(${rows[0]?.pid})`)
    await pool.query(/SELECT pg_terminate_backend\(\d+\)/.exec(told)?.[0] ?? '')
    await service.ready()
  },
)

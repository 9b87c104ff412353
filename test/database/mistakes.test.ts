import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startEmbeddedPostgres } from '../../src/database/embedded/embedded.ts'
import { awaitFileSystem } from '../../src/database/embedded/file-system.ts'
import { runProgram } from '../../src/cli/program.ts'
import { findMistyped } from '../../src/mistyped.ts'
import { createTestDatabase, withDatabase } from '../helpers/database.ts'
import { spawnHeadway } from '../helpers/headway.ts'
import { makeDirectory, spawnService } from '../helpers/process.ts'
import { waitFor } from '../helpers/wait.ts'

const PASSWORD = 'a-password-of-nobody'
const IS_ROOT = process.getuid?.() === 0

t.jobs = 2

/** An empty database beside that of `createTestDatabase`, and a role that may connect and nothing else. */
const createEmpty = async (t: Test) => {
  const { url, pool } = await createTestDatabase(t)
  const name = `${new URL(url).pathname.slice(1)}_empty`
  const role = `role_${randomUUID().replaceAll('-', '')}`
  await pool.query(`CREATE ROLE ${role} LOGIN PASSWORD '${PASSWORD}'`)
  await pool.query(`CREATE DATABASE "${name}"`)
  const admin = new pg.Client(withDatabase(url, name))
  await admin.connect()
  t.teardown(async () => {
    await admin.end()
    await pool.query(`DROP DATABASE "${name}" WITH (FORCE)`)
    await pool.query(`DROP ROLE ${role}`)
  })
  const asRole = new URL(withDatabase(url, name))
  asRole.username = role
  asRole.password = PASSWORD
  return { url: withDatabase(url, name), admin, name, role, asRole: asRole.href }
}

/** `headway migrate`, in this process. */
const migrate = async (t: Test, url: string) => {
  let stdout = ''
  let stderr = ''
  const code = await runProgram(['migrate'], {
    environment: { DATABASE_URL: url },
    out: text => (stdout += text),
    err: text => (stderr += text),
    serve: () => Promise.reject(new Error('the service was started')),
  })
  if (code !== 0) {
    t.match(stderr, /^[^\n]+\.\n$/, 'one line')
    t.notMatch(stderr, PASSWORD, 'no password')
    t.match(stderr, 'DATABASE_URL')
  }
  return { code, stdout, stderr }
}

t.test('an error about missing rights names the statements to run, and these statements are enough', async t => {
  const { admin, name, role, asRole } = await createEmpty(t)
  await admin.query('CREATE SCHEMA drizzle')
  const refused = await migrate(t, asRole)
  t.match(refused, { code: 2, stderr: `GRANT CREATE ON DATABASE ${name} TO ${role}; ` })
  t.match(refused.stderr, `GRANT USAGE, CREATE ON SCHEMA drizzle TO ${role}`)
  const [, statements = ''] = /administrator: (.*), or correct/.exec(refused.stderr) ?? []
  await admin.query(statements)
  t.match(await migrate(t, asRole), { code: 0, stdout: 'The database is up to date.\n' })
})

t.test('an error about an object of another role names that role', async t => {
  const { admin, url, asRole } = await createEmpty(t)
  const { rows } = await admin.query<{ me: string }>('SELECT current_user AS me')
  t.match(await migrate(t, url), { code: 0 })
  t.match(await migrate(t, asRole), { code: 2, stderr: `belongs to ${rows[0]?.me}: start Headway as` })
})

t.test(
  'an error for a role that may create and does not own the tables names the role whose member it has to become',
  async t => {
    const { admin, name, role, url, asRole } = await createEmpty(t)
    t.match(await migrate(t, asRole), { code: 2 })
    await admin.query(`GRANT CREATE ON DATABASE "${name}" TO ${role}; GRANT CREATE ON SCHEMA public TO ${role}`)
    t.match(await migrate(t, asRole), { code: 0 })
    const other = `${role}_other`
    await admin.query(`CREATE ROLE ${other} LOGIN PASSWORD '${PASSWORD}'`)
    t.teardown(() => admin.query(`DROP OWNED BY ${other}; DROP ROLE ${other}`))
    await admin.query(`GRANT CREATE ON DATABASE "${name}" TO ${other}; GRANT CREATE ON SCHEMA public TO ${other}`)
    const asOther = new URL(url)
    asOther.username = other
    asOther.password = PASSWORD
    const refused = await migrate(t, asOther.href)
    t.match(refused, { code: 2, stderr: `GRANT ${role} TO ${other}` })
    const [, statements = ''] = /administrator: (.*), or correct/.exec(refused.stderr) ?? []
    await admin.query(statements)
    t.match(await migrate(t, asOther.href), { code: 0 })
  },
)

t.test('migrating and starting on a read-only server say that the server is read-only', async t => {
  const { admin, name, url } = await createEmpty(t)
  await admin.query(`ALTER DATABASE "${name}" SET default_transaction_read_only = on`)
  t.match(await migrate(t, url), { code: 2, stderr: /is read-only: it is a standby, or .*Take the primary/ })
  const service = spawnService(t, { DATABASE_URL: url })
  t.equal((await service.exited).code, 1)
  t.match(service.stderr, /^Cannot use the database: .* is read-only[^\n]*\n$/)
})

t.test('a table name that another object has taken is named', async t => {
  for (const statement of [
    'CREATE TABLE progress_jobs (x integer)',
    'CREATE VIEW webhooks AS SELECT 1',
    'CREATE TYPE progress_jobs AS ENUM ()',
  ]) {
    const { admin, url } = await createEmpty(t)
    await admin.query(statement)
    t.match(await migrate(t, url), { code: 2, stderr: /has something else under a name that Headway needs/ }, statement)
  }
})

t.test('an object in place of a table is named at a later start, and so is a missing table', async t => {
  const { admin, url } = await createEmpty(t)
  t.match(await migrate(t, url), { code: 0 })
  await admin.query('DROP TABLE public.untold_changes')
  t.match(await migrate(t, url), {
    code: 2,
    stderr: /public\.untold_changes, which .* is missing\. Restore the database/,
  })
  for (const [kind, statement] of [
    ['a view', 'CREATE VIEW untold_changes AS SELECT 1'],
    ['a materialized view', 'CREATE MATERIALIZED VIEW untold_changes AS SELECT 1'],
    ['a sequence', 'CREATE SEQUENCE untold_changes'],
    ['a partitioned table', 'CREATE TABLE untold_changes (x integer) PARTITION BY LIST (x)'],
  ] as const) {
    await admin.query(statement)
    t.match(await migrate(t, url), {
      code: 2,
      stderr: `public.untold_changes is ${kind}, and Headway needs its own table`,
    })
    await admin.query(`DROP ${/CREATE ((?:MATERIALIZED )?\w+)/.exec(statement)?.[1] ?? ''} untold_changes`)
  }
})

t.test('a schema of the name headway that another program uses is not touched', async t => {
  const { admin, url } = await createEmpty(t)
  await admin.query(
    'CREATE SCHEMA headway; CREATE TABLE headway.orders (x integer); INSERT INTO headway.orders VALUES (1)',
  )
  t.match(await migrate(t, url), {
    code: 2,
    stderr: /headway\.orders belongs to another program.*a database of its own/,
  })
  t.match((await admin.query('SELECT x FROM headway.orders')).rows, [{ x: 1 }])
})

t.test(
  'a database with another encoding than UTF8 is refused with the statement that makes a UTF8 database',
  async t => {
    const { url, pool } = await createTestDatabase(t)
    const name = `${new URL(url).pathname.slice(1)}_latin`
    await pool.query(`CREATE DATABASE "${name}" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`)
    t.teardown(() => pool.query(`DROP DATABASE "${name}" WITH (FORCE)`))
    t.match(await migrate(t, withDatabase(url, name)), {
      code: 2,
      stderr:
        /encoding of the database \w+ is LATIN1, and Headway needs UTF8\. Create a database with ENCODING 'UTF8' TEMPLATE/,
    })
  },
)

t.test('the migrations of another program are not taken for those of Headway', async t => {
  const { admin, url } = await createEmpty(t)
  await admin.query(`CREATE SCHEMA drizzle;
    CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint);
    INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('other', 9000000000000)`)
  t.match(await migrate(t, url), {
    code: 2,
    stderr: /belongs to another program\. Give Headway a database of its own, or correct DATABASE_URL\.\n$/,
  })
})

t.test('special characters that a password has unescaped are noticed, wherever they cut the URL', async t => {
  for (const password of ['p@ss/word', 'p#ss', 'p?ss', 'p/ss', '12/34', '12?34', '12#34', '1@2/3']) {
    const { code, stderr } = await migrate(t, `postgres://u:${password}@localhost:1/headway`)
    t.equal(code, 2, password)
    t.match(stderr, /special characters of its password are written as percent and two digits/, password)
    t.notMatch(stderr, password)
  }
  const good = encodeURIComponent('p@ss/w:rd#?%')
  t.match(await migrate(t, `postgres://u:${good}@localhost:1/headway`), { code: 4, stderr: /nothing listens/ })
})

t.test('a password that is missing is named, and the command ends', async t => {
  // AuthenticationCleartextPassword (https://www.postgresql.org/docs/current/protocol-message-formats.html); then it waits.
  const asks = createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3])))
  }).listen(0, '127.0.0.1')
  await once(asks, 'listening')
  t.teardown(() => asks.close())
  const url = `postgres://u@127.0.0.1:${(asks.address() as AddressInfo).port}/headway`
  const { code, stderr } = await spawnHeadway(t, ['migrate'], { DATABASE_URL: url }).ended
  t.match({ code, stderr }, { code: 4, stderr: /DATABASE_URL holds no password/ })
})

/** A server with TLS, whose certificate is for `localhost` and signed by an authority of its own. */
const startTlsServer = async (t: Test) => {
  const directory = makeDirectory(t)
  const at = (name: string) => join(directory, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore', cwd: directory })
  const key = (name: string) => ['-newkey', 'rsa:2048', '-nodes', '-keyout', name]
  openssl('req', '-x509', ...key('ca.key'), '-out', 'ca.pem', '-days', '2', '-subj', '/CN=Authority')
  openssl('req', ...key('server.key'), '-out', 'server.csr', '-subj', '/CN=localhost')
  writeFileSync(at('names'), 'subjectAltName=DNS:localhost\n')
  const authority = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial']
  openssl('x509', '-req', '-in', 'server.csr', ...authority, '-out', 'server.crt', '-days', '2', '-extfile', 'names')
  // Postgres takes a key that belongs to its own user alone, who is not the one of this process where that is root.
  chmodSync(at('server.key'), 0o600)
  const dataDir = at('data')
  mkdirSync(join(dataDir, 'postgres'), { recursive: true, mode: 0o755 })
  if (IS_ROOT) {
    const id = Number(execFileSync('id', ['-u', 'nobody'], { encoding: 'utf8' }))
    for (const path of [at('server.key'), join(dataDir, 'postgres')]) chownSync(path, id, id)
  }
  const postgres = await startEmbeddedPostgres({
    dataDir,
    transport: 'tcp',
    settings: { fsync: 'off', ssl_cert_file: at('server.crt'), ssl_key_file: at('server.key') },
  })
  t.teardown(() => postgres.stop())
  const turn = async (ssl: 'on' | 'off') => {
    const admin = new pg.Client(postgres.url)
    await admin.connect()
    await admin.query(`ALTER SYSTEM SET ssl = ${ssl}`)
    await admin.query('SELECT pg_reload_conf()')
    await admin.end()
    // A new session has the new setting once the server has read it.
    await waitFor(async () => {
      const client = new pg.Client(postgres.url)
      await client.connect()
      const { rows } = await client.query<{ ssl: string }>('SHOW ssl')
      await client.end()
      return rows[0]?.ssl === ssl
    })
  }
  await turn('on')
  const url = new URL(postgres.url)
  url.hostname = 'localhost'
  const by = (host: string, parameters: Record<string, string>) => {
    const changed = new URL(url)
    changed.hostname = host
    for (const [name, value] of Object.entries(parameters)) changed.searchParams.set(name, value)
    return changed.href
  }
  return { by, ca: at('ca.pem'), turnOff: () => turn('off') }
}

const hasOpenssl = spawnSync('openssl', ['version']).status === 0

t.test(
  'a server with TLS is verified by the authority that the URL names, and every other outcome is explained',
  { skip: !hasOpenssl && 'openssl is not installed' },
  async t => {
    const { by, ca, turnOff } = await startTlsServer(t)
    const said = (host: string, parameters: Record<string, string>) => migrate(t, by(host, parameters))
    for (const sslmode of ['verify-full', 'require', 'verify-ca', 'prefer']) {
      t.match(await said('localhost', { sslmode, sslrootcert: ca }), { code: 0, stderr: '' }, sslmode)
      t.match(await said('localhost', { sslmode }), { code: 2, stderr: /trusts\. Add sslrootcert=/ }, sslmode)
    }
    t.match(await said('localhost', { sslmode: 'no-verify' }), { code: 0, stderr: '' })
    t.match(await said('127.0.0.1', { sslmode: 'require', sslrootcert: ca }), { code: 2, stderr: /for another name/ })
    const missing = { sslmode: 'require', sslrootcert: `${ca}.missing` }
    t.match(await said('localhost', missing), { code: 2, stderr: /cannot be read \(.*ca\.pem\.missing: ENOENT\)/ })
    t.match(await said('localhost', { sslmode: 'requrie' }), { code: 2, stderr: /must be one of disable, .*no-verify/ })
    const service = spawnService(t, { DATABASE_URL: by('localhost', { sslmode: 'require' }) })
    t.equal((await service.exited).code, 1, 'waiting does not help')
    t.match(service.stderr, /^Cannot use the database: the certificate of localhost:\d+ [^\n]*\n$/)

    await turnOff()
    for (const parameters of [{ sslmode: 'require' }, { sslmode: 'verify-full', sslrootcert: ca }]) {
      const refused = await said('localhost', parameters)
      t.match(refused, { code: 2, stderr: /asks for TLS: where the server has none, take sslmode=disable/ })
    }
    t.match(await said('localhost', { sslmode: 'disable' }), { code: 0 })
  },
)

/** A message of the server's side of the protocol. */
const message = (type: string, body: Buffer): Buffer => {
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
const SCRAM = message('R', Buffer.from('\0\0\0\x0aSCRAM-SHA-256\0\0'))
const SCRAM_CONTINUE = message('R', Buffer.from('\0\0\0\x0br=x,s=y,i=1'))
const refusal = (state: string) => message('E', Buffer.from(`SFATAL\0C${state}\0Mno\0\0`))

t.test('a start ends at once when no later try can succeed, and is tried again when one may', async t => {
  /** How often a server that answers with these, one for each message, is asked; and what a start says. */
  const begin = async (answers: (Buffer | string)[], parameters: string, password = `:${PASSWORD}`) => {
    let tries = 0
    const server = createServer(socket => {
      tries += 1
      let turn = 0
      socket.on('error', () => undefined)
      socket.on('data', () => {
        const answer = answers[turn++]
        if (answer === undefined) socket.destroy()
        else socket.write(answer)
      })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo
    const url = `postgres://u${password}@127.0.0.1:${port}/headway${parameters}`
    return { service: spawnService(t, { DATABASE_URL: url, PGPASSWORD: '' }), tries: () => tries }
  }
  const final: [answers: (Buffer | string)[], parameters: string, password: string | undefined, said: RegExp][] = [
    [
      ['N'],
      '?sslmode=require',
      undefined,
      /cannot be used .*asks for TLS: where the server has none, take sslmode=disable/,
    ],
    [['H'], '?sslmode=verify-full', undefined, /cannot be used .*asks for TLS/],
    [[SCRAM, SCRAM_CONTINUE], '', '', /DATABASE_URL holds no password/],
    [[refusal('28000')], '', undefined, /does not let in the user u/],
    [[refusal('22023')], '', undefined, /^Cannot use the database: .*\(no\)/],
  ]
  const passing: (Buffer | string)[][] = [[], [refusal('57P03')], [refusal('53300')], [refusal('08006')]]
  await Promise.all([
    ...final.map(async ([answers, parameters, password, said]) => {
      const { service, tries } = await begin(answers, parameters, password)
      t.equal((await service.exited).code, 1, String(said))
      t.match(service.stderr, said)
      t.match(service.stderr, /^[^\n]+\n$/, 'one line')
      t.equal(tries(), 1)
    }),
    ...passing.map(async answers => {
      const { service, tries } = await begin(answers, '')
      await waitFor(() => tries() >= 2, { timeoutMs: 20_000 })
      await service.kill('SIGTERM')
    }),
  ])
})

t.test('a database that is away at the start is logged once, not at every try, and without a stack', async t => {
  let tries = 0
  const cutter = createServer(socket => {
    tries += 1
    socket.destroy()
  }).listen(0, '127.0.0.1')
  await once(cutter, 'listening')
  t.teardown(() => cutter.close())
  const { port } = cutter.address() as AddressInfo
  const service = spawnService(t, { DATABASE_URL: `postgres://u:${PASSWORD}@127.0.0.1:${port}/headway` })
  await waitFor(() => tries >= 3, { timeoutMs: 20_000 })
  await service.kill('SIGTERM')
  const told = service.log.filter(({ level }) => level >= 40)
  t.equal(told.length, 1)
  t.match(told[0]?.msg, new RegExp(`127\\.0\\.0\\.1:${port} .*cannot be reached yet, and is tried for 30 more seconds`))
  t.equal(told[0]?.['err'], undefined)
})

t.test('a misspelt setting is named, and so is an embedded database in production', async t => {
  const known = ['DATABASE_URL', 'HOST', 'RETENTION_DAYS']
  const names = (environment: Record<string, string>) => findMistyped(environment, known).join('\n')
  for (const name of ['DATABSE_URL', 'DATABASEURL', 'DATABASE_ULR', 'database_url', 'DATABASE_URLS']) {
    t.match(names({ [name]: 'x' }), `${name} is no setting of Headway, and is not used: DATABASE_URL may be meant.`)
  }
  for (const name of ['HOME', 'POST', 'DATABASE_PORT', 'DATABASE_URL']) t.equal(names({ [name]: 'x' }), '', name)
  t.equal(names({ DATABSE_URL: 'x', DATABASE_URL: 'y' }), '', 'who has set the right one means another thing')

  const url = `postgres://u:${PASSWORD}@db/headway`
  const noDirectory = join(makeDirectory(t), 'file')
  writeFileSync(noDirectory, '')
  const start = async (settings: Record<string, string>) => {
    const service = spawnService(t, { HEADWAY_DATA_DIR: noDirectory, ...settings })
    t.equal((await service.exited).code, 1)
    t.match(service.stderr, /is no directory: move away what is there, or set HEADWAY_DATA_DIR [^\n]*\n$/)
    t.notMatch(service.stdout, PASSWORD)
    return service.log.map(({ msg }) => msg).join('\n')
  }
  const production = await start({ NODE_ENV: 'production', DATABSE_URL: url, PG_URL: url })
  t.match(production, /DATABSE_URL is no setting of Headway/)
  t.match(production, /DATABASE_URL is not set: jobs are kept in an embedded Postgres.*in DATABSE_URL, PG_URL, which/)
  t.equal(await start({}), '', 'who tries it out is told nothing')
})

/** Mounts a file system on a new directory until the end of `t`; null where nothing can be mounted. */
const mount = (t: Test, options: string[], descriptors: number[] = []): string | null => {
  const directory = makeDirectory(t)
  const args = [...options, 'headway-test', directory]
  const { status } = spawnSync('mount', args, { stdio: ['ignore', 'ignore', 'ignore', ...descriptors] })
  if (status !== 0) return null
  // Lazily: the guard may still be on its way out.
  t.teardown(() => void spawnSync('umount', ['-l', directory]))
  return directory
}

const canMount = (): boolean => {
  if (!IS_ROOT || process.platform !== 'linux') return false
  const directory = mkdtempSync(join(tmpdir(), 'headway-mount-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', 'headway-test', directory]).status === 0
  if (mounted) spawnSync('umount', [directory])
  rmdirSync(directory)
  return mounted
}
const withMounts = { skip: !canMount() && 'no file system can be mounted here' }

t.test('a data directory that cannot be written is explained by its cause', withMounts, async t => {
  const starts = [
    ['ro', /is on a file system that cannot be written: make it writable/],
    ['size=12m', /has less than 64 MB left\. Make room there/],
  ] as const
  await Promise.all(
    starts.map(async ([options, sentence]) => {
      const directory = mount(t, ['-t', 'tmpfs', '-o', options])
      const service = spawnService(t, { HEADWAY_DATA_DIR: directory ?? '' })
      t.equal((await service.exited).code, 1)
      t.match(service.stderr, sentence)
      t.match(service.stderr, /^[^\n]+\n$/, 'one line')
    }),
  )
})

t.test('a user that has no name cannot create the embedded Postgres, and is told why', { skip: !IS_ROOT }, async t => {
  const directory = makeDirectory(t)
  const NAMELESS = 61_240
  mkdirSync(join(directory, 'postgres'))
  // Postgres runs as the owner of its data.
  chownSync(join(directory, 'postgres'), NAMELESS, NAMELESS)
  const service = spawnService(t, { HEADWAY_DATA_DIR: directory })
  t.equal((await service.exited).code, 1)
  t.match(service.stderr, /cannot be created by the user 61240, which has no name .*libnss-systemd[^\n]*\n$/)
})

t.test('a server whose disk is full is reported as such', withMounts, async t => {
  const directory = mount(t, ['-t', 'tmpfs', '-o', 'size=200m,mode=755']) ?? ''
  const postgres = await startEmbeddedPostgres({ dataDir: directory, settings: { fsync: 'off' } })
  t.teardown(() => postgres.stop())
  t.throws(() => writeFileSync(join(directory, 'fill'), Buffer.alloc(200 * 1024 * 1024)), { code: 'ENOSPC' })
  t.match(await migrate(t, postgres.url), {
    code: 4,
    stderr: /has no room left on its disk\. Make room there, or correct/,
  })
  rmSync(join(directory, 'fill'))
  t.match(await migrate(t, postgres.url), { code: 0 })
})

/** A file system whose every call waits for an answer of this process, which gives none, until `end`. */
const mountHanging = (t: Test): { directory: string; end: () => void } | null => {
  if (!existsSync('/dev/fuse')) return null
  const device = openSync('/dev/fuse', 'r+')
  let open = true
  const end = () => {
    if (open) closeSync(device)
    open = false
  }
  const directory = mount(t, ['-i', '-t', 'fuse', '-o', 'fd=3,rootmode=40000,user_id=0,group_id=0'], [device])
  // Before the directory is unmounted: calls that wait for it end with an error.
  t.teardown(end)
  return directory === null ? null : { directory, end }
}

t.test(
  'a data directory that does not answer is reported, and a start waits for it only a limited time',
  withMounts,
  async t => {
    const hanging = mountHanging(t)
    if (hanging === null) {
      t.comment('there is no FUSE here')
      return
    }
    const { directory, end } = hanging
    const service = spawnService(t, { HEADWAY_DATA_DIR: directory })
    const told: string[] = []
    const log = (message: string) => void told.push(message)
    await t.rejects(awaitFileSystem(directory, { log, tellAfterMs: 1, giveUpAfterMs: 200 }), {
      code: 'database_unavailable',
      message:
        /does not answer\. Look at the server or the disk that it is on, or set HEADWAY_DATA_DIR .* or set DATABASE_URL\.$/,
    })
    // How long is left depends on how fast the machine is.
    t.match(told, [/does not answer\. It is waited for another \d seconds/])
    await waitFor(() => service.log.length > 0, { timeoutMs: 20_000 })
    t.match(
      service.log[0]?.msg,
      `The file system of ${directory}, the data of the embedded Postgres, does not answer. It is waited for`,
    )
    end()
    t.equal((await service.exited).code, 1)
    t.match(service.stderr, /is on a file system that has gone: mount it again[^\n]*\n$/)
  },
)

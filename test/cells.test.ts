import { execFile, spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { dump } from '../src/database/dump/dump.ts'
import { restore } from '../src/database/dump/restore.ts'
import { freePort } from '../src/demo/free-port.ts'
import type { JobDocument } from '../src/contract/job.ts'
import { createEmptyDatabase, type TestDatabase } from './helpers/database.ts'
import { blocksOf } from './helpers/manual.ts'
import { makeDirectory } from './helpers/process.ts'
import { startService, type Service } from './helpers/service.ts'
import { bearer, mint, SECRET } from './helpers/tokens.ts'
import { waitFor } from './helpers/wait.ts'

t.jobs = 2

const PAGE = 'docs/operate/cells.md'
const readDeploy = (path: string): string => readFileSync(new URL(`../deploy/cells/${path}`, import.meta.url), 'utf8')

const isInstalled = spawnSync('haproxy', ['-v']).status === 0
const withHaproxy = { skip: !isInstalled && 'HAProxy is not installed (apt-get install -y haproxy)' }

/** A tenant with a host name of its own. */
interface Tenant {
  id: string
  host: string
  token: string
}

const createTenant = async (name: string): Promise<Tenant> => {
  const id = randomUUID()
  return { id, host: `${name}.headway.example.com`, token: await mint({ tenant_id: id }) }
}

const startCell = (t: Test, database?: TestDatabase): Promise<Service> =>
  startService(t, { AUTH_JWT_SECRET: SECRET, TRUSTED_PROXIES: '127.0.0.1', ...(database && { database }) })

interface Answer {
  status: number
  headers: IncomingMessage['headers']
  body: string
}

/** What these tests look at in the answers of the API. */
interface ApiBody {
  id: string
  code: string
  items: unknown[]
}

class Proxy {
  readonly port: number
  readonly #socket: string

  constructor(port: number, socket: string) {
    this.port = port
    this.#socket = socket
  }

  /** Sends a call by a host name, which no name server knows. */
  async open(host: string, method: string, path: string, token?: string, body?: unknown): Promise<IncomingMessage> {
    const headers = {
      host,
      ...(token !== undefined && bearer(token)),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    }
    const asked = request({ host: '127.0.0.1', port: this.port, method, path, headers, agent: false })
    asked.end(body === undefined ? undefined : JSON.stringify(body))
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    return answer
  }

  async call(host: string, method: string, path: string, token?: string, body?: unknown): Promise<Answer> {
    const answer = await this.open(host, method, path, token, body)
    return { status: answer.statusCode ?? 0, headers: answer.headers, body: await text(answer) }
  }

  /** Calls the API as a tenant. */
  as({ host, token }: Tenant) {
    return async (method: string, path: string, body?: unknown) => {
      const answer = await this.call(host, method, `/api/progress${path}`, token, body)
      return { status: answer.status, headers: answer.headers, body: JSON.parse(answer.body) as ApiBody }
    }
  }

  /** Changes what tenants.map says of a host name, without a reload. */
  async point({ host }: Tenant, cell: string): Promise<void> {
    const said = await this.#command(`set map ${this.#map} ${host} ${cell}`)
    if (said.trim() !== '') throw new Error(said)
  }

  /** What the last health check of a cell's replica has found, as HAProxy names it. Empty before the first check. */
  async health(cell: string): Promise<string> {
    const [head = '', ...lines] = (await this.#command('show stat')).split('\n')
    const columns = head.replace('# ', '').split(',')
    const server = lines.map(line => line.split(',')).find(([name, of]) => name === cell && of === 'headway-1')
    // A check that runs at the moment has a star before the result of the one before.
    return server?.[columns.indexOf('check_status')]?.replace('* ', '') ?? ''
  }

  #command(command: string): Promise<string> {
    const socket = connect(this.#socket)
    socket.end(`${command}\n`)
    return text(socket)
  }

  get #map(): string {
    return this.#socket.replace('cells.sock', 'tenants.map')
  }
}

/** Runs the sample in front of cells. `tenants` are the lines of the map; a cell of null is one that nobody serves. */
const startProxy = async (
  t: Test,
  { cells, tenants }: { cells: (Service | null)[]; tenants: [Tenant, cell: string][] },
): Promise<Proxy> => {
  const directory = makeDirectory(t)
  const port = await freePort()
  const socket = join(directory, 'cells.sock')
  writeFileSync(join(directory, 'tenants.map'), tenants.map(([{ host }, cell]) => `${host} ${cell}\n`).join(''))
  const sample = readDeploy('haproxy.cfg')
  const head = sample.slice(0, sample.indexOf('backend cell-1'))
  const backends = await Promise.all(
    cells.map(async (cell, n) => {
      const address = cell === null ? `127.0.0.1:${await freePort()}` : new URL(cell.url).host
      return `backend cell-${n + 1}\n  balance leastconn\n  server headway-1 ${address}\n`
    }),
  )
  const settings = head
    .replaceAll('/run/haproxy/cells.sock', socket)
    .replaceAll('/etc/haproxy/tenants.map', join(directory, 'tenants.map'))
    .replace('bind :8080', `bind 127.0.0.1:${port}`)
  const file = join(directory, 'haproxy.cfg')
  writeFileSync(file, settings + backends.join('\n'))
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] })
  const said = text(child.stderr)
  const gone = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await gone
  })
  const proxy = new Proxy(port, socket)
  const answers = async () => (await proxy.call('nobody.example.com', 'GET', '/').catch(() => null)) !== null
  await waitFor(async () => child.exitCode !== null || (await answers()))
  if (child.exitCode !== null) throw new Error(`HAProxy has ended: ${await said}`)
  return proxy
}

t.test('the sample for HAProxy is one that HAProxy takes as it is', withHaproxy, async t => {
  const directory = makeDirectory(t)
  const file = join(directory, 'haproxy.cfg')
  writeFileSync(join(directory, 'tenants.map'), readDeploy('tenants.map'))
  writeFileSync(file, readDeploy('haproxy.cfg').replaceAll('/etc/haproxy/tenants.map', join(directory, 'tenants.map')))
  const { stderr } = await promisify(execFile)('haproxy', ['-c', '-f', file])
  t.notMatch(stderr, /warning|alert/i)
})

t.test(
  'each tenant is served by the cell of its host name, and a cell that is down concerns its own tenants only',
  withHaproxy,
  async t => {
    const [acme, globex, initech] = await Promise.all(['acme', 'globex', 'initech'].map(createTenant))
    const [one, two] = await Promise.all([startCell(t), startCell(t)])
    const proxy = await startProxy(t, {
      cells: [one, two, null],
      tenants: [
        [acme!, 'cell-1'],
        [globex!, 'cell-2'],
        [initech!, 'cell-3'],
      ],
    })
    for (const [tenant, own, other] of [
      [acme!, one, two],
      [globex!, two, one],
    ] as const) {
      const call = proxy.as(tenant)
      const { status, body: job } = await call('POST', '/jobs', { name: 'a job', jobType: 'test' })
      t.equal(status, 201)
      t.equal((await call('POST', `/jobs/${job.id}/heartbeat`, { processedCount: 3 })).status, 200)
      t.equal((await own.as(tenant.token).job(job.id)).processedCount, 3, 'it is in the cell of the host name')
      t.equal((await other.as(tenant.token).call('GET', `/jobs/${job.id}`)).status, 404, 'and in no other one')
    }
    t.equal((await proxy.call(initech!.host, 'GET', '/api/progress/jobs', initech!.token)).status, 503)
    t.equal((await proxy.call(acme!.host, 'GET', '/api/progress/jobs', acme!.token)).status, 200)
    const upper = acme!.host.toUpperCase()
    t.equal((await proxy.call(`${upper}:8080`, 'GET', '/api/progress/jobs', acme!.token)).status, 200)
  },
)

t.test('a host name that no cell has is answered 421, and nobody gets metrics', withHaproxy, async t => {
  const tenant = await createTenant('acme')
  const cell = await startCell(t)
  t.equal((await fetch(`${cell.url}/metrics`)).status, 200)
  t.equal((await fetch(`${cell.url}/%6detrics`)).status, 200, 'the service decodes paths')
  const proxy = await startProxy(t, { cells: [cell], tenants: [[tenant, 'cell-1']] })
  for (const host of ['other.headway.example.com', 'cell-1', '127.0.0.1', `x${tenant.host}`, `${tenant.host}.x`]) {
    const answer = await proxy.call(host, 'GET', '/api/progress/jobs', tenant.token)
    t.equal(answer.status, 421, host)
    t.match(JSON.parse(answer.body), { code: 'misdirected_request', status: 421 })
  }
  for (const path of ['/metrics', '/%6detrics', '/metrics?x=1']) {
    t.equal((await proxy.call(tenant.host, 'GET', path)).status, 404, path)
  }
})

t.test('a replica that is well passes the health check, with tokens and without', withHaproxy, async t => {
  const cells = await Promise.all([startCell(t), startService(t)])
  const proxy = await startProxy(t, { cells, tenants: [] })
  for (const cell of ['cell-1', 'cell-2']) {
    const found = await waitFor(async () => /^L[47]\w+/.exec(await proxy.health(cell))?.[0])
    t.equal(found, 'L7OK', cell)
  }
})

t.test('a change arrives through the proxy while the stream is open', withHaproxy, async t => {
  const tenant = await createTenant('acme')
  const cell = await startCell(t)
  const proxy = await startProxy(t, { cells: [cell], tenants: [[tenant, 'cell-1']] })
  const stream = await proxy.open(tenant.host, 'GET', '/api/progress/stream', tenant.token)
  let seen = ''
  stream.setEncoding('utf8').on('data', (chunk: string) => (seen += chunk))
  await waitFor(() => seen.includes('event: snapshot'))
  const job = await cell.as(tenant.token).createJob()
  await waitFor(() => seen.includes(job.id))
  stream.destroy()
  t.pass()
})

/** What the manual has administrators type, for another tenant than that of its example. */
const statements = (tenant: Tenant): { keep: string; leave: string } => {
  const [keep, leave] = blocksOf(PAGE)
    .filter(({ language }) => language === 'sql')
    .map(({ code }) => code.replaceAll('0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a01', tenant.id))
  if (keep === undefined || leave === undefined) throw new Error(`${PAGE} has no two blocks of SQL`)
  return { keep, leave }
}

const TENANT_TABLES = ['progress_jobs', 'webhooks', 'webhook_messages', 'webhook_backlogs', 'type_histories']
const ALL_TABLES = [...TENANT_TABLES, 'job_progress', 'job_events', 'webhook_deliveries', 'untold_changes']

/** How many rows a cell has, of one tenant or of all. */
const rowsOf = async ({ pool }: TestDatabase, tenant?: Tenant): Promise<Record<string, number>> => {
  const tables = tenant === undefined ? ALL_TABLES : TENANT_TABLES
  const counts: Record<string, number> = {}
  for (const table of tables) {
    const { rows } = await pool.query<{ count: number }>(
      `SELECT count(*)::integer AS count FROM public.${table} ${tenant === undefined ? '' : 'WHERE tenant_id = $1'}`,
      tenant === undefined ? [] : [tenant.id],
    )
    counts[table] = rows[0]?.count ?? 0
  }
  return counts
}

/** A receiver that is never reached, so that messages to it stay. */
const WEBHOOK = { url: 'https://receiver.invalid/hook', events: ['completed'] }

t.test(
  'a tenant moves to a cell of its own by dump and restore: its workers report on by the same host name, and others notice nothing',
  withHaproxy,
  async t => {
    const [acme, globex] = (await Promise.all(['acme', 'globex'].map(createTenant))) as [Tenant, Tenant]
    const old = await startCell(t)
    const target = await createEmptyDatabase(t)
    const jobs: Record<string, JobDocument> = {}
    for (const tenant of [acme, globex]) {
      const caller = old.as(tenant.token)
      t.equal((await caller.call('POST', '/webhooks', WEBHOOK)).status, 201)
      jobs[tenant.host] = await caller.createJob({ totalCount: 100 })
      await caller.heartbeat(jobs[tenant.host]!.id, { processedCount: 40 })
      const { id } = await caller.createJob()
      await caller.heartbeat(id, { processedCount: 1 })
      t.equal((await caller.call('POST', `/jobs/${id}/complete`, {})).status, 200)
    }
    const before = { acme: await rowsOf(old.database, acme), globex: await rowsOf(old.database, globex) }
    const cut = await startProxy(t, {
      cells: [old],
      tenants: [
        [acme, 'moving'],
        [globex, 'cell-1'],
      ],
    })
    const refused = await cut.as(acme)('POST', `/jobs/${jobs[acme.host]!.id}/heartbeat`, {})
    t.match(refused, { status: 503, headers: { 'retry-after': '5' }, body: { code: 'overloaded' } })
    t.equal((await cut.as(globex)('GET', '/jobs')).status, 200)

    const pieces: Buffer[] = []
    await dump(old.database.url, '0.0.0', async given => {
      for await (const piece of given) pieces.push(piece)
    })
    await restore(
      target.url,
      (async function* () {
        yield* pieces
      })(),
    )
    await target.pool.query(statements(acme).keep)
    t.strictSame(await rowsOf(target, acme), before.acme, 'everything of the tenant is there')
    const kept = await rowsOf(target)
    for (const table of TENANT_TABLES) t.equal(kept[table], before.acme[table], `${table}: and nothing else`)

    const proxy = await startProxy(t, {
      cells: [old, await startCell(t, target)],
      tenants: [
        [acme, 'moving'],
        [globex, 'cell-1'],
      ],
    })
    await proxy.point(acme, 'cell-2')
    await old.database.pool.query(statements(acme).leave)
    // The service itself makes what waits into deliveries, and counts them.
    const lasting = (rows: object) =>
      Object.entries(rows).filter(([table]) => !['webhook_messages', 'webhook_backlogs'].includes(table))
    t.strictSame(lasting(await rowsOf(old.database, globex)), lasting(before.globex), 'the others are as they were')
    for (const count of Object.values(await rowsOf(old.database, acme))) t.equal(count, 0)
    for (const tenant of [acme, globex]) {
      const call = proxy.as(tenant)
      const { id } = jobs[tenant.host]!
      t.match(await call('POST', `/jobs/${id}/heartbeat`, { processedCount: 50 }), {
        status: 200,
        body: { applied: true, progressPercent: 50 },
      })
      t.equal((await call('POST', `/jobs/${id}/complete`, {})).status, 200)
      t.match((await call('GET', '/jobs?status=completed')).body.items, { length: 2 })
    }
  },
)

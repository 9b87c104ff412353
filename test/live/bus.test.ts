import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createAnnouncer } from '../../src/live/announcer.ts'
import type { JobChange } from '../../src/contract/change.ts'
import { createListener } from '../../src/live/listener.ts'
import { decodePayload, encodePayloads } from '../../src/live/payload.ts'
import { createStats } from '../../src/live/stats.ts'
import { openDatabase } from '../../src/database/connection.ts'
import { createInTurn } from '../../src/jobs/in-turn.ts'
import { createLiveSource } from '../../src/jobs/live-source.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { waitFor } from '../helpers/wait.ts'
import { createStation, silentLog } from './clients.ts'
import { filter, jobId, OTHER_TENANT, TENANT, World } from './world.ts'

const change = (number: number, over: Partial<JobChange> = {}): JobChange => ({
  tenantId: TENANT,
  jobId: jobId(number),
  revision: 1,
  lifecycle: false,
  ...over,
})

/** An announcer whose statements are remembered, and may be held up or made to fail. */
function createRecorded(progressIntervalMs: number) {
  const statements: JobChange[][] = []
  const recorded = {
    statements,
    log: [] as string[],
    during: (): Promise<void> | void => undefined,
    sent: () => statements.flat().map(({ jobId, revision }) => [Number(jobId.slice(-6)), revision]),
    announcer: createAnnouncer({
      progressIntervalMs,
      log: {
        ...silentLog,
        warn: (_, message) => recorded.log.push(message),
        info: (_, message) => recorded.log.push(message),
      },
      notify: async payloads => {
        statements.push(payloads.flatMap(payload => decodePayload(payload) ?? []))
        await recorded.during()
      },
    }),
  }
  return recorded
}

t.test('payloads are as few as possible, each under 7,900 bytes, and say what was announced', async t => {
  for (const tenants of [1, 3, 100]) {
    for (const count of [0, 1, 2, 160, 1_000]) {
      const changes = Array.from({ length: count }, (_, n) =>
        change(n, { tenantId: n % tenants === 0 ? TENANT : jobId(n % tenants), revision: n, lifecycle: n % 2 === 0 }),
      )
      const payloads = encodePayloads(changes)
      const sizes = payloads.map(payload => Buffer.byteLength(payload))
      t.ok(sizes.every(size => size < 7_900))
      t.ok(
        sizes.slice(0, -1).every(size => size > 7_750),
        sizes.join(),
      )
      const decoded = payloads.flatMap(payload => decodePayload(payload) ?? [])
      const byId = (a: JobChange, b: JobChange) => a.jobId.localeCompare(b.jobId)
      t.same(decoded.sort(byId), changes.sort(byId))
    }
  }
})

t.test('a payload of another program is ignored', async t => {
  const strange = [
    '',
    'x',
    '{}',
    'null',
    '[1]',
    '[[]]',
    `[["${TENANT}"]]`,
    `[["${TENANT}",[["no",1,0]]]]`,
    '[["no",[]]]',
  ]
  for (const payload of strange) t.equal(decodePayload(payload), null, payload)
  t.equal(decodePayload(`[["${TENANT}",[["${jobId(1)}","1",0]]]]`), null)
  t.equal(decodePayload(`[["${TENANT}",[["${jobId(1)}",1.5,0]]]]`), null)
})

t.test(
  'progress of a job is announced at most once per interval, the first change at once and the last one always',
  async t => {
    const { announcer, sent, statements } = createRecorded(100)
    const begin = performance.now()
    for (let revision = 1; revision <= 50; revision++) announcer.announce([change(1, { revision })])
    t.same(sent(), [[1, 1]])
    await waitFor(() => statements.length === 2)
    t.ok(performance.now() - begin >= 95)
    t.same(sent(), [
      [1, 1],
      [1, 50],
    ])
    await announcer.close()
  },
)

t.test('a lifecycle change is announced at once, also within the interval of progress', async t => {
  const { announcer, statements } = createRecorded(60_000)
  announcer.announce([change(1)])
  announcer.announce([change(1, { revision: 2, lifecycle: true })])
  announcer.announce([change(1, { revision: 3, lifecycle: true }), change(2, { tenantId: OTHER_TENANT })])
  await waitFor(() => statements.flat().some(({ revision }) => revision === 3))
  t.ok(statements.flat().some(({ tenantId }) => tenantId === OTHER_TENANT))
  await announcer.close()
})

t.test('while one notification statement is in flight, the next one fills', async t => {
  const recorded = createRecorded(60_000)
  let under = 0
  let most = 0
  recorded.during = async () => {
    most = Math.max(most, ++under)
    await new Promise(resolve => setTimeout(resolve, 20))
    under--
  }
  for (let n = 0; n < 500; n++) recorded.announcer.announce([change(n, { lifecycle: true })])
  await recorded.announcer.close()
  t.equal(most, 1)
  t.equal(recorded.statements.length, 2)
  t.equal(recorded.sent().length, 500)
})

t.test('closing sends the announcements that were held back', async t => {
  const { announcer, sent } = createRecorded(60_000)
  announcer.announce([change(1)])
  announcer.announce([change(1, { revision: 7 })])
  await announcer.close()
  t.same(sent(), [
    [1, 1],
    [1, 7],
  ])
})

t.test('an announcement that fails is dropped, and logged once per outage', async t => {
  const recorded = createRecorded(1)
  const { announcer, log } = recorded
  recorded.during = () => Promise.reject(new Error('away'))
  for (let n = 0; n < 5; n++) {
    announcer.announce([change(n, { lifecycle: true })])
    await waitFor(() => announcer.stats().failures === n + 1)
  }
  t.equal(log.length, 1)
  recorded.during = () => undefined
  announcer.announce([change(9, { lifecycle: true })])
  await waitFor(() => announcer.stats().announced === 1)
  t.equal(log.length, 2)
  t.equal(announcer.stats().dropped, 5)
  await announcer.close()
})

/** Between the listener and Postgres: passes bytes on, until it swallows them without a word. */
async function createProxy(t: Test, url: string) {
  const target = new URL(url)
  const sockets = new Set<Socket>()
  const host = target.searchParams.get('host')
  const proxy = { swallow: false, url: '', cut: () => [...sockets].forEach(socket => socket.destroy()) }
  const server = createServer(near => {
    const far = host?.startsWith('/')
      ? connect(`${host}/.s.PGSQL.${target.port || '5432'}`)
      : connect(Number(target.port || 5432), target.hostname)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('error', () => undefined)
      from.on('data', bytes => proxy.swallow || to.write(bytes))
      from.on('close', () => {
        sockets.delete(from)
        if (!proxy.swallow) to.destroy()
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const through = new URL(url)
  through.searchParams.delete('host')
  through.hostname = '127.0.0.1'
  through.port = String((server.address() as AddressInfo).port)
  proxy.url = through.href
  t.teardown(() => {
    proxy.cut()
    server.close()
  })
  return proxy
}

t.test("the listener receives the announcer's notifications, and ignores those of other programs", async t => {
  const { url, pool } = await createTestDatabase(t)
  const heard: JobChange[] = []
  const stats = createStats()
  const listener = createListener({
    connect: () => new pg.Client(url),
    onChanges: changes => heard.push(...changes),
    onConnected: () => undefined,
    onDeaf: () => undefined,
    pingIntervalMs: 20,
    log: silentLog,
    stats,
  })
  listener.start()
  await waitFor(() => listener.isListening())
  const announcer = createAnnouncer({
    notify: async payloads => {
      await pool.query(`SELECT pg_notify('headway', payload) FROM unnest($1::text[]) AS payload`, [payloads])
    },
    progressIntervalMs: 10,
    log: silentLog,
  })
  await pool.query(`NOTIFY headway, 'anyone may notify'`)
  announcer.announce(Array.from({ length: 1_000 }, (_, n) => change(n, { lifecycle: n % 2 === 0 })))
  await waitFor(() => heard.length === 1_000)
  t.equal(stats.malformed, 1)
  t.equal(heard.filter(({ lifecycle }) => lifecycle).length, 500)
  await announcer.close()
  await listener.close()
  t.notOk(listener.isListening())
})

t.test('a listener that is cut or refused tries again without end', async t => {
  const { url, pool } = await createTestDatabase(t)
  const proxy = await createProxy(t, url)
  const log: string[] = []
  const stats = createStats()
  let deaf = 0
  const listener = createListener({
    connect: () => new pg.Client(proxy.url),
    onChanges: () => undefined,
    onConnected: () => undefined,
    onDeaf: () => deaf++,
    log: { ...silentLog, warn: (_, message) => log.push(message) },
    maxBackoffMs: 20,
    stats,
  })
  listener.start()
  for (let round = 1; round <= 3; round++) {
    await waitFor(() => listener.isListening())
    await pool
      .query(
        'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()',
      )
      .catch(() => undefined)
    await waitFor(() => stats.reconnects === round)
  }
  t.equal(deaf, 3)
  t.equal(log.length, 3, 'said once per outage')
  await listener.close()
})

t.test(
  'a listener whose socket is dead notices it by its ping, and the reconciler finds the changes of that time',
  async t => {
    const { url } = await createTestDatabase(t)
    const proxy = await createProxy(t, url)
    const world = new World()
    world.commit(jobId(1))
    const clients: pg.Client[] = []
    const { open, live } = await createStation(t, world, {
      connectListener: () => {
        const client = new pg.Client(proxy.url)
        clients.push(client)
        return client
      },
      timing: { pingIntervalMs: 30, pingDeadlineMs: 100, reconcileMs: 3_600_000, reconcileDeafMs: 50 },
    })
    await waitFor(() => live.isListening())
    const reader = await open()
    await reader.event('snapshot')
    proxy.swallow = true
    world.commit(jobId(1), {}, 'started')
    await waitFor(() => !live.isListening())
    await reader.event('progress.job.started')
    t.ok(clients[0]?.connection.stream.destroyed, 'the dead socket is not kept')
    await waitFor(() => clients.length >= 3)
    proxy.swallow = false
    world.commit(jobId(1), {}, 'completed')
    await waitFor(() => live.isListening())
    await reader.event('progress.job.completed')
    t.equal(live.stats().reconnects, 1)
  },
)

t.test('a stream whose snapshot cannot be read is refused as database_unavailable', async t => {
  const database = openDatabase({
    url: 'postgres://nobody@127.0.0.1:1/nothing',
    poolSize: 1,
    preparedStatements: false,
    onConnectionError: () => undefined,
  })
  t.teardown(() => database.close())
  await t.rejects(createLiveSource(database, createInTurn(1).inTurn).readSnapshot(filter(), null, 1), {
    code: 'database_unavailable',
  })
})

t.test('a snapshot is not read if its readers have left when its turn comes', async t => {
  const { url } = await createTestDatabase(t)
  const database = openDatabase({ url, poolSize: 1, preparedStatements: false, onConnectionError: () => undefined })
  t.teardown(() => database.close())
  const { inTurn } = createInTurn(1)
  const source = createLiveSource(database, inTurn)
  let end = (): void => undefined
  const ended = new Promise<void>(resolve => (end = resolve))
  const other = inTurn({ tenantId: TENANT, caller: null }, 'wide', () => ended)
  let isWanted = true
  const waiting = source.readSnapshot(filter(), null, 1, () => isWanted)
  isWanted = false
  end()
  await other
  await t.rejects(waiting, { code: 'too_many_streams' })
})

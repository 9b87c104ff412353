import { FUNCTIONS } from '../../src/database/functions.ts'
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { ConnectionLostError } from '../../src/database/failures.ts'
import { NoTurnError, Turns, type Party, type TurnsOptions } from '../../src/turns/turns.ts'
import { createInTurn } from '../../src/jobs/in-turn.ts'
import { startService, type Service } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'

/** Turns on a clock of the test, whose takers note in which order they came. */
const world = (t: Test, options: Partial<TurnsOptions> = {}) => {
  const clock = { ms: 1_000 }
  const turns = new Turns({
    size: 4,
    perTenantAlone: 3,
    perTenant: 2,
    maxWaitingPerCaller: 100,
    patienceMs: 60_000,
    now: () => clock.ms,
    ...options,
  })
  const order: string[] = []
  const ends: (() => void)[] = []
  const take = (tenantId: string, caller: string | null = 'someone', times = 1) =>
    Promise.all(
      Array.from({ length: times }, async () => {
        ends.push(await turns.take({ tenantId, caller }))
        order.push(caller === 'someone' ? tenantId : `${tenantId}/${caller}`)
      }),
    )
  const settled = () => new Promise(resolve => setImmediate(resolve))
  const end = async () => {
    ends.shift()?.()
    await settled()
  }
  t.teardown(async () => {
    while (turns.running > 0) await end()
  })
  return { clock, turns, order, take, end, settled }
}

t.test('a tenant leaves one turn free for another tenant, and half of the turns once there is one', async t => {
  const { clock, turns, order, take, end, settled } = world(t)
  void take('greedy', null, 10)
  await settled()
  t.same([order.length, turns.waiting], [3, 7], 'alone, it has all but one')
  void take('modest', null)
  await settled()
  t.equal(order.at(-1), 'modest/null', 'who comes next does not wait')
  await end()
  await end()
  t.same(order.slice(4), ['greedy/null'], 'beside another, it has two')
  clock.ms += 60_000
  await end()
  await end()
  t.equal(turns.running, 2, 'another that has asked for nothing lately is not there')
  void take('greedy', null)
  await settled()
  t.equal(turns.running, 3)
})

t.test('beside others, a tenant with few calls has a turn for each, and one with more waits for its own', async t => {
  const { turns, order, take, end, settled } = world(t, {
    size: 9,
    perTenantAlone: 8,
    perTenant: 1,
    perTenantOfFew: 3,
    patienceMs: 50,
  })
  void take('other')
  await settled()
  void take('modest', 'someone', 3)
  await settled()
  t.same(order, ['other', 'modest', 'modest', 'modest'])
  const crowd = take('crowd', 'someone', 5).catch((error: unknown) => error)
  await settled()
  t.equal(turns.running, 7, 'what came while there were few of them keeps its turn')
  await waitFor(() => turns.waiting === 0)
  t.match(await crowd, { reason: 'patience' })
  while (turns.running > 0) await end()
  void take('crowd', 'someone', 3)
  await settled()
  t.equal(turns.running, 3, 'who has left the line counts no more, nor what has ended')
})

t.test('a call that leaves the line gives its tenant the turns of one with few calls', async t => {
  const { order, take, end, settled } = world(t, { size: 10, perTenant: 1, perTenantOfFew: 3, patienceMs: 50 })
  void take('other')
  void take('crowd', 'someone', 3)
  await settled()
  const impatient = take('crowd').catch((error: unknown) => error)
  const served = take('crowd', 'late')
  await end()
  await end()
  t.same(order, ['other', 'crowd', 'crowd', 'crowd'])
  t.match(await impatient, { reason: 'patience' })
  await served
  t.equal(order.at(-1), 'crowd/late')
})

t.test('beside others, a tenant rests after a turn for as long as it lasted, and others do not', async t => {
  const { clock, turns, order, take, end, settled } = world(t, {
    size: 2,
    perTenantAlone: 1,
    perTenant: 1,
    longestRestMs: 10_000,
  })
  void take('alone', 'someone', 2)
  await settled()
  clock.ms += 10_000
  await end()
  t.same(order, ['alone', 'alone'], 'who is alone does not rest')
  await end()
  clock.ms += 20_000

  void take('busy')
  void take('other')
  await settled()
  void take('busy')
  clock.ms += 100
  const served = take('other', 'second')
  await end()
  t.same(order.slice(2), ['busy', 'other'])
  t.equal(turns.running, 1, 'a tenant that rests holds no turn of others')
  await end()
  await served
  await waitFor(() => order.length === 6)
  t.same(order.slice(4), ['busy', 'other/second'])
})

t.test('tenants take turns, and the identities of a tenant take turns', async t => {
  const { order, take, end, settled } = world(t, { size: 1, perTenantAlone: 1, perTenant: 1 })
  void take('first', 'a')
  await settled()
  void take('first', 'a', 3)
  void take('first', 'b', 2)
  void take('second', 'c', 2)
  void take('third', 'd', 1)
  await settled()
  for (let turn = 0; turn < 8; turn += 1) await end()
  t.same(order, ['first/a', 'second/c', 'third/d', 'first/b', 'second/c', 'first/a', 'first/b', 'first/a', 'first/a'])
})

t.test(
  'an identity leaves one turn free for another identity of its tenant, and has half of the turns beside it',
  async t => {
    const { turns, order, take, end, settled } = world(t, { size: 9, perTenantAlone: 8, perTenant: 4 })
    void take('tenant', 'greedy', 20)
    await settled()
    t.equal(turns.running, 7)
    void take('tenant', 'modest', 10)
    await settled()
    t.equal(order.at(-1), 'tenant/modest')
    for (let turn = 0; turn < 4; turn += 1) await end()
    t.equal(order.filter(who => who === 'tenant/modest').length, 4, 'what the greedy one gives back is for the other')
  },
)

t.test(
  'a caller with too many waiting calls is refused at once, and one that waits too long leaves the line',
  async t => {
    const { turns, take, settled } = world(t, { size: 1, maxWaitingPerCaller: 2, patienceMs: 5 })
    void take('tenant', 'other')
    await settled()
    const refusals = await Promise.allSettled([1, 2, 3].map(() => turns.take({ tenantId: 'tenant', caller: 'a' })))
    t.match(
      refusals.map(refusal => refusal.status === 'rejected' && (refusal.reason as NoTurnError).reason),
      ['patience', 'patience', 'line'],
    )
    t.equal(turns.waiting, 0)
  },
)

t.test('a shared read or a snapshot is not refused because of other waiting calls of the tenant', async t => {
  const { inTurn } = createInTurn(3, { maxWaitingPerCaller: 2 })
  const order: string[] = []
  let goOn = (): void => undefined
  const held = new Promise<void>(resolve => (goOn = resolve))
  const read = (who: string, party: Omit<Party, 'tenantId'>, width: 'narrow' | 'wide' = 'narrow') =>
    inTurn({ tenantId: 'tenant', ...party }, width, async () => {
      order.push(who)
      await held
    })
  const greedy = Array.from({ length: 20 }, () => read('greedy', { caller: 'greedy', isShared: true }))
  const others = [
    read('modest', { caller: 'modest', isShared: true }),
    read('snapshot', { caller: null, isShared: true }, 'wide'),
    read('command', { caller: 'greedy' }),
  ]
  goOn()
  await Promise.all([...greedy, ...others])
  const places = ['modest', 'snapshot', 'command'].map(who => order.indexOf(who))
  t.ok(Math.max(...places) < 10, `among the first of 23: ${places.join(', ')}`)
})

t.test(
  'of several tenants, one with many calls has a tenth of the connections, and one that calls alone has all but two',
  async t => {
    const { inTurn } = createInTurn(20)
    let goOn = (): void => undefined
    const held = new Promise<void>(resolve => (goOn = resolve))
    const running = new Map<string, number>()
    const call = (tenantId: string) =>
      inTurn({ tenantId, caller: null }, 'narrow', async () => {
        running.set(tenantId, (running.get(tenantId) ?? 0) + 1)
        await held
      })
    const calls = Array.from({ length: 30 }, () => call('first'))
    await new Promise(resolve => setImmediate(resolve))
    t.equal(running.get('first'), 18)
    calls.push(...Array.from({ length: 30 }, () => call('second')))
    await new Promise(resolve => setImmediate(resolve))
    t.equal(running.get('second'), 1, 'the one that is left for the next tenant')
    goOn()
    await Promise.all(calls)
    const modest = createInTurn(20)
    const atStart: number[] = []
    let now = 0
    const short = (tenantId: string) =>
      modest.inTurn({ tenantId, caller: null }, 'narrow', async () => {
        if (tenantId !== 'greedy') return
        now += 1
        atStart.push(now)
        await new Promise(resolve => setImmediate(resolve))
        now -= 1
      })
    await short('another')
    await Promise.all(Array.from({ length: 30 }, () => short('greedy')))
    t.equal(Math.max(...atStart.slice(0, 8)), 8, 'few calls have a turn each')
    t.equal(
      Math.max(...atStart.slice(8, 22)),
      2,
      'while more than few of its calls wait or run, a tenant has its tenth',
    )
  },
)

t.test('a turn lasts until the server has ended its statement', async t => {
  const { inTurn } = createInTurn(1)
  const party: Party = { tenantId: 'tenant', caller: null }
  let letGo: () => void = () => undefined
  const held = new Promise<void>(resolve => (letGo = resolve))
  await t.rejects(inTurn(party, 'narrow', () => Promise.reject(new ConnectionLostError(new Error('late'), held))))
  let begun = false
  const next = inTurn(party, 'narrow', async () => (begun = true))
  await new Promise(resolve => setImmediate(resolve))
  t.notOk(begun)
  letGo()
  await next
  t.ok(begun)
})

/** Every document of `tenantId` that is made waits until the function that this answers is called. */
const holdDocuments = async (t: Test, { database }: Service, tenantId: string): Promise<() => Promise<void>> => {
  await database.pool.query(`
    ALTER FUNCTION ${FUNCTIONS}.job_document(public.progress_jobs) RENAME TO job_document_at_once;
    CREATE FUNCTION ${FUNCTIONS}.job_document(j public.progress_jobs) RETURNS json LANGUAGE plpgsql AS $$ BEGIN
      IF j.tenant_id = '${tenantId}' THEN PERFORM pg_advisory_xact_lock_shared(1); END IF;
      RETURN ${FUNCTIONS}.job_document_at_once(j);
    END $$`)
  const holder = await database.pool.connect()
  await holder.query('SELECT pg_advisory_lock(1)')
  let released = false
  const release = async () => {
    if (released) return
    released = true
    await holder.query('SELECT pg_advisory_unlock(1)')
    holder.release()
  }
  t.teardown(release)
  return release
}

t.test('a tenant whose statements do not end does not delay other tenants', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET, DATABASE_POOL_SIZE: '6' })
  const greedyTenant = randomUUID()
  const greedy = [1, 2].map(async sub => service.as(await mint({ tenant_id: greedyTenant, sub: `user ${sub}` })))
  const modest = service.as(await mint())
  const { id } = await modest.createJob()
  const { id: held } = await (await greedy[0]!).createJob()
  const release = await holdDocuments(t, service, greedyTenant)
  const paths = ['/jobs', '/active', `/jobs/${held}`, '/jobs?search=job', `/jobs/${held}/progress`]
  const calls = greedy.flatMap(caller =>
    paths.flatMap(path => Array.from({ length: 10 }, async () => (await (await caller).call('GET', path)).status)),
  )
  const waitsForLock = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
  await waitFor(async () => ((await service.database.pool.query(waitsForLock)).rowCount ?? 0) >= 1)
  for (const path of ['/jobs', '/active', `/jobs/${id}`, `/jobs/${id}/events`, '/stats', '/webhooks']) {
    t.equal((await modest.call('GET', path)).status, 200, path)
  }
  const another = await modest.createJob()
  t.equal((await modest.heartbeat(another.id, { processedCount: 1 })).status, 200)
  t.equal((await modest.call('POST', `/jobs/${another.id}/complete`)).status, 200)
  const { rowCount } = await service.database.pool.query(waitsForLock)
  t.ok((rowCount ?? 0) <= 2, `${rowCount} statements of the other tenant are under way, of 5 that calls may have`)
  await release()
  const statuses = await Promise.all(calls)
  t.same(
    statuses.filter(status => status !== 200 && status !== 503),
    [],
    'what waited is answered, or was told to come again',
  )
})

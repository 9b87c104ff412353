import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { HeadwayEvent, HeadwayState, LiveJob } from '../../src/client/types.ts'
import { startFront, streamsSeen } from '../helpers/front.ts'
import { startService } from '../helpers/service.ts'
import { mint, SECRET, secondsFromNow } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { Browser, until } from './tabs.ts'

const is = (connection: HeadwayState['connection']) => (state: HeadwayState) => state.connection === connection

const shows =
  (id: string, expected: Partial<LiveJob>) =>
  ({ jobs }: HeadwayState): boolean => {
    const job = jobs.find(job => job.id === id)
    return job !== undefined && Object.entries(expected).every(([name, value]) => job[name as keyof LiveJob] === value)
  }

t.test('a page sees what there is, what changes and what it does itself', async t => {
  const service = await startService(t)
  const job = await service.createJob({ name: 'Import', totalCount: 10, cancellable: true })
  const client = new Browser().open(t, { url: service.url })
  t.equal(client.connection, 'connecting')
  t.same(client.state(), { connection: 'connecting', jobs: [], loaded: false, truncated: false, problem: null })
  await until(client, is('live'))
  t.match(client.job(job.id), { name: 'Import', totalCount: 10, errorMessage: null, children: null }, 'nulls are back')
  const state = client.state()
  t.equal(client.state(), state)
  t.equal(client.jobs(), state.jobs)

  const heard: string[] = []
  for (const event of [
    'started',
    'updated',
    'cancel_requested',
    'cancelled',
    'finished',
    'retried',
  ] as HeadwayEvent[]) {
    client.on(event, ({ status }) => heard.push(`${event}: ${status}`))
  }
  await service.heartbeat(job.id, { processedCount: 5 })
  await until(client, shows(job.id, { progressPercent: 50, status: 'running' }))
  const asked = await client.cancel(job.id)
  t.ok(asked.cancelRequestedAt)
  t.equal(client.job(job.id)?.cancelRequestedAt, asked.cancelRequestedAt, 'it shows at once')
  await service.call('POST', `/jobs/${job.id}/cancelled`)
  await until(client, shows(job.id, { status: 'cancelled' }))
  await client.retry(job.id)
  await service.heartbeat(job.id, { processedCount: 1 })
  await until(client, shows(job.id, { status: 'running', attempt: 2 }))
  t.same(heard, [
    'started: running',
    'cancel_requested: running',
    'cancelled: cancelled',
    'finished: cancelled',
    'retried: pending',
    'started: running',
  ])
  await t.rejects(client.cancel(randomUUID()), { name: 'HeadwayProblem', status: 404, code: 'job_not_found' })
  t.equal((await client.api.job(job.id)).workers.length, 1)
  t.equal((await client.api.list({ status: ['running', 'pending'], topLevel: true })).total, 1)
  t.ok((await client.api.events(job.id, { type: 'created' })).items.length === 1)
  t.same((await client.api.stats({ jobType: 'none' })).types, [])
  t.equal((await client.api.active({ recentSeconds: 5 })).active.length, 1)
  client.close()
  t.equal(client.connection, 'closed')
  await waitFor(async () => /^headway_streams_open 0$/m.test(await (await fetch(`${service.url}/metrics`)).text()))
})

t.test('what happened while the service was gone is there when it is back', async t => {
  const first = await startService(t)
  const front = await startFront(t, first.url)
  const [ended, goesOn] = [await first.createJob(), await first.createJob()]
  const client = new Browser().open(t, { url: front.url })
  await until(client, is('live'))
  const finished: string[] = []
  client.on('completed', ({ id }) => finished.push(id))
  front.target = null
  front.cut()
  const lost = await until(client, is('reconnecting'))
  t.equal(lost.problem?.status, 0)
  t.equal(lost.jobs.length, 2, 'what was known is still shown')
  await first.call('POST', `/jobs/${ended.id}/complete`)
  await first.heartbeat(goesOn.id, { processedCount: 7 })
  const second = await startService(t, { database: first.database })
  await first.close()
  front.target = second.url
  client.reconnect()
  await until(client, is('live'))
  t.equal(client.job(goesOn.id)?.processedCount, 7)
  t.same(finished, [ended.id])
  t.match(streamsSeen(front).at(-1)?.headers['last-event-id'], /^\d+\.\d+$/, 'it came back to its place')
})

t.test('where streams are refused, jobs are polled until they are not', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  front.fate = 'refuse'
  const [job, ended] = [await service.createJob({ totalCount: 4 }), await service.createJob()]
  const client = new Browser().open(t, { url: front.url }, { pollMs: 100 })
  const failing = await until(client, ({ problem }) => problem !== null)
  t.match(failing, { connection: 'reconnecting', problem: { status: 502, code: 'unexpected_answer' } })
  client.reconnect()
  await until(client, ({ connection }) => connection === 'polling' || streamsSeen(front).length > 2)
  client.reconnect()
  await until(client, is('polling'))
  await service.heartbeat(job.id, { processedCount: 1 })
  await until(client, shows(job.id, { progressPercent: 25 }))
  const polls = () => front.seen.filter(({ path }) => path.startsWith('/api/progress/active'))
  await waitFor(() => polls().some(({ headers }) => headers['if-none-match'] !== undefined))
  await service.call('POST', `/jobs/${ended.id}/fail`, { errorMessage: 'x' })
  await service.age(ended.id, 60)
  await until(client, shows(ended.id, { status: 'failed' })).then(() => t.pass('also what has left the list'))
  front.fate = 'pass'
  client.reconnect()
  await until(client, is('live'))
  const before = polls().length
  await service.heartbeat(job.id, { processedCount: 2 })
  await until(client, shows(job.id, { progressPercent: 50 }))
  t.equal(polls().length, before, 'and no more polls')
})

t.test('a stream that is opened and never says anything is as good as none', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  front.fate = 'swallow'
  await service.createJob()
  const client = new Browser().open(t, { url: front.url }, { firstByteMs: 600, pollMs: 100 })
  t.equal((await until(client, is('polling'))).jobs.length, 1)
  front.fate = 'pass'
  client.reconnect()
  await until(client, is('live'))
})

t.test('a stream that falls silent is left, and the next one must show more than its beginning', async t => {
  const service = await startService(t, { LIVE_KEEPALIVE_SECONDS: '1' })
  const front = await startFront(t, service.url)
  const job = await service.createJob({ totalCount: 4 })
  const client = new Browser().open(t, { url: front.url }, { pollMs: 100 })
  await until(client, is('live'))
  front.fate = 'hold'
  await service.heartbeat(job.id, { processedCount: 1 })
  await until(client, is('polling'))
  await until(client, shows(job.id, { progressPercent: 25 }))
  const states = new Set<string>()
  client.subscribe(() => states.add(client.connection))
  const seen = streamsSeen(front).length
  client.reconnect()
  await waitFor(() => streamsSeen(front).length > seen && front.openStreams === 1)
  await service.heartbeat(job.id, { processedCount: 2 })
  await until(client, shows(job.id, { progressPercent: 50 }))
  t.same([...states], ['polling'], 'the snapshot alone proves nothing')
  front.fate = 'pass'
  await until(client, is('live'))
})

t.test('a stream that the service ends in good order is opened again without a word', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const tenant_id = randomUUID()
  const given: string[] = []
  const token = async () => {
    const next = await mint({ tenant_id, exp: secondsFromNow(given.length === 0 ? 3 : 3600) })
    given.push(next)
    return next
  }
  const front = await startFront(t, service.url)
  const client = new Browser().open(t, { url: front.url, token }, { goodMs: 100, graceMs: 1000 })
  await until(client, is('live'))
  const states = new Set<string>()
  client.subscribe(() => states.add(client.connection))
  const job = await service.as(await mint({ tenant_id })).createJob()
  await until(client, shows(job.id, {}))
  await waitFor(() => given.length === 2 && front.openStreams === 1, { timeoutMs: 12_000 })
  const [before, after] = streamsSeen(front)
  t.not(after?.headers.authorization, before?.headers.authorization, 'with a new token')
  t.match(after?.headers['last-event-id'], /^\d+\.\d+$/, 'in the same place')
  t.same([...states], ['live'], 'nobody needs to know')
})

t.test('a token that is refused is renewed once, and then the page is told', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const tenant_id = randomUUID()
  const good = await mint({ tenant_id })
  const bad = await mint({ tenant_id }, { alg: 'HS256', key: Buffer.from('another secret with more than 32 bytes') })
  let tokens = [bad, good]
  const client = new Browser().open(t, { url: service.url, token: () => tokens.shift() ?? bad })
  await until(client, is('live'))

  tokens = [bad, bad]
  const other = new Browser().open(t, { url: service.url, token: () => tokens.shift() ?? good })
  const refused = await until(other, is('unauthorized'))
  t.match(refused.problem, { status: 401, code: 'unauthenticated' })
  other.reconnect()
  await until(other, is('live'))

  const fixed = new Browser().open(t, { url: service.url, token: bad })
  await until(fixed, is('unauthorized'))
  const mayNot = new Browser().open(t, { url: service.url, token: await mint({ features: ['progress.update'] }) })
  t.match((await until(mayNot, is('unauthorized'))).problem, { status: 403, code: 'forbidden' })
  const loggedOut = new Browser().open(t, { url: service.url, token: () => Promise.reject(new Error('logged out')) })
  t.match((await until(loggedOut, is('unauthorized'))).problem, { status: 0, code: 'token_unavailable' })
})

t.test('three tabs have one stream, and the next one takes over when its tab is gone', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const browser = new Browser()
  const job = await service.createJob({ totalCount: 100 })
  const tabs = [1, 2, 3].map(() => browser.open(t, { url: front.url }))
  await Promise.all(tabs.map(tab => until(tab, is('live'))))
  for (const tab of tabs) t.equal(tab.job(job.id)?.totalCount, 100)
  t.equal(front.openStreams, 1)
  const [leader, second, third] = [...tabs].sort((a, b) => b.streams - a.streams) as [
    (typeof tabs)[0],
    (typeof tabs)[0],
    (typeof tabs)[0],
  ]
  t.same([leader.streams, second.streams, third.streams], [1, 0, 0])

  const finished: string[] = []
  third.on('finished', ({ status }) => finished.push(status))
  await service.heartbeat(job.id, { processedCount: 10 })
  await Promise.all(tabs.map(tab => until(tab, shows(job.id, { progressPercent: 10 }))))
  const late = browser.open(t, { url: front.url })
  await until(late, shows(job.id, { progressPercent: 10 }))
  t.equal(late.streams, 0, 'a fourth tab is told by the first')

  const crashedAt = Date.now()
  leader.crash()
  await waitFor(() => second.streams + third.streams + late.streams === 1)
  t.ok(Date.now() - crashedAt < 1000, 'within a second')
  await service.heartbeat(job.id, { processedCount: 20 })
  await Promise.all([second, third, late].map(tab => until(tab, shows(job.id, { progressPercent: 20 }))))
  const successor = [second, third, late].find(tab => tab.streams === 1)!
  successor.close()
  const rest = [second, third, late].filter(tab => tab !== successor)
  await service.call('POST', `/jobs/${job.id}/complete`)
  await Promise.all(rest.map(tab => until(tab, shows(job.id, { status: 'completed' }))))
  if (successor !== third) t.same(finished, ['completed'])
  await waitFor(() => front.openStreams === 1)
})

t.test('a tab that is frozen loses the connection to one that is looked at, and finds its way back', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const browser = new Browser()
  const job = await service.createJob({ totalCount: 100 })
  const frozen = browser.open(t, { url: front.url })
  await until(frozen, is('live'))
  const hidden = browser.open(t, { url: front.url })
  await until(hidden, is('live'))
  hidden.visible = false
  frozen.freeze()
  const looked = browser.open(t, { url: front.url })
  await until(looked, is('live'))
  t.same([frozen.streams, hidden.streams, looked.streams], [1, 0, 1])
  await waitFor(() => front.openStreams === 1)
  await service.heartbeat(job.id, { processedCount: 10 })
  await until(hidden, shows(job.id, { progressPercent: 10 }))
})

t.test('a tab whose token is good need not wait for one whose token is not', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const front = await startFront(t, service.url)
  const claims = { tenant_id: randomUUID(), sub: 'a' }
  const browser = new Browser()
  const expired = await mint({ ...claims, exp: secondsFromNow(-3600) })
  const first = browser.open(t, { url: front.url, token: expired })
  await until(first, is('unauthorized'))
  let entered = expired
  const second = browser.open(t, { url: front.url, token: () => entered })
  await until(second, is('unauthorized'))
  t.equal(second.streams, 0, 'it was told so')
  entered = await mint(claims)
  second.reconnect()
  await Promise.all([first, second].map(tab => until(tab, is('live'))))
  t.equal(front.openStreams, 1)
})

t.test('a page that is given no locks is on its own', async t => {
  const service = await startService(t)
  const browser = new Browser()
  browser.forbidsLocks = true
  const tabs = [browser.open(t, { url: service.url }), browser.open(t, { url: service.url })]
  await Promise.all(tabs.map(tab => until(tab, is('live'))))
  t.same(
    tabs.map(({ streams }) => streams),
    [1, 1],
  )
})

t.test('tabs of other users, other filters or other services have nothing in common', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const front = await startFront(t, service.url)
  const [one, two] = [randomUUID(), randomUUID()]
  const tokens = { one: await mint({ tenant_id: one, sub: 'a' }), two: await mint({ tenant_id: two, sub: 'b' }) }
  const job = await service.as(tokens.one).createJob({ name: 'a secret plan' })
  const browser = new Browser()
  const mine = browser.open(t, { url: front.url, token: tokens.one })
  const foreign = browser.open(t, { url: front.url, token: tokens.two })
  const filtered = browser.open(t, { url: front.url, token: tokens.one, filter: { jobType: 'none' } })
  await Promise.all([mine, foreign, filtered].map(tab => until(tab, is('live'))))
  t.equal(front.openStreams, 3)
  t.ok(mine.job(job.id))
  t.same([foreign.jobs(), filtered.jobs()], [[], []])
  const same = browser.open(t, { url: front.url, token: await mint({ tenant_id: one, sub: 'a' }), filter: {} })
  await until(same, is('live'))
  t.equal(same.streams, 0, 'another token of the same user is as good')
  const kept = [...browser.said, ...browser.stored.entries()].join()
  t.ok(browser.said.length > 0)
  for (const token of Object.values(tokens)) t.notOk(kept.includes(token.split('.')[2] ?? ''), 'no tab tells its token')
})

t.test('when the token becomes that of another user, nothing of the first one stays', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET })
  const front = await startFront(t, service.url)
  const [one, two] = [randomUUID(), randomUUID()]
  let user = one
  const browser = new Browser()
  const client = browser.open(t, { url: front.url, token: () => mint({ tenant_id: user }) })
  const before = await service.as(await mint({ tenant_id: one })).createJob()
  const after = await service.as(await mint({ tenant_id: two })).createJob()
  await until(client, shows(before.id, {}))
  const waited = t.rejects(client.waitFor(before.id), { name: 'AbortError' })
  user = two
  front.cut()
  await until(client, is('reconnecting'))
  t.ok(client.job(before.id), 'a lost stream alone changes nobody')
  client.reconnect()
  await until(client, shows(after.id, {}))
  t.equal(client.job(before.id), undefined)
  t.same(client.waiting(), [])
  await waited
  t.equal(streamsSeen(front).at(-1)?.headers['last-event-id'], undefined, 'the place was the place of the other')
  const back = browser.open(t, { url: front.url, token: await mint({ tenant_id: one }) })
  await until(back, shows(before.id, {}))
  t.same(back.waiting(), [before.id], 'what the first one waits for is kept for the first one')
})

t.test('a page waits for jobs across reloads, and misses no end', async t => {
  const service = await startService(t)
  const browser = new Browser()
  const [early, late, old] = [await service.createJob(), await service.createJob(), await service.createJob()]
  const first = browser.open(t, { url: service.url })
  await until(first, is('live'))
  const ended = first.waitFor(early.id)
  await service.call('POST', `/jobs/${early.id}/complete`)
  t.equal((await ended).status, 'completed')
  t.equal((await first.waitFor(early.id)).status, 'completed', 'again, at once')
  const cut = [first.waitFor(late.id), first.waitFor(old.id)].map(waited => t.rejects(waited, { name: 'AbortError' }))
  first.close()
  await Promise.all(cut)

  await service.call('POST', `/jobs/${old.id}/fail`, { errorMessage: 'disk full' })
  await service.age(old.id, 7200)
  const second = browser.open(t, { url: service.url })
  const failed = new Promise<LiveJob>(resolve => second.on('failed', resolve))
  t.match(await failed, { id: old.id, errorMessage: 'disk full' }, 'also one that no snapshot shows any more')
  t.same(second.waiting(), [late.id])
  await service.call('POST', `/jobs/${late.id}/complete`)
  await until(second, shows(late.id, { status: 'completed' }))
  t.same(second.waiting(), [late.id], 'nobody was there to hear it')
  second.close()

  const third = browser.open(t, { url: service.url })
  await until(third, is('live'))
  t.equal((await third.waitFor(late.id)).status, 'completed')
  t.equal(browser.stored.size, 0)
  await t.rejects(third.waitFor(randomUUID()), { code: 'job_not_found' })
  await t.rejects(third.waitFor('no id'), { code: 'validation_failed' })
  t.same(third.waiting(), [])
})

t.test('a page also waits for a job that its filter leaves out', async t => {
  const service = await startService(t)
  const job = await service.createJob()
  const client = new Browser().open(t, { url: service.url, filter: { jobType: 'none' } }, { housekeepingMs: 50 })
  await until(client, is('live'))
  const waited = client.waitFor(job.id)
  await service.call('POST', `/jobs/${job.id}/complete`)
  t.equal((await waited).id, job.id)
  t.same(client.jobs(), [])
})

t.test('where the service has nothing more to say, the client is closed', async t => {
  const front = await startFront(t, (await startService(t)).url)
  front.fate = 'over'
  const client = new Browser().open(t, { url: front.url })
  await until(client, is('closed'))
  t.equal(streamsSeen(front).length, 1)
})

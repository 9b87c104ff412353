import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import t from 'tap'
import { hasJustFinished } from '../../src/browser-client/documents.ts'
import type { HeadwayClient, HeadwayEvent, HeadwayState } from '../../src/browser-client/types.ts'
import type { LiveJob } from '../../src/contract/live-job.ts'
import { insteadOfStreams, startFront, streamsSeen } from '../helpers/front.ts'
import type { Front, OwnAnswer } from '../helpers/front.ts'
import { startService } from '../helpers/service.ts'
import { mint, SECRET, secondsFromNow } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { Browser, until } from './tabs.ts'
import type { OpenTab } from './tabs.ts'

const is = (connection: HeadwayState['connection']) => (state: HeadwayState) => state.connection === connection

const shows =
  (id: string, expected: Partial<LiveJob>) =>
  ({ jobs }: HeadwayState): boolean => {
    const job = jobs.find(job => job.id === id)
    return job !== undefined && Object.entries(expected).every(([name, value]) => job[name as keyof LiveJob] === value)
  }

t.test('a page sees the jobs, their changes and the results of its own calls', async t => {
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
  await t.rejects(client.api.purge(job.id), { name: 'HeadwayProblem', status: 409, code: 'not_finished' })
  const { id: ended } = await service.createJob({ name: 'Ended' })
  await service.call('POST', `/jobs/${ended}/complete`, {})
  await client.api.purge(ended)
  await t.rejects(client.api.job(ended), { name: 'HeadwayProblem', status: 404 })
  t.equal((await client.api.active({ recentSeconds: 5 })).active.length, 1)
  client.close()
  t.equal(client.connection, 'closed')
  await waitFor(async () => /^headway_streams_open 0$/m.test(await (await fetch(`${service.url}/metrics`)).text()))
})

t.test('a page shows the changes from before a restart of the service once the service is back', async t => {
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
  t.match(streamsSeen(front).at(-1)?.headers['last-event-id'], /^\d+\.\d+\.\d+(-\d+)*$/, 'it came back to its place')
})

t.test('where streams are refused, a page polls jobs until streams work again', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  front.instead = insteadOfStreams({ status: 502 })
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
  front.instead = () => null
  client.reconnect()
  await until(client, is('live'))
  // A poll that was under way when the stream came is over by then.
  await service.heartbeat(job.id, { processedCount: 2 })
  await until(client, shows(job.id, { progressPercent: 50 }))
  const before = polls().length
  await service.heartbeat(job.id, { processedCount: 3 })
  await until(client, shows(job.id, { progressPercent: 75 }))
  t.equal(polls().length, before, 'and no more polls')
})

t.test('a page that is loaded again shows a failure for a minute and other ends for half a minute', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const end = async (path: string, seconds: number) => {
    const job = await service.createJob({ jobType: 'import', cancellable: true })
    if (path === 'cancelled') await service.call('POST', `/jobs/${job.id}/cancel`)
    else await service.call('POST', `/jobs/${job.id}/${path}`, path === 'fail' ? { errorMessage: 'disk full' } : {})
    await service.age(job.id, seconds)
    return job.id
  }
  const shown = [await end('fail', 45), await end('complete', 15), await end('cancelled', 15)].sort()
  for (const [path, seconds] of [
    ['fail', 75],
    ['complete', 45],
    ['cancelled', 45],
  ] as const)
    await end(path, seconds)
  for (const connection of ['live', 'polling'] as const) {
    front.instead = connection === 'live' ? () => null : insteadOfStreams({ status: 502 })
    for (const filter of [{}, { topLevel: true }, { jobType: 'import' }]) {
      const client = new Browser().open(t, { url: front.url, filter }, { pollMs: 50 })
      await untilTried(client, connection)
      const recent = client.jobs().filter(job => hasJustFinished(job, client.now()))
      t.same(recent.map(({ id }) => id).sort(), shown, `${connection} ${JSON.stringify(filter)}`)
      if (connection === 'live') t.equal(client.jobs().length, 3, 'and the stream tells of no others')
      client.close()
    }
  }
})

/** Tries again and again, as time would. */
const untilTried = (client: HeadwayClient, connection: HeadwayState['connection']) =>
  waitFor(() => {
    if (client.connection !== connection) client.reconnect()
    return client.connection === connection
  })

const pollsOf = (front: Front) => front.seen.filter(({ path }) => path.startsWith('/api/progress/active'))

t.test(
  'if another program answers instead of the service, a page polls where it can and returns to the stream',
  async t => {
    const service = await startService(t)
    const front = await startFront(t, service.url)
    const job = await service.createJob({ totalCount: 100 })
    const client = new Browser().open(t, { url: front.url }, { pollMs: 50, goodMs: 60_000 })
    const html = { headers: { 'content-type': 'text/html' }, body: '<h1>Blocked by the security gateway</h1>' }
    const json = { headers: { 'content-type': 'application/json' }, body: '{}' }
    const answers: OwnAnswer[] = [
      { status: 204 },
      { status: 200, ...html },
      { status: 200, ...json },
      { status: 403, ...html },
      { status: 404, ...html },
      { status: 500 },
      { status: 200, headers: { 'content-type': 'text/event-stream' }, body: 'event: snapshot\ndata: {"jobs"\n\n' },
    ]
    let count = 0
    for (const answer of answers) {
      front.instead = insteadOfStreams(answer)
      front.cut()
      await untilTried(client, 'polling')
      count += 1
      await service.heartbeat(job.id, { processedCount: count })
      await until(client, shows(job.id, { processedCount: count }))
      front.instead = () => null
      await untilTried(client, 'live')
    }
    t.equal(count, answers.length)
    front.instead = insteadOfStreams({ status: 401, ...html })
    front.cut()
    await untilTried(client, 'unauthorized')
    front.instead = () => null
    await untilTried(client, 'live')
  },
)

t.test('a page that is told to reconnect later polls meanwhile, no more often than the service allows', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const busy = (seconds: string): OwnAnswer => ({ status: 429, headers: { 'retry-after': seconds } })
  front.instead = insteadOfStreams(busy('3600'))
  await service.createJob()
  const client = new Browser().open(t, { url: front.url }, { pollMs: 50 })
  await until(client, is('polling'))
  t.equal(streamsSeen(front).length, 1, 'without a second attempt')
  front.instead = path => busy(path.startsWith('/api/progress/stream') ? '3600' : '1')
  const before = pollsOf(front).length
  await until(client, ({ problem }) => problem?.status === 429)
  const refusedAt = Date.now()
  await waitFor(() => pollsOf(front).length > before + 1)
  t.ok(Date.now() - refusedAt > 800, 'one second, not 50 ms')
  front.instead = () => null
  await untilTried(client, 'live')
})

t.test('a page that polls has the right state of a hundred jobs, also after failed reads', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const jobs = await Promise.all(Array.from({ length: 105 }, () => service.createJob()))
  front.instead = insteadOfStreams({ status: 502 })
  const client = new Browser().open(t, { url: front.url }, { pollMs: 50 })
  await untilTried(client, 'polling')
  t.equal(client.jobs().length, jobs.length)
  t.equal(client.state().truncated, false)
  await Promise.all(jobs.map(({ id }) => service.heartbeat(id, { processedCount: 7 })))
  await until(client, ({ jobs }) => jobs.every(({ processedCount }) => processedCount === 7))

  await Promise.all(jobs.slice(2).map(({ id }) => service.call('POST', `/jobs/${id}/complete`)))
  await until(client, ({ jobs }) => jobs.filter(({ status }) => status === 'running').length === 2)
  const last = jobs[0]!
  const path = `/api/progress/jobs/${last.id}`
  // No poll may see the job among those that have just finished.
  front.instead = () => ({ status: 502 })
  await until(client, is('reconnecting'))
  await service.call('POST', `/jobs/${last.id}/complete`)
  await service.age(last.id, 60)
  const before = front.seen.length
  front.instead = asked => (asked.startsWith('/api/progress/stream') || asked.startsWith(path) ? { status: 502 } : null)
  await waitFor(() => front.seen.slice(before).some(asked => asked.path.startsWith(path)))
  front.instead = insteadOfStreams({ status: 502 })
  await until(client, shows(last.id, { status: 'completed' }))
})

t.test('a job that is followed by its id is still followed after it was retried while the page polls', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const job = await service.createJob()
  await service.call('POST', `/jobs/${job.id}/fail`, { errorMessage: 'x' })
  front.instead = insteadOfStreams({ status: 502 })
  const client = new Browser().open(t, { url: front.url, filter: { jobId: job.id } }, { pollMs: 50 })
  await untilTried(client, 'polling')
  t.equal(client.job(job.id)?.status, 'failed')
  await service.call('POST', `/jobs/${job.id}/retry`)
  await until(client, shows(job.id, { status: 'pending', attempt: 2 }))
})

t.test("a page whose clock is wrong knows the service's time before any job changes", async t => {
  const service = await startService(t)
  await service.createJob()
  const browser = new Browser()
  const ahead = t.capture(Date, 'now', () => performance.timeOrigin + performance.now() + 300_000)
  const tabs = [browser.open(t, { url: service.url }), browser.open(t, { url: service.url })]
  await Promise.all(tabs.map(tab => until(tab, is('live'))))
  for (const tab of tabs) await waitFor(() => Math.abs(tab.now() + 300_000 - Date.now()) < 2_500)
  ahead.restore()
})

t.test('a stream that is opened and stays silent counts as failed', async t => {
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

t.test(
  'a stream that falls silent is closed, and the next stream counts as working after more than its snapshot',
  async t => {
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
  },
)

t.test('a stream that the service ends in order is opened again without a visible change', async t => {
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
  t.match(after?.headers['last-event-id'], /^\d+\.\d+\.\d+(-\d+)*$/, 'in the same place')
  t.same([...states], ['live'], 'nobody needs to know')
})

t.test('a refused token is renewed once, and a second refusal is shown', async t => {
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

t.test('three tabs have one stream, and another tab takes over when the tab with the stream is gone', async t => {
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
  await waitFor(() => second.streams + third.streams + late.streams > 0)
  t.ok(Date.now() - crashedAt < 1000, 'within a second')
  await service.heartbeat(job.id, { processedCount: 20 })
  await Promise.all([second, third, late].map(tab => until(tab, shows(job.id, { progressPercent: 20 }))))
  // On a slow machine a second tab may have begun a stream as well, and given it up again.
  const successor = (await waitFor(() => [second, third, late].find(tab => tab.streams > 0)))!
  successor.close()
  const rest = [second, third, late].filter(tab => tab !== successor)
  await service.call('POST', `/jobs/${job.id}/complete`)
  await Promise.all(rest.map(tab => until(tab, shows(job.id, { status: 'completed' }))))
  if (successor !== third) t.same(finished, ['completed'])
  await waitFor(() => front.openStreams === 1)
})

t.test('a tab that the browser suspends gives up its connection at once, and shares one again later', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const browser = new Browser()
  const job = await service.createJob({ totalCount: 100 })
  const tabs: OpenTab[] = []
  for (let n = 0; n < 3; n++) {
    const tab = browser.open(t, { url: front.url }, { pingMs: 60_000 })
    await until(tab, is('live'))
    tabs.push(tab)
  }
  const [first, second, third] = tabs as [OpenTab, OpenTab, OpenTab]
  // The next one in the queue does not run either.
  second.stop()
  const stoppedAt = Date.now()
  first.stop()
  await waitFor(() => third.streams === 1)
  t.ok(Date.now() - stoppedAt < 1000, 'within a second')
  t.equal(second.streams, 0, 'not by one that does not run')
  await waitFor(() => front.openStreams === 1)
  await service.heartbeat(job.id, { processedCount: 10 })
  await until(third, shows(job.id, { progressPercent: 10 }))
  t.equal(first.job(job.id)?.progressPercent, 0)
  first.resume()
  await until(first, shows(job.id, { progressPercent: 10 }))
  t.equal(front.openStreams, 1)
  third.stop()
  await waitFor(() => first.streams === 2)
  t.match(streamsSeen(front).at(-1)?.headers['last-event-id'], /^\d+\.\d+\.\d+(-\d+)*$/)
})

t.test('a tab that hangs loses its connection to a visible tab, and shares one again later', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const browser = new Browser()
  const job = await service.createJob({ totalCount: 100 })
  // Long enough that a busy machine makes no other tab look as if it hung.
  const timing = { pingMs: 300 }
  const frozen = browser.open(t, { url: front.url }, timing)
  await until(frozen, is('live'))
  const hidden = browser.open(t, { url: front.url }, timing)
  await until(hidden, is('live'))
  hidden.visible = false
  frozen.hang()
  const looked = browser.open(t, { url: front.url }, timing)
  await until(looked, is('live'))
  t.ok(looked.streams >= 1, 'the visible tab has asked for a stream of its own')
  t.equal(hidden.streams, 0, 'and the hidden one has not')
  await waitFor(() => front.openStreams === 1)
  await service.heartbeat(job.id, { processedCount: 10 })
  await until(hidden, shows(job.id, { progressPercent: 10 }))
})

t.test('a tab with a valid token does not wait for a tab with a refused token', async t => {
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
  // As when a page is shown again: the browser says so in two ways.
  second.reconnect()
  second.reconnect()
  await Promise.all([first, second].map(tab => until(tab, is('live'))))
  t.equal(front.openStreams, 1)
  t.equal(second.streams, 1, 'it takes the connection over once')
})

t.test('a page without Web Locks connects for itself', async t => {
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

t.test('tabs of different users, filters or services share nothing', async t => {
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

t.test('when a page gets the token of another user, nothing of the first user stays', async t => {
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

t.test('a client that the page makes later is told of an end that an element has already shown', async t => {
  const service = await startService(t)
  const browser = new Browser()
  const job = await service.createJob()
  const before = browser.open(t, { url: service.url })
  await until(before, is('live'))
  const cut = t.rejects(before.waitFor(job.id), { name: 'AbortError' })
  before.close()
  await cut
  await service.call('POST', `/jobs/${job.id}/complete`)

  const openElement = () => browser.open(t, { url: service.url, filter: { topLevel: true } }, {}, true)
  const element = openElement()
  const shown = new Promise<LiveJob>(resolve => element.on('finished', resolve))
  t.match(await shown, { id: job.id })
  await waitFor(() => element.waiting().length === 0)
  element.close()
  const again = openElement()
  again.on('finished', () => t.fail('the window is told once'))
  await until(again, is('live'))
  t.same(again.waiting(), [])

  const page = browser.open(t, { url: service.url })
  t.match(await new Promise<LiveJob>(resolve => page.on('finished', resolve)), { id: job.id, status: 'completed' })
  t.same(page.waiting(), [])
  t.equal(browser.stored.size, 0)
})

t.test('the deprecated name createHeadway still works', async t => {
  const root = new URL('../..', import.meta.url)
  const script =
    "const c = await import('@headway/client'), e = await import('@headway/client/elements'); console.log(c.createHeadway === c.createClient, e.createHeadway === e.createClient)"
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { cwd: root })
  t.equal(stdout, 'true true\n')
})

t.test('a process in Node ends after its client was closed', async t => {
  const service = await startService(t)
  const script = `
    const { createClient } = await import('@headway/client')
    for (const url of ['${service.url}', 'http://127.0.0.1:1']) {
      const headway = createClient({ url })
      const isSettled = () => ['live', 'reconnecting', 'polling'].includes(headway.connection)
      await new Promise(resolve => headway.subscribe(() => isSettled() && resolve()))
      headway.close()
    }`
  const root = new URL('../..', import.meta.url)
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { cwd: root, timeout: 20_000 })
  t.pass('it has ended by itself')
})

t.test('a page that waits for a retried job is not told of the end of the earlier attempt', async t => {
  const service = await startService(t)
  const front = await startFront(t, service.url)
  const job = await service.createJob()
  const client = new Browser().open(t, { url: front.url })
  await until(client, is('live'))
  const failures: string[] = []
  client.on('failed', ({ id }) => failures.push(id))
  await service.call('POST', `/jobs/${job.id}/fail`, { errorMessage: 'x' })
  await until(client, shows(job.id, { status: 'failed' }))
  t.equal((await client.waitFor(job.id)).status, 'failed', 'as long as it is the last one')
  t.same(failures, [job.id], 'and nobody hears of it twice')
  front.fate = 'hold'
  await service.call('POST', `/jobs/${job.id}/retry`)
  t.equal(client.job(job.id)?.status, 'failed', 'the page has not heard of it')
  const waited = client.waitFor(job.id)
  await until(client, shows(job.id, { status: 'pending', attempt: 2 }))
  await service.call('POST', `/jobs/${job.id}/complete`)
  front.fate = 'pass'
  front.cut()
  client.reconnect()
  t.equal((await waited).status, 'completed')
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

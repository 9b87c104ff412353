import fc from 'fast-check'
import t from 'tap'
import { backoffMs } from '../../src/browser-client/backoff.ts'
import { digest } from '../../src/browser-client/digest.ts'
import { hasJustFinished, toLiveJob } from '../../src/browser-client/documents.ts'
import { JobStore } from '../../src/browser-client/job-store.ts'
import { Listeners } from '../../src/browser-client/listeners.ts'
import { readProblem } from '../../src/browser-client/problem.ts'
import { Pauses } from '../../src/browser-client/pause.ts'
import { ServiceClock } from '../../src/browser-client/service-clock.ts'
import { EventParser } from '../../src/browser-client/sse.ts'
import { identityOf, Tokens } from '../../src/browser-client/tokens.ts'
import type { LiveJob } from '../../src/contract/live-job.ts'
import { Waiting } from '../../src/browser-client/waiting.ts'

const parse = (...pieces: string[]) => {
  const parser = new EventParser()
  return { events: pieces.flatMap(piece => parser.push(piece)), parser }
}

t.test('finished jobs are shown beside running ones for half a minute, and failed ones for a minute', t => {
  const finishedAt = '2026-01-01T00:00:00.000Z'
  const shown = (status: LiveJob['status'], seconds: number) =>
    hasJustFinished({ status, finishedAt }, Date.parse(finishedAt) + seconds * 1000)
  t.same(
    [29, 31, 59, 61].map(seconds => shown('completed', seconds)),
    [true, false, false, false],
  )
  t.same(
    [29, 31, 59, 61].map(seconds => shown('cancelled', seconds)),
    [true, false, false, false],
  )
  t.same(
    [29, 31, 59, 61].map(seconds => shown('failed', seconds)),
    [true, true, true, false],
  )
  t.equal(hasJustFinished({ status: 'failed', finishedAt: null }, 0), false)
  t.end()
})

t.test('server-sent events are parsed as the standard says', t => {
  t.same(parse('id: 7.1\nevent: a\ndata: {"x":1}\n\n').events, [{ event: 'a', id: '7.1', data: '{"x":1}' }])
  t.same(parse('data:no space\ndata: two\n\n').events, [{ event: 'message', id: '', data: 'no space\ntwo' }])
  t.same(parse(': a comment\n\n:\n\n').events, [])
  t.same(
    parse('event: a\n\ndata: b\n\n').events,
    [{ event: 'message', id: '', data: 'b' }],
    'a name without data is none',
  )
  t.same(
    parse('id: 1\ndata: a\n\ndata: b\n\n').events.map(({ id }) => id),
    ['1', '1'],
    'an id holds until the next',
  )
  t.same(parse('id: 1\0\ndata: a\n\n').events[0]?.id, '', 'an id with NUL is none')
  t.same(parse('data\n\n').events[0]?.data, '')
  t.same(parse('data: unfinished').events, [])
  t.equal(parse('retry: 1500\n\n').parser.takeRetry(), 1500)
  t.equal(parse('retry: soon\n\n').parser.takeRetry(), null)
  t.end()
})

t.test('a stream is parsed the same however it is cut into chunks, and whatever ends its lines', t => {
  const lines = [
    'retry: 5',
    '',
    'id: 1.2',
    'event: snapshot',
    'data: {"jobs":["ä€😀"]}',
    '',
    ':',
    '',
    'data: b',
    'data: c',
    '',
    '',
  ]
  const expected = parse(lines.join('\n')).events
  t.equal(expected.length, 2)
  fc.assert(
    fc.property(fc.constantFrom('\n', '\r', '\r\n'), fc.array(fc.nat(200), { maxLength: 12 }), (end, cuts) => {
      const text = lines.join(end)
      const places = [0, ...cuts.map(cut => cut % text.length).sort((a, b) => a - b), text.length]
      const pieces = places.slice(1).map((place, index) => text.slice(places[index], place))
      t.same(parse(...pieces).events, expected)
    }),
    { numRuns: 300 },
  )
  t.end()
})

t.test('a refusal says when to try again, in seconds or by a date, and the wait is never days', async t => {
  const after = async (header?: string) =>
    (await readProblem(new Response('', { status: 503, headers: header ? { 'retry-after': header } : {} })))
      .retryAfterSeconds
  t.equal(await after('7'), 7)
  t.equal(await after('604800'), 300)
  const seconds = (await after(new Date(Date.now() + 20_000).toUTCString())) ?? 0
  t.ok(seconds >= 18 && seconds <= 20, String(seconds))
  t.equal(await after(new Date(0).toUTCString()), 0)
  t.same([await after('soon'), await after()], [null, null])
})

const ID = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'

const job = (fields: Partial<LiveJob> = {}): LiveJob =>
  toLiveJob({
    id: ID,
    status: 'running',
    progressPercent: 0,
    processedCount: 0,
    updatedAt: '2026-01-01T00:00:00.000Z',
    revision: 1,
    ...fields,
  })

t.test('the newest revision of a job is kept, and an unchanged job stays the same object', t => {
  const store = new JobStore({ keepFinishedMs: 1000 })
  t.equal(
    store.replace([job({ revision: 5, progressPercent: 50 })], false).length,
    0,
    'what is met first has not changed',
  )
  const jobs = store.jobs()
  t.equal(store.apply(job({ revision: 4, progressPercent: 40 }), 'updated'), null)
  t.equal(store.apply(job({ revision: 5, progressPercent: 50 }), 'updated'), null)
  t.equal(store.jobs(), jobs, 'so a page need not render')
  t.equal(store.apply(job({ revision: 6, progressPercent: 60 }), 'updated')?.job.progressPercent, 60)
  t.not(store.jobs(), jobs)
  t.equal(store.apply(job({ revision: 6, progressPercent: 60, etaSeconds: 9 }), 'updated'), null)
  t.equal(store.get(ID)?.etaSeconds, 9, 'an estimate changes without a revision')
  store.apply(job({ revision: 6, progressPercent: 60, etaSeconds: 9, etaLowSeconds: 5, etaHighSeconds: 20 }), 'updated')
  t.equal(store.get(ID)?.etaHighSeconds, 20, 'and so does its range')
  const restored = job({ revision: 3, updatedAt: '2026-01-02T00:00:00.000Z' })
  t.equal(store.apply(restored, 'updated')?.job.revision, 3, 'after a backup was restored, revisions begin lower')
  t.end()
})

t.test('a snapshot replaces the set of jobs, and its order is kept', t => {
  const store = new JobStore({ keepFinishedMs: 1000 })
  const ids = (): string[] => store.jobs().map(({ id }) => id)
  store.replace([job({ id: 'b' }), job({ id: 'a' })], true)
  t.equal(store.truncated, true)
  store.apply(job({ id: 'c' }), 'created')
  t.same(ids(), ['c', 'b', 'a'])
  store.apply(job({ id: 'b', revision: 2, status: 'completed', finishedAt: '2026-01-01T00:00:01.000Z' }), 'completed')
  store.apply(job({ id: 'c', revision: 2, status: 'failed', finishedAt: '2026-01-01T00:00:02.000Z' }), 'failed')
  t.same(ids(), ['a', 'c', 'b'], 'finished ones last, the last to finish first')
  store.replace([job({ id: 'd' }), job({ id: 'a' })], false)
  t.same(ids(), ['d', 'a'])
  t.equal(store.truncated, false)
  t.end()
})

t.test('each change has the right name, even if the stream did not name it', t => {
  const named = (before: Partial<LiveJob>, after: Partial<LiveJob>, said: 'updated' | 'stalled' | null = null) => {
    const store = new JobStore({ keepFinishedMs: 1000 })
    store.replace([job(before)], false)
    return said === null
      ? store.replace([job({ revision: 2, ...after })], false)[0]?.name
      : store.apply(job({ revision: 2, ...after }), said)?.name
  }
  t.equal(named({ status: 'pending' }, {}), 'started')
  t.equal(named({}, { progressPercent: 5 }), 'updated')
  t.equal(named({}, { status: 'completed' }), 'completed')
  t.equal(named({}, { status: 'failed' }, 'stalled'), 'failed', 'names merge, and the status decides')
  t.equal(named({ status: 'pending' }, { status: 'cancelled' }, 'updated'), 'cancelled')
  t.equal(named({}, { cancelRequestedAt: 'now' }), 'cancel_requested')
  t.equal(named({ liveness: 'ok' }, { liveness: 'stalled' }), 'stalled')
  t.equal(named({ liveness: 'stalled' }, { liveness: 'ok' }), 'recovered')
  t.equal(named({ status: 'failed' }, { status: 'running' }), 'recovered')
  t.equal(named({ status: 'failed' }, { status: 'pending', attempt: 2 }), 'retried')
  t.equal(named({ status: 'failed' }, { status: 'failed', attempt: 2 }), 'failed', 'it failed again')
  t.equal(named({}, { deadline: 'at_risk' }), 'at_risk')
  t.equal(named({ deadline: 'at_risk' }, { deadline: 'overdue' }), 'overdue')
  t.equal(named({ deadline: 'on_time' }, { deadline: 'at_risk' }, 'updated'), 'updated', 'which is no alarm')
  t.equal(named({}, {}, 'stalled'), 'stalled')
  t.end()
})

t.test('finished jobs are dropped after keepFinishedMs', t => {
  let now = 0
  const store = new JobStore({ keepFinishedMs: 1000, now: () => now })
  for (let n = 0; n < 1000; n++) {
    store.apply(job({ id: `job ${n}` }), 'created')
    store.apply(job({ id: `job ${n}`, revision: 2, status: 'completed' }), 'completed')
  }
  store.apply(job({ id: 'runs' }), 'created')
  t.equal(store.prune(), false)
  now = 1000
  t.equal(store.prune(), true)
  t.same(
    store.jobs().map(({ id }) => id),
    ['runs'],
  )
  t.end()
})

t.test('the pause before the next attempt doubles up to half a minute, and half of it is chance', t => {
  const at = (failures: number, random: number, more = {}) =>
    backoffMs({ failures, retryMs: 1000, random: () => random, ...more })
  t.same(
    [1, 2, 3, 4, 5, 6, 50].map(failures => at(failures, 1)),
    [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000],
  )
  t.same([at(1, 0), at(6, 0)], [500, 15_000])
  t.equal(at(1, 0, { retryAfterSeconds: 7 }), 7000, 'the service knows better')
  t.equal(backoffMs({ failures: 0, retryMs: null, random: () => 1 }), 2000)
  t.end()
})

t.test('a pause that is due ends at the next tick, and a call of wake ends all pauses', async t => {
  let now = 0
  const pauses = new Pauses(() => now)
  const ended: string[] = []
  const { signal } = new AbortController()
  void pauses.wait(100_000, signal).then(() => ended.push('long'))
  void pauses.wait(50_000, signal).then(() => ended.push('short'))
  now = 60_000
  pauses.tick()
  await Promise.resolve()
  t.same(ended, ['short'])
  pauses.wake()
  await Promise.resolve()
  t.same(ended, ['short', 'long'])
  await pauses.wait(100_000, AbortSignal.abort())
})

const jwt = (claims: object): string => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.x`

t.test('only tokens of the same user with the same rights are one identity', t => {
  const claims = { sub: 'änne', tenant_id: 't', features: ['progress.view', 'progress.cancel'] }
  const same = jwt({ ...claims, features: ['progress.cancel', 'progress.view'], exp: 5, iat: 4 })
  t.equal(identityOf(jwt(claims)), identityOf(same))
  for (const other of [{ sub: 'b' }, { tenant_id: 'u' }, { features: [] }, { organization_id: 'o' }, { job_id: 'j' }]) {
    t.not(identityOf(jwt(claims)), identityOf(jwt({ ...claims, ...other })), JSON.stringify(other))
  }
  t.not(identityOf('opaque a'), identityOf('opaque b'))
  t.not(identityOf(null), identityOf(''))
  t.equal(identityOf('not.json.x'), 'token not.json.x')
  t.end()
})

t.test('a digest distinguishes values and does not show them', async t => {
  const named = await digest(['secret', 'a'])
  t.match(named, /^[0-9a-f]{64}$/)
  t.not(named, await digest(['secret', 'b']))
})

t.test(
  'a token callback is called once for all callers that need a token, and again before the token expires',
  async t => {
    let calls = 0
    const soon = Date.now() / 1000 + 1
    const tokens = new Tokens(async () => {
      calls += 1
      return calls < 3 ? jwt({ n: calls }) : jwt({ n: calls, exp: soon })
    })
    const first = await tokens.get()
    t.equal(await tokens.get(), first)
    const [second, also] = await Promise.all([tokens.renew(first), tokens.renew(first)])
    t.equal(second, also)
    t.equal(await tokens.renew(first), second, 'somebody else has already renewed it')
    t.equal(calls, 2)
    await tokens.renew(second)
    await tokens.get()
    t.equal(calls, 4)
    await tokens.next()
    const before = calls
    await tokens.next()
    t.equal(calls, before + 1, 'and for each connection')
    await t.rejects(new Tokens(() => Promise.reject(new Error('logged out'))).get(), {
      code: 'token_unavailable',
      status: 0,
    })
    t.equal(await new Tokens(undefined).get(), null)
    t.equal(await new Tokens(() => undefined).get(), null)
  },
)

t.test("the service's time is taken from its newest change", t => {
  let now = 1_000_000
  const clock = new ServiceClock(() => now)
  t.equal(clock.now(), now)
  clock.observe('400000.0', false)
  t.equal(clock.now(), now, 'a snapshot may be of a change long ago')
  clock.observe('1005000.0', false)
  t.equal(clock.now(), 1_005_000, 'but not of one to come')
  clock.observe('940000.3', true)
  t.equal(clock.now(), 940_000)
  now += 1000
  clock.observe('940500.4', true)
  t.equal(clock.now(), 941_000, 'one that was on its way for longer says less')
  clock.observe('nonsense', true)
  t.equal(clock.now(), 941_000)
  clock.observeDate(new Date(5_000_000).toUTCString())
  t.equal(clock.now(), 941_000, 'a date says less than a change')

  const page = new ServiceClock(() => now)
  page.observeDate('yesterday')
  page.observeDate(new Date(now + 1_000).toUTCString())
  t.equal(page.now(), now, 'nor is it exact')
  page.observeDate(new Date(now - 600_000).toUTCString())
  t.ok(Math.abs(page.now() - now + 600_000) < 1_000, 'but it tells a clock that is quite wrong')
  page.observe('400000.0', false)
  t.ok(Math.abs(page.now() - now + 600_000) < 1_000)
  page.observeDate(new Date(now).toUTCString())
  t.equal(page.now(), now, 'and one that was set')
  page.adopt(-7_000)
  t.equal(page.now(), now - 7_000)
  t.end()
})

const memory = () => {
  const stored = new Map<string, string>()
  return {
    stored,
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => void stored.set(key, value),
    removeItem: (key: string) => void stored.delete(key),
  }
}

t.test('a waiting job is remembered until its end is told, and no longer than a week', async t => {
  const storage = memory()
  const first = new Waiting(storage)
  const early = first.wait('a')
  first.use('key')
  const late = first.wait('b')
  late.catch(() => undefined)
  const second = new Waiting(storage)
  second.use('key')
  t.same(second.ids(), ['a', 'b'], 'in the next page as well')
  first.settle(job({ id: 'a', status: 'completed' }), false)
  t.equal((await early).status, 'completed')
  second.reload()
  t.same(second.ids(), ['b'], 'and no more, when another tab was told')
  second.settle(job({ id: 'b', status: 'failed' }), false)
  t.same([second.ids(), second.open()], [['b'], []], 'nobody was there to hear it')
  second.settle(job({ id: 'b', status: 'failed' }), true)
  t.equal(storage.stored.size, 0)
  first.forget('b')
  await t.rejects(late, { name: 'AbortError' })

  storage.setItem(
    'key',
    JSON.stringify([['old', Date.now() - 8 * 86_400_000], ['new', Date.now()], 'nonsense', [1, 2]]),
  )
  const third = new Waiting(storage)
  third.use('key')
  t.same(third.ids(), ['new'])
  storage.setItem('key', '{')
  third.use('key')
  const fourth = new Waiting({
    getItem: () => {
      throw new Error('forbidden')
    },
    setItem: () => {
      throw new Error('full')
    },
    removeItem: () => undefined,
  })
  fourth.use('key')
  const waited = fourth.wait('c')
  fourth.settle(job({ id: 'c', status: 'completed' }), false)
  t.equal((await waited).id, 'c', 'a page without storage waits as well')
})

t.test('a wait for the present attempt does not end with an earlier attempt', async t => {
  const waiting = new Waiting(memory())
  waiting.use('key')
  const waited = waiting.wait('a')
  waiting.expect('a', 2)
  waiting.settle(job({ id: 'a', status: 'failed', attempt: 1 }), true)
  t.ok(waiting.has('a'))
  waiting.settle(job({ id: 'a', status: 'completed', attempt: 2 }), true)
  t.equal((await waited).attempt, 2)
  t.same(waiting.ids(), [])
})

t.test('the last hundred jobs are remembered, and no more', t => {
  const storage = memory()
  const waiting = new Waiting(storage)
  waiting.use('key')
  for (let n = 0; n < 120; n++) waiting.wait(`job ${n}`).catch(() => undefined)
  const next = new Waiting(storage)
  next.use('key')
  t.equal(next.ids().length, 100)
  t.ok(next.has('job 119'))
  waiting.rejectAll('the end')
  t.end()
})

t.test('a listener may subscribe twice and stop once', t => {
  const listeners = new Listeners()
  const heard: string[] = []
  const listener = ({ name }: LiveJob) => void heard.push(name)
  const stop = listeners.on('finished', listener)
  listeners.on('finished', listener)
  listeners.on('failed', () => heard.push('failed'))
  const failed = { name: 'failed', job: job({ name: 'x', status: 'failed' }) } as const
  t.equal(listeners.emit(failed), true)
  t.same(heard.splice(0), ['failed', 'x', 'x'])
  stop()
  stop()
  listeners.emit(failed)
  t.same(heard, ['failed', 'x'])
  t.equal(listeners.emit({ name: 'started', job: job() }), false)
  t.end()
})

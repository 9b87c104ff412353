import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config.ts'
import type { Party } from '../../src/turns/turns.ts'
import { HeadwayError } from '../../src/contract/errors.ts'
import { Allowances } from '../../src/http/limits/allowances.ts'
import { networkOf } from '../../src/http/limits/guesses.ts'
import { InFlight } from '../../src/http/limits/in-flight.ts'
import type { Holding, Kind } from '../../src/http/limits/in-flight.ts'
import { createTokens } from '../../src/http/tokens/identify.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import { takeTurns, type InTurn } from '../../src/jobs/in-turn.ts'
import { bearer, mint, SECRET } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { InMemoryJobs, InMemoryLive, JOB_ID, raw, readProblem, send, startServer } from './in-memory.ts'

const TENANT = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a01'

const allowances = (perSecond: number, maxKeys = 1_000) => {
  const clock = { ms: 5_000_000.123 }
  return { clock, all: new Allowances({ perSecond, maxKeys, now: () => clock.ms }) }
}

t.test('an allowance is ten seconds of its rate at once, and comes back evenly', t => {
  for (const perSecond of [1, 3, 7, 1_000]) {
    const { clock, all } = allowances(perSecond)
    for (let left = perSecond * 10 - 1; left >= 0; left--) {
      const { granted, remaining } = all.use('a')
      if (!granted || remaining !== left) t.fail(`${perSecond}: ${left} should be left, not ${remaining}`)
    }
    const refused = all.use('a')
    t.match(refused, { granted: false, remaining: 0 }, `${perSecond}: no more than that`)
    t.ok(Math.abs(refused.retryAfterSeconds - 1 / perSecond) < 1e-6, 'the next one is granted when one has come back')
    t.ok(Math.abs(refused.fullAfterSeconds - 10) < 1e-6, 'and all of them in ten seconds')
    for (let n = 0; n < 50; n++) all.use('a')
    t.equal(all.use('b').remaining, perSecond * 10 - 1, 'another key has its own')
    clock.ms += 1_000
    let granted = 0
    while (all.use('a').granted) granted++
    t.equal(granted, perSecond, 'what was refused has cost nothing')
    clock.ms += 60_000
    t.equal(all.use('a').remaining, perSecond * 10 - 1, 'it never holds more than ten seconds of them')
  }
  t.end()
})

t.test('a limited number of keys is remembered, and a key in use is remembered as long as it counts', t => {
  const { clock, all } = allowances(1, 100)
  for (let n = 0; n < 10; n++) all.use('busy')
  for (let n = 0; n < 90; n++) {
    all.use(`other ${n}`)
    clock.ms += 10
  }
  t.notOk(all.use('busy').remaining)
  let most = 0
  for (let n = 0; n < 1_000_000; n++) {
    all.use(`stranger ${n}`)
    most = Math.max(most, all.size)
  }
  t.ok(most <= 200, `${most} keys`)
  const { clock: later, all: slow } = allowances(1, 100)
  later.ms += 9_900
  for (let n = 0; n < 10; n++) slow.use('late')
  later.ms += 100
  slow.use('young')
  t.notOk(slow.use('late').granted, 'what was used just before the older ones are forgotten is still known')
  later.ms += 10_000
  slow.use('young')
  later.ms += 10_000
  slow.use('young')
  t.equal(slow.size, 2, 'who is full again is forgotten: these are two generations of one key')
  t.end()
})

t.test('an address is one of IPv4, or a network of 64 bits', t => {
  const cases: [address: string, network: string][] = [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::6', '2001:db8:1:2'],
    ['2001:db8::6', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['::', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['1::', '1:0:0:0'],
    ['nothing known', 'nothing known'],
    ['x'.repeat(16_000), 'x'.repeat(64)],
  ]
  for (const [address, network] of cases) t.equal(networkOf(address), network, address)
  t.end()
})

/** A server that asks for tokens and limits calls, on a clock of the test. */
const startLimited = async (t: Test, { perSecond = 0, guessesPerSecond = 0, trustedProxies = [] as string[] }) => {
  const clock = { ms: 1_000_000 }
  t.intercept(performance, 'now', { value: () => clock.ms })
  const { auth } = readConfig({ AUTH_JWT_SECRET: SECRET })
  const log = { warn: () => undefined, info: () => undefined }
  const { identify } = createTokens({ auth: auth!, log, guessesPerSecond })
  const server = await startServer(t, { identify, config: { rateLimitPerSecond: perSecond, trustedProxies } })
  const get = async (token: string | null, path = '/jobs', headers: Record<string, string> = {}) => {
    const response = await fetch(server.api + path, { headers: { ...(token !== null && bearer(token)), ...headers } })
    const limits = ['limit', 'remaining', 'reset'].map(name => response.headers.get(`ratelimit-${name}`))
    const body = (await response.json()) as { code?: string; retryAfterSeconds?: number }
    return { status: response.status, code: body.code, limits, retryAfter: response.headers.get('retry-after') }
  }
  return { ...server, clock, get }
}

t.test('a caller may send a limited number of requests a second, and every answer says how many are left', async t => {
  const { clock, get, url, api } = await startLimited(t, { perSecond: 2 })
  const mine = { tenant_id: TENANT, sub: 'me', features: ['progress.view'] }
  const token = await mint(mine)
  t.match(await get(token), { status: 200, limits: ['20', '19', '1'] })
  t.match(
    await get(await mint({ ...mine, jti: 'another' })),
    { status: 200, limits: ['20', '18', '1'] },
    'a user, not a token',
  )
  t.match(await get(token, `/jobs/${TENANT}`), { status: 404, limits: ['20', '17', '2'] }, 'refusals count')
  t.match(await get(token, '/jobs?page=x'), { status: 400, limits: ['20', '16', '2'] })
  const forbidden = await send(`${api}/jobs`, '{}', bearer(token))
  t.equal(forbidden.status, 403)
  t.equal(forbidden.headers.get('ratelimit-remaining'), '15')
  for (let n = 0; n < 15; n++) await get(token)
  t.match(await get(token), { status: 429, code: 'rate_limited', limits: ['20', '0', '10'], retryAfter: '1' })
  t.equal((await send(`${api}/jobs`, '{', bearer(token))).status, 429, 'before the body is read')
  for (const path of ['/healthz', '/readyz', '/openapi.json']) {
    const answer = await fetch(url + path, { headers: bearer(token) })
    t.equal(answer.status, 200, path)
    t.equal(answer.headers.get('ratelimit-limit'), null)
  }
  for (const [other, why] of [
    [{ ...mine, sub: 'you' }, 'another user'],
    [{ ...mine, tenant_id: JOB_ID }, 'a user of the same name in another tenant'],
    [{ ...mine, sub: undefined }, 'a token without a user'],
    [{ ...mine, sub: undefined, job_id: JOB_ID }, 'a token without a user for one job'],
    [{ ...mine, sub: undefined, organization_id: JOB_ID }, 'a token without a user of an organization'],
    [{ ...mine, sub: undefined, features: ['progress.view', 'progress.update'] }, 'one that may do more'],
  ] as const) {
    t.match(await get(await mint(other)), { status: 200, limits: ['20', '19', '1'] }, `${why} has its own`)
  }
  clock.ms += 500
  t.equal((await get(token)).status, 200, 'one has come back')
  t.equal((await get(token)).status, 429)
})

t.test('a token without a user has one allowance, however it is spelled and as often as it is renewed', async t => {
  const { get } = await startLimited(t, { perSecond: 1 })
  const claims = { tenant_id: TENANT, features: ['progress.view', 'progress.update', 'of another service'] }
  const token = await mint(claims)
  const [lastOf, alphabet] = [token.slice(-1), 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_']
  const first = alphabet.indexOf(lastOf) & ~3
  // Of the last character of 32 bytes two bits are spare.
  const spellings = [0, 1, 2, 3].map(bits => `${token.slice(0, -1)}${alphabet.charAt(first + bits)}`)
  const renewed = [
    await mint({ ...claims, exp: Math.floor(Date.now() / 1000) + 60, jti: 'x' }),
    await mint({ ...claims, features: 'progress.update progress.view' }),
    await mint({ ...claims, tenant_id: TENANT.toUpperCase() }),
  ]
  let left = 10
  for (const each of [...spellings, ...spellings.map(text => `${text}=`), ...renewed]) {
    const answer = await get(each)
    if (answer.status === 401) continue
    left -= 1
    t.equal(answer.limits[1], String(Math.max(left, 0)), each.slice(-5))
  }
  t.ok(left < 10 - renewed.length, `${10 - left} of them were good`)
})

t.test(
  'held answers are limited for each caller and in total like streams, also when they are pipelined on one connection',
  async t => {
    const { auth } = readConfig({ AUTH_JWT_SECRET: SECRET })
    const log = { warn: () => undefined, info: () => undefined }
    const { identify } = createTokens({ auth: auth!, log, guessesPerSecond: 0 })
    const config = { maxStreams: 3, maxStreamsPerIdentity: 2 }
    const { api, url: root, port, live, jobs } = await startServer(t, { identify, config })
    const url = `${api}/jobs/${JOB_ID}?until=finished`
    const wait = async (sub: string) => {
      const answer = await fetch(url, {
        headers: { ...bearer(await mint({ sub, tenant_id: TENANT })), prefer: 'wait=60' },
      })
      const body = (await answer.json()) as { code?: string }
      return { status: answer.status, code: body.code, retryAfter: answer.headers.get('retry-after') }
    }
    const token = await mint({ sub: 'one', tenant_id: TENANT })
    const line = `GET /api/progress/jobs/${JOB_ID}?until=finished HTTP/1.1\r\nhost: x\r\nprefer: wait=60\r\n`
    const pipelined = slowClient(t, port, `${line}authorization: Bearer ${token}\r\n\r\n`.repeat(9))
    await waitFor(() => live.waiting.size === 2)
    const refused = { status: 429, code: 'too_many_streams', retryAfter: '5' }
    t.match(await wait('one'), refused)
    const params = { name: 'wait_for_job', arguments: { jobId: JOB_ID, timeoutSeconds: 60 } }
    const call = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params })
    t.match(
      await (await send(`${root}/mcp`, call, bearer(token))).text(),
      /too_many_streams/,
      'a wait of an assistant counts',
    )
    const other = wait('other')
    await waitFor(() => live.waiting.size === 3)
    t.match(await wait('third'), refused, 'in total')
    t.equal((await fetch(url, { headers: bearer(token) })).status, 200, 'what is not held needs no place')
    jobs.job = { ...jobs.job, status: 'completed', revision: jobs.job.revision + 1 }
    live.announce()
    t.match(await other, { status: 200 })
    await waitFor(() => live.waiting.size === 0)
    t.match(await wait('one'), { status: 200 }, 'and places are given back')
    pipelined.socket.destroy()
  },
)

t.test('a held answer ends with its token, and none is held for a token that has ended', async t => {
  const end = { ms: Date.now() + 300 }
  const { api, url, jobs, live } = await startServer(t, {
    identify: () => ({ ...OPEN_IDENTITY, expiresAtMs: end.ms }),
  })
  const get = (query: string, headers: Record<string, string>) =>
    fetch(`${api}/jobs/${JOB_ID}${query}`, { headers: { prefer: 'wait=60', ...headers } })
  const assistant = async () => {
    const params = { name: 'wait_for_job', arguments: { jobId: JOB_ID, timeoutSeconds: 300 } }
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params })
    return (await send(`${url}/mcp`, body)).text()
  }
  const etag = `W/"${JOB_ID}.${jobs.job.revision}"`
  const held = [get('', { 'if-none-match': etag }), get('?until=finished', {})]
  const call = assistant()
  await waitFor(() => live.waiting.size === 3)
  const [same, running] = await Promise.all(held)
  t.ok(Date.now() >= end.ms - 5, 'not before')
  t.match([same!.status, same!.headers.get('preference-applied')], [304, 'wait=1'], 'as when its time is up')
  t.equal(running!.status, 200)
  t.match(await running!.json(), { status: 'running' })
  t.match(await call, /"finished":false/)
  t.equal(live.waiting.size, 0)

  // Within the clock skew, in which other calls are still answered.
  jobs.calls = []
  t.match(await readProblem(await get('?until=finished', {})), { status: 401, code: 'unauthenticated' })
  t.equal((await get('', { 'if-none-match': etag })).status, 401)
  t.match(await assistant(), /"isError":true.*unauthenticated|unauthenticated.*"isError":true/)
  t.same(jobs.calls, [], 'the client must not ask again and again without a pause')
  t.equal((await fetch(`${api}/jobs/${JOB_ID}`)).status, 200)
})

t.test('no answer is held for a client that has left, before its turn or behind another answer', async t => {
  let admit: () => void = () => undefined
  const admitted = new Promise<void>(resolve => (admit = resolve))
  let asked = 0
  const identify = async () => {
    asked += 1
    await admitted
    return OPEN_IDENTITY
  }
  const { port, live, app, jobs } = await startServer(t, { identify })
  const waited = new Promise<void>(resolve => {
    const waitForJob = live.waitForJob.bind(live)
    live.waitForJob = async (...args) => {
      const state = await waitForJob(...args)
      resolve()
      return state
    }
  })
  const line = `GET /api/progress/jobs/${JOB_ID}?until=finished HTTP/1.1\r\nhost: x\r\nprefer: wait=60\r\n\r\n`
  const warnings: Error[] = []
  const note = (warning: Error) => warnings.push(warning)
  process.on('warning', note)
  t.teardown(() => process.off('warning', note))

  const early = connect(port, '127.0.0.1')
  const [accepted] = (await once(app.server, 'connection')) as [Socket]
  early.write(line)
  await waitFor(() => asked === 1)
  early.destroy()
  await once(accepted, 'close')
  admit()
  await waited
  t.equal(live.waiting.size, 0)
  t.same(jobs.calls, [], 'nor is anything read for it')

  const pipelined = connect(port, '127.0.0.1')
  pipelined.write(line.repeat(12))
  await waitFor(() => live.waiting.size === 12)
  pipelined.destroy()
  await waitFor(() => live.waiting.size === 0)
  t.strictSame(warnings, [])
})

t.test('callers are not limited without authentication, and not if the setting is 0', async t => {
  const open = await startServer(t, { config: { rateLimitPerSecond: 1 } })
  for (let n = 0; n < 15; n++) t.equal((await fetch(`${open.api}/jobs`)).headers.get('ratelimit-limit'), null)
  const { get } = await startLimited(t, { perSecond: 0 })
  const token = await mint({ sub: 'me', tenant_id: TENANT })
  for (let n = 0; n < 15; n++) t.match(await get(token), { status: 200, limits: [null, null, null] })
})

t.test('an address may try a limited number of tokens, and tokens that are known as valid do not count', async t => {
  const { clock, get } = await startLimited(t, { guessesPerSecond: 1 })
  const known = await mint()
  t.equal((await get(known)).status, 200)
  for (let n = 0; n < 30; n++) {
    t.equal((await get(await mint())).status, 200, 'good ones are not counted')
  }
  const bad = await mint({}, { alg: 'HS256', key: Buffer.alloc(32, 1) })
  for (const token of [bad, 'garbage', null, bad, null]) t.equal((await get(token)).status, 401)
  const tries = await Promise.all(Array.from({ length: 20 }, () => get(bad)))
  t.equal(tries.filter(({ status }) => status === 401).length, 5, 'also those that are sent at once')
  t.match(await get(bad), { status: 429, code: 'rate_limited', retryAfter: '1' })
  t.equal((await get(null)).status, 429)
  t.equal((await get(await mint())).status, 429, 'a good one cannot be told from a guess')
  t.equal((await get(known)).status, 200, 'those who are known go on')
  clock.ms += 1_000
  t.equal((await get(bad)).status, 401)
  t.equal((await get(bad)).status, 429)
  clock.ms += 10_000
  t.equal((await get(await mint())).status, 200)
})

t.test('a connection on which a hundred late refusals wait is closed, and no other', async t => {
  const { auth } = readConfig({ AUTH_JWT_SECRET: SECRET })
  const log = { warn: () => undefined, info: () => undefined }
  const { identify } = createTokens({ auth: auth!, log, guessesPerSecond: 1 })
  const { port } = await startServer(t, { identify })
  const sendMany = (count: number) => {
    const socket = connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    let text = ''
    socket.on('error', () => undefined)
    socket.setEncoding('utf8').on('data', (data: string) => (text += data))
    socket.write('GET /api/progress/jobs HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(count))
    return waitFor(() => (socket.closed ? 'cut' : text.split('HTTP/1.1 ').length > count && 'answered'))
  }
  // The first hundred and ten are told at once, or nearly: ten are guesses.
  t.equal(await sendMany(110), 'answered')
  const modest = sendMany(20)
  t.equal(await sendMany(400), 'cut')
  t.equal(await modest, 'answered', 'though late')
})

t.test('behind a trusted proxy it is the address that the proxy names', async t => {
  const from = (address: string) => ({ 'x-forwarded-for': address })
  const { get } = await startLimited(t, { guessesPerSecond: 1, trustedProxies: ['127.0.0.1', '10.0.0.0/8'] })
  for (let n = 0; n < 10; n++) t.equal((await get('bad', '/jobs', from('192.0.2.1'))).status, 401)
  t.equal((await get('bad', '/jobs', from('192.0.2.1'))).status, 429)
  t.equal((await get('bad', '/jobs', from('192.0.2.2'))).status, 401)
  t.equal(
    (await get('bad', '/jobs', from('192.0.2.3, 192.0.2.1, 10.1.1.1'))).status,
    429,
    'what a client adds is not believed',
  )
  const { get: direct } = await startLimited(t, { guessesPerSecond: 1 })
  for (let n = 0; n < 10; n++) t.equal((await direct('bad', '/jobs', from(`192.0.2.${n}`))).status, 401)
  t.equal((await direct('bad', '/jobs', from('192.0.2.99'))).status, 429, 'nor is anyone without the setting')
})

/** A client that has sent something, the answer, and the end of its connection. */
const slowClient = (t: Test, port: number, text: string) => {
  const socket: Socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  let answer = ''
  const began = performance.now()
  socket.setEncoding('utf8').on('data', (data: string) => (answer += data))
  socket.on('error', () => undefined)
  if (text !== '') socket.write(text)
  const ended = new Promise<{ answer: string; tookMs: number }>(resolve =>
    socket.once('close', () => resolve({ answer, tookMs: performance.now() - began })),
  )
  return { socket, ended }
}

t.test(
  'a client that takes too long to send its request is answered 408 and cut, however much it has sent',
  async t => {
    const { port, jobs } = await startServer(t, { timing: { headersMs: 150, requestMs: 300, checkMs: 20 } })
    const head = `POST /api/progress/jobs/${JOB_ID}/heartbeat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`
    const cases: [name: string, text: string, atLeastMs: number][] = [
      ['nothing at all', '', 150],
      ['half a request line', 'POST /api/prog', 150],
      ['headers without an end', head, 150],
      ['no body', `${head}content-length: 20\r\n\r\n`, 300],
      ['half a body', `${head}content-length: 20\r\n\r\n{"processed`, 300],
      ['chunks without an end', `${head}transfer-encoding: chunked\r\n\r\n1\r\n{\r\n`, 300],
    ]
    const clients = cases.map(([name, text, atLeastMs]) => ({ name, atLeastMs, ...slowClient(t, port, text) }))
    // Slow loris: a byte now and then keeps no connection open.
    const drip = slowClient(t, port, head)
    const dripping = setInterval(() => drip.socket.write('a'), 20)
    const dripBody = slowClient(t, port, `${head}content-length: 2000\r\n\r\n`)
    const drippingBody = setInterval(() => dripBody.socket.write(' '), 20)
    for (const { name, ended, atLeastMs } of [
      ...clients,
      { name: 'a byte at a time', ended: drip.ended, atLeastMs: 150 },
      { name: 'a byte of the body at a time', ended: dripBody.ended, atLeastMs: 300 },
    ]) {
      const { answer, tookMs } = await ended
      t.match(answer, /^HTTP\/1\.1 408 [^]*connection: close[^]*"code":"request_timeout"/, name)
      t.ok(tookMs > atLeastMs - 30 && tookMs < atLeastMs + 1_500, `${name}: ${Math.round(tookMs)} ms`)
    }
    clearInterval(dripping)
    clearInterval(drippingBody)
    t.equal(jobs.calls.length, 0)
  },
)

t.test('an idle connection is cut, and an idle stream is not', async t => {
  const { port, jobs, live } = await startServer(t, { timing: { keepAliveMs: 100, silentMs: 250 } })
  const get = (path: string) => `GET /api/progress${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`
  const stream = slowClient(t, port, get('/stream'))
  const { answer, tookMs } = await slowClient(t, port, get('/jobs')).ended
  t.match(answer, /^HTTP\/1\.1 200 /, 'between two requests')
  t.ok(tookMs >= 100 && tookMs < 2_500, `${Math.round(tookMs)} ms`)
  jobs.onRead = () => new Promise(() => undefined)
  const silent = await slowClient(t, port, get(`/jobs/${JOB_ID}`)).ended
  t.ok(silent.tookMs >= 240 && silent.tookMs < 2_000, 'under a request that is never answered')
  t.equal(stream.socket.readyState, 'open')
  t.equal(live.started, 1)
})

/** Sends all of a body before it reads anything, as simple clients do. Gives the answer and the error. */
const sendThenRead = (port: number, head: string, body: Buffer) =>
  new Promise<{ answer: string; error: string | null }>(resolve => {
    const socket = connect(port, '127.0.0.1')
    let [answer, error]: [string, string | null] = ['', null]
    socket.setEncoding('latin1')
    socket.on('error', ({ code }: NodeJS.ErrnoException) => (error = code ?? 'unknown'))
    socket.once('close', () => resolve({ answer, error }))
    socket.write(head)
    socket.write(body, () => socket.on('data', (text: string) => (answer += text)))
  })

t.test('an answer is not cut off by a body that nobody reads', async t => {
  const text = '# a long answer\n'.repeat(100_000)
  const metrics = { contentType: 'text/plain', text: async () => text, answered: () => undefined }
  const { port, jobs } = await startServer(t, { metrics })
  // More than all buffers on its way hold.
  const body = Buffer.alloc(24 * 1024 * 1024, 'a')
  const head = (line: string, framing: string) =>
    `${line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n${framing}\r\n\r\n`
  const long = `content-length: ${body.length}`
  const read = await sendThenRead(port, head('GET /metrics', long), body)
  t.equal(read.error, null)
  t.ok(read.answer.startsWith('HTTP/1.1 200 ') && read.answer.endsWith(`\r\n\r\n${text}`), 'it is whole')
  const chunked = Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')])
  for (const [line, framing, bytes, status] of [
    ['POST /api/progress/jobs', long, body, 413],
    ['POST /api/progress/jobs', 'transfer-encoding: chunked', chunked, 413],
    ['POST /nowhere', long, body, 404],
    ['POST /api/progress/jobs', `${long}\r\nexpect: nothing known`, body, 417],
  ] as const) {
    const { answer, error } = await sendThenRead(port, head(line, framing), bytes)
    t.equal(error, null)
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [^]*"status":${status}`), `${line}, ${framing}`)
  }
  t.equal(jobs.calls.length, 0)
})

t.test('the service does not wait long for the rest of a body after its answer', async t => {
  const { app, port } = await startServer(t, { timing: { headersMs: 150, requestMs: 300, checkMs: 20, lingerMs: 100 } })
  const head =
    'POST /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 9000\r\n\r\n'
  /** How long the server keeps the connection of a client that goes on sending, or does not, in milliseconds. */
  const kept = async (drips: boolean): Promise<number> => {
    const accepted = once(app.server, 'connection') as Promise<[Socket]>
    const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    t.teardown(() => client.destroy())
    const [socket] = await accepted
    const began = performance.now()
    const closed = once(socket, 'close')
    client.write(head)
    client.resume()
    const drip = setInterval(() => drips && client.write('a'), 20)
    client.on('error', () => clearInterval(drip))
    await once(client, 'end')
    await closed
    clearInterval(drip)
    return performance.now() - began
  }
  t.ok((await kept(false)) >= 90, 'the silent one has its time')
  t.ok((await kept(true)) >= 290, 'the other one that of a whole request')
})

t.test('headers of more than 16 KB in one or in many are refused', async t => {
  const { port, jobs } = await startServer(t)
  const get = (headers: string) =>
    `GET /api/progress/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${headers}\r\n`
  t.match(await raw(port, get(`x: ${'a'.repeat(15_000)}\r\n`)), /^HTTP\/1\.1 200 /)
  for (const headers of [
    `x: ${'a'.repeat(17_000)}\r\n`,
    `${'a'.repeat(17_000)}: x\r\n`,
    'abcd: efgh\r\n'.repeat(2_500),
  ]) {
    t.match(await raw(port, get(headers)), /^HTTP\/1\.1 431 [^]*headers_too_large/, headers.slice(0, 10))
  }
  t.match(await raw(port, `GET /${'a'.repeat(17_000)} HTTP/1.1\r\nhost: localhost\r\n\r\n`), /^HTTP\/1\.1 431 /)
  t.equal(jobs.calls.length, 1)
})

const KB = 1024

/** Bytes in flight, on a clock of the test, and the names of the holdings that gave way. */
const inFlightOf = (limits: ConstructorParameters<typeof InFlight>[0]) => {
  const clock = { ms: 0 }
  const all = new InFlight(limits, () => clock.ms)
  const gone: string[] = []
  const open = (tenant: string, caller: string | null, name = '', bytes = 0, kind: Kind = 'body'): Holding => {
    const holding = all.open({ tenant, caller }, kind, ({ code }) => gone.push(`${name} ${code}`))
    holding.take(bytes)
    return holding
  }
  return { clock, all, gone, open }
}

t.test('bytes in flight are limited for each caller and in total, and are given back', t => {
  const { all, gone, open } = inFlightOf({ maxBytes: 300, maxBytesPerCaller: 100 })
  const first = open('a', 'one', 'first', 60)
  const second = open('a', 'one', 'second', 40)
  t.throws(() => first.take(1), { code: 'too_much_in_flight', details: { retryAfterSeconds: 2 } })
  first.force(1)
  t.equal(all.bytes, 101, 'what cannot be refused any more counts as well')
  for (const holding of [first, second, first]) holding.release()
  t.equal(all.bytes, 0)
  for (const tenant of ['a', 'b', 'c']) open(tenant, 'one', tenant, 100)
  t.throws(() => open('d', 'one', 'd', 100), { code: 'overloaded', details: { retryAfterSeconds: 2 } })
  t.throws(() => open('d', null, 'everyone', 301), { code: 'overloaded' }, 'more than there is at all')
  t.same(gone, [], 'nobody held more than those who came')
  t.end()
})

t.test(
  'a body for which the process has no room counts as turned away, and a body beyond the limit of its caller does not',
  t => {
    const { all, gone, open } = inFlightOf({ maxBytes: 300, maxBytesPerCaller: 200 })
    open('a', 'one', 'held', 200)
    t.throws(() => open('a', 'one', 'too much', 1), { code: 'too_much_in_flight' })
    t.equal(all.bodiesTurnedAway, 0)
    t.throws(() => open('a', 'two', 'an answer', 200, 'answer'), { code: 'overloaded' })
    t.equal(all.bodiesTurnedAway, 0, 'an answer brings nothing')
    t.throws(() => open('a', 'two', 'a body', 200), { code: 'overloaded' })
    t.equal(all.bodiesTurnedAway, 1)
    open('b', 'one', 'lighter', 101)
    t.same(gone, ['held overloaded'])
    t.equal(all.bodiesTurnedAway, 2, 'one that gives way is refused as well')
    t.end()
  },
)

t.test('the caller that holds most bytes gives way, and never to one that holds as much', t => {
  const { clock, gone, open } = inFlightOf({ maxBytes: 400, maxBytesPerCaller: 100 })
  open('heavy', '1', 'arrived', 50).settle()
  open('heavy', '1', 'old', 25)
  clock.ms = 1
  open('heavy', '1', 'young', 25)
  open('heavy', '2', 'other', 90)
  open('light', '1', 'light', 100)
  open('new', '1', 'new', 100)
  open('new', '2', 'newer', 20)
  t.same(gone, ['old overloaded'], 'of the caller that holds most what is oldest and has not arrived yet')
  open('new', '3', 'newest', 60)
  t.same(gone.slice(1), ['new overloaded'], 'among callers of one tenant as well')
  t.throws(() => open('heavy', '9', 'heaviest', 90), { code: 'overloaded' })
  t.equal(gone.length, 2)
  t.end()
})

t.test('among the bodies of one caller, those that do not grow or grow very slowly give way', t => {
  const { clock, gone, open } = inFlightOf({ maxBytes: 1_000 * KB, maxBytesPerCaller: 100 * KB })
  const trickles = open('a', 'one', 'trickles', 20 * KB)
  const moves = open('a', 'one', 'moves', 20 * KB)
  for (const ms of [300, 600, 900]) {
    clock.ms = ms
    trickles.take(1 * KB)
    moves.take(17 * KB)
  }
  const next = open('a', 'one', 'next')
  t.throws(() => next.take(20 * KB), { code: 'too_much_in_flight' }, 'nothing has stood still for a second')
  clock.ms = 1_000
  next.take(20 * KB)
  t.same(gone, ['trickles too_much_in_flight'])
  t.end()
})

/** A server that asks for tokens and has little room, on a clock that stands: nothing stands still for a second. */
const startSharing = async (t: Test, limits: ConstructorParameters<typeof InFlight>[0]) => {
  t.intercept(performance, 'now', { value: () => 1_000_000 })
  const { auth } = readConfig({ AUTH_JWT_SECRET: SECRET })
  const log = { warn: () => undefined, info: () => undefined }
  const { identify } = createTokens({ auth: auth!, log, guessesPerSecond: 0 })
  const inFlight = new InFlight(limits)
  const server = await startServer(t, { identify, inFlight })
  const tokenOf = (sub: string, tenant = TENANT) => mint({ sub, tenant_id: tenant })
  const headOf = (token: string, line: string) => `${line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n`
  return { ...server, inFlight, tokenOf, headOf }
}

t.test('bodies that never end take a limited number of bytes, and other callers go on', async t => {
  const { api, port, tokenOf, headOf, jobs } = await startSharing(t, {
    maxBytes: 1_600 * KB,
    maxBytesPerCaller: 600 * KB,
  })
  const create = async (token: string, size = 200 * KB) => {
    const body = `{"jobType":"a","name":"b"${' '.repeat(size)}}`
    const answer = await send(`${api}/jobs`, body, bearer(token))
    return { code: ((await answer.json()) as { code?: string }).code, status: answer.status }
  }
  const json = 'content-type: application/json\r\n'
  const unfinished = (token: string, framing = 'content-length: 250000\r\n\r\n') =>
    slowClient(t, port, `${headOf(token, 'POST /api/progress/jobs')}${json}${framing}${' '.repeat(240_000)}`)
  const refusedFirst = async (clients: ReturnType<typeof slowClient>[]) => {
    const answers: string[] = []
    for (const { ended } of clients) void ended.then(({ answer }) => answers.push(answer))
    await waitFor(() => answers.length === clients.length - 2)
    for (const answer of answers) t.match(answer, /^HTTP\/1\.1 429 [^]*retry-after: 2[^]*too_much_in_flight/)
  }
  const hostile = await tokenOf('hostile')
  await refusedFirst(Array.from({ length: 10 }, () => unfinished(hostile)))
  const chunked = 'transfer-encoding: chunked\r\n\r\n3a980\r\n'
  const another = await tokenOf('hostile', JOB_ID)
  await refusedFirst(Array.from({ length: 10 }, () => unfinished(another, chunked)))
  const third = await tokenOf('third', JOB_ID)
  await refusedFirst(Array.from({ length: 10 }, () => unfinished(third)))
  for (let n = 0; n < 5; n++) {
    t.match(await create(await tokenOf(`colleague ${n}`)), { status: 201 }, 'another user of the tenant')
    t.match(
      await create(await tokenOf('hostile', '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a09')),
      { status: 201 },
      'another tenant',
    )
  }
  t.equal(jobs.calls.length, 10)
})

t.test('a body whose caller is not known is not read', async t => {
  const { port, tokenOf, headOf } = await startSharing(t, { maxBytes: 0, maxBytesPerCaller: 0 })
  const body = `content-type: application/json\r\ncontent-length: 8000000\r\n\r\n${' '.repeat(100_000)}`
  for (const path of ['/api/progress/heartbeats', '/api/progress/jobs', '/api/progress/webhooks', '/mcp']) {
    const post = (token: string) => raw(port, `${headOf(token, `POST ${path}`)}connection: close\r\n${body}`)
    t.match(await post('guessed'), /^HTTP\/1\.1 401 /, path)
    t.match(
      await post(await tokenOf('one')),
      path.endsWith('heartbeats') ? /^HTTP\/1\.1 429 / : /^HTTP\/1\.1 413 /,
      path,
    )
  }
})

/** The answer with a job: as text for one caller, and as bytes that all waiting callers share. */
const READINGS = { plainly: '', 'by waiting': 'prefer: wait=0\r\n' }

for (const [how, header] of Object.entries(READINGS)) {
  t.test(
    `answers that nobody reads take a limited number of bytes until their connections end, asked for ${how}`,
    async t => {
      const { url, port, tokenOf, headOf, jobs, inFlight } = await startSharing(t, {
        maxBytes: 40_000 * KB,
        maxBytesPerCaller: 8_000 * KB,
      })
      jobs.job = { ...jobs.job, description: 'x'.repeat(1_000 * KB) }
      const path = `/api/progress/jobs/${JOB_ID}`
      const read = async (sub: string) => {
        const answer = await fetch(url + path, { headers: bearer(await tokenOf(sub)) })
        await answer.text()
        return answer.status
      }
      const silent = connect(port, '127.0.0.1')
      t.teardown(() => silent.destroy())
      // So many that the buffers of the kernel on the way do not hold them all.
      silent.write(`${headOf(await tokenOf('silent'), `GET ${path}`)}${header}\r\n`.repeat(60))
      await waitFor(async () => (await read('silent')) === 429, { timeoutMs: 20_000 })
      t.ok(inFlight.bytesOf('answer') > 7_000 * KB)
      t.equal(await read('other'), 200)
      const silentToo = await fetch(`${url}/healthz`)
      t.equal(silentToo.status, 200)
      silent.destroy()
      await waitFor(async () => (await read('silent')) === 200)
      await waitFor(() => inFlight.bytes === 0)
    },
  )
}

t.test(
  'a shared read does not wait behind the other calls of its first caller, and is not refused because of them',
  async t => {
    const { auth } = readConfig({ AUTH_JWT_SECRET: SECRET })
    const log = { warn: () => undefined, info: () => undefined }
    const { identify } = createTokens({ auth: auth!, log, guessesPerSecond: 0 })
    const jobs = new InMemoryJobs()
    const live = new InMemoryLive(jobs)
    const parties: Party[] = []
    const inTurn: InTurn = async (party, _width, useCase) => {
      parties.push({ tenantId: party.tenantId, isShared: party.isShared ?? false, caller: party.caller })
      if (!party.isShared) throw new HeadwayError('rate_limited', 'Too many of your calls wait.')
      return useCase()
    }
    const { url, api } = await startServer(t, { identify, live, jobs: takeTurns(jobs, inTurn) })
    const call = {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'wait_for_job', arguments: { jobId: JOB_ID } },
    }
    const accept = { accept: 'application/json, text/event-stream' }
    const waits: Record<string, (token: string) => Promise<Response>> = {
      'GET /jobs/:id': token =>
        fetch(`${api}/jobs/${JOB_ID}?until=finished`, { headers: { ...bearer(token), prefer: 'wait=30' } }),
      'GET /jobs/:id/progress': token =>
        fetch(`${api}/jobs/${JOB_ID}/progress?until=finished`, { headers: { ...bearer(token), prefer: 'wait=30' } }),
      wait_for_job: token => send(`${url}/mcp`, JSON.stringify(call), { ...bearer(token), ...accept }),
    }
    for (const [name, wait] of Object.entries(waits)) {
      jobs.job = { ...jobs.job, status: 'running' }
      const first = wait(await mint({ sub: 'first', tenant_id: TENANT }))
      await waitFor(() => live.waiting.size === 1)
      const second = wait(await mint({ sub: 'second', tenant_id: TENANT }))
      await waitFor(() => live.waiting.size === 2)
      jobs.job = { ...jobs.job, status: 'completed' }
      live.announce()
      for (const answer of await Promise.all([first, second])) {
        t.equal(answer.status, 200, name)
        t.match(await answer.text(), /"status\W+completed/, name)
      }
    }
    t.same(
      parties,
      Array(4).fill({ tenantId: TENANT, isShared: true, caller: `user ${TENANT} first` }),
      'one read for both, of REST and of each tool step',
    )
    const own = await fetch(`${api}/jobs/${JOB_ID}`, {
      headers: bearer(await mint({ sub: 'first', tenant_id: TENANT })),
    })
    t.equal(own.status, 429, 'what is not shared is in the turn of its caller')
  },
)

t.test('a file of the dashboard does not count, because the process has it in memory anyway', async t => {
  const page = { name: 'index.html', type: 'text/html', etag: '"1"', content: Buffer.alloc(100 * KB), compressed: {} }
  const { url } = await startServer(t, {
    dashboard: [page],
    inFlight: new InFlight({ maxBytes: 0, maxBytesPerCaller: 0 }),
  })
  t.equal((await fetch(`${url}/`)).status, 200)
})

t.test('a client that was answered 408 is cut, although it neither closes nor stops sending', async t => {
  const { app, port } = await startServer(t, { timing: { headersMs: 150, requestMs: 300, checkMs: 20, lingerMs: 50 } })
  for (const head of [
    'GET /healthz HTTP/1.1\r\nx: ',
    `POST /api/progress/jobs/${JOB_ID}/heartbeat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n`,
  ]) {
    const accepted = once(app.server, 'connection') as Promise<[Socket]>
    const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    t.teardown(() => client.destroy())
    client.on('error', () => undefined)
    client.resume().write(head)
    const [socket] = await accepted
    const drip = setInterval(() => client.write('a'), 20)
    await once(socket, 'close')
    clearInterval(drip)
    t.pass(head.slice(0, 20))
  }
})

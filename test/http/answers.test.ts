import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type { FormatsPlugin } from 'ajv-formats'
import t from 'tap'
import { parse } from 'yaml'
import { HeadwayError, type ErrorCode } from '../../src/contract/errors.ts'
import { PROBLEMS } from '../../src/http/problems.ts'
import { streamFormat } from '../../src/http/negotiation.ts'
import { batchExample } from '../../src/http/schemas/examples.ts'
import { preferredWaitSeconds } from '../../src/http/waiting.ts'
import { OPEN_IDENTITY } from '../../src/jobs/identity.ts'
import type { Identify } from '../../src/http/identity.ts'
import type { Identity } from '../../src/jobs/identity.ts'
import type { Feature } from '../../src/contract/tokens.ts'
import { readFromRoot } from '../helpers/manual.ts'
import { inlineShared } from '../helpers/openapi.ts'
import { waitFor } from '../helpers/wait.ts'
import { JOB_ID, raw, readProblem, send, startServer, UNKNOWN_ID } from './in-memory.ts'

const identityWith = (...features: Feature[]): Identity => ({ ...OPEN_IDENTITY, features: new Set(features) })

/** One request over a socket of its own, with headers that fetch would not let through. */
const request = (port: number, head: string[]): Promise<string> =>
  raw(port, [...head, 'connection: close', '', ''].join('\r\n'))

t.test('a create is answered 201 with Location, or 200 if an earlier call with the key made the job', async t => {
  const { api, jobs } = await startServer(t)
  const body = '{"jobType":"import","name":"One"}'
  const created = await send(`${api}/jobs`, body)
  t.equal(created.status, 201)
  t.equal(created.headers.get('location'), `jobs/${JOB_ID}`, 'relative, as below a path of a proxy no other could be')
  t.equal(new URL(created.headers.get('location')!, created.url).href, `${api}/jobs/${JOB_ID}`)
  t.match(await created.json(), { id: JOB_ID })
  const again = await send(`${api}/jobs`, body, { 'idempotency-key': 'known' })
  t.equal(again.status, 200)
  t.equal(again.headers.get('location'), null)
  t.same(jobs.calls.at(-1)?.args, [{ jobType: 'import', name: 'One' }, 'known'])
  t.equal((await send(`${api}/jobs`, body, { 'idempotency-key': 'k'.repeat(255) })).status, 201)
  for (const key of ['', 'k'.repeat(256)]) {
    const refused = await send(`${api}/jobs`, body, { 'idempotency-key': key })
    t.match(await readProblem(refused), { status: 400, errors: [{ path: 'idempotency-key' }] })
  }
  jobs.job = batchExample
  const batch = await send(`${api}/jobs`, body)
  t.same(await batch.json(), batchExample, 'a batch comes with what its workers need to know of its partitions')
})

t.test('a report is answered 200 once it is on disk, and 202 while it is only in memory', async t => {
  const { api, jobs } = await startServer(t)
  const calls: [method: string, path: string, body: string, expected: object][] = [
    ['POST', 'heartbeat', '{"workerId":"a","processedCount":1}', { workerId: 'a', processedCount: 1 }],
    ['POST', 'increment', '{"increment":3}', { workerId: 'default', increment: 3 }],
    ['PUT', '', '{"processedCount":2,"meta":{"a":1}}', { workerId: 'default', processedCount: 2, meta: { a: 1 } }],
  ]
  for (const [method, path, body, expected] of calls) {
    const url = `${api}/jobs/${JOB_ID}${path && `/${path}`}`
    jobs.buffered = false
    const durable = await send(url, body, {}, method)
    t.equal(durable.status, 200, url)
    t.match(await durable.json(), { durable: true, jobId: JOB_ID, heartbeatIntervalMs: 5000 })
    t.same(jobs.calls.at(-1)?.args[1], { jobId: JOB_ID, ...expected })
    jobs.buffered = true
    const buffered = await send(url, body, {}, method)
    t.equal(buffered.status, 202, url)
    t.match(await buffered.json(), { durable: false, status: null, revision: null })
  }
  t.equal((await send(`${api}/jobs/${JOB_ID}`, '{"workerId":"a"}', {}, 'PUT')).status, 400, 'PUT speaks for default')
  t.equal((await send(`${api}/jobs/${JOB_ID}/increment`)).status, 400)
})

t.test('a bulk has an answer for each item in order, and a bad item fails alone', async t => {
  const { api, jobs } = await startServer(t)
  const heartbeats = [
    { jobId: JOB_ID, processedCount: 1 },
    { jobId: UNKNOWN_ID, workerId: 'b' },
    { jobId: JOB_ID, workerId: 7, color: 'red' },
    null,
    'text',
    { jobId: JOB_ID, message: 'a\0b', payload: { a: '\ud800' } },
    { jobId: JOB_ID, workerId: 'z', increment: 1 },
  ]
  const response = await send(`${api}/heartbeats`, JSON.stringify({ heartbeats }))
  t.equal(response.status, 200)
  t.match(await response.json(), {
    results: [
      { jobId: JOB_ID, workerId: 'default', durable: true },
      {
        jobId: UNKNOWN_ID,
        workerId: 'b',
        code: 'already_finished',
        detail: 'It has finished.',
        jobStatus: 'completed',
      },
      {
        jobId: JOB_ID,
        workerId: null,
        code: 'validation_failed',
        errors: [{ path: 'heartbeats[2].workerId' }, { path: 'heartbeats[2].color' }],
      },
      { jobId: null, code: 'validation_failed', errors: [{ path: 'heartbeats[3]' }] },
      { jobId: null, code: 'validation_failed' },
      { code: 'validation_failed', errors: [{ path: 'heartbeats[5].message' }, { path: 'heartbeats[5].payload.a' }] },
      { jobId: JOB_ID, workerId: 'z', durable: true },
    ],
  })
  t.equal((jobs.calls.at(-1)?.args[0] as unknown[]).length, 3, 'the domain saw only what can be applied')
  jobs.buffered = true
  t.equal((await send(`${api}/heartbeats`, JSON.stringify({ heartbeats }))).status, 202)
  t.same(await (await send(`${api}/heartbeats`, '{"heartbeats":[]}')).json(), { results: [] })
  const thousand = (count: number) =>
    JSON.stringify({ heartbeats: Array.from({ length: count }, () => ({ jobId: JOB_ID })) })
  t.equal((await send(`${api}/heartbeats`, thousand(1000))).status, 202)
  for (const body of [thousand(1001), '{}', '[]', '{"heartbeats":{}}', '{"heartbeats":[],"x":1}']) {
    t.equal((await send(`${api}/heartbeats`, body)).status, 400, body.slice(0, 30))
  }
  jobs.failure = new HeadwayError('overloaded', 'Full.', { retryAfterSeconds: 0.4 })
  const refused = await send(`${api}/heartbeats`, thousand(1))
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('retry-after'), '1')
})

t.test('lifecycle calls reach the domain with their fields', async t => {
  const { api, jobs } = await startServer(t)
  const calls: [method: string, path: string, body: string, name: string, args: unknown[]][] = [
    ['POST', '/start', '{"attempt":2}', 'start', [JOB_ID, { attempt: 2 }]],
    ['POST', '/complete', '{"resultSummary":{"n":1}}', 'complete', [JOB_ID, { resultSummary: { n: 1 } }]],
    [
      'POST',
      '/fail',
      '{"errorMessage":"no","errorStack":""}',
      'fail',
      [JOB_ID, { errorMessage: 'no', errorStack: '' }],
    ],
    ['POST', '/cancelled', '', 'acknowledgeCancel', [JOB_ID, {}]],
    ['POST', '/cancel', '', 'cancel', [JOB_ID]],
    ['DELETE', '', '', 'cancel', [JOB_ID]],
    ['DELETE', '?purge=false', '', 'cancel', [JOB_ID]],
    ['POST', '/retry', '', 'retry', [JOB_ID]],
  ]
  for (const [method, path, body, name, args] of calls) {
    const response = await send(`${api}/jobs/${JOB_ID}${path}`, body, {}, method)
    t.equal(response.status, 200, `${method} ${path}`)
    t.match(await response.json(), { id: JOB_ID })
    t.same(jobs.calls.at(-1), { name, args })
  }
  const purged = await send(`${api}/jobs/${JOB_ID}?purge=true`, undefined, {}, 'DELETE')
  t.equal(purged.status, 204)
  t.equal(await purged.text(), '')
  t.same(jobs.calls.at(-1), { name: 'purge', args: [JOB_ID] })
  t.same(await (await fetch(`${api}/active`)).json(), { active: [jobs.job], recentlyCompleted: [] })
  t.same(jobs.calls.at(-1), { name: 'active', args: [30] })
  t.match(await (await fetch(`${api}/jobs/${JOB_ID}/events?page=2&pageSize=5`)).json(), { page: 2, pageSize: 5 })
})

t.test('the same revision is answered 304', async t => {
  const { api, jobs } = await startServer(t)
  for (const path of ['', '/progress']) {
    const url = `${api}/jobs/${JOB_ID}${path}`
    const etag = `W/"${JOB_ID}.${jobs.job.revision}"`
    const first = await fetch(url)
    t.equal(first.headers.get('etag'), etag)
    t.equal(first.headers.get('cache-control'), 'no-cache')
    for (const tag of [etag, etag.slice(2), '*', `"x", ${etag}`, `W/"a,b" , ${etag},"c"`]) {
      const same = await fetch(url, { headers: { 'if-none-match': tag } })
      t.equal(same.status, 304, tag)
      t.equal(same.headers.get('etag'), etag)
      t.equal(await same.text(), '')
    }
    for (const tag of [`W/"${JOB_ID}.1"`, `"${JOB_ID}"`, etag.slice(3, -1), 'W/""', '"']) {
      t.equal((await fetch(url, { headers: { 'if-none-match': tag } })).status, 200, tag)
    }
  }
  const head = await fetch(`${api}/jobs/${JOB_ID}`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(await head.text(), '')
})

t.test('Prefer: wait holds the answer until the revision changes, or time is up', async t => {
  const { api, jobs, live } = await startServer(t)
  const url = `${api}/jobs/${JOB_ID}`
  const headers = (wait: string) => ({ 'if-none-match': `W/"${JOB_ID}.${jobs.job.revision}"`, prefer: wait })

  const early = await fetch(url, { headers: { 'if-none-match': '"other"', prefer: 'wait=30' } })
  t.equal(early.status, 200, 'another revision is answered at once')
  t.equal(early.headers.get('preference-applied'), 'wait=30')

  live.onWait = () => {
    live.onWait = () => undefined
    jobs.job = { ...jobs.job, revision: jobs.job.revision + 1 }
    live.announce()
  }
  const changed = await fetch(url, { headers: headers('wait=30') })
  t.equal(changed.status, 200)
  t.match(await changed.json(), { revision: jobs.job.revision })
  t.equal(live.waiting.size, 0)
  t.equal(changed.headers.get('content-type'), 'application/json; charset=utf-8')
  const plain = await fetch(url)
  t.equal(
    await (await fetch(url, { headers: { prefer: 'wait=30' } })).text(),
    await plain.text(),
    'byte for byte the same',
  )
  t.equal(plain.headers.get('content-type'), 'application/json; charset=utf-8')

  const started = performance.now()
  const same = await fetch(url, { headers: headers('respond-async, wait=1') })
  t.equal(same.status, 304)
  t.equal(same.headers.get('preference-applied'), 'wait=1')
  t.ok(performance.now() - started > 950, 'after a second')
  t.equal(live.waiting.size, 0, 'nobody is left waiting')
  t.equal((await fetch(`${api}/jobs/${UNKNOWN_ID}`, { headers: headers('wait=30') })).status, 404)
  t.equal((await fetch(url, { headers: headers('wait=-1') })).status, 304, 'a malformed preference is none')
})

t.test('until=finished waits for the end of the job', async t => {
  const { api, jobs, live } = await startServer(t)
  const url = `${api}/jobs/${JOB_ID}?until=finished`
  live.onWait = () => {
    for (const status of ['running', 'running', 'completed'] as const) {
      jobs.job = { ...jobs.job, status, revision: jobs.job.revision + 1 }
      live.announce()
    }
  }
  const finished = await fetch(url, { headers: { prefer: 'wait=30' } })
  t.equal(finished.status, 200)
  t.match(await finished.json(), { status: 'completed' })
  t.equal(jobs.calls.length, 1, 'a change that is not the end reads nothing')
  const etag = finished.headers.get('etag')!
  t.equal((await fetch(url, { headers: { prefer: 'wait=30', 'if-none-match': etag } })).status, 200, 'also a known end')
  jobs.job = { ...jobs.job, status: 'running' }
  live.onWait = () => undefined
  const late = await fetch(url, { headers: { prefer: 'wait=1' } })
  t.equal(late.status, 200)
  t.match(await late.json(), { status: 'running' }, 'the job on time-out too')
})

t.test('callers who wait for one job and may see the same share one read, and get the same bytes', async t => {
  const tenants = ['0197a3c2-5b1e-7c44-9d0a-00000000000a', '0197a3c2-5b1e-7c44-9d0a-00000000000b']
  const identify: Identify = ({ headers }) => ({ ...OPEN_IDENTITY, tenantId: String(headers['x-tenant']) })
  const { api, jobs, live } = await startServer(t, { identify })
  const warnings: string[] = []
  const warn = ({ name }: Error) => warnings.push(name)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const ask = (path: string, tenant: string, headers: Record<string, string> = {}) =>
    fetch(`${api}/jobs/${JOB_ID}${path}`, { headers: { prefer: 'wait=30', 'x-tenant': tenant, ...headers } })
  const tag = { 'if-none-match': `W/"${JOB_ID}.${jobs.job.revision}"` }
  const waiting = Array.from({ length: 120 }, (_, n) => {
    const tenant = tenants[n % 2]!
    return n % 4 < 2 ? ask('?until=finished', tenant) : ask('', tenant, tag)
  })
  while (live.waiting.size < 120) await pause(5)
  t.equal(jobs.calls.length, 0, 'nothing is read while nothing has changed')
  jobs.job = { ...jobs.job, status: 'completed', revision: jobs.job.revision + 1 }
  live.announce()
  for (const answer of await Promise.all(waiting)) {
    t.equal(answer.status, 200)
    t.match(await answer.json(), { status: 'completed', revision: jobs.job.revision })
  }
  t.equal(jobs.calls.length, 2, 'one read for each tenant')
  t.same(warnings, [])

  // A read that is under way may be too early for callers who come meanwhile.
  let goOn: () => void = () => undefined
  jobs.onRead = () => new Promise<void>(resolve => (goOn = resolve))
  const first = ask('', tenants[0]!)
  while (jobs.calls.length < 3) await pause(5)
  const others = Array.from({ length: 5 }, () => ask('', tenants[0]!))
  jobs.job = { ...jobs.job, revision: jobs.job.revision + 1 }
  jobs.failure = new HeadwayError('database_unavailable', 'Away.', { retryAfterSeconds: 1 })
  await pause(50)
  jobs.onRead = () => undefined
  goOn()
  t.equal((await first).status, 200)
  for (const other of others) t.equal((await other).status, 503, 'and what fails, fails for all')
  t.equal(jobs.calls.length, 4)
})

t.test('a wait ends when the client leaves', async t => {
  const { api, jobs, live } = await startServer(t)
  const client = new AbortController()
  const waiting = new Promise<void>(resolve => (live.onWait = resolve))
  const headers = { 'if-none-match': `W/"${JOB_ID}.${jobs.job.revision}"`, prefer: 'wait=60' }
  const answer = fetch(`${api}/jobs/${JOB_ID}`, { headers, signal: client.signal }).catch(() => 'left')
  await waiting
  client.abort()
  t.equal(await answer, 'left')
  while (live.waiting.size > 0) await pause(5)
  t.equal(live.waiting.size, 0)
})

t.test('the header Prefer is parsed as in RFC 7240', t => {
  const cases: [string | undefined, number | null][] = [
    [undefined, null],
    ['', null],
    ['wait=5', 5],
    ['Wait = "7"', 7],
    ['respond-async, wait=10', 10],
    ['wait=600', 60],
    ['wait=99999999999999999999', 60],
    ['wait=0', 0],
    ['wait', null],
    ['wait=x', null],
    ['wait=1.5', null],
    ['await=5', null],
  ]
  for (const [prefer, expected] of cases) t.equal(preferredWaitSeconds(prefer), expected, String(prefer))
  t.end()
})

t.test('every refusal of the domain is a problem with its status, and a 5xx shows no internals', async t => {
  const { api, jobs, log } = await startServer(t)
  for (const [code, { status, title }] of Object.entries(PROBLEMS)) {
    jobs.failure = new HeadwayError(code as ErrorCode, 'What to do.', { jobStatus: 'failed', retryAfterSeconds: 2 })
    const response = await send(`${api}/jobs/${JOB_ID}/complete`, undefined, { 'x-request-id': 'My-id_1.2' })
    t.equal(response.status, status, code)
    t.equal(response.headers.get('x-request-id'), 'My-id_1.2')
    t.equal(response.headers.get('retry-after'), '2')
    t.same(await response.json(), {
      type: `urn:headway:problem:${code}`,
      title,
      status,
      detail: 'What to do.',
      code,
      requestId: 'My-id_1.2',
      jobStatus: 'failed',
      retryAfterSeconds: 2,
    })
  }
  jobs.failure = Object.assign(new Error('password authentication failed for user "x"'), {
    code: '28P01',
    statusCode: 400,
  })
  const response = await send(`${api}/jobs/${JOB_ID}/complete?`, undefined, { 'x-request-id': 'bad id\t' })
  const problem = await readProblem(response)
  t.equal(response.status, 500)
  t.equal(problem.code, 'internal_error')
  t.notMatch(JSON.stringify(problem), /password|28P01/)
  t.match(problem.requestId, /^[\da-f-]{20,40}$/, 'an id that could break a log line is replaced')
  const entry = log.at(-1) ?? ''
  t.match(entry, problem.requestId, 'the log has the request id')
  t.match(entry, 'answers.test', 'and the stack')
  await fetch(`${api}/jobs?search=secret`)
  t.notMatch(log.join(''), /secret/, 'but no query')
})

t.test('requests without an id of their own get different ones, also from two servers', async t => {
  const servers = [await startServer(t), await startServer(t)]
  const calls = [...servers, ...servers].map(({ url }) => fetch(`${url}/healthz`))
  const ids = (await Promise.all(calls)).map(({ headers }) => headers.get('x-request-id') ?? '')
  t.equal(new Set(ids).size, 4, ids.join(' '))
  for (const id of ids) t.match(id, /^[\w-]{20,40}$/)
})

t.test('every line that a request causes names the request, as its answer does', async t => {
  const { api, jobs, live, log } = await startServer(t)
  const lines = () => log.map(line => JSON.parse(line) as { level: number; requestId?: string; msg: string })
  const ask = async (path: string, id: string) => {
    const response = await fetch(api + path, { headers: { 'x-request-id': id } })
    t.equal(response.headers.get('x-request-id'), id)
    return response
  }
  jobs.failure = new HeadwayError('database_unavailable', 'Away.', { cause: new Error('refused') })
  t.match(await readProblem(await ask('/jobs', 'refused')), { requestId: 'refused', code: 'database_unavailable' })
  jobs.failure = new Error('a bug')
  t.match(await readProblem(await ask('/jobs', 'failed')), { requestId: 'failed', code: 'internal_error' })
  jobs.failure = null
  // An error after the headers can only be logged, and Fastify does that.
  live.open = async () => ({
    alreadySeen: false,
    abandon: () => undefined,
    start: raw => {
      raw.end()
      throw new Error('a bug behind the headers')
    },
  })
  await (await ask('/stream', 'broken')).text()
  await waitFor(() => lines().length === 3)
  t.match(lines(), [
    { level: 40, requestId: 'refused', err: { message: /Away/ } },
    { level: 50, requestId: 'failed', err: { message: 'a bug' } },
    { requestId: 'broken', err: { message: 'a bug behind the headers' } },
  ])
  await send(`${api}/jobs`, 'not JSON', { 'x-request-id': 'careless' })
  t.equal(lines().length, 3, "a caller's own fault is not worth a line")
})

t.test('an open service on loopback answers no web page', async t => {
  const { port, url } = await startServer(t)
  const get = (host: string, ...headers: string[]) =>
    request(port, ['GET /healthz HTTP/1.1', `host: ${host}`, ...headers])
  for (const host of ['localhost', 'LOCALHOST:9', '127.0.0.1:3000', '[::1]', `[::1]:${port}`]) {
    t.match(await get(host), /^HTTP\/1\.1 200 /, host)
  }
  for (const host of [
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.nip.io',
    '0.0.0.0',
    '[::2]',
    'localhost:x',
    'a@localhost',
    '',
  ]) {
    t.match(await get(host), /^HTTP\/1\.1 421 [^]*misdirected_request/, host)
  }
  t.match(await get('localhost:1', 'origin: http://localhost:1'), /^HTTP\/1\.1 200 /, 'its own origin')
  for (const origin of [
    'http://localhost:2',
    'https://localhost:1',
    'null',
    'http://evil.example',
    'http://127.0.0.1:1',
  ]) {
    t.match(await get('localhost:1', `origin: ${origin}`), /^HTTP\/1\.1 403 [^]*forbidden/, origin)
  }
  t.match(await get('localhost', 'sec-fetch-site: cross-site'), /^HTTP\/1\.1 403 /)
  t.match(await get('localhost', 'sec-fetch-site: same-origin'), /^HTTP\/1\.1 200 /)
  for (const [site, status] of [
    ['none', 200],
    ['same-origin', 200],
    ['cross-site', 403],
  ] as const) {
    const page = await request(port, ['GET /docs/ HTTP/1.1', 'host: localhost', `sec-fetch-site: ${site}`])
    t.match(page, new RegExp(`^HTTP/1\\.1 ${status} `), `/docs from ${site}`)
  }
  for (const path of ['/docs', '/openapi.json', '/api/progress/jobs', '/nowhere']) {
    t.equal((await fetch(url + path, { headers: { origin: 'http://evil.example' } })).status, 403, path)
  }
  const behindProxy = await startServer(t, { config: { authMode: 'none', shutdownGraceSeconds: 1 } })
  const answer = await request(behindProxy.port, [
    'GET /healthz HTTP/1.1',
    'host: headway.example',
    'origin: http://x.example',
  ])
  t.match(answer, /^HTTP\/1\.1 200 /, 'AUTH_MODE=none leaves that to what is in front of it')
})

t.test('each call needs its feature, before its body is read', async t => {
  let identity: Identity = identityWith()
  const { api } = await startServer(t, { identify: async () => identity })
  const calls: [method: string, path: string, feature: Feature][] = [
    ['POST', '/jobs', 'progress.create'],
    ['GET', '/jobs', 'progress.view'],
    ['GET', '/active', 'progress.view'],
    ['GET', `/jobs/${JOB_ID}`, 'progress.view'],
    ['HEAD', `/jobs/${JOB_ID}`, 'progress.view'],
    ['GET', `/jobs/${JOB_ID}/progress`, 'progress.view'],
    ['GET', `/jobs/${JOB_ID}/events`, 'progress.view'],
    ['GET', '/stream', 'progress.view'],
    ['GET', `/jobs/${JOB_ID}/stream`, 'progress.view'],
    ['PUT', `/jobs/${JOB_ID}`, 'progress.update'],
    ['POST', `/jobs/${JOB_ID}/heartbeat`, 'progress.update'],
    ['POST', `/jobs/${JOB_ID}/increment`, 'progress.update'],
    ['POST', `/jobs/${JOB_ID}/start`, 'progress.update'],
    ['POST', `/jobs/${JOB_ID}/complete`, 'progress.update'],
    ['POST', `/jobs/${JOB_ID}/fail`, 'progress.update'],
    ['POST', `/jobs/${JOB_ID}/cancelled`, 'progress.update'],
    ['POST', '/heartbeats', 'progress.update'],
    ['POST', `/jobs/${JOB_ID}/cancel`, 'progress.cancel'],
    ['DELETE', `/jobs/${JOB_ID}`, 'progress.cancel'],
    ['DELETE', `/jobs/${JOB_ID}?purge=true`, 'progress.manage'],
    ['POST', `/jobs/${JOB_ID}/retry`, 'progress.create'],
  ]
  const all = [...OPEN_IDENTITY.features]
  for (const [method, path, feature] of calls) {
    identity = identityWith(...all.filter(other => other !== feature))
    const init = { method, ...(['POST', 'PUT'].includes(method) && { body: 'not JSON' }) }
    t.equal((await fetch(api + path, init)).status, 403, `${method} ${path} without ${feature}`)
    identity = identityWith(feature)
    const client = new AbortController()
    const allowed = await fetch(api + path, { ...init, signal: client.signal })
    t.not(allowed.status, 403, `${method} ${path} with ${feature}`)
    client.abort()
  }
  const refusing = await startServer(t, {
    identify: () => Promise.reject(new HeadwayError('unauthenticated', 'Send a token.')),
  })
  t.equal((await fetch(`${refusing.api}/jobs`)).status, 401)
  t.equal((await fetch(`${refusing.url}/healthz`)).status, 200)
})

t.test('streams are negotiated: SSE, NDJSON, or nothing', t => {
  const cases: [accept: string | undefined, format: string | null][] = [
    [undefined, 'sse'],
    ['', 'sse'],
    ['*/*', 'sse'],
    ['text/event-stream', 'sse'],
    ['text/*', 'sse'],
    ['application/x-ndjson', 'ndjson'],
    ['Application/X-NDJSON; charset=utf-8', 'ndjson'],
    ['application/*', 'ndjson'],
    ['application/x-ndjson, text/event-stream', 'sse'],
    ['application/x-ndjson, text/event-stream;q=0.5', 'ndjson'],
    ['text/event-stream;q=0, */*', 'ndjson'],
    ['text/html, application/json;q=0.9, */*;q=0.1', 'sse'],
    ['application/json', null],
    ['text/html', null],
    ['*/*;q=0', null],
    ['text/event-stream;q=0', null],
    ['text/event-stream;q=x', null],
  ]
  for (const [accept, expected] of cases) {
    const negotiate = () => streamFormat(accept, { ofOneJob: false })
    if (expected === null) t.throws(negotiate, { code: 'not_acceptable' }, String(accept))
    else t.equal(negotiate(), expected, accept ?? 'no Accept')
  }
  t.equal(streamFormat('text/plain', { ofOneJob: true }), 'text')
  t.equal(streamFormat('text/*', { ofOneJob: true }), 'sse')
  t.throws(() => streamFormat('text/plain', { ofOneJob: false }), { code: 'not_acceptable' })
  t.end()
})

t.test('a stream sends its headers and hands the response over', async t => {
  const { api, live, port } = await startServer(t)
  const client = new AbortController()
  const sse = await fetch(`${api}/stream?jobId=${JOB_ID}&topLevel=true&jobType=a&lastEventId=5.1`, {
    signal: client.signal,
  })
  t.equal(sse.status, 200)
  t.equal(sse.headers.get('content-type'), 'text/event-stream; charset=utf-8')
  t.equal(sse.headers.get('cache-control'), 'no-cache, no-transform')
  t.equal(sse.headers.get('x-accel-buffering'), 'no')
  t.equal(sse.headers.get('x-keepalive-seconds'), '15', 'a reader knows how long silence may last')
  t.match(sse.headers.get('x-request-id'), /./)
  t.match(live.requests.at(-1), {
    format: 'sse',
    lastEventId: '5.1',
    untilFinishedJobId: null,
    expiresAtMs: null,
    filter: {
      jobIds: [JOB_ID],
      topLevel: true,
      jobType: 'a',
      parentJobId: null,
      allOrganizations: true,
      organizationId: null,
      scopeJobId: null,
    },
  })
  const first = (await sse.body!.getReader().read()) as { value: Uint8Array }
  t.match(Buffer.from(first.value).toString(), 'event: snapshot')
  client.abort()

  const ndjson = await fetch(`${api}/jobs/${JOB_ID}/stream?lastEventId=5.1`, {
    headers: { accept: 'application/x-ndjson', 'last-event-id': '6.2' },
  })
  t.equal(ndjson.headers.get('content-type'), 'application/x-ndjson; charset=utf-8')
  t.match(live.requests.at(-1), {
    format: 'ndjson',
    lastEventId: '6.2',
    untilFinishedJobId: JOB_ID,
    filter: { jobIds: [JOB_ID] },
  })
  await ndjson.body!.cancel()

  for (const query of [
    'lastEventId=%00',
    `lastEventId=${'1'.repeat(101)}`,
    'lastEventId=1.1&lastEventId=2.2',
    'access_token=secret',
  ]) {
    for (const path of ['/stream', `/jobs/${JOB_ID}/stream`]) {
      const response = await fetch(`${api}${path}?${query}`)
      t.equal(response.status, 200, `${path}?${query}`)
      await response.body!.cancel()
    }
  }
  t.equal((await fetch(`${api}/jobs?access_token=secret`)).status, 400, 'only streams take a token in the query')

  const count = live.requests.length
  t.equal((await fetch(`${api}/stream`, { headers: { accept: 'application/json' } })).status, 406)
  t.equal((await fetch(`${api}/jobs/${UNKNOWN_ID}/stream`)).status, 404)
  t.equal((await fetch(`${api}/stream?${Array.from({ length: 101 }, () => `jobId=${JOB_ID}`).join('&')}`)).status, 400)
  t.equal((await fetch(`${api}/stream?jobId=x`)).status, 400)
  t.equal(live.requests.length, count)
  live.failure = new HeadwayError('too_many_streams', 'Enough.', { retryAfterSeconds: 5 })
  const refused = await fetch(`${api}/stream`)
  t.equal(refused.status, 429)
  t.equal(refused.headers.get('retry-after'), '5')
  t.equal(refused.headers.get('content-type'), 'application/problem+json')
  live.failure = null
  live.alreadySeen = true
  t.equal((await fetch(`${api}/jobs/${JOB_ID}/stream`)).status, 204)
  t.equal(live.abandoned, 1)
  live.alreadySeen = false

  // The client leaves while its snapshot is read.
  const left = new Promise<void>(resolve => {
    live.beforeOpen = async () => {
      socket.destroy()
      await pause(50)
      resolve()
    }
  })
  const socket = connect(port, '127.0.0.1')
  socket.write('GET /api/progress/stream HTTP/1.1\r\nhost: localhost\r\n\r\n')
  const { started } = live
  await left
  while (live.abandoned < 2) await pause(5)
  t.equal(live.started, started, 'a response nobody reads is never started')
})

t.test(
  'a stream is refused behind an unfinished answer of its connection, because nothing would notice that its client left',
  async t => {
    const { live, port } = await startServer(t)
    const socket = connect(port, '127.0.0.1')
    const stream = 'GET /api/progress/stream HTTP/1.1\r\nhost: localhost\r\n\r\n'
    const chunks: Buffer[] = []
    socket.on('data', chunk => chunks.push(chunk))
    socket.write(stream.repeat(20))
    while (live.started === 0) await pause(5)
    await pause(50)
    t.equal(live.requests.length, 1)
    t.equal(live.started, 1)
    await live.close()
    while (Buffer.concat(chunks).toString().split('too_many_streams').length < 20) await pause(5)
    t.match(Buffer.concat(chunks).toString(), /^HTTP\/1\.1 200 /)
    socket.destroy()
  },
)

t.test('a stream shows other organizations only to a caller with progress.manage', async t => {
  const expiresAtMs = Date.now() + 60_000
  let identity: Identity = {
    ...identityWith('progress.view'),
    organizationId: JOB_ID,
    expiresAtMs,
    jobId: UNKNOWN_ID,
  }
  const { api, live } = await startServer(t, { identify: () => identity })
  const open = async (query: string) => {
    const response = await fetch(`${api}/stream${query}`)
    await response.body?.cancel()
    return response.status
  }
  t.equal(await open(''), 200)
  t.match(live.requests.at(-1), {
    expiresAtMs,
    filter: { organizationId: JOB_ID, allOrganizations: false, scopeJobId: UNKNOWN_ID },
  })
  t.equal(await open(`?organizationId=${JOB_ID}`), 200)
  t.equal(await open(`?organizationId=${UNKNOWN_ID}`), 403)
  identity = { ...identity, features: new Set(['progress.view', 'progress.manage']) }
  t.equal(await open(''), 200)
  t.match(live.requests.at(-1), { filter: { organizationId: null, allOrganizations: true } })
  t.equal(await open(`?organizationId=${UNKNOWN_ID}`), 200)
  t.match(live.requests.at(-1), { filter: { organizationId: UNKNOWN_ID, allOrganizations: false } })
})

t.test('a process can be up and not ready, and is degraded without its listener or its sweeps', async t => {
  let reason: 'heartbeats' | null = null
  let sweeping = true
  const health = { unreadiness: async () => reason, sweeps: () => sweeping }
  const { url, live } = await startServer(t, { health })
  t.same(await (await fetch(`${url}/healthz`)).json(), { status: 'ok' })
  t.same(await (await fetch(`${url}/readyz`)).json(), { status: 'ready', degraded: [] })
  live.listening = false
  const degraded = await fetch(`${url}/readyz`)
  t.equal(degraded.status, 200)
  t.same(await degraded.json(), { status: 'ready', degraded: ['listener'] })
  sweeping = false
  t.same(await (await fetch(`${url}/readyz`)).json(), { status: 'ready', degraded: ['listener', 'sweeps'] })
  reason = 'heartbeats'
  const down = await fetch(`${url}/readyz`)
  t.equal(down.status, 503)
  t.match(await readProblem(down), { code: 'database_unavailable', reason: 'heartbeats' })
  t.equal((await fetch(`${url}/healthz`)).status, 200)
})

t.test('the documentation names every call, offline', async t => {
  const { url, app } = await startServer(t)
  const text = await (await fetch(`${url}/openapi.json`)).text()
  t.equal(text.match(/`rate_limited`, `too_much_in_flight`"/g)?.length, 1, 'what many calls answer is stated once')
  const document = inlineShared(JSON.parse(text)) as {
    openapi: string
    paths: Record<
      string,
      Record<string, { operationId?: string; summary?: string; tags?: string[]; responses: object }>
    >
    webhooks: object
    components: { schemas: Record<string, { examples?: unknown[] }> }
  }
  t.equal(document.openapi, '3.1.0')
  for (const path of ['/openapi.json', '/docs/json']) {
    const { servers } = (await (await fetch(url + path)).json()) as { servers: { url: string }[] }
    const bases = servers.map(server => new URL(server.url, `https://proxy.example/headway${path}`).href)
    t.same(bases, ['https://proxy.example/headway/'], `${path} leads to where it came from, also below a path`)
  }
  t.match(document.webhooks, { jobChanged: { post: { requestBody: { required: true } } } })
  const operations = Object.values(document.paths).flatMap(path => Object.values(path))
  t.equal(operations.length, 40)
  t.equal(new Set(operations.map(operation => operation.operationId)).size, operations.length)
  for (const { operationId, summary, tags, responses } of operations) {
    t.ok(operationId && summary && tags?.length === 1, operationId ?? 'no operationId')
    t.hasProps(responses, ['421', '500', '503'])
  }
  const described = (path: string, method: string) => JSON.stringify(document.paths[path]?.[method]?.responses)
  for (const path of ['/healthz', '/readyz', '/metrics'])
    t.notMatch(described(path, 'get'), /unauthenticated|forbidden|overloaded/)
  for (const path of ['/api/progress/jobs', '/api/progress/stream']) t.match(described(path, 'get'), 'overloaded')
  t.match(described('/api/progress/jobs/{id}/heartbeat', 'post'), /overloaded`, `shutting_down`, `outcome_unknown/)
  t.notMatch(described('/api/progress/jobs/{id}/heartbeat', 'post'), 'database_unavailable')
  t.match(described('/api/progress/jobs', 'post'), /`invalid_stages`, `invalid_partition`/)
  for (const name of ['Job', 'CreatedJob', 'Problem', 'HeartbeatAnswer', 'CreateJob', 'Heartbeat', 'WebhookMessage']) {
    t.ok(document.components.schemas[name]?.examples?.length, `${name} has an example`)
  }
  const yaml = await fetch(`${url}/openapi.yaml`)
  t.match(await yaml.text(), /^openapi: 3\.1\.0\n/)
  const page = await fetch(`${url}/docs/`)
  t.equal(page.status, 200)
  const html = await page.text()
  t.notMatch(html, /(?:src|href)="https?:/, 'nothing from elsewhere')
  const scripts = [...html.matchAll(/src="([^"]+)"/g)].map(([, src]) => new URL(src!, `${url}/docs/`))
  for (const script of scripts) t.equal((await fetch(script)).status, 200, script.pathname)
  t.ok(scripts.length >= 2)
  t.ok(app.swagger())
})

t.test('openapi.yaml has less than 136 KB, because common parts of schemas and calls are stated once', async t => {
  const { url } = await startServer(t)
  const text = await (await fetch(`${url}/openapi.yaml`)).text()
  t.ok(text.length < 136 * 1024, `${text.length} bytes`)
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as Parameters<typeof inlineShared>[0]
  t.same(parse(text), document, 'the same document')
})

t.test('a schema that shares its fields with another schema still refuses unknown fields', async t => {
  const { url } = await startServer(t)
  const document = (await (await fetch(`${url}/openapi.json`)).json()) as {
    components: { schemas: Record<string, { examples?: object[]; unevaluatedProperties?: false }> }
  }
  const ajv = new Ajv2020({ strict: false })
  ;(formats as unknown as FormatsPlugin)(ajv)
  ajv.addSchema({ ...document, $id: 'openapi' })
  const sharing = Object.entries(document.components.schemas).filter(([, schema]) => 'unevaluatedProperties' in schema)
  t.ok(sharing.length >= 6, sharing.map(([name]) => name).join(', '))
  for (const [name, { examples = [] }] of sharing) {
    const accepts = ajv.compile({ $ref: `openapi#/components/schemas/${name}` })
    for (const example of examples) {
      t.equal(accepts(example), true, `${name}: ${JSON.stringify(accepts.errors)}`)
      t.equal(accepts({ ...example, unknown: 1 }), false, name)
    }
  }
  const reading = ajv.compile({ $ref: 'openapi#/components/schemas/Job' })
  const whole = document.components.schemas.Job?.examples?.[0] ?? {}
  const listed = Object.fromEntries(Object.entries(whole).filter(([name]) => name !== 'errorStack'))
  t.equal(reading(listed), false, 'what one of them adds is as required as before')
})

t.test('the documentation of the API links to the manual, where package.json says where that is', async t => {
  const { url } = await startServer(t)
  const { homepage } = JSON.parse(readFromRoot('package.json')) as { homepage?: string }
  const document = (await (await fetch(`${url}/docs/json`)).json()) as { externalDocs?: object }
  t.same(document.externalDocs, homepage && { url: homepage, description: 'The manual' })
})

t.test('the text of openapi.yaml is made only once', async t => {
  const { url } = await startServer(t)
  const cpuOf = async (path: string) => {
    const text = async () => (await fetch(url + path)).text()
    const [first] = [await text(), await text()]
    const begun = process.cpuUsage()
    for (let n = 0; n < 20; n += 1) t.equal((await text()) === first, true, path)
    const { user, system } = process.cpuUsage(begun)
    return user + system
  }
  const [json, yaml] = [await cpuOf('/openapi.json'), await cpuOf('/openapi.yaml')]
  t.ok(yaml < 4 * json, `${yaml} µs of CPU for YAML, ${json} for JSON`)
})

t.test('closing refuses new requests, ends streams and waits, and lets requests end', async t => {
  const { app, api, jobs, live } = await startServer(t)
  const stream = await fetch(`${api}/stream`)
  const registered = new Promise<void>(resolve => (live.onWait = resolve))
  const headers = { 'if-none-match': `W/"${JOB_ID}.${jobs.job.revision}"`, prefer: 'wait=60' }
  const waiting = fetch(`${api}/jobs/${JOB_ID}`, { headers })
  await registered

  let finish = () => {}
  const reached = new Promise<void>(resolve => {
    jobs.onRead = () => {
      resolve()
      return new Promise<void>(done => (finish = done))
    }
  })
  const slow = send(`${api}/jobs/${JOB_ID}/heartbeat`)
  await reached
  jobs.onRead = () => undefined
  const closed = app.close()
  t.equal((await waiting).status, 304, 'the wait ends with what is known')
  const refused = await fetch(`${api}/jobs`)
  t.equal(refused.status, 503)
  t.match(await readProblem(refused), { code: 'shutting_down' })
  await stream.text()
  finish()
  t.equal((await slow).status, 200, 'a request under way is answered')
  await closed
})

t.test('a client that does not send, does not read, or has left does not hold up closing', async t => {
  const { app, jobs, port } = await startServer(t, { config: { authMode: null, shutdownGraceSeconds: 30 } })
  const open = async (text: string) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(text)
    return socket
  }
  const get = 'GET /api/progress/jobs HTTP/1.1\r\nhost: localhost\r\n\r\n'
  const slowGet = `GET /api/progress/jobs/${JOB_ID} HTTP/1.1\r\nhost: localhost\r\n\r\n`
  let finish = () => {}
  const reached = new Promise<void>(resolve => {
    jobs.onRead = () => {
      resolve()
      return new Promise<void>(done => (finish = done))
    }
  })
  // Its other answers wait behind one that does not come before it leaves.
  const left = await open(slowGet + get.repeat(20))
  await reached
  jobs.onRead = () => undefined
  left.destroy()
  finish()
  const head = `POST /api/progress/jobs/${JOB_ID}/heartbeat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`
  const sockets = [await open(`${head}content-length: 100\r\n\r\n{`)]
  const deaf = await open(get.repeat(5_000))
  deaf.pause()
  sockets.push(deaf)
  await pause(100)
  const begin = performance.now()
  await app.close()
  const took = performance.now() - begin
  t.ok(took < 2_000, `${took} ms`)
  for (const socket of sockets) socket.destroy()
})

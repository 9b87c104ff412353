import { randomUUID } from 'node:crypto'
import { CompactSign, exportSPKI, SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config.ts'
import { createTokens } from '../../src/http/tokens/identify.ts'
import {
  bearer,
  makeKey,
  mint,
  SECRET,
  secondsFromNow,
  startIssuer,
  type Issuer,
  type TestClaims,
} from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { JOB_ID, raw, readProblem, startServer } from './in-memory.ts'

const NIL = '00000000-0000-0000-0000-000000000000'
const TENANT = '0197A3C2-5B1E-7C44-9D0A-2F6B8E1D3A01'
const ORGANIZATION = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a02'

/** A server that asks for tokens, on a clock of the test, and its log. */
const startGuarded = async (t: Test, settings: Record<string, string> = { AUTH_JWT_SECRET: SECRET }) => {
  const { auth } = readConfig(settings)
  const clock = { ms: 1_000_000 }
  const warnings: { reason: string }[] = []
  const news: string[] = []
  const log = {
    warn: (details: object) => void warnings.push(details as { reason: string }),
    info: (message: string) => void news.push(message),
  }
  const unchecked = { count: 0 }
  const onKeysUnavailable = () => (unchecked.count += 1)
  const tokens = createTokens({ auth: auth!, log, guessesPerSecond: 0, onKeysUnavailable, now: () => clock.ms })
  const server = await startServer(t, { identify: tokens.identify })
  const ask = (token: string) => fetch(`${server.api}/jobs`, { headers: bearer(token) })
  const status = async (token: string) => (await ask(token)).status
  return { ...server, clock, warnings, news, unchecked, tokens, ask, status }
}

interface Refusal {
  status: number
  code: string
  detail: string
  challenge: string | null
}

const refusalOf = async (response: Response): Promise<Refusal> => {
  const { status, code, detail } = await readProblem(response)
  return { status, code, detail, challenge: response.headers.get('www-authenticate') }
}

t.test('a token says who the caller is and what it may do', async t => {
  const { ask, jobs, api, status } = await startGuarded(t)
  let seen: unknown
  jobs.list = async (identity, query) => {
    seen = identity
    return { items: [], page: query.page, pageSize: query.pageSize, total: 0, totalIsExact: true, next: null }
  }
  const exp = Math.ceil(secondsFromNow(100))
  const cases: [claims: TestClaims, identity: object][] = [
    [
      { tenant_id: TENANT, exp },
      { tenantId: TENANT.toLowerCase(), organizationId: null, userId: null, jobId: null, expiresAtMs: exp * 1000 },
    ],
    [{ exp: undefined }, { expiresAtMs: null }],
    [
      { sub: 'auth0|42', organization_id: ORGANIZATION, job_id: JOB_ID },
      { userId: 'auth0|42', organizationId: ORGANIZATION, jobId: JOB_ID },
    ],
    [{ sub: '🦊'.repeat(255) }, { userId: '🦊'.repeat(255) }],
    [{ features: ['progress.view', 'billing.pay', 'progress.fly'] }, { features: new Set(['progress.view']) }],
    [{ features: 'openid progress.view progress.cancel' }, { features: new Set(['progress.view', 'progress.cancel']) }],
    [
      { features: ['progress.*'] },
      {
        features: new Set([
          'progress.view',
          'progress.create',
          'progress.update',
          'progress.cancel',
          'progress.manage',
        ]),
      },
    ],
    [{ iat: 1, jti: 'x', nbf: secondsFromNow(59), roles: [{}] }, {}],
    [{ exp: secondsFromNow(-56) }, {}],
  ]
  for (const [claims, identity] of cases) {
    t.equal((await ask(await mint(claims))).status, 200, JSON.stringify(claims))
    t.match(seen, identity, JSON.stringify(claims))
  }
  for (const scheme of ['bearer', 'BEARER', 'Bearer  ']) {
    t.equal(
      (await fetch(`${api}/jobs`, { headers: { authorization: `${scheme} ${await mint()}` } })).status,
      200,
      scheme,
    )
  }
  t.equal(await status(await mint({ features: undefined })), 403, 'a token without features may do nothing')
  t.equal(await status(await mint({ features: ['progress.view.all', 'view', '*'] })), 403)
})

t.test('an invalid token is refused with a sentence that says why, and the token is never repeated', async t => {
  const issuer = 'https://login.example.com/'
  const { api, ask } = await startGuarded(t, { AUTH_JWT_SECRET: SECRET, AUTH_ISSUER: issuer, AUTH_AUDIENCE: 'headway' })
  const good = { iss: issuer, aud: ['other', 'headway'], sub: 'someone' }
  const other = await makeKey('RS256')
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const unsigned = `${part({ alg: 'none' })}.${part({ ...good, tenant_id: TENANT, features: ['progress.*'] })}.`
  const [head, , signature] = (await mint(good)).split('.') as [string, string, string]
  const forged = part({ ...good, tenant_id: TENANT, features: ['progress.*'], sub: 'admin' })
  const bad: [name: string, token: string, detail: RegExp][] = [
    ['no algorithm', unsigned, /Bearer <token>|signed with HS256|not a signed/],
    ['no algorithm, with a signature', `${unsigned}${signature}`, /must be signed with HS256/],
    ['another algorithm', await mint(good, other), /must be signed with HS256/],
    ['a longer hash', await mint(good, { alg: 'HS512', key: Buffer.alloc(64, 1) }), /must be signed with HS256/],
    ['another secret', await mint(good, { alg: 'HS256', key: Buffer.alloc(32, 1) }), /another key/],
    ['other claims under the signature', `${head}.${forged}.${signature}`, /another key/],
    ['another issuer', await mint({ ...good, iss: 'https://evil.example/' }), /another issuer than AUTH_ISSUER/],
    ['no issuer', await mint({ ...good, iss: undefined }), /claim iss .* missing/],
    ['another audience', await mint({ ...good, aud: 'other' }), /AUTH_AUDIENCE/],
    ['no audience', await mint({ ...good, aud: undefined }), /claim aud .* missing/],
    ['expired beyond the skew', await mint({ ...good, exp: secondsFromNow(-61) }), /has expired/],
    ['not valid yet', await mint({ ...good, nbf: secondsFromNow(63) }), /not valid yet/],
    ['an end that is no time', await mint({ ...good, exp: 'soon' }), /claim exp/],
    ['no tenant', await mint({ ...good, tenant_id: undefined }), /claim tenant_id of the token is missing/],
    [
      'a tenant that is no UUID',
      await mint({ ...good, tenant_id: 'acme' }),
      /claim tenant_id of the token must be a UUID/,
    ],
    ['a tenant that is null', await mint({ ...good, tenant_id: null }), /claim tenant_id/],
    ['the nil organization', await mint({ ...good, organization_id: NIL }), /claim organization_id .* nil UUID/],
    ['an organization that is no UUID', await mint({ ...good, organization_id: 7 }), /claim organization_id/],
    ['a job that is null', await mint({ ...good, job_id: null }), /claim job_id/],
    ['a job that is no UUID', await mint({ ...good, job_id: '' }), /claim job_id/],
    ['a user that is too long', await mint({ ...good, sub: 'a'.repeat(256) }), /claim sub .* 255/],
    ['a user that is no text', await mint({ ...good, sub: 7 }), /claim sub/],
    ['a user with NUL', await mint({ ...good, sub: 'a\0' }), /claim sub/],
    [
      'features that are no list',
      await mint({ ...good, features: { 'progress.view': true } }),
      /claim features .* list/,
    ],
    ['features that are no texts', await mint({ ...good, features: [1] }), /claim features/],
    [
      'claims that are no object',
      await new CompactSign(Buffer.from('[]')).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(SECRET)),
      /not a signed/,
    ],
    [
      'an unknown critical header',
      await new SignJWT({ ...good, tenant_id: TENANT })
        .setProtectedHeader({ alg: 'HS256', crit: ['x'], x: 1 })
        .sign(Buffer.from(SECRET), { crit: { x: true } }),
      /not a signed/,
    ],
    ['garbage', 'garbage', /not a signed/],
    ['three dots', 'a.b.c', /not a signed/],
    ['other characters', 'a b', /Bearer <token>/],
    ['an umlaut', 'ä.b.c', /Bearer <token>/],
    ['nothing after the scheme', '', /Bearer <token>/],
    ['too long', await mint({ ...good, more: 'x'.repeat(8000) }), /longer than 8192/],
  ]
  for (const [name, token, detail] of bad) {
    const refusal = await refusalOf(await ask(token))
    t.match(refusal, { status: 401, code: 'unauthenticated', detail }, name)
    t.match(refusal.challenge, /^Bearer realm="headway", error="invalid_token", error_description="[^"\\]+"$/, name)
    if (token.length > 10) t.notOk(JSON.stringify(refusal).includes(token), `${name}: the token is not repeated`)
    t.notMatch(JSON.stringify(refusal), /someone|evil/, `${name}: nor what it says`)
  }
  t.equal((await ask(await mint(good))).status, 200, 'and a good one is taken')
  for (const headers of [
    {},
    { authorization: 'Basic dXNlcjpwYXNz' },
    { authorization: 'Digest x' },
    { authorization: 'Bearerx' },
  ]) {
    const refusal = await refusalOf(await fetch(`${api}/jobs`, { headers }))
    t.match(
      refusal,
      { status: 401, detail: /needs a token/, challenge: 'Bearer realm="headway"' },
      JSON.stringify(headers),
    )
  }
})

t.test('a public key is not taken for a secret', async t => {
  const key = await makeKey('RS256', 'one')
  const issuer = await startIssuer(t)
  issuer.publish(key.jwk, { kty: 'oct', k: Buffer.from(SECRET).toString('base64url'), kid: 'secret', alg: 'HS256' })
  const { ask, status } = await startGuarded(t, { AUTH_JWKS_URL: issuer.url })
  const pem = await exportSPKI(key.publicKey)
  for (const secret of [pem, pem.trimEnd(), JSON.stringify(key.jwk), key.jwk.n!]) {
    const token = await mint({}, { alg: 'HS256', key: Buffer.from(secret), kid: 'one' })
    t.match(await refusalOf(await ask(token)), { status: 401, detail: /must be signed with RS256, ES256, EdDSA/ })
  }
  t.equal(await status(await mint({}, { alg: 'HS256', key: Buffer.from(SECRET), kid: 'secret' })), 401)
  // Nor is a key that the token brings along, or says where to fetch.
  const own = await makeKey('RS256', 'one')
  const { url: elsewhere } = issuer
  for (const header of [{ jwk: own.jwk }, { jku: elsewhere, kid: 'two' }, { x5u: elsewhere }, { x5c: ['AA=='] }]) {
    const claims = { tenant_id: TENANT, features: ['progress.*'], exp: secondsFromNow(100) }
    const token = await new SignJWT(claims).setProtectedHeader({ alg: 'RS256', ...header }).sign(own.key)
    t.match(await refusalOf(await ask(token)), { status: 401, code: 'unauthenticated' }, Object.keys(header).join())
  }
  t.ok(issuer.asked <= 2, 'nobody is asked because a token says so')
  t.equal(await status(await mint({}, key)), 200)
})

t.test('two Authorization headers are refused, also if one of them is good', async t => {
  const { port } = await startGuarded(t)
  const token = await mint()
  const send = (...lines: string[]) =>
    raw(
      port,
      ['GET /api/progress/jobs HTTP/1.1', 'host: localhost', 'connection: close', ...lines, '', ''].join('\r\n'),
    )
  t.match(await send(`authorization: Bearer ${token}`), /^HTTP\/1\.1 200 /)
  for (const second of [token, 'x', await mint()]) {
    const answer = await send(`Authorization: Bearer ${token}`, `authorization: Bearer ${second}`)
    t.match(answer, /^HTTP\/1\.1 400 [^]*authorization must not come more than once/)
  }
})

t.test('a refusal for a missing feature names the feature, and comes before the body is read', async t => {
  const { api } = await startGuarded(t)
  const headers = bearer(await mint({ features: ['progress.view'] }))
  const response = await fetch(`${api}/jobs`, { method: 'POST', body: 'not JSON', headers })
  t.match(await refusalOf(response), {
    status: 403,
    code: 'forbidden',
    detail: /progress\.create/,
    challenge: /^Bearer realm="headway", error="insufficient_scope", error_description="[^"]*progress\.create[^"]*"$/,
  })
  const foreign = await fetch(`${api}/stream?organizationId=${ORGANIZATION}`, { headers })
  t.match(
    await refusalOf(foreign),
    { status: 403, challenge: /insufficient_scope/ },
    'also where the route itself refuses',
  )
})

t.test('only streams take a token in the query, and the header wins', async t => {
  const { api, live } = await startGuarded(t)
  const [one, two] = [randomUUID(), randomUUID()]
  const [inQuery, inHeader] = [await mint({ tenant_id: one }), await mint({ tenant_id: two })]
  const open = async (url: string, headers: Record<string, string> = {}) => {
    const client = new AbortController()
    const response = await fetch(`${api}${url}`, { headers, signal: client.signal })
    const answer = response.status === 200 ? null : await refusalOf(response)
    client.abort()
    return { status: response.status, tenantId: live.requests.at(-1)?.filter.tenantId, answer }
  }
  for (const path of ['/stream', `/jobs/${JOB_ID}/stream`]) {
    t.match(await open(`${path}?access_token=${inQuery}`), { status: 200, tenantId: one }, path)
    t.match(
      await open(`${path}?access_token=${inQuery}`, bearer(inHeader)),
      { status: 200, tenantId: two },
      'the header wins',
    )
    t.equal((await open(`${path}?access_token=${inQuery}`, bearer('bad'))).status, 401, 'also when it is bad')
    const behindProxy = { authorization: 'Basic dXNlcjpwYXNz' }
    t.match(
      await open(`${path}?access_token=${inQuery}`, behindProxy),
      { status: 200, tenantId: one },
      'another scheme is no token',
    )
    t.match((await open(path)).answer, { status: 401, detail: /\?access_token=/, challenge: 'Bearer realm="headway"' })
    t.match((await open(`${path}?access_token=`)).answer, { status: 401, challenge: 'Bearer realm="headway"' })
    t.match((await open(`${path}?access_token=x`)).answer, { status: 401, challenge: /invalid_token/ })
    t.match((await open(`${path}?access_token=${inQuery}&access_token=${inQuery}`)).answer, {
      status: 401,
      detail: /one token/,
    })
    const expired = await mint({ exp: secondsFromNow(-5) })
    t.match((await open(path, bearer(expired))).answer, { status: 401, detail: /has expired/ }, 'no skew for streams')
  }
  for (const path of [
    '/jobs',
    '/active',
    '/stats',
    `/jobs/${JOB_ID}`,
    `/jobs/${JOB_ID}/progress`,
    `/jobs/${JOB_ID}/events`,
  ]) {
    const alone = await fetch(`${api}${path}?access_token=${inQuery}`)
    t.match(await refusalOf(alone), { status: 401, challenge: 'Bearer realm="headway"' }, `${path}: not a credential`)
    const beside = await fetch(`${api}${path}?access_token=${inQuery}`, { headers: bearer(inHeader) })
    t.equal(beside.status, 400, `${path}: nor a parameter`)
    t.match(await readProblem(beside), { errors: [{ path: 'access_token', message: 'is not known here' }] })
  }
})

t.test('neither tokens nor queries come into the log or into problems', async t => {
  const secretWord = 'ThisWordIsSecret'
  const { auth } = readConfig({ AUTH_JWT_SECRET: SECRET })
  const lines: string[] = []
  const { pino } = await import('pino')
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) })
  const { identify } = createTokens({ auth: auth!, log, guessesPerSecond: 0 })
  const { api, url, port, jobs, live } = await startServer(t, { identify, log })
  const token = await mint({ sub: secretWord })
  const payload = token.split('.')[1]!
  const answers: string[] = []
  const read = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${api}${path}`, init).catch(() => null)
    answers.push(response ? (await response.text()) + JSON.stringify([...response.headers]) : '')
  }
  jobs.failure = new Error('something broke')
  live.failure = new Error('something else broke')
  const query = `access_token=${token}&q=${secretWord}`
  await read(`/jobs/${JOB_ID}`, { headers: bearer(token) })
  await read(`/jobs/${JOB_ID}/stream?access_token=${token}`)
  await read(`/stream?access_token=${token}`)
  t.equal(lines.filter(line => line.includes('broke')).length, 3, 'the errors are logged')
  await read(`/stream?${query}`)
  await read(`/jobs?${query}`, { headers: bearer(token) })
  await read(`/jobs/%zz?${query}`, { headers: bearer(token) })
  await read(`/nowhere?${query}`, { headers: bearer(token) })
  await read(`/jobs/${JOB_ID}/start?${query}`, { headers: bearer(token), method: 'PATCH' })
  await read(`/jobs`, { headers: bearer(token), method: 'POST', body: `{"${secretWord}` })
  await read('/jobs', { headers: bearer(`${token}x`) })
  await read('/jobs', { headers: bearer(await mint({ sub: secretWord, tenant_id: secretWord })) })
  await read('/jobs', { headers: bearer(await mint({ sub: secretWord, exp: 1 })) })
  for (const path of [
    `//?${query}`,
    `/api/progress/jobs/\0?${query}`,
    `http://[::1?${query}`,
    `/%?${query}`,
    `/api/progress/jobs;x?${query}`,
  ]) {
    answers.push(
      await raw(port, `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer ${token}\r\n\r\n`),
    )
  }
  answers.push(await raw(port, `GET /api/progress/jobs HTTP/1.1\r\nhost: x\r\nauthorization Bearer ${token}\r\n\r\n`))
  answers.push(await raw(port, `GET /${'a'.repeat(20_000)}?${query} HTTP/1.1\r\nhost: x\r\n\r\n`))
  await fetch(`${url}/healthz?${query}`).then(async response => answers.push(await response.text()))
  t.ok(answers.length > 15)
  for (const text of [...lines, ...answers]) {
    t.notOk(text.includes(payload) || text.includes(secretWord) || text.includes(SECRET), text.slice(0, 200))
  }
})

t.test('a token is checked once, then known for five minutes, and never beyond its end', async t => {
  const key = await makeKey('ES256', 'one')
  const issuer = await startIssuer(t)
  issuer.publish(key.jwk)
  const { clock, ask, status, tokens } = await startGuarded(t, { AUTH_JWKS_URL: issuer.url })
  const identify = (token: string) =>
    tokens.identify({
      headers: bearer(token),
      raw: { rawHeaders: [] },
      query: {},
      routeOptions: { config: {} },
    } as never)
  const token = await mint({}, key)
  t.ok(identify(token) instanceof Promise)
  t.equal(await status(token), 200)
  await waitFor(() => !(identify(token) instanceof Promise))
  clock.ms += 299_000
  await status(await mint({}, key))
  await waitFor(() => issuer.asked === 2)
  t.equal(await status(token), 200)
  clock.ms += 2_000
  t.ok(identify(token) instanceof Promise, 'after five minutes it is checked again')

  const brief = await mint({ exp: secondsFromNow(1) }, key)
  t.equal((await ask(brief)).status, 200)
  await waitFor(() => !(identify(brief) instanceof Promise))
  await waitFor(() => identify(brief) instanceof Promise)
  t.pass('at its end it is not known any more')
})

t.test('ten thousand tokens are remembered, those used last', async t => {
  const { VerifiedTokens } = await import('../../src/http/tokens/verified.ts')
  const identity = { expiresAtMs: null } as never
  const verified = new VerifiedTokens(() => 0)
  for (let n = 0; n < 10_000; n++) verified.add(`token ${n}`, identity, 0)
  t.ok(verified.get('token 0'))
  verified.add('one more', identity, 0)
  t.ok(verified.get('token 0'), 'it was used')
  t.notOk(verified.get('token 1'), 'it was not')
  t.ok(verified.get('token 2'))
})

/** A server whose tokens are those of an issuer with one key. */
const startWithIssuer = async (t: Test) => {
  const issuer = await startIssuer(t)
  const first = await makeKey('RS256', 'first')
  issuer.publish(first.jwk)
  const guarded = await startGuarded(t, { AUTH_JWKS_URL: issuer.url })
  const mintWith = (key: Parameters<typeof mint>[1]) => mint({}, key)
  return { ...guarded, issuer, first, mintWith }
}

t.test('tokens of RS256, ES256 and EdDSA are checked with the key that they name, or with a key that fits', async t => {
  const issuer = await startIssuer(t)
  const keys = await Promise.all([
    makeKey('RS256', 'r'),
    makeKey('RS256', 's'),
    makeKey('ES256', 'e'),
    makeKey('EdDSA', 'd'),
  ])
  issuer.publish(...keys.map(key => key.jwk))
  const { status, ask } = await startGuarded(t, { AUTH_JWKS_URL: issuer.url })
  for (const key of keys) t.equal(await status(await mint({}, key)), 200, key.alg)
  const [, second] = keys
  const nameless = { alg: 'RS256', key: second.key }
  t.equal(await status(await mint({}, nameless)), 200, 'without a key id every fitting key is tried')
  t.match(await refusalOf(await ask(await mint({ exp: 1 }, nameless))), { status: 401, detail: /expired/ })
  const { key } = await makeKey('RS256')
  t.match(await refusalOf(await ask(await mint({}, { alg: 'RS256', key }))), { status: 401, detail: /another key/ })
  t.match(await refusalOf(await ask(await mint({}, { alg: 'RS256', key, kid: 'r' }))), {
    status: 401,
    detail: /another key/,
  })
  const p = await makeKey('PS256', 'p')
  t.match(await refusalOf(await ask(await mint({}, p))), { status: 401, detail: /must be signed with RS256/ })
})

t.test('a new key of an issuer is fetched once when a token names it, for all callers who wait', async t => {
  const { issuer, first, mintWith, status, ask, clock } = await startWithIssuer(t)
  t.equal(await status(await mintWith(first)), 200)
  t.equal(issuer.asked, 1)
  const second = await makeKey('RS256', 'second')
  issuer.publish(first.jwk, second.jwk)
  const fresh = await Promise.all(Array.from({ length: 10 }, () => mintWith(second)))
  t.same(await Promise.all(fresh.map(status)), Array(10).fill(200))
  t.equal(issuer.asked, 2, 'one call for all')
  const stranger = await makeKey('RS256', 'stranger')
  const refusal = await refusalOf(await ask(await mintWith(stranger)))
  t.match(refusal, { status: 401, detail: /does not publish/ })
  for (let n = 0; n < 20; n++) await status(await mintWith({ ...stranger, kid: `${n}` }))
  t.equal(issuer.asked, 2, 'made-up keys are no way to make the service call its issuer')
  clock.ms += 10_001
  await status(await mintWith(stranger))
  t.equal(issuer.asked, 3)
  t.equal(await status(await mintWith(first)), 200)
})

t.test('a key that its issuer has withdrawn is no longer accepted after five minutes', async t => {
  const { issuer, first, mintWith, status, clock } = await startWithIssuer(t)
  const second = await makeKey('RS256', 'second')
  issuer.publish(first.jwk, second.jwk)
  const old = await mintWith(first)
  t.equal(await status(old), 200)
  issuer.publish(second.jwk)
  t.equal(await status(old), 200, 'it was known')
  clock.ms += 121_000
  t.equal(await status(old), 200, 'in use, the keys are fetched in the background')
  await waitFor(async () => (await status(old)) === 401)

  const later = await startWithIssuer(t)
  const [used, unused] = [await later.mintWith(later.first), await later.mintWith(later.first)]
  t.equal(await later.status(unused), 200)
  later.clock.ms += 60_000
  t.equal(await later.status(used), 200)
  later.issuer.publish(second.jwk)
  later.clock.ms += 240_001
  t.equal(
    await later.status(used),
    401,
    'after a silence they are fetched first, also for a token that was just checked',
  )
  t.equal(await later.status(unused), 401)
})

t.test('while an issuer is away, tokens are checked with its known keys', async t => {
  const { issuer, first, mintWith, status, ask, clock, warnings, news } = await startWithIssuer(t)
  const old = await mintWith(first)
  t.equal(await status(old), 200)
  const faults: [name: string, answer: Parameters<Issuer['answer']>[0], reason: RegExp][] = [
    ['an error', response => response.writeHead(500).end(), /500/],
    ['a cut', response => response.destroy(), /./],
    ['a redirect', response => response.writeHead(302, { location: '/elsewhere' }).end(), /302/],
    ['a page', response => response.end('<html>'), /not JSON/],
    ['null', response => response.end('null'), /contains no keys/],
    ['no keys', response => response.end('{"keys":[]}'), /contains no keys/],
    ['keys that are none', response => response.end('{"keys":[1]}'), /malformed/],
    ['too much', response => response.end(`{"keys":[${'{},'.repeat(300_000)}{}]}`), /more than 512 KB/],
  ]
  for (const [name, answer, reason] of faults) {
    issuer.answer(answer)
    const { asked } = issuer
    clock.ms += 3_600_000
    t.equal(await status(old), 200, `${name}: a token that was known`)
    t.equal(await status(await mintWith(first)), 200, `${name}: a new one`)
    await waitFor(() => warnings.length > news.length)
    t.ok(issuer.asked > asked, `${name}: it was asked`)
    t.match(warnings.at(-1)?.reason, reason, name)
    const unknown = await ask(await mintWith(await makeKey('ES256', name)))
    t.match(
      await readProblem(unknown),
      { status: 503, code: 'keys_unavailable' },
      'a new key may exist: nobody can tell',
    )
    issuer.publish(first.jwk)
    clock.ms += 3_600_000
    t.equal(await status(old), 200)
    await waitFor(() => news.length === warnings.length)
  }
  t.equal(warnings.length, faults.length, 'one line for each outage')

  issuer.answer(response => response.destroy())
  clock.ms += 3_600_000
  t.equal(await status(old), 200)
  await waitFor(() => warnings.length > news.length)
  const { asked } = issuer
  issuer.answer(response => response.write('{'))
  clock.ms += 3_600_000
  const begun = performance.now()
  t.equal(await status(old), 200)
  t.ok(performance.now() - begun < 2_000, 'once it is known to be away, nobody waits for it')
  await waitFor(() => issuer.asked > asked)
})

t.test('a service that starts before its issuer answers 503 until it can check tokens', async t => {
  const { issuer, first, mintWith, ask, status, clock, tokens, api } = await startWithIssuer(t)
  issuer.answer(response => response.destroy())
  tokens.start()
  await waitFor(() => issuer.asked >= 1)
  const token = await mintWith(first)
  const unchecked = await ask(token)
  t.equal(unchecked.status, 503)
  t.match(unchecked.headers.get('retry-after'), /^[1-5]$/)
  t.match(await readProblem(unchecked), { code: 'keys_unavailable' })
  t.equal((await fetch(`${api}/jobs`)).status, 401, 'who has no token needs no keys')
  t.equal(await status('garbage'), 401)
  const { asked } = issuer
  t.equal(await status(token), 503)
  t.equal(issuer.asked, asked, 'after a failure the issuer is left alone for some seconds')
  issuer.publish(first.jwk)
  clock.ms += 5_000
  t.equal(await status(token), 200)
})

t.test('a token counts as turned away when its issuer is away, and not when it is invalid', async t => {
  const { issuer, first, mintWith, status, clock, unchecked } = await startWithIssuer(t)
  issuer.answer(response => response.destroy())
  const token = await mintWith(first)
  t.equal(await status(token), 503)
  t.equal(unchecked.count, 1)
  issuer.publish(first.jwk)
  clock.ms += 5_000
  t.equal(await status(token), 200)
  const stranger = await mintWith(await makeKey('RS256', 'stranger'))
  clock.ms += 10_000
  for (const bad of ['garbage', stranger, await mint({ exp: 1 }, first)]) t.equal(await status(bad), 401)
  t.equal(unchecked.count, 1)
})

t.test('the service waits five seconds for an issuer that does not answer', async t => {
  const { issuer, first, mintWith, ask, warnings } = await startWithIssuer(t)
  // A body without an end: the limit holds for all of the answer.
  issuer.answer(response => response.write('{'))
  const begun = performance.now()
  t.equal((await ask(await mintWith(first))).status, 503)
  const took = performance.now() - begun
  t.ok(took > 4_900 && took < 7_000, `${Math.round(took)} ms`)
  t.match(warnings, [{ reason: 'no answer within 5 s' }])
})

t.test('a published key that cannot be used is reported as an error of the issuer', async t => {
  const { issuer, first, mintWith, ask, status, log } = await startWithIssuer(t)
  const broken = await makeKey('RS256', 'broken')
  issuer.publish(first.jwk, { ...broken.jwk, n: 'AQAB' })
  t.equal(await status(await mintWith(first)), 200)
  const refusal = await ask(await mintWith(broken))
  t.match(await readProblem(refusal), { status: 503, code: 'keys_unavailable' })
  t.equal(log.length, 1, 'the log says what is wrong with it')
})

t.test('insecure and contradictory settings are refused by name', t => {
  const refused = (settings: Record<string, string>): string => {
    try {
      readConfig(settings)
    } catch (error) {
      return (error as Error).message
    }
    return ''
  }
  const jwks = 'https://login.example.com/keys'
  const cases: [settings: Record<string, string>, sentence: RegExp][] = [
    [{ AUTH_JWT_SECRET: 'tooShortToBeASecret' }, /AUTH_JWT_SECRET must have at least 32 bytes/],
    [{ AUTH_JWT_SECRET: 'tooShortToBeASecret', PORT: 'x' }, /PORT/],
    [{ AUTH_JWT_SECRET: SECRET, AUTH_JWKS_URL: jwks }, /AUTH_JWKS_URL and AUTH_JWT_SECRET are two ways/],
    [{ AUTH_JWT_SECRET: SECRET, AUTH_MODE: 'none' }, /AUTH_MODE is none/],
    [{ AUTH_JWKS_URL: jwks, AUTH_MODE: 'none' }, /AUTH_MODE is none/],
    [{ AUTH_JWKS_URL: 'login.example.com/keys' }, /AUTH_JWKS_URL must be a URL/],
    [{ AUTH_JWKS_URL: 'file:///etc/keys' }, /AUTH_JWKS_URL must be a URL/],
    [{ AUTH_JWKS_URL: 'https://me:tooShortToBeASecret@login.example.com/' }, /AUTH_JWKS_URL must not hold/],
    [{ AUTH_ISSUER: 'https://login.example.com/' }, /AUTH_ISSUER .* set AUTH_JWT_SECRET or AUTH_JWKS_URL/],
    [{ AUTH_AUDIENCE: 'headway', AUTH_MODE: 'none' }, /AUTH_AUDIENCE/],
    [{ HOST: '0.0.0.0' }, /HOST .*AUTH_JWT_SECRET or AUTH_JWKS_URL.*AUTH_MODE=none/],
    [{ HOST: '0.0.0.0', AUTH_JWT_SECRET: '' }, /HOST/],
  ]
  for (const [settings, sentence] of cases) {
    t.match(refused(settings), sentence, JSON.stringify(settings))
    t.notMatch(refused(settings), new RegExp(`tooShortToBeASecret|${SECRET}`), 'no secret is repeated')
  }
  t.equal(readConfig({ HOST: '0.0.0.0', AUTH_JWT_SECRET: SECRET }).auth?.issuer, null)
  t.match(readConfig({ HOST: '::', AUTH_JWKS_URL: jwks, AUTH_ISSUER: 'i', AUTH_AUDIENCE: 'a' }).auth, {
    keys: { jwksUrl: jwks },
    issuer: 'i',
    audience: 'a',
  })
  t.equal(readConfig({}).auth, null)
  t.end()
})

t.test('with tokens, any host and any origin may call', async t => {
  const { port } = await startGuarded(t)
  const lines = [
    'GET /api/progress/jobs HTTP/1.1',
    'host: headway.example',
    'origin: https://app.example',
    'sec-fetch-site: cross-site',
  ]
  const answer = await raw(
    port,
    [...lines, 'connection: close', `authorization: Bearer ${await mint()}`, '', ''].join('\r\n'),
  )
  t.match(answer, /^HTTP\/1\.1 200 /)
})

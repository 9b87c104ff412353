import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { readConfig } from '../../src/config.ts'
import { readDashboard } from '../../src/http/dashboard-files.ts'
import type { DashboardFile } from '../../src/http/dashboard-files.ts'
import { createTokens } from '../../src/http/tokens/identify.ts'
import { bearer, mint, SECRET } from '../helpers/tokens.ts'
import { JOB_ID, raw, readProblem, startServer } from './in-memory.ts'

const PAGE = 'https://app.example.com'
const OTHER_PAGE = 'http://localhost:5173'
const EVIL = 'https://evil.example'

const { auth } = readConfig({ AUTH_JWT_SECRET: SECRET })
const log = { warn: () => undefined, info: () => undefined }
const { identify } = createTokens({ auth: auth!, log, guessesPerSecond: 0 })

const preflight = (origin: string, method = 'POST', headers = 'authorization,content-type') => ({
  method: 'OPTIONS',
  headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': headers },
})

t.test('without CORS_ORIGIN no page of another origin may read an answer', async t => {
  const { url, api } = await startServer(t, { identify })
  for (const [where, init] of [
    [`${url}/healthz`, { headers: { origin: PAGE } }],
    [`${api}/jobs`, { headers: { origin: PAGE, ...bearer(await mint()) } }],
    [`${api}/jobs`, preflight(PAGE)],
  ] as const) {
    const response = await fetch(where, init)
    t.notOk(
      [...response.headers.keys()].some(name => name.startsWith('access-control-')),
      where,
    )
  }
  t.equal((await fetch(`${api}/jobs`, preflight(PAGE))).status, 405)
})

t.test('pages of CORS_ORIGIN may call the service and read answers and refusals, and other pages may not', async t => {
  const { url, api } = await startServer(t, {
    identify,
    config: { corsOrigins: [PAGE, OTHER_PAGE], rateLimitPerSecond: 9 },
  })
  const token = bearer(await mint())
  for (const origin of [PAGE, OTHER_PAGE]) {
    const asked = await fetch(`${api}/jobs/${JOB_ID}/heartbeat`, preflight(origin))
    t.equal(asked.status, 204)
    t.equal(asked.headers.get('access-control-allow-origin'), origin)
    t.match(asked.headers.get('access-control-allow-methods'), /GET.*POST.*PUT.*DELETE/)
    for (const name of [
      'authorization',
      'content-type',
      'idempotency-key',
      'if-none-match',
      'last-event-id',
      'prefer',
    ]) {
      t.ok(asked.headers.get('access-control-allow-headers')?.includes(name), name)
    }
    t.equal(asked.headers.get('access-control-allow-credentials'), null, 'no cookies are asked for')
    t.match(asked.headers.get('vary'), /origin/i)
  }
  const answers: [path: string, status: number, init?: RequestInit][] = [
    ['/api/progress/jobs', 200, { headers: token }],
    [`/api/progress/jobs/${JOB_ID}`, 200, { headers: token }],
    ['/api/progress/jobs', 401],
    ['/api/progress/jobs?page=x', 400, { headers: token }],
    ['/api/progress/nothing', 404],
    ['/api/progress/jobs', 415, { method: 'POST', body: 'x', headers: token }],
    ['/healthz', 200],
  ]
  for (const [path, status, init] of answers) {
    const response = await fetch(url + path, { ...init, headers: { ...(init?.headers as object), origin: PAGE } })
    t.equal(response.status, status, path)
    t.equal(response.headers.get('access-control-allow-origin'), PAGE, path)
    const exposed = response.headers.get('access-control-expose-headers')?.split(', ') ?? []
    for (const name of [
      'etag',
      'location',
      'retry-after',
      'x-request-id',
      'preference-applied',
      'ratelimit-remaining',
    ]) {
      t.ok(exposed.includes(name), name)
    }
    t.match(response.headers.get('vary'), /origin/i, 'no cache hands it to another page')
    const evil = await fetch(url + path, { ...init, headers: { ...(init?.headers as object), origin: EVIL } })
    t.equal(evil.headers.get('access-control-allow-origin'), null)
  }
  for (const origin of [
    EVIL,
    'null',
    `${PAGE}.evil.example`,
    PAGE.toUpperCase(),
    `${PAGE}:443`,
    'http://app.example.com',
  ]) {
    const refused = await fetch(`${api}/jobs`, preflight(origin))
    t.equal(refused.headers.get('access-control-allow-origin'), null, origin)
  }
  const plain = await fetch(`${api}/jobs`, { method: 'OPTIONS', headers: { origin: PAGE } })
  t.equal(plain.status, 405, 'an OPTIONS that is no preflight is a method like any other')
  t.equal((await fetch(`${url}/nowhere`, { method: 'OPTIONS' })).status, 404)
})

t.test('a page of CORS_ORIGIN may follow streams, with a header and with a token in the query', async t => {
  const { api } = await startServer(t, { identify, config: { corsOrigins: [PAGE] } })
  const token = await mint()
  t.equal((await fetch(`${api}/stream`, preflight(PAGE, 'GET', 'authorization,last-event-id'))).status, 204)
  for (const [query, headers] of [
    ['', bearer(token)],
    [`?access_token=${token}`, {}],
  ] as const) {
    const client = new AbortController()
    const response = await fetch(`${api}/stream${query}`, {
      headers: { ...headers, origin: PAGE },
      signal: client.signal,
    })
    t.equal(response.status, 200)
    t.equal(response.headers.get('access-control-allow-origin'), PAGE)
    t.match(response.headers.get('vary'), /^origin, accept$/i)
    client.abort()
  }
  const refused = await fetch(`${api}/stream?access_token=bad`, { headers: { origin: PAGE } })
  t.equal(refused.headers.get('access-control-allow-origin'), PAGE, 'and is told why it may not')
  t.equal((await readProblem(refused)).code, 'unauthenticated')
})

t.test('with CORS_ORIGIN=* every page that has a token may call the service', async t => {
  const { api } = await startServer(t, { identify, config: { corsOrigins: ['*'] } })
  const response = await fetch(`${api}/jobs`, { headers: { origin: EVIL, ...bearer(await mint()) } })
  t.equal(response.headers.get('access-control-allow-origin'), '*')
  t.equal((await fetch(`${api}/jobs`, preflight(EVIL))).headers.get('access-control-allow-origin'), '*')
  t.equal((await fetch(`${api}/jobs`, { headers: { origin: EVIL } })).status, 401)
})

t.test('an open service on loopback answers the pages of CORS_ORIGIN, and no other page', async t => {
  const { api, port, jobs } = await startServer(t, { config: { corsOrigins: [OTHER_PAGE] } })
  const crossSite = { origin: OTHER_PAGE, 'sec-fetch-site': 'cross-site' }
  const allowed = await fetch(`${api}/jobs`, { headers: crossSite })
  t.equal(allowed.status, 200)
  t.equal(allowed.headers.get('access-control-allow-origin'), OTHER_PAGE)
  t.equal((await fetch(`${api}/jobs`, preflight(OTHER_PAGE))).status, 204)
  const seen = jobs.calls.length
  for (const origin of [EVIL, 'null', 'http://localhost:5174', `${OTHER_PAGE}.evil.example`]) {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const path = method === 'GET' ? '/jobs' : `/jobs/${JOB_ID}${method === 'POST' ? '/cancel' : ''}`
      const response = await fetch(api + path, { method, headers: { origin } })
      t.equal(response.status, 403, `${method} from ${origin}`)
      t.equal(response.headers.get('access-control-allow-origin'), null)
    }
    t.equal((await fetch(`${api}/jobs`, preflight(origin))).status, 403)
  }
  t.equal(
    (await fetch(`${api}/jobs`, { headers: { 'sec-fetch-site': 'cross-site' } })).status,
    403,
    'a link or an image',
  )
  const rebound = `GET /api/progress/jobs HTTP/1.1\r\nhost: evil.example\r\norigin: ${OTHER_PAGE}\r\nconnection: close\r\n\r\n`
  t.match(await raw(port, rebound), /^HTTP\/1\.1 421 /, 'an allowed page must use the name of this machine as well')
  t.equal(jobs.calls.length, seen)
})

t.test('CORS_ORIGIN takes exact origins, or * where tokens are asked for', t => {
  const refused = (settings: Record<string, string>): string => {
    try {
      readConfig(settings)
    } catch (error) {
      return (error as Error).message
    }
    return ''
  }
  for (const origins of [
    'app.example.com',
    'https://app.example.com/',
    'https://app.example.com/path',
    'https://app.example.com:443',
    'https://APP.example.com',
    'https://*.example.com',
    'https://user@app.example.com',
    'ftp://app.example.com',
    'null',
    `${PAGE},`,
    `${PAGE} ${OTHER_PAGE}`,
  ]) {
    t.match(refused({ CORS_ORIGIN: origins, AUTH_JWT_SECRET: SECRET }), /CORS_ORIGIN must be origins/, origins)
  }
  t.match(refused({ CORS_ORIGIN: '*' }), /CORS_ORIGIN is \*, and without tokens/)
  t.match(refused({ CORS_ORIGIN: '*', AUTH_MODE: 'none', HOST: '0.0.0.0' }), /CORS_ORIGIN is \*/)
  t.match(refused({ CORS_ORIGIN: `*,${PAGE}`, AUTH_JWT_SECRET: SECRET }), /CORS_ORIGIN must be either/)
  t.same(readConfig({ CORS_ORIGIN: ` ${PAGE} , ${OTHER_PAGE}` }).corsOrigins, [PAGE, OTHER_PAGE])
  t.same(readConfig({ CORS_ORIGIN: '*', AUTH_JWT_SECRET: SECRET }).corsOrigins, ['*'])
  t.same(readConfig({}).corsOrigins, [])
  for (const proxies of ['proxy', '10.0.0.0/33', '::1/129', '10.0.0.1,', '300.1.1.1', '10.0.0.0/8 10.0.0.1']) {
    t.match(refused({ TRUSTED_PROXIES: proxies }), /TRUSTED_PROXIES must be addresses/, proxies)
  }
  t.same(readConfig({ TRUSTED_PROXIES: 'loopback, 10.0.0.0/8,2001:db8::/32' }).trustedProxies, [
    'loopback',
    '10.0.0.0/8',
    '2001:db8::/32',
  ])
  t.end()
})

t.test(
  'scripts and styles of the dashboard have no headers for documents, and documents and drawings have',
  async t => {
    const file = (name: string, type: string): DashboardFile => ({
      name,
      type,
      content: Buffer.from('content'),
      etag: `"${name}"`,
      compressed: {},
    })
    const dashboard = [
      file('index.html', 'text/html; charset=utf-8'),
      file('main-ABC.js', 'text/javascript; charset=utf-8'),
      file('main-ABC.css', 'text/css; charset=utf-8'),
      file('icon-ABC.svg', 'image/svg+xml'),
    ]
    const { url } = await startServer(t, { dashboard })
    for (const [path, isDocument] of [
      ['/', true],
      ['/dashboard/icon-ABC.svg', true],
      ['/dashboard/main-ABC.js', false],
      ['/dashboard/main-ABC.css', false],
    ] as const) {
      const { status, headers } = await fetch(url + path)
      t.equal(status, 200, path)
      t.equal(headers.has('content-security-policy'), isDocument, path)
      t.equal(headers.has('x-frame-options'), isDocument, path)
      t.equal(headers.get('x-content-type-options'), 'nosniff')
      t.equal(headers.get('cross-origin-resource-policy'), 'same-origin')
    }
  },
)

t.test('the policy of pages allows nothing from other origins, no inline scripts and no frame', async t => {
  const { url } = await startServer(t)
  for (const path of ['/docs', '/docs/', '/docs/static/swagger-ui-bundle.js', '/docs/static/nothing']) {
    const { headers } = await fetch(url + path)
    const policy = headers.get('content-security-policy') ?? ''
    t.match(policy, /default-src 'none'/, path)
    t.match(policy, /frame-ancestors 'none'/)
    t.notMatch(policy, /unsafe|https?:|\*/)
    t.equal(headers.get('x-frame-options'), 'DENY')
    t.equal(headers.get('referrer-policy'), 'no-referrer')
    t.equal(headers.get('strict-transport-security'), null, 'that is for whoever ends TLS')
  }
  t.match((await fetch(`${url}/docs/`)).headers.get('content-security-policy'), /img-src 'self' data:;/)
  const html = await (await fetch(`${url}/docs/`)).text()
  t.notMatch(html, /<script(?![^>]*src=)|<style|\son\w+=|style="/, 'the page needs nothing that is refused')
})

t.test('only files of its folder are served as files of the documentation', async t => {
  const { port, log } = await startServer(t)
  for (const path of [
    '/docs/static/nothing',
    '/docs/static/../../package.json',
    '/docs/static/%2e%2e/%2e%2e/package.json',
    '/docs/static/..%2f..%2fpackage.json',
    '/docs/static/..%5c..%5cpackage.json',
    '/docs/static/%00',
    '/docs/static/.hidden',
    '/docs/static/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd',
  ]) {
    const answer = await raw(port, `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`)
    t.match(answer, /^HTTP\/1\.1 404 [^]*application\/problem\+json[^]*route_not_found/, path)
  }
  t.same(log, [])
})

t.test('every answer has nosniff, and none names the software that made it', async t => {
  const { url, api, port } = await startServer(t)
  const answers = [
    ...(await Promise.all(
      [`${url}/healthz`, `${url}/docs/`, `${url}/openapi.json`, `${api}/jobs`, `${api}/jobs/x`, `${url}/nowhere`].map(
        async where => JSON.stringify([...(await fetch(where)).headers]),
      ),
    )),
    await raw(port, 'HELLO\r\n\r\n'),
    await raw(port, 'GET /%zz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'),
    await raw(port, 'GET / HTTP/1.1\r\nhost: localhost\r\nexpect: x\r\n\r\n'),
  ]
  for (const answer of answers) {
    t.match(answer, /x-content-type-options.{1,3}nosniff/i, answer.slice(0, 40))
    t.notMatch(answer, /x-powered-by|"server"|\nserver:|fastify|node_modules|\n {4}at /i)
  }
})

t.test(
  'the dashboard is served without a token, its pages are revalidated, and its files are cached for ever',
  async t => {
    const file = (name: string, type: string, text: string): DashboardFile => ({
      name,
      type,
      content: Buffer.from(text),
      etag: `"${name}"`,
      compressed: {},
    })
    const dashboard = [
      file('index.html', 'text/html; charset=utf-8', '<!doctype html>'),
      file('job.html', 'text/html; charset=utf-8', '<!doctype html>'),
      file('main-ABC.js', 'text/javascript; charset=utf-8', 'go()'),
    ]
    const { url } = await startServer(t, { identify, dashboard })
    for (const path of [
      '/',
      `/jobs/${JOB_ID}`,
      '/jobs/nothing',
      '/statistics',
      '/types?name=import',
      '/?view=history',
    ]) {
      const page = await fetch(url + path)
      t.equal(page.status, 200, path)
      t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8')
      t.equal(page.headers.get('cache-control'), 'no-cache')
      t.equal(
        page.headers.get('content-security-policy'),
        "default-src 'none';base-uri 'none';form-action 'none';frame-ancestors 'none';script-src 'self';style-src 'self';img-src 'self' data:;connect-src 'self';require-trusted-types-for 'script';trusted-types lit-html",
      )
      const known = await fetch(url + path, { headers: { 'if-none-match': page.headers.get('etag')! } })
      t.equal(known.status, 304)
      const head = await fetch(url + path, { method: 'HEAD' })
      t.same([head.status, head.headers.get('content-length')], [200, '15'])
      const post = await fetch(url + path, { method: 'POST' })
      t.same([post.status, post.headers.get('allow')], [405, 'GET, HEAD'])
      t.equal((await readProblem(post)).code, 'method_not_allowed')
    }
    const script = await fetch(`${url}/dashboard/main-ABC.js`)
    t.equal(await script.text(), 'go()')
    t.equal(script.headers.get('content-type'), 'text/javascript; charset=utf-8')
    t.match(script.headers.get('cache-control'), /immutable/)
    for (const path of ['/dashboard/main-OLD.js', '/dashboard/index.html', '/dashboard/job.html', '/dashboard/']) {
      t.equal((await fetch(url + path)).status, 404, path)
    }
  },
)

t.test(
  'a file of the dashboard is sent in the coding that the caller prefers, and each coding has its own tag',
  async t => {
    const coded = (text: string) => ({ content: Buffer.from(text), etag: `"${text}"` })
    const whole = {
      name: 'main-A.js',
      type: 'text/javascript',
      ...coded('plain'),
      compressed: { br: coded('br'), gzip: coded('gzip') },
    }
    const onlyGzip = { ...whole, name: 'main-B.js', compressed: { gzip: coded('gzip') } }
    const { port } = await startServer(t, { dashboard: [whole, onlyGzip] })
    const get = async (name: string, headers: string) => {
      const answer = await raw(
        port,
        `GET /dashboard/${name} HTTP/1.1\r\nhost: localhost\r\n${headers}connection: close\r\n\r\n`,
      )
      const [head = '', body = ''] = answer.split('\r\n\r\n')
      return { head, body, coding: /^content-encoding: (.*)$/im.exec(head)?.[1] }
    }
    const table: [accept: string | null, a: string, b: string][] = [
      [null, 'plain', 'plain'],
      ['', 'plain', 'plain'],
      ['gzip, deflate, br, zstd', 'br', 'gzip'],
      ['gzip', 'gzip', 'gzip'],
      ['x-gzip', 'gzip', 'gzip'],
      ['BR', 'br', 'plain'],
      ['br;q=0.1, gzip;q=0.9', 'gzip', 'gzip'],
      ['br;q=0, gzip;q=0', 'plain', 'plain'],
      ['*', 'br', 'gzip'],
      ['*;q=0', 'plain', 'plain'],
      ['br;q=0, *', 'gzip', 'gzip'],
      ['identity, br;q=0.5', 'plain', 'plain'],
      ['identity;q=0.5, br;q=0.5', 'br', 'plain'],
      ['deflate', 'plain', 'plain'],
      ['br;q=x', 'plain', 'plain'],
      ['brotli, gzipped', 'plain', 'plain'],
    ]
    for (const [accept, ...expected] of table) {
      const headers = accept === null ? '' : `accept-encoding: ${accept}\r\n`
      for (const [index, name] of ['main-A.js', 'main-B.js'].entries()) {
        const { head, body, coding } = await get(name, headers)
        t.equal(body, expected[index], `${accept} ${name}`)
        t.equal(coding ?? 'plain', expected[index])
        t.match(head, /^vary: accept-encoding$/im)
        t.match(head, new RegExp(`^etag: "${expected[index]}"$`, 'im'))
      }
    }
    const known = await get('main-A.js', 'accept-encoding: br\r\nif-none-match: "br"\r\n')
    t.match(known.head, /^HTTP\/1\.1 304 /)
    t.match((await get('main-A.js', 'accept-encoding: br\r\nif-none-match: "gzip"\r\n')).head, /^HTTP\/1\.1 200 /)
  },
)

t.test('the build compresses each file of the dashboard, and what it compresses is the file', async t => {
  const files = readDashboard(new URL('../../dist/dashboard/', import.meta.url))
  for (const { name, content, compressed } of files) {
    if (content.length < 1_000) continue
    t.ok(compressed.br!.content.length < compressed.gzip!.content.length, name)
    t.ok(brotliDecompressSync(compressed.br!.content).equals(content), `${name}, br`)
    t.ok(gunzipSync(compressed.gzip!.content).equals(content), `${name}, gzip`)
  }
})

t.test('an open service on loopback refuses its dashboard to requests with a foreign host', async t => {
  const index = {
    name: 'index.html',
    type: 'text/html',
    content: Buffer.from('<!doctype html>'),
    etag: '"x"',
    compressed: {},
  }
  const { port } = await startServer(t, { dashboard: [index] })
  t.match(await raw(port, 'GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n'), /^HTTP\/1\.1 421 /)
  t.match(await raw(port, 'GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /)
})

t.test(
  'the built pages have no inline script or style, nothing from other origins, and no address from the root',
  async t => {
    const files = readDashboard(new URL('../../dist/dashboard/', import.meta.url))
    for (const [page, root] of [
      ['index.html', './'],
      ['job.html', '../'],
    ] as const) {
      const html = String(files.find(({ name }) => name === page)?.content)
      t.notMatch(html, /<script(?![^>]*src=)|<style|\son\w+=|style="|https?:|(src|href)="\//)
      const named = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address = '']) => address)
      t.same(named.pop(), `${root}docs/`, 'for those without JavaScript')
      t.ok(named.length > 4, 'also the modules that it needs')
      for (const address of named) {
        t.ok(
          files.some(({ name }) => address === `${root}dashboard/${name}`),
          address,
        )
      }
    }
  },
)

t.test('pages of CORS_ORIGIN may load the elements, from an address that stays the same', async t => {
  const elements = {
    name: 'elements.js',
    type: 'text/javascript; charset=utf-8',
    content: Buffer.from('go()'),
    etag: '"x"',
    compressed: { br: { content: Buffer.from('br'), etag: '"b"' } },
  }
  const { url } = await startServer(t, { identify, dashboard: [elements], config: { corsOrigins: [PAGE] } })
  const script = await fetch(`${url}/elements.js`, { headers: { origin: PAGE, 'sec-fetch-site': 'cross-site' } })
  t.equal(script.status, 200, 'without a token: it holds no data')
  t.equal(script.headers.get('content-type'), 'text/javascript; charset=utf-8')
  t.equal(script.headers.get('access-control-allow-origin'), PAGE)
  t.equal(script.headers.get('cache-control'), 'no-cache')
  t.match(script.headers.get('vary'), /^origin, accept-encoding$/i)
  const plain = { 'accept-encoding': 'identity' }
  t.equal((await fetch(`${url}/elements.js`, { headers: { ...plain, 'if-none-match': '"x"' } })).status, 304)
  const open = await startServer(t, { dashboard: [elements] })
  t.equal((await fetch(`${open.url}/elements.js`, { headers: { origin: EVIL } })).status, 403)
})

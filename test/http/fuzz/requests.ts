import fc from 'fast-check'
import type { Contract, Operation, Parameter } from './contract.ts'
import { JOB_MARK, valueOf } from './values.ts'

export const CALLERS = ['all', 'view', 'otherTenant', 'oneJob', 'nothing', 'expired', 'garbage', 'nobody'] as const
export type Caller = (typeof CALLERS)[number]

/** A request as it will be sent, and its mutations. */
export interface FuzzRequest {
  operation: Operation
  /** Without authentication, to a service that asks for none. */
  open: boolean
  caller: Caller
  method: string
  target: string
  headers: [name: string, value: string][]
  /** In latin1, one character a byte. */
  body: string | null
  /** How the end of the body is told. `cut`: it is announced and never comes. */
  framing: 'length' | 'chunked' | 'cut'
  version: string
  mangled: string[]
}

type Mangle = (request: FuzzRequest) => Partial<FuzzRequest>

const inBytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

const queryOf = (name: string, value: unknown): string =>
  [value]
    .flat()
    .map(item => `${encodeURIComponent(name)}=${encodeURIComponent(String(item))}`)
    .join('&')

/** No request waits: an answer that is held for a minute would delay the others. */
const PREFER = fc.constantFrom('wait=0', 'respond-async', 'wait=x', 'wait=-1', 'wait = "0"')

const headerValue = (parameter: Parameter, contract: Contract) =>
  parameter.name === 'prefer'
    ? PREFER
    : valueOf(contract, parameter.schema).map(value => inBytes(String(value)).replace(/\p{Cc}/gu, ''))

const parametersOf = (contract: Contract, { parameters }: Operation, place: Parameter['in']) => {
  const entries = parameters
    .filter(parameter => parameter.in === place && parameter.name !== 'access_token')
    .map(parameter => {
      const value = place === 'header' ? headerValue(parameter, contract) : valueOf(contract, parameter.schema)
      const isNeeded = parameter.required === true
      return [parameter.name, isNeeded ? value : fc.option(value, { freq: 1, nil: undefined })] as const
    })
  return fc
    .record(Object.fromEntries(entries))
    .map(record => Object.entries(record).filter(([, value]) => value !== undefined))
}

/** A request as the document describes it. */
const validRequest = (contract: Contract, operation: Operation): fc.Arbitrary<FuzzRequest> =>
  fc
    .record({
      path: parametersOf(contract, operation, 'path'),
      query: parametersOf(contract, operation, 'query'),
      header: parametersOf(contract, operation, 'header'),
      body: operation.body ? valueOf(contract, operation.body).map(value => JSON.stringify(value)) : fc.constant(null),
      accept: fc.constantFrom('*/*', 'application/x-ndjson', 'text/event-stream', 'text/plain', 'application/json'),
      caller: fc.oneof(
        { weight: 12, arbitrary: fc.constant<Caller>('all') },
        { weight: 4, arbitrary: fc.constantFrom(...CALLERS) },
      ),
      open: fc.boolean(),
    })
    .map(({ path, query, header, body, accept, caller, open }) => {
      const filled = path.reduce(
        (text, [name, value]) => text.replace(`{${name}}`, encodeURIComponent(String(value))),
        operation.path,
      )
      const asked = query.map(([name, value]) => queryOf(name, value)).filter(text => text !== '')
      return {
        operation,
        open,
        caller,
        method: operation.method,
        target: filled + (asked.length > 0 ? `?${asked.join('&')}` : ''),
        headers: [
          ['host', 'localhost'],
          ['accept', accept],
          ...(body === null ? [] : ([['content-type', 'application/json']] as [string, string][])),
          ...header.map(([name, value]): [string, string] => [name, String(value)]),
        ],
        body: body === null ? null : inBytes(body),
        framing: 'length',
        version: 'HTTP/1.1',
        mangled: [],
      }
    })

// prettier-ignore
const HOSTILE_JSON = [
  'null', '[]', '0', '"text"', 'true', '', ' ', '{', '}', '{"a"', '{"a":}', "{'a':1}", '{"a":1,}', 'NaN', '\ufeff{}', '{}{}',
  '{"__proto__":{"a":1}}', '{"constructor":{"prototype":{}}}', '{"":""}', '{"toString":1,"hasOwnProperty":2}',
  '['.repeat(5_000), `${'{"a":'.repeat(40)}1${'}'.repeat(40)}`, `{"payload":${'['.repeat(33)}${']'.repeat(33)}}`,
]

// prettier-ignore
const HOSTILE_VALUES = [
  '"\\u0000"', '"\\ud800"', '"\\udfff\\ud800"', '1e400', '-1e400', '9007199254740993', '1e-400', '-0', '0.1', '5e-324', '-1',
  'null', 'true', '[]', '{}', '""', '[[[[]]]]', '{"a":{"b":"\\u0000"}}', '{"\\ud800":1}', `"${'x'.repeat(3_000)}"`,
  `"'; DROP TABLE progress_jobs; --"`, '"\\r\\nset-cookie: a=b"', '"2026-02-30T00:00:00Z"', '"%00"', '"${jndi:ldap://a}"',
  '123456789012345678901234567890', `{"a":"${'y'.repeat(20_000)}"}`, '"\\uffff\\ufffe"', '"🦊\\u202e"',
]

// prettier-ignore
const HOSTILE_TEXTS = [
  '%00', '%zz', '%', '%ff%fe', '%ed%a0%80', "'", '"', '..%2f..%2f', '%252e%252e', '[]', '1e400', '-1', '', '%0d%0aset-cookie:a=b',
  'null', 'undefined', '%F0%9F%A6%8A', 'a'.repeat(300), '9007199254740993', '0x10', '__proto__', '%5C', '%25', '+', '*', '%%%',
]

// prettier-ignore
const PATHS: ((path: string) => string)[] = [
  path => `${path}/`, path => `/${path}`, path => `${path};a=b`, path => path.toUpperCase(), path => `${path}%00`,
  path => `${path}/../jobs`, path => `${path}/%2e%2e/%2e%2e`, path => path.replace('/jobs', '/%6aobs'), path => `${path}%2f`,
  path => `http://evil.example${path}`, path => `//evil.example${path}`, () => '*', () => '/', () => '/%', () => '/%zz/%c0%ae',
  path => path.replace('/api', '/api/.'), path => `${path}${'/a'.repeat(500)}`, path => `${path}?`, path => `${path}#a`,
  path => path.replace(/\/[\w-]{36}/, `/${'a'.repeat(300)}`), path => path.replace(/\/[\w-]{36}/, '/%00'), path => `${path}\\..\\`,
  path => path.replace(/\/[\w-]{36}/, "/1' OR '1'='1".replaceAll(' ', '%20')), () => '/docs/static/..%2f..%2f', () => '/docs/json',
  path => `${path} `, path => path.replace(/\/[\w-]{36}/, '/__proto__'), path => `${path}%ff`, () => '/openapi.yaml',
]

const METHODS = [
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'PATCH',
  'HEAD',
  'OPTIONS',
  'TRACE',
  'PROPFIND',
  'QUERY',
  'CONNECT',
  'get',
  'FOO',
  'M-SEARCH',
]

// prettier-ignore
const HEADERS: [name: string, value: string][] = [
  ['x-request-id', 'a\tb'], ['x-request-id', '"}\\n{"level":60'], ['x-request-id', 'ok'], ['expect', '100-continue'], ['expect', 'x'],
  ['content-encoding', 'gzip'], ['content-type', 'text/plain'], ['content-type', 'application/json; charset=utf-16'],
  ['content-type', ''], ['content-type', 'multipart/form-data'], ['content-type', 'application/json, text/plain'],
  ['accept', '\xff\xfe'], ['accept', ',;q=,'], ['accept', 'a'.repeat(5_000)], ['prefer', ',,;wait'], ['if-none-match', '"'.repeat(99)],
  ['if-none-match', '*'], ['last-event-id', '99999999999999999999.1'], ['last-event-id', '\xff'], ['idempotency-key', ''],
  ['idempotency-key', '\xe9'.repeat(255)], ['idempotency-key', 'k'.repeat(256)], ['authorization', 'Bearer'],
  ['authorization', 'Bearer a.b.c'], ['authorization', `Bearer ${'a'.repeat(9_000)}`], ['authorization', 'Basic Og=='],
  ['cookie', 'a=b'], ['origin', 'null'], ['origin', 'http://evil.example'], ['sec-fetch-site', 'cross-site'], ['host', 'evil.example'],
  ['host', ''], ['x-forwarded-for', '::1'], ['x-forwarded-host', 'evil'], ['upgrade', 'websocket'], ['connection', 'upgrade'],
  ['connection', 'close'], ['range', 'bytes=0-1'], ['x-a', 'a'.repeat(17_000)], ['__proto__', 'a'], ['a b', 'c'], ['', 'x'],
  ['access-control-request-method', 'PUT'], ['x-http-method-override', 'DELETE'], ['http2-settings', 'AAA'], ['te', 'trailers'],
  ['content-length', '5'], ['content-length', '-1'], ['content-length', '1e3'], ['transfer-encoding', 'gzip'], ['trailer', 'x'],
]

const fieldOf = (operation: Operation, contract: Contract): string[] => [
  ...Object.keys(operation.body ? (contract.resolve(operation.body).properties ?? {}) : {}),
  'unknown',
  '__proto__',
]

/** Where the value of `field` stands, or would: JSON takes the last of two. */
const withField = (body: string, field: string, value: string): string =>
  `${body.trimEnd().replace(/\}$/, '')}${body.trim() === '{}' ? '' : ','}${JSON.stringify(field)}:${value}}`

const mangleOf = (contract: Contract, operation: Operation): fc.Arbitrary<Mangle> => {
  const query = (target: string, more: string) => `${target}${target.includes('?') ? '&' : '?'}${more}`
  const names = [
    ...operation.parameters.filter(({ in: place }) => place === 'query').map(({ name }) => name),
    'a',
    '__proto__',
    'status[]',
  ]
  const onBody = [
    fc
      .tuple(fc.constantFrom(...fieldOf(operation, contract)), fc.constantFrom(...HOSTILE_VALUES))
      .map(([field, value]): Mangle => request => ({
        body: withField(request.body ?? '{}', field, inBytes(value)),
        mangled: [...request.mangled, `${field}=${value.slice(0, 40)}`],
      })),
    fc
      .constantFrom(...HOSTILE_JSON)
      .map((body): Mangle => request => ({ body: inBytes(body), mangled: [...request.mangled, 'body'] })),
    fc.nat({ max: 200 }).map((length): Mangle => request => ({
      body: (request.body ?? '{"a":1}').slice(0, length),
      mangled: [...request.mangled, 'truncated'],
    })),
    fc.uint8Array({ maxLength: 40 }).map((bytes): Mangle => request => ({
      body: `{"message":"${Buffer.from(bytes).toString('latin1')}"}`,
      mangled: [...request.mangled, 'bytes'],
    })),
    fc.constant<Mangle>(request => ({ body: '{}'.padEnd(300_000), mangled: [...request.mangled, 'large'] })),
    fc.constantFrom('chunked', 'cut' as const).map((framing): Mangle => request => ({
      framing: framing,
      body: request.body ?? '{}',
      mangled: [...request.mangled, framing],
    })),
  ]
  return fc.oneof(
    { weight: 4, arbitrary: fc.oneof(...onBody) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.constantFrom(...names), fc.constantFrom(...HOSTILE_TEXTS))
        .map(([name, text]): Mangle => request => ({
          target: query(request.target, `${name}=${text}`),
          mangled: [...request.mangled, 'query'],
        })),
    },
    {
      weight: 2,
      arbitrary: fc.constantFrom(...PATHS).map((change): Mangle => request => {
        const [path = '', ...rest] = request.target.split('?')
        return { target: [change(path), ...rest].join('?'), mangled: [...request.mangled, 'path'] }
      }),
    },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom(...METHODS)
        .map((method): Mangle => request => ({ method, mangled: [...request.mangled, 'method'] })),
    },
    {
      weight: 3,
      arbitrary: fc.constantFrom(...HEADERS).map((header): Mangle => request => ({
        headers: [...request.headers, header],
        mangled: [...request.mangled, `header ${header[0]}`],
      })),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom('HTTP/1.0', 'HTTP/2.0', 'HTTP/1.1 x', 'ICY').map((version): Mangle => request => ({
        version,
        mangled: [...request.mangled, 'version'],
      })),
    },
  )
}

/** Half of them as the document describes them, half with one to three things wrong. */
export const anyRequest = (contract: Contract): fc.Arbitrary<FuzzRequest> =>
  fc.oneof(
    ...contract.operations.map(operation => {
      const valid = validRequest(contract, operation)
      const mangles = fc.array(mangleOf(contract, operation), { minLength: 1, maxLength: 3 })
      const mangled = fc
        .tuple(valid, mangles)
        .map(([request, changes]) => changes.reduce((changed, mangle) => ({ ...changed, ...mangle(changed) }), request))
      // Its body has the most ways to be wrong, and the other requests need the jobs that it makes.
      return { weight: operation.id === 'createJob' ? 3 : 1, arbitrary: fc.oneof(valid, mangled) }
    }),
  )

/** The request as bytes, with the ids of existing jobs. */
export const toBytes = (request: FuzzRequest, token: string | null, jobIdOf: (n: number) => string): Buffer => {
  const { method, target, version, headers, body, framing } = request
  const lines = headers.map(([name, value]) => `${name}: ${value}`)
  if (token !== null) lines.push(`authorization: Bearer ${token}`)
  const withIds = (text: string) => text.replace(JOB_MARK, (_mark, n: string) => jobIdOf(Number(n)))
  const content = withIds(body ?? '')
  if (framing === 'chunked') lines.push('transfer-encoding: chunked')
  else if (body !== null) lines.push(`content-length: ${content.length + (framing === 'cut' ? 10 : 0)}`)
  const chunked = content === '' ? '0\r\n\r\n' : `${content.length.toString(16)}\r\n${content}\r\n0\r\n\r\n`
  const head = `${method} ${target} ${version}\r\n${lines.join('\r\n')}\r\n\r\n`
  return Buffer.from(withIds(head) + (framing === 'chunked' ? chunked : content), 'latin1')
}

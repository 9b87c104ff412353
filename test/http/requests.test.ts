import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { bulkHeartbeat, heartbeat } from '../../src/http/schemas/heartbeat.ts'
import { isPlainBulkHeartbeat, isPlainHeartbeat, isPlainId } from '../../src/http/schemas/plain-heartbeat.ts'
import { jobParams } from '../../src/http/schemas/requests.ts'
import { isInLine, shownText } from '../../src/contract/shown-text.ts'
import { SHOWN_TEXTS, UNSHOWN_TEXTS } from '../helpers/shown-texts.ts'
import { JOB_ID, raw, readProblem, send, startServer } from './in-memory.ts'

const heartbeatPath = `/jobs/${JOB_ID}/heartbeat`
const NUL = '\\u0000'
const LONE = '\\ud800'
const bytes = (count: number) => 'x'.repeat(count)

t.test('a text that names something is visible, and does not affect the line around it', async t => {
  const { api } = await startServer(t)
  const job = { jobType: 'import', name: 'Import' }
  const fields: [path: string, field: string, body: (text: string) => object][] = [
    ['/jobs', 'name', name => ({ ...job, name })],
    ['/jobs', 'jobType', jobType => ({ ...job, jobType })],
    ['/jobs', 'unit', unit => ({ ...job, unit })],
    ['/jobs', 'stages[0].name', name => ({ ...job, stages: [{ name }] })],
    ['/jobs', 'partitions[0].name', name => ({ ...job, partitions: [{ name }] })],
    [heartbeatPath, 'workerId', workerId => ({ workerId })],
    [heartbeatPath, 'unit', unit => ({ unit })],
    [heartbeatPath, 'stage', stage => ({ stage })],
    [`/jobs/${JOB_ID}/increment`, 'workerId', workerId => ({ workerId, increment: 1 })],
  ]
  for (const [path, field, body] of fields) {
    for (const text of UNSHOWN_TEXTS) {
      const problem = await readProblem(await send(`${api}${path}`, JSON.stringify(body(text))))
      t.match(
        problem,
        { status: 400, errors: [{ path: field, message: /^must (have a character|not hold line breaks)/ }] },
        `${field}: ${encodeURIComponent(text)}`,
      )
    }
    for (const text of SHOWN_TEXTS) {
      const { status } = await send(`${api}${path}`, JSON.stringify(body(text)))
      t.ok(status < 300, `${field}: ${encodeURIComponent(text)} is ${status}`)
    }
  }
  const prose = { ...job, description: 'one\ntwo\u202e' }
  t.equal((await send(`${api}/jobs`, JSON.stringify(prose))).status, 201, 'what is told in sentences may have lines')
})

t.test('the time that a name takes grows with its length, not with its square', async t => {
  // As a square it would be minutes. A body of 8 MB has two million of these.
  t.ok(isInLine(`🏴${'\u{e0061}'.repeat(500_000)}`))
  t.notOk(isInLine(`🏴${'\u{e0061}'.repeat(500_000)}a\u{e0061}`))
  t.equal(shownText(`${'\u{e0061}'.repeat(500_000)}a`), 'a')
})

t.test('a body that breaks a rule is refused, and every bad field is named', async t => {
  const { api, jobs } = await startServer(t)
  const heartbeats: [body: string, path: string | null][] = [
    ['{"processedCount":-1}', 'processedCount'],
    ['{"processedCount":1.5}', 'processedCount'],
    ['{"processedCount":"5"}', 'processedCount'],
    ['{"processedCount":null}', 'processedCount'],
    ['{"processedCount":9007199254740992}', 'processedCount'],
    ['{"processedCount":9007199254740993}', 'processedCount'],
    ['{"processedCount":12345678901234567890123}', 'processedCount'],
    ['{"processedCount":1e400}', 'processedCount'],
    ['{"processedCount":5,"increment":1}', 'increment'],
    ['{"increment":-1}', 'increment'],
    ['{"totalCount":-1}', 'totalCount'],
    ['{"progressPercent":101}', 'progressPercent'],
    ['{"progressPercent":-1}', 'progressPercent'],
    ['{"etaSeconds":0.5}', 'etaSeconds'],
    ['{"throughputPerSecond":-0.1}', 'throughputPerSecond'],
    ['{"throughputPerSecond":1e999}', 'throughputPerSecond'],
    ['{"unit":""}', 'unit'],
    [`{"unit":"${bytes(31)}"}`, 'unit'],
    [`{"unit":"a${NUL}"}`, 'unit'],
    ['{"unit":7}', 'unit'],
    ['{"unit":null}', 'unit'],
    ['{"stage":""}', 'stage'],
    [`{"stage":"${bytes(101)}"}`, 'stage'],
    [`{"message":"${bytes(501)}"}`, 'message'],
    [`{"message":"a${NUL}b"}`, 'message'],
    [`{"message":"${LONE}"}`, 'message'],
    ['{"message":"\\udc00\\ud800"}', 'message'],
    [`{"workerId":"${NUL}"}`, 'workerId'],
    ['{"workerId":""}', 'workerId'],
    [`{"workerId":"${bytes(201)}"}`, 'workerId'],
    ['{"workerId":7}', 'workerId'],
    ['{"attempt":0}', 'attempt'],
    ['{"attempt":2147483648}', 'attempt'],
    ['{"payload":[]}', 'payload'],
    ['{"payload":"text"}', 'payload'],
    [`{"payload":{"a":"${bytes(4090)}"}}`, 'payload'],
    [`{"payload":{"a":["${NUL}"]}}`, 'payload.a[0]'],
    [`{"payload":{"${LONE}":1}}`, 'payload.\ud800'],
    ['{"payload":{"a":{"__proto__":{"x":1}}}}', 'payload.a.__proto__'],
    ['{"payload":{"n":9007199254740993}}', 'payload.n'],
    ['{"payload":{"n":1e400}}', 'payload.n'],
    ['{"reportedAt":"yesterday"}', 'reportedAt'],
    ['{"reportedAt":"2026-01-31T12:00:00"}', 'reportedAt'],
    ['{"reportedAt":"2026-02-30T12:00:00Z"}', 'reportedAt'],
    ['{"reportedAt":"2026-01-31T24:00:01Z"}', 'reportedAt'],
    ['{"reportedAt":"1999-12-31T23:59:59.999Z"}', 'reportedAt'],
    ['{"reportedAt":"2000-01-01T00:00:00+14:00"}', 'reportedAt'],
    ['{"reportedAt":"+010000-01-01T00:00:00Z"}', 'reportedAt'],
    ['{"reportedAt":"9999-12-31T23:59:59-01:00"}', 'reportedAt'],
    ['{"reportedAt":1769860840000}', 'reportedAt'],
    ['{"proccessedCount":1}', 'proccessedCount'],
    ['{"meta":{}}', 'meta'],
    ['{"__proto__":{"processedCount":1}}', '__proto__'],
    ['{"constructor":{"prototype":{}}}', 'constructor'],
    ['{"processedCount":1,"processedCount":1}', 'processedCount'],
    ['{"payload":{"list":[{"a":1},{"b":[{}],"a" :[],"\\u0061" \n:1}]}}', 'payload.list[1].a'],
    ['{"__proto__":1,"__proto__":2}', '__proto__'],
    ['{"processedCount":1', ''],
    ["{'processedCount':1}", ''],
    ['[]', ''],
    ['null', ''],
    ['5', ''],
    ['""', ''],
    [' ', ''],
    ['{"payload":{"a":"\u0000"}}', ''],
    [`{"payload":{"a":${'['.repeat(31)}${']'.repeat(31)}}}`, ''],
    ['['.repeat(100_000), ''],
    ['{"a":'.repeat(40_000), ''],
  ]
  for (const [body, path] of heartbeats) {
    const response = await send(`${api}${heartbeatPath}`, body)
    const problem = await readProblem(response)
    const shown = body.slice(0, 60)
    t.match(response, { status: 400 }, `${shown} is 400`)
    t.equal(response.headers.get('content-type'), 'application/problem+json')
    t.match(problem, { code: 'validation_failed', status: 400 })
    t.ok(
      problem.errors?.some(error => error.path === path && error.message !== ''),
      `${shown} names ${path}: ${JSON.stringify(problem.errors)}`,
    )
  }
  const invalidUtf8 = await send(`${api}${heartbeatPath}`, Buffer.from('{"message":"\xff"}', 'latin1'))
  t.equal(invalidUtf8.status, 400)
  t.equal(jobs.calls.length, 0, 'none of them reached the domain')

  const several = await readProblem(
    await send(
      `${api}/jobs`,
      '{"name":"","totalCount":-1,"priority":2147483648,"color":"red","meta":{"a":[{"b":1e999}]}}',
    ),
  )
  t.same(
    several.errors?.map(error => error.path).sort(),
    ['color', 'jobType', 'meta.a[0].b', 'name', 'priority', 'totalCount'],
    'all of them at once',
  )
  const many = await readProblem(
    await send(
      `${api}${heartbeatPath}`,
      JSON.stringify(Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`k${i}`, 1]))),
    ),
  )
  t.equal(many.errors?.length, 100, 'but no more than a hundred')
})

const repeated = (count: number, item: object) => Array.from({ length: count }, () => item)
const numbered = (count: number) => Array.from({ length: count }, (_, index) => ({ name: `n${index}` }))

t.test('stages and partitions that break a rule are refused, and every bad field is named', async t => {
  const { api, jobs } = await startServer(t)
  const typeless = 'is missing: only a partition, which has a parentJobId, may leave it out'
  const stages = 'must be a list of 1 to 32 stages'
  const weight = 'must be 0 or a number from 0.000001 to 1000000'
  const partitions = 'must be a list of 1 to 1000 partitions'
  const metaTooLarge = { a: bytes(16 * 1024 - 7) }
  const bad: [fields: Record<string, unknown>, path: string, message: string][] = [
    [{ jobType: undefined }, 'jobType', typeless],
    [{ jobType: undefined, partitions: [{ name: 'a' }] }, 'jobType', typeless],
    [{ jobType: null, parentJobId: JOB_ID }, 'jobType', 'must be text of 1 to 100 characters'],
    [{ parentJobId: 7 }, 'parentJobId', 'must be a UUID'],
    [{ parentJobId: null }, 'parentJobId', 'must be a UUID'],
    [{ partitionIndex: -1 }, 'partitionIndex', 'must be a whole number from 0 to 999'],
    [{ partitionIndex: 1000 }, 'partitionIndex', 'must be a whole number from 0 to 999'],
    [{ partitionCount: 0 }, 'partitionCount', 'must be a whole number from 1 to 1000'],
    [{ partitionCount: 1001 }, 'partitionCount', 'must be a whole number from 1 to 1000'],
    [{ partitionCount: 1.5 }, 'partitionCount', 'must be a whole number from 1 to 1000'],
    [{ stages: [] }, 'stages', stages],
    [{ stages: null }, 'stages', stages],
    [{ stages: { name: 'a' } }, 'stages', stages],
    [{ stages: numbered(33) }, 'stages', stages],
    [{ stages: ['a'] }, 'stages[0]', 'must be an object'],
    [{ stages: [{}] }, 'stages[0].name', 'is missing'],
    [{ stages: [{ name: '' }] }, 'stages[0].name', 'must be text of 1 to 100 characters'],
    [{ stages: [{ name: bytes(101) }] }, 'stages[0].name', 'must be text of 1 to 100 characters'],
    [{ stages: [{ name: 'a', wait: 1 }] }, 'stages[0].wait', 'is not known here'],
    [
      { stages: [{ name: 'a' }, { name: 'b' }, { name: 'a' }] },
      'stages[2].name',
      'must not be the name of an earlier stage',
    ],
    [{ stages: [{ name: 'a', weight: -1 }] }, 'stages[0].weight', weight],
    [{ stages: [{ name: 'a', weight: 1e-7 }] }, 'stages[0].weight', weight],
    [{ stages: [{ name: 'a', weight: 1_000_001 }] }, 'stages[0].weight', weight],
    [{ stages: [{ name: 'a', weight: '1' }] }, 'stages[0].weight', weight],
    [{ stages: [{ name: 'a', weight: null }] }, 'stages[0].weight', weight],
    [
      {
        stages: [
          { name: 'a', weight: 0 },
          { name: 'b', weight: 0 },
        ],
      },
      'stages',
      'must not all have the weight 0',
    ],
    [{ partitions: [] }, 'partitions', partitions],
    [{ partitions: 8 }, 'partitions', partitions],
    [{ partitions: repeated(1001, { name: 'a' }) }, 'partitions', partitions],
    [{ partitions: [null] }, 'partitions[0]', 'must be an object'],
    [{ partitions: [{ name: 'a' }, {}] }, 'partitions[1].name', 'is missing'],
    [{ partitions: [{ name: bytes(256) }] }, 'partitions[0].name', 'must be text of 1 to 255 characters'],
    [
      { partitions: [{ name: 'a', totalCount: -1 }] },
      'partitions[0].totalCount',
      `must be a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`,
    ],
    [{ partitions: [{ name: 'a', meta: [] }] }, 'partitions[0].meta', 'must be an object'],
    [
      { partitions: [{ name: 'a', meta: metaTooLarge }] },
      'partitions[0].meta',
      'must have at most 16384 bytes as JSON',
    ],
    [
      { partitions: [{ name: 'a', meta: { b: ['\0'] } }] },
      'partitions[0].meta.b[0]',
      'must not hold NUL characters or lone surrogates',
    ],
    [{ partitions: [{ name: 'a', jobType: 'b' }] }, 'partitions[0].jobType', 'is not known here'],
  ]
  for (const [fields, path, message] of bad) {
    const body = JSON.stringify({ jobType: 'import', name: 'One', ...fields })
    const response = await send(`${api}/jobs`, body)
    t.equal(response.status, 400, body.slice(0, 80))
    t.same((await readProblem(response)).errors, [{ path, message }])
  }
  const infinite = await send(`${api}/jobs`, '{"jobType":"a","name":"b","stages":[{"name":"c","weight":1e999}]}')
  t.match(await readProblem(infinite), { status: 400, errors: [{ path: 'stages[0].weight', message: weight }] })
  t.equal(jobs.calls.length, 0, 'none of them reached the domain')
})

t.test('stages and partitions at a limit are taken as they are, whether or not they go together', async t => {
  const { api, jobs } = await startServer(t)
  const good: Record<string, unknown>[] = [
    { jobType: 'a', stages: numbered(32) },
    { jobType: 'a', stages: [{ name: 'b', weight: 0 }, { name: 'B' }, { name: 'c'.repeat(100), weight: 1e6 }] },
    { jobType: 'a', stages: [{ name: 'b', weight: 1e-6 }] },
    { jobType: 'a', partitions: repeated(1000, { name: 'x'.repeat(100), totalCount: null, meta: {} }) },
    { jobType: 'a', partitions: [{ name: '😀'.repeat(255), totalCount: 0 }], partitionCount: 1000 },
    { parentJobId: JOB_ID },
    { parentJobId: JOB_ID, partitionIndex: 999, partitionCount: 1 },
    { jobType: 'a', partitionIndex: 0 },
  ]
  for (const fields of good) {
    const body = { ...fields, name: 'One' }
    t.equal((await send(`${api}/jobs`, JSON.stringify(body))).status, 201, JSON.stringify(body).slice(0, 80))
    t.same(jobs.calls.at(-1)?.args[0], body)
  }
  await send(`${api}/jobs`, JSON.stringify({ name: 'One', parentJobId: JOB_ID.toUpperCase() }))
  t.match(jobs.calls.at(-1)?.args[0], { parentJobId: JOB_ID }, 'ids are compared in lower case')
  const large = repeated(1000, { name: 'a', meta: { b: bytes(300) } })
  t.equal((await send(`${api}/jobs`, JSON.stringify({ jobType: 'a', name: 'b', partitions: large }))).status, 413)
})

t.test('values at a limit are accepted', async t => {
  const { api, jobs } = await startServer(t)
  const report = {
    processedCount: Number.MAX_SAFE_INTEGER,
    totalCount: null,
    progressPercent: 100,
    throughputPerSecond: 0,
    etaSeconds: 0,
    stage: 's'.repeat(100),
    message: '😀'.repeat(500),
    workerId: 'w'.repeat(200),
    payload: { a: 'x'.repeat(4096 - 8) },
    reportedAt: '2026-01-31T14:00:00.123456+02:00',
    attempt: 2_147_483_647,
  }
  t.equal((await send(`${api}${heartbeatPath}`, JSON.stringify(report))).status, 200)
  t.match(jobs.calls.at(-1)?.args[1], { ...report, reportedAt: '2026-01-31T12:00:00.123Z', jobId: JOB_ID })
  t.equal((await send(`${api}${heartbeatPath}`, '{"payload":{"a":[[[1]]]},"message":null}')).status, 200)
  const deepest = `{"payload":{"a":${'['.repeat(30)}${']'.repeat(30)}}}`
  t.equal((await send(`${api}${heartbeatPath}`, deepest)).status, 200, '32 levels')
  t.equal(
    (await send(`${api}${heartbeatPath}`, '{"message":"[[\\"{{{[[["}')).status,
    200,
    'brackets in text do not nest',
  )
  t.equal((await send(`${api}${heartbeatPath}`, '\ufeff{}')).status, 200, 'a byte order mark')
  const meta = { a: 'ü'.repeat((16 * 1024 - 8) / 2) }
  t.equal((await send(`${api}/jobs`, JSON.stringify({ jobType: 'a', name: 'b', meta }))).status, 201)
  const large = { a: 'ü'.repeat((16 * 1024 - 8) / 2 + 1) }
  t.match(await readProblem(await send(`${api}/jobs`, JSON.stringify({ jobType: 'a', name: 'b', meta: large }))), {
    errors: [{ path: 'meta' }],
  })
  const upper = JOB_ID.toUpperCase()
  t.equal((await send(`${api}/jobs/${upper}/heartbeat`)).status, 200, 'ids are compared in lower case')
})

t.test('an empty body is an empty object, whatever it claims to be', async t => {
  const { api, port, jobs } = await startServer(t)
  const types = [
    'application/json',
    'application/x-www-form-urlencoded',
    'text/plain',
    'multipart/form-data; boundary=x',
    'nonsense',
    '',
  ]
  const posts = ['heartbeat', 'start', 'complete', 'cancelled', 'cancel', 'retry']
  for (const type of types) {
    for (const name of posts) {
      const response = await send(`${api}/jobs/${JOB_ID}/${name}`, undefined, {
        'content-type': type,
        'content-length': '0',
      })
      t.equal(response.status, 200, `POST …/${name} with content-type '${type}'`)
    }
  }
  t.equal((await fetch(`${api}/jobs/${JOB_ID}/heartbeat`, { method: 'POST' })).status, 200, 'no type at all')
  t.equal((await send(`${api}/jobs/${JOB_ID}`, undefined, {}, 'DELETE')).status, 200)
  t.equal((await send(`${api}/jobs/${JOB_ID}`, '{}', {}, 'DELETE')).status, 200)
  t.equal((await send(`${api}/jobs/${JOB_ID}`, undefined, {}, 'PUT')).status, 200)
  const path = `/api/progress/jobs/${JOB_ID}/heartbeat`
  for (const type of [
    '',
    'content-type: application/x-www-form-urlencoded\r\n',
    'content-type: application/json\r\n',
    'content-type: nonsense\r\n',
    'content-type:\r\n',
  ]) {
    const answer = await raw(
      port,
      `POST ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${type}transfer-encoding: chunked\r\n\r\n`,
      '0\r\n\r\n',
    )
    t.match(answer, /^HTTP\/1\.1 200 /, `chunked and empty, ${type || 'without type'}`)
  }
  t.same(jobs.calls.at(-1)?.args[1], { jobId: JOB_ID, workerId: 'default' })
  t.match(await readProblem(await send(`${api}/jobs/${JOB_ID}/fail`)), {
    errors: [{ path: 'errorMessage', message: 'is missing' }],
  })
})

t.test('a body without the content type of JSON is refused, also if it looks like JSON', async t => {
  const { api, jobs } = await startServer(t)
  for (const type of [
    'application/x-www-form-urlencoded',
    'text/plain',
    'text/json',
    'application/jsonp',
    'nonsense',
  ]) {
    const response = await send(`${api}${heartbeatPath}`, '{"processedCount":1}', { 'content-type': type })
    t.equal(response.status, 415, type)
    t.equal((await readProblem(response)).code, 'unsupported_media_type')
  }
  const curl = await send(`${api}${heartbeatPath}`, '{"processedCount":1}', {
    'content-type': 'application/x-www-form-urlencoded',
  })
  t.match((await readProblem(curl)).detail, /-H 'content-type: application\/json'/)
  t.equal(jobs.calls.length, 0)
  for (const type of ['application/json; charset=utf-8', 'Application/JSON', 'application/merge-patch+json']) {
    t.equal((await send(`${api}${heartbeatPath}`, '{}', { 'content-type': type })).status, 200, type)
  }
})

t.test('bodies have a limit: 256 KB, and 8 MB for a bulk', async t => {
  const { api, port } = await startServer(t)
  const padded = (size: number) => '{}'.padEnd(size, ' ')
  t.equal((await send(`${api}${heartbeatPath}`, padded(256 * 1024))).status, 200)
  const large = await send(`${api}${heartbeatPath}`, padded(256 * 1024 + 1))
  t.equal(large.status, 413)
  t.match(await readProblem(large), { code: 'payload_too_large', detail: /256 KB/ })
  const bulk = '{"heartbeats":[]}'
  t.equal((await send(`${api}/heartbeats`, bulk.padEnd(8 * 1024 * 1024, ' '))).status, 200)
  const hugeBulk = await raw(
    port,
    `POST /api/progress/heartbeats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${8 * 1024 * 1024 + 1}\r\n\r\n`,
  )
  t.match(hugeBulk, /^HTTP\/1\.1 413 /, 'without waiting for it')
  t.match(hugeBulk, /8192 KB/)
  const chunked = await raw(
    port,
    `POST /api/progress${heartbeatPath} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
    `40001\r\n${padded(256 * 1024 + 1)}\r\n0\r\n\r\n`,
  )
  t.match(chunked, /^HTTP\/1\.1 413 /, 'also of unknown length')
})

t.test(
  'a query that breaks a rule is refused, and the values of a good query reach the domain with their types',
  async t => {
    const { api, jobs } = await startServer(t)
    const bad: [query: string, path: string][] = [
      ['page=0', 'page'],
      ['page=x', 'page'],
      ['page=', 'page'],
      ['page=1.5', 'page'],
      ['page=1&page=2', 'page'],
      ['page=99999999999999999999', 'page'],
      ['pageSize=101', 'pageSize'],
      ['status=done', 'status[0]'],
      ['status=running&status=done', 'status[1]'],
      ['status=running,failed', 'status[0]'],
      ['topLevel=1', 'topLevel'],
      ['topLevel=', 'topLevel'],
      ['includeCompleted=yes', 'includeCompleted'],
      ['sort=name', 'sort'],
      ['sort=--partitionIndex', 'sort'],
      ['search=%00', 'search'],
      [`search=${bytes(101)}`, 'search'],
      ['jobType=', 'jobType'],
      ['jobType=a&jobType=b', 'jobType'],
      ['parentJobId=7', 'parentJobId'],
      ['completedSince=2026-01-31', 'completedSince'],
      ['completedBefore=yesterday', 'completedBefore'],
      ['error=', 'error'],
      [`error=${bytes(201)}`, 'error'],
      ['tenantId=x', 'tenantId'],
      ['__proto__=1', '__proto__'],
      ['constructor=1', 'constructor'],
    ]
    for (const [query, path] of bad) {
      const response = await fetch(`${api}/jobs?${query}`)
      t.equal(response.status, 400, query)
      t.ok(
        (await readProblem(response)).errors?.some(error => error.path === path),
        `${query} names ${path}`,
      )
    }
    for (const path of ['/jobs', heartbeatPath, '/heartbeats']) {
      t.equal((await send(`${api}${path}?dryRun=true`, '{"heartbeats":[]}')).status, 400, `POST ${path} takes no query`)
    }
    t.equal((await fetch(`${api}/active?recentSeconds=3601`)).status, 400)
    t.equal((await fetch(`${api}/jobs/${JOB_ID}?until=started`)).status, 400)
    t.equal(jobs.calls.length, 0)

    await fetch(`${api}/jobs`)
    const defaults = { includeCompleted: false, sort: { key: 'createdAt', descending: true }, page: 1, pageSize: 20 }
    t.same(jobs.calls.at(-1)?.args[0], defaults)
    await fetch(
      `${api}/jobs?status=failed&status=running&jobType=a%2Bb&topLevel=true&includeCompleted=true&search=&sort=priority` +
        `&completedSince=2026-01-31T12:00:00%2B02:00&completedBefore=2026-02-01T00:00:00Z&error=disk%20full&page=3&pageSize=100&organizationId=${JOB_ID}&startedByUserId=auth0%7C7`,
    )
    t.same(jobs.calls.at(-1)?.args[0], {
      status: ['failed', 'running'],
      jobType: 'a+b',
      topLevel: true,
      organizationId: JOB_ID,
      startedByUserId: 'auth0|7',
      includeCompleted: true,
      completedSince: new Date('2026-01-31T10:00:00.000Z'),
      completedBefore: new Date('2026-02-01T00:00:00.000Z'),
      error: 'disk full',
      sort: { key: 'priority', descending: false },
      page: 3,
      pageSize: 100,
    })
    await fetch(`${api}/jobs?status=failed`)
    t.match(jobs.calls.at(-1)?.args[0], { status: ['failed'] }, 'one status is a list of one')
    for (const [sort, descending] of [
      ['partitionIndex', false],
      ['-partitionIndex', true],
    ] as const) {
      await fetch(`${api}/jobs?parentJobId=${JOB_ID}&sort=${sort}`)
      t.match(jobs.calls.at(-1)?.args[0], { parentJobId: JOB_ID, sort: { key: 'partitionIndex', descending } })
    }
  },
)

t.test('a history is read by type, a thousand entries at a time', async t => {
  const { api, jobs } = await startServer(t)
  const types =
    'created, started, cancel_requested, cancelled, completed, failed, stalled, recovered, retried, at_risk, overdue, stage_changed, progress'
  const bad: [query: string, path: string, message: string][] = [
    ['type=updated', 'type[0]', `must be one of ${types}`],
    ['type=progress&type=', 'type[1]', `must be one of ${types}`],
    ['type=started,failed', 'type[0]', `must be one of ${types}`],
    ['type=progress&'.repeat(14), 'type', 'may be given at most 13 times'],
    ['pageSize=1001', 'pageSize', 'must be a whole number from 1 to 1000'],
    ['pageSize=0', 'pageSize', 'must be a whole number from 1 to 1000'],
    ['sort=-at', 'sort', 'is not known here'],
  ]
  for (const [query, path, message] of bad) {
    const response = await fetch(`${api}/jobs/${JOB_ID}/events?${query}`)
    t.equal(response.status, 400, query)
    t.same((await readProblem(response)).errors, [{ path, message }])
  }
  t.equal(jobs.calls.length, 0)
  const asked = async (query: string) => {
    t.equal((await fetch(`${api}/jobs/${JOB_ID}/events?${query}`)).status, 200)
    return jobs.calls.at(-1)?.args
  }
  t.same(await asked(''), [JOB_ID, { page: 1, pageSize: 20 }])
  t.same(await asked('type=progress&pageSize=1000'), [JOB_ID, { type: ['progress'], page: 1, pageSize: 1000 }])
  t.match(await asked('type=failed&type=stage_changed&page=2'), [
    JOB_ID,
    { type: ['failed', 'stage_changed'], page: 2 },
  ])
})

t.test('an unknown path is answered with a problem', async t => {
  const { url, api, port, jobs } = await startServer(t)
  const expected: [method: string, url: string, status: number, code: string][] = [
    ['GET', `${api}/jobs/7`, 400, 'validation_failed'],
    ['GET', `${api}/jobs/${'7'.repeat(500)}`, 404, 'route_not_found'],
    ['GET', `${api}/jobs/%zz`, 400, 'validation_failed'],
    ['GET', `${api}/jobs/%00`, 400, 'validation_failed'],
    ['GET', `${api}/jobs/${JOB_ID}/nothing`, 404, 'route_not_found'],
    ['GET', `${url}/`, 404, 'route_not_found'],
    ['POST', `${url}/nowhere`, 404, 'route_not_found'],
    ['PATCH', `${api}/jobs/${JOB_ID}`, 405, 'method_not_allowed'],
    ['DELETE', `${api}/jobs`, 405, 'method_not_allowed'],
    ['GET', `${api}/heartbeats`, 405, 'method_not_allowed'],
    ['POST', `${url}/healthz`, 405, 'method_not_allowed'],
    ['PROPFIND', `${api}/jobs/${JOB_ID}`, 405, 'method_not_allowed'],
    ['QUERY', `${api}/jobs`, 405, 'method_not_allowed'],
    ['PROPFIND', `${url}/nowhere`, 404, 'route_not_found'],
    ['DELETE', `${api}/jobs/${JOB_ID}/start?purge=true`, 405, 'method_not_allowed'],
  ]
  for (const [method, where, status, code] of expected) {
    const response = await fetch(where, { method, ...(method !== 'GET' && { body: 'x' }) })
    t.equal(response.status, status, `${method} ${where}`)
    t.match(await readProblem(response), { code, status, requestId: response.headers.get('x-request-id') })
  }
  const wrongMethod = await fetch(`${api}/jobs/${JOB_ID}`, { method: 'PATCH' })
  t.equal(wrongMethod.headers.get('allow'), 'DELETE, GET, HEAD, PUT')
  t.equal((await fetch(`${api}/stream`, { method: 'HEAD' })).status, 405, 'a stream has no HEAD')
  t.match(await readProblem(await fetch(`${api}/jobs/7`)), { errors: [{ path: 'id', message: 'must be a UUID' }] })
  const get = (path: string) => raw(port, `GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`)
  for (const before of ['?', ';', '/;']) {
    const answer = await get(`/nowhere${before}access_token=secret`)
    t.match(answer, /^HTTP\/1\.1 404 [^]*Nothing is at \/nowhere/, before)
    t.notMatch(answer, /secret/, before)
  }
  t.match(await get('/api/progress/jobs;x'), /^HTTP\/1\.1 404 /, 'a semicolon is part of the path')
  t.equal(jobs.calls.length, 0)
})

t.test('a browser gets a page with a link back for an unknown path, and a program gets a problem', async t => {
  const { url, api } = await startServer(t)
  const browser = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' }
  for (const [path, home] of [
    ['/nowhere', '/'],
    ['/some/where/else?access_token=secret', '/'],
    ['/<script>alert(1)</script>/', '/'],
    ['/docs/nowhere', '/'],
    ['/docs/%2e%2e%2fnowhere', '/'],
  ] as const) {
    const response = await fetch(url + path, { headers: browser })
    const page = await response.text()
    t.match(response, { status: 404 }, path)
    t.equal(response.headers.get('content-type'), 'text/html; charset=utf-8')
    t.match(response.headers.get('content-security-policy'), /^default-src 'none'/)
    t.notMatch(page, /secret|script|nowhere/)
    const [, href = ''] = /<a href="([^"]*)">/.exec(page) ?? []
    t.equal(new URL(href, response.url).pathname, home, path)
    const head = await fetch(url + path, { method: 'HEAD', headers: browser })
    t.match([head.status, head.headers.get('content-type')], [404, 'text/html; charset=utf-8'])
    for (const accept of ['*/*', 'application/json', 'text/*;q=0.5']) {
      const problem = await fetch(url + path, { headers: { accept } })
      t.match(await readProblem(problem), { status: 404, code: 'route_not_found' }, `${path} ${accept}`)
    }
  }
  for (const path of [`${api}/nowhere`, `${url}/api/other`, `${api}/jobs/${JOB_ID}/nothing`, `${url}/mcp/x`]) {
    t.match(await readProblem(await fetch(path, { headers: browser })), { code: 'route_not_found' }, path)
  }
  const posted = await fetch(`${url}/nowhere`, { method: 'POST', headers: browser })
  t.match(await readProblem(posted), { code: 'route_not_found' })
})

t.test('bytes that are not HTTP are answered with a problem and a closed connection', async t => {
  const { port } = await startServer(t)
  t.match(
    await raw(port, 'TRACE /api/progress/jobs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'),
    /^HTTP\/1\.1 405 [^]*allow: GET, HEAD, POST\r\n/,
  )
  const noHost = 'GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n'
  t.match(await raw(port, noHost), /^HTTP\/1\.1 421 [^]*misdirected_request/)
  const proxied = await startServer(t, { config: { authMode: 'none', shutdownGraceSeconds: 1 } })
  t.match(await raw(proxied.port, noHost), /^HTTP\/1\.1 400 [^]*application\/problem\+json[^]*validation_failed/)
  t.match(await raw(proxied.port, noHost.replace('1.1', '1.0')), /^HTTP\/1\.1 200 /, 'HTTP/1.0 knows no Host')
  t.match(
    await raw(
      port,
      `POST /api/progress${heartbeatPath} HTTP/1.1\r\nhost: localhost\r\nexpect: foo\r\ncontent-length: 2\r\n\r\n`,
    ),
    /^HTTP\/1\.1 417 [^]*application\/problem\+json[^]*expectation_failed/,
  )
  t.match(await raw(port, 'HELLO\r\n\r\n'), /^HTTP\/1\.1 400 [^]*malformed_request/)
  t.match(
    await raw(port, `GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ${bytes(20_000)}\r\n\r\n`),
    /^HTTP\/1\.1 431 [^]*headers_too_large/,
  )
  const head = `POST /api/progress${heartbeatPath} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`
  t.match(await raw(port, `${head}transfer-encoding: chunked\r\n\r\nzz\r\n`), /^HTTP\/1\.1 400 /)
})

t.test('an ambiguous HTTP request is refused in every mode', async t => {
  const open = await startServer(t)
  const proxied = await startServer(t, { config: { authMode: 'none', shutdownGraceSeconds: 1 } })
  const path = '/api/progress/jobs'
  const post = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n`
  const get = (target: string, headers = 'host: localhost\r\n') =>
    `GET ${target} HTTP/1.1\r\nconnection: close\r\n${headers}\r\n`
  const body = 'content-length: 2\r\n\r\n{}'
  const chunked = 'transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n'
  const long = 'a:\r\n'.repeat(2_100)
  const cases: [name: string, text: string, status: number, says: RegExp][] = [
    ['two hosts', get(path, 'host: localhost\r\nHost: evil\r\n'), 400, /"host"/],
    ['the same host twice', get(path, 'host: localhost\r\nhost: localhost\r\n'), 400, /"host"/],
    ['a second host behind 2,000 headers', get(path, `host: localhost\r\n${long}host: evil\r\n`), 400, /"host"/],
    ['a list of hosts', get(path, 'host: localhost, evil\r\n'), 0, /"host"|misdirected/],
    ['a host with a user', get(path, 'host: evil@localhost\r\n'), 0, /"host"|misdirected/],
    ['a host with a path', get(path, 'host: localhost/evil\r\n'), 0, /"host"|misdirected/],
    ['a folded host', get(path, 'host: localhost\r\n evil\r\n'), 400, /malformed_request/],
    ['a foreign target', get(`http://evil${path}`), 421, /misdirected_request/],
    ['a foreign port', get(`http://localhost:81${path}`), 421, /misdirected_request/],
    ['a foreign host behind a user', get(`http://localhost@evil${path}`), 421, /misdirected_request/],
    ['a target without a host', get(`http://${path}`), 400, /validation_failed/],
    ['another scheme', get(`ftp://localhost${path}`), 404, /route_not_found/],
    ['everything', 'OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n', 404, /route_not_found/],
    ['a fragment', get(`${path}#?page=2`), 400, /fragment/],
    ['a query of no text', get(`${path}?search=%ff`), 400, /percent-encoded/],
    ['half an escape', get(`${path}?search=%`), 400, /percent-encoded/],
    ['two tokens', get(path, 'host: localhost\r\nauthorization: a\r\nauthorization: b\r\n'), 400, /"authorization"/],
    ['two origins', get(path, 'host: localhost\r\norigin: a\r\norigin: b\r\n'), 0, /"origin|forbidden/],
    ['two sites', get(path, 'host: localhost\r\nsec-fetch-site: cross-site\r\nsec-fetch-site: none\r\n'), 400, /"sec-/],
    ['two ETag lines', get(path, 'host: localhost\r\nif-none-match: "a"\r\nif-none-match: "b"\r\n'), 400, /"if-none-/],
    ['two types', `${post}content-type: text/plain\r\n${body}`, 400, /"content-type"/],
    ['two keys', `${post}idempotency-key: a\r\nidempotency-key: b\r\n${body}`, 400, /"idempotency-key"/],
    ['two encodings', `${post}content-encoding: identity\r\ncontent-encoding: gzip\r\n${body}`, 400, /"content-enc/],
    ['two lengths', `${post}content-length: 2\r\n${body}`, 400, /malformed_request/],
    ['chunks with a length', `${post}content-length: 2\r\n${chunked}`, 400, /malformed_request/],
    ['an encoding on the way', `${post}${chunked.replace('chunked', 'gzip, chunked')}`, 400, /"transfer-encoding"/],
    ['chunks of HTTP/1.0', `${post.replace('1.1', '1.0')}${chunked}`, 400, /"transfer-encoding"/],
    ['bare line feeds', get(path).replaceAll('\r\n', '\n'), 400, /malformed_request/],
  ]
  for (const { port } of [open, proxied]) {
    for (const [name, text, given, says] of cases) {
      // An open service is for this machine alone, and says so first.
      const status = given !== 0 ? given : port === open.port ? '4(?:03|21)' : 400
      const answer = await raw(port, text)
      t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} [^]*application/problem\\+json`), name)
      t.match(answer, says, name)
    }
  }
  for (const target of ['//jobs', '/./jobs', '/x/../jobs', '/%2e/jobs', '/x%2f..%2fjobs', '%2fjobs']) {
    t.match(await raw(open.port, get(`/api/progress${target}`)), /^HTTP\/1\.1 404 /, target)
  }
  t.equal(open.jobs.calls.length + proxied.jobs.calls.length, 0, 'none of them reached the domain')
  for (const [target, headers] of [
    [`http://LOCALHOST${path}`, 'host: localhost\r\n'],
    [`http://localhost${path}`, 'host: localhost:80\r\n'],
    [`http://[::1]:3000${path}?search=%C3%BC`, 'host: [::1]:3000\r\n'],
    [path, `host: localhost\r\naccept: text/html\r\naccept: */*\r\nprefer: a\r\nprefer: b\r\n${long}`],
  ] as const) {
    t.match(await raw(open.port, get(target, headers)), /^HTTP\/1\.1 200 /, target)
  }
})

t.test('a body in an encoding or a charset that is not read is refused by its name, before it is read', async t => {
  const { port, jobs } = await startServer(t)
  const post = (headers: string, body: string) =>
    raw(
      port,
      `POST /api/progress${heartbeatPath} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${headers}\r\n${body}`,
    )
  const json = 'content-type: application/json\r\n'
  for (const [headers, name] of [
    [`${json}content-encoding: gzip\r\n`, 'gzip'],
    [`${json}content-encoding: identity, br\r\n`, 'identity, br'.replace(' ', '\\?')],
    [`${json}Content-Encoding: ZSTD\r\n`, 'ZSTD'],
    ['content-type: application/json; charset=utf-16\r\n', 'utf-16'],
    ['content-type: application/json;CHARSET="UTF-16LE"\r\n', 'UTF-16LE'],
    ['content-type: application/json; charset=utf-8; charset=latin1\r\n', 'latin1'],
    ['content-type: application/json ; x=y ; charset = iso-8859-1\r\n', 'iso-8859-1'],
  ] as const) {
    for (const framing of ['content-length: 200000\r\n', 'transfer-encoding: chunked\r\n']) {
      const answer = await post(headers + framing, '')
      t.match(
        answer,
        new RegExp(`^HTTP/1\\.1 415 [^]*"detail":"[^"]*${name}[^]*unsupported_media_type`),
        headers + framing,
      )
    }
  }
  t.equal(jobs.calls.length, 0)
  for (const headers of [
    `${json}content-encoding: Identity\r\n`,
    'content-type: application/json; charset="UTF-8"\r\n',
    'content-type: application/vnd.x+json;charset=utf8;v=1\r\n',
  ]) {
    t.match(await post(`${headers}content-length: 2\r\n`, '{}'), /^HTTP\/1\.1 200 /, headers)
  }
  t.match(await post('content-encoding: gzip\r\ncontent-length: 0\r\n', ''), /^HTTP\/1\.1 200 /, 'there is no body')
  const utf16 = Buffer.from('\ufeff{}', 'utf16le')
  t.match(await readProblem(await send(`http://127.0.0.1:${port}/api/progress${heartbeatPath}`, utf16)), {
    status: 400,
  })
})

t.test('no content of a body makes a server error', async t => {
  const { api } = await startServer(t)
  const names = [
    'processedCount',
    'increment',
    'totalCount',
    'message',
    'payload',
    'workerId',
    'reportedAt',
    'stage',
    'heartbeats',
    'meta',
    'name',
    'jobType',
    'stages',
    'partitions',
    'parentJobId',
    '__proto__',
    'toString',
    'constructor',
    'resultSummary',
    'errorMessage',
  ]
  const hostileText = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom('\0', '\ud800', '\udfff', 'a', '"', '\\') }),
  )
  const value = fc.oneof(
    fc.jsonValue(),
    hostileText,
    fc.double(),
    fc.bigInt().map(Number),
    fc.date({ noInvalidDate: true }).map(date => date.toISOString()),
    fc.array(fc.dictionary(fc.constantFrom('jobId', ...names), fc.oneof(fc.jsonValue(), fc.constant(JOB_ID)))),
  )
  const entries = fc.array(fc.tuple(fc.oneof(fc.constantFrom(...names), hostileText), value), { maxLength: 6 })
  const body = fc.oneof(
    entries.map(list => `{${list.map(([key, item]) => `${JSON.stringify(key)}:${JSON.stringify(item)}`).join(',')}}`),
    fc.json(),
    fc.string(),
  )
  const path = fc.constantFrom(
    ['POST', '/jobs'],
    ['POST', '/heartbeats'],
    ['POST', heartbeatPath],
    ['PUT', `/jobs/${JOB_ID}`],
    ['POST', `/jobs/${JOB_ID}/increment`],
    ['POST', `/jobs/${JOB_ID}/complete`],
    ['POST', `/jobs/${JOB_ID}/fail`],
    ['DELETE', `/jobs/${JOB_ID}`],
  )
  await fc.assert(
    fc.asyncProperty(path, body, async ([method, where], text) => {
      const response = await send(`${api}${where}`, text, {}, method)
      const answer = (await response.json()) as object
      return response.status < 500 && (response.status < 400 || 'code' in answer)
    }),
    { numRuns: 400 },
  )
  t.pass('400 bodies')
  const query = fc.dictionary(
    fc.oneof(fc.constantFrom('page', 'status', 'search', 'sort', 'jobId', 'topLevel'), fc.string({ unit: 'binary' })),
    fc.string({ unit: 'binary' }),
  )
  await fc.assert(
    fc.asyncProperty(query, async parameters => {
      const response = await fetch(`${api}/jobs?${new URLSearchParams(parameters).toString()}`)
      await response.body?.cancel()
      return response.status < 500
    }),
    { numRuns: 150 },
  )
  t.pass('150 queries')
})

t.test('the schema accepts every plain heartbeat unchanged', async t => {
  const edges = [
    0,
    1,
    99,
    100,
    101,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 53 - 1,
    2 ** 53,
    1e15,
    1e15 + 1,
    1e300,
    -0,
    -1,
    0.5,
    1e-300,
  ]
  const number = fc.oneof(
    { weight: 5, arbitrary: fc.nat() },
    fc.constantFrom(...edges),
    fc.maxSafeInteger(),
    fc.double(),
  )
  const lengths = fc.constantFrom(0, 1, 99, 100, 101, 199, 200, 201, 499, 500, 501)
  const content = fc.constantFrom('x', 'é', '数', '🦊', '\0', '\ud800', '\udfff', '\ue000', '"', '\n')
  const text = fc.oneof(
    { weight: 3, arbitrary: fc.string({ minLength: 1 }) },
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.constantFrom(...SHOWN_TEXTS, ...UNSHOWN_TEXTS),
    fc
      .tuple(lengths, fc.string({ unit: content, maxLength: 1 }))
      .map(([n, end]) => 'x'.repeat(n).slice(end.length) + end),
  )
  const twoDigits = fc.oneof(
    fc.constantFrom('00', '01', '02', '28', '29', '30', '31', '12', '13', '23', '24', '59', '60'),
  )
  const edgeInstant = fc
    .tuple(
      fc.constantFrom('1999', '2000', '2024', '2026', '2999', '3000', '9999', '02026', '+02026'),
      fc.array(twoDigits, { minLength: 5, maxLength: 5 }),
      fc.constantFrom('.000', '', '.0', '.000', '.999', '.1234'),
      fc.constantFrom('Z', 'z', '', '+00:00', '-14:00'),
    )
    .map(([year, [month, day, hour, minute, second], fraction, zone]) => {
      return `${year}-${month!}-${day!}T${hour!}:${minute!}:${second!}${fraction}${zone}`
    })
  const now = fc.date({ min: new Date('2000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
  const instant = fc.oneof(
    now.map(date => date.toISOString()),
    edgeInstant,
  )
  const id = fc.oneof(
    fc.uuid(),
    fc.uuid().map(uuid => uuid.toUpperCase()),
    fc.uuid().map(uuid => `${uuid}\n`),
    fc.uuid().map(uuid => uuid.replaceAll('-', '')),
  )
  const any = fc.oneof(number, text, instant, id, fc.constantFrom(null, true, [], {}, 'rows', 'apples'), fc.jsonValue())
  const valid = {
    workerId: text,
    processedCount: number,
    increment: number,
    totalCount: fc.option(number),
    progressPercent: fc.option(fc.integer({ min: -1, max: 101 })),
    etaSeconds: fc.option(number),
    throughputPerSecond: fc.option(number),
    unit: fc.oneof(
      fc.constantFrom('items', 'rows', '', null, 7),
      text,
      fc.constantFrom(29, 30, 31).map(n => 'x'.repeat(n)),
    ),
    stage: fc.option(text),
    message: fc.option(text),
    payload: fc.option(fc.dictionary(fc.string(), fc.jsonValue()), { freq: 2 }),
    reportedAt: instant,
    attempt: number,
  }
  const fields = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...Object.keys(valid)) },
    fc.constantFrom('meta', 'jobId', '__proto__', 'constructor'),
  )
  const report = fc
    .tuple(
      fc.record(valid, { requiredKeys: [] }),
      fc.subarray(Object.keys(valid), { maxLength: 3 }),
      fc.array(fc.tuple(fields, any), { maxLength: 1 }),
      fc.option(id, { freq: 4 }),
    )
    .map(([good, kept, mangled, jobId]) => {
      const entries: [string, unknown][] = Object.entries(good).filter(([name]) => kept.includes(name))
      const all = [...(jobId === null ? [] : [['jobId', jobId] as const]), ...entries, ...mangled]
      return JSON.parse(
        `{${all.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`,
      ) as object
    })
  let plain = 0
  const holds =
    (isPlain: (value: unknown) => boolean, schema: typeof heartbeat | typeof bulkHeartbeat | typeof jobParams) =>
    (value: unknown) => {
      if (!isPlain(value)) return true
      plain++
      const result = schema.safeParse(value)
      return result.success && isDeepStrictEqual(result.data, value)
    }
  const check = (value: fc.Arbitrary<unknown>, ...rule: Parameters<typeof holds>) => {
    plain = 0
    fc.assert(fc.property(value, holds(...rule)), { numRuns: 3_000 })
    t.ok(plain > 150, `${plain} of 3000 were plain`)
  }
  check(
    report.map(({ jobId: _, ...rest }: { jobId?: unknown }) => rest),
    isPlainHeartbeat,
    heartbeat,
  )
  check(fc.oneof({ weight: 20, arbitrary: report }, any), isPlainBulkHeartbeat, bulkHeartbeat)
  check(
    fc.record({ id: fc.oneof(id, text) }, { noNullPrototype: true }),
    params => isPlainId((params as { id: unknown }).id),
    jobParams,
  )
  const typical = {
    workerId: 'worker-1',
    processedCount: 5,
    totalCount: 10,
    message: 'Row 5',
    reportedAt: new Date().toISOString(),
  }
  t.ok(isPlainHeartbeat({}))
  t.ok(
    isPlainBulkHeartbeat({
      jobId: JOB_ID,
      ...typical,
      unit: 'rows',
      stage: null,
      throughputPerSecond: 1.5,
      attempt: 1,
    }),
  )
})

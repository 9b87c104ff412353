import { randomUUID } from 'node:crypto'
import { connect as connectTo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js'
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js'
import t, { type Test } from 'tap'
import { InFlight } from '../../src/http/limits/in-flight.ts'
import { startService, type Service } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'
import { JOB_ID, startServer } from './in-memory.ts'

const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const TENANT = randomUUID()

type Address = Pick<Service, 'url' | 'headers'>

const overHttp = (service: Address): Transport =>
  new StreamableHTTPClientTransport(new URL(`${service.url}/mcp`), { requestInit: { headers: service.headers } })

const overStdio = (service: Address): Transport =>
  new StdioClientTransport({
    command: process.execPath,
    args: [MAIN, 'mcp'],
    env: { HEADWAY_URL: service.url, HEADWAY_TOKEN: service.headers['authorization']?.replace('Bearer ', '') ?? '' },
  })

const connect = async (t: Test, transport: Transport) => {
  const client = new Client({ name: 'test', version: '1.0.0' })
  await client.connect(transport)
  t.teardown(() => client.close())
  // Its validators of structured content come from the list.
  const { tools } = await client.listTools()
  const call = async (name: string, args: object = {}, options: Parameters<Client['callTool']>[2] = {}) => {
    const result = (await client.callTool({ name, arguments: { ...args } }, undefined, options)) as CallToolResult
    const [first] = result.content
    return { ...result, text: first?.type === 'text' ? first.text : '', data: result.structuredContent ?? {} }
  }
  return { client, tools, call }
}

const startGuarded = (t: Test, settings: Record<string, string> = {}) =>
  startService(t, { AUTH_JWT_SECRET: SECRET, LIVE_INTERVAL_MS: '50', ...settings })

const as = async (service: Service, claims: object = {}) => service.as(await mint({ tenant_id: TENANT, ...claims }))

for (const [name, transportTo] of Object.entries({ 'Streamable HTTP': overHttp, 'headway mcp': overStdio })) {
  t.test(`by ${name}, an assistant finds jobs, waits for them, stops them and reads what happened`, async t => {
    const service = await as(await startGuarded(t))
    const { client, tools, call } = await connect(t, transportTo(service))
    t.match(client.getServerVersion(), { name: 'headway', version: /^\d/ })
    t.match(client.getInstructions(), /wait_for_job/)
    t.same(tools.map(tool => tool.name).sort(), ['cancel_job', 'get_job', 'job_history', 'list_jobs', 'wait_for_job'])
    for (const { description, inputSchema, outputSchema } of tools)
      t.match(
        { description, inputSchema, outputSchema },
        { description: /./, inputSchema: { type: 'object' }, outputSchema: { type: 'object' } },
      )
    t.match(await call('list_jobs'), { text: '{"jobs":[],"total":0,"next":null}', data: { jobs: [], total: 0 } })

    const { id } = await service.createJob({ name: 'Import', totalCount: 200, unit: 'rows', cancellable: true })
    await service.createJob({ name: 'Export' })
    await service.heartbeat(id, { processedCount: 50, message: 'Row 50' })
    const listed = await call('list_jobs', { search: 'import' })
    t.match(listed.data, { total: 1, jobs: [{ id, status: 'running', progressPercent: 25, cancelRequested: false }] })
    t.same(JSON.parse(listed.text), listed.data, 'for clients that take only text')
    t.match((await call('list_jobs', { limit: 1 })).data, { total: 2, jobs: [{ name: 'Export' }] })
    t.match((await call('list_jobs', { startedBy: 'nobody' })).data, { total: 0 })
    const { pool } = service.database
    await pool.query("UPDATE public.progress_jobs SET finish_by = now(), deadline = 'at_risk' WHERE id = $1", [id])
    await pool.query(
      'UPDATE public.progress_jobs SET unusual = true, expected_seconds = 60, long_seconds = 90 WHERE id = $1',
      [id],
    )
    for (const filter of [{ deadline: ['at_risk', 'overdue'] }, { unusual: true }])
      t.match((await call('list_jobs', filter)).data, {
        total: 1,
        jobs: [{ id, deadline: 'at_risk', finishBy: /^\d{4}-/, unusual: true, usualSeconds: 60 }],
      })
    t.match((await call('list_jobs', { deadline: ['overdue'] })).data, { total: 0 })
    t.match((await call('list_jobs', { deadline: [] })).data, { total: 2 })
    t.match((await call('get_job', { jobId: id })).data, {
      id,
      workers: [{ workerId: 'default', processedCount: 50 }],
      meta: {},
    })

    const told: { progress: number; message?: string | undefined }[] = []
    const waiting = call(
      'wait_for_job',
      { jobId: id, timeoutSeconds: 30 },
      { onprogress: step => void told.push(step) },
    )
    await waitFor(() => told.length === 1)
    await service.heartbeat(id, { processedCount: 101 })
    await waitFor(() => told.length === 2)
    const stopped = await call('cancel_job', { jobId: id })
    t.match(stopped, { data: { cancelRequested: true, status: 'running' } })
    await service.call('POST', `/jobs/${id}/cancelled`)
    t.match(await waiting, { data: { finished: true, job: { id, status: 'cancelled' } } })
    t.match(told.slice(0, 2), [{ progress: 25, message: 'running, 50 of 200 rows, Row 50' }, { progress: 50.5 }])
    const grows = told.map(step => step.progress)
    t.same(
      grows,
      [...new Set(grows)].sort((a, b) => a - b),
      'as the protocol wants it',
    )

    const history = await call('job_history', { jobId: id })
    t.same(
      (history.data['events'] as { type: string }[]).map(event => event.type),
      ['created', 'started', 'cancel_requested', 'cancelled'],
    )
    t.match(await call('get_job', { jobId: randomUUID() }), { isError: true, text: /^job_not_found: There is no job/ })
    t.match(await call('cancel_job', { jobId: id }), { data: { status: 'cancelled' } }, 'as often as one likes')
    t.match(await call('get_job', { jobId: 'seven' }), { isError: true, text: /UUID/ })
  })

  t.test(`by ${name}, a call that is not allowed or not possible says so`, async t => {
    const service = await startGuarded(t)
    const viewer = await as(service, { features: ['progress.view'] })
    const owner = await as(service)
    const { id } = await owner.createJob({ cancellable: true })
    const own = await connect(t, transportTo(viewer))
    t.match(await own.call('cancel_job', { jobId: id }), { isError: true, text: /^forbidden: .*progress\.cancel/ })
    t.equal((await owner.job(id)).status, 'pending')
    const stranger = await connect(t, transportTo(service.as(await mint())))
    for (const tool of ['get_job', 'wait_for_job', 'cancel_job', 'job_history'])
      t.match(await stranger.call(tool, { jobId: id }), { isError: true, text: /^job_not_found/ }, tool)
    t.match((await stranger.call('list_jobs', { includeFinished: true })).data, { total: 0 })
    await t.rejects(connect(t, transportTo(service.as('bad'))), /unauthenticated/)
    await t.rejects(connect(t, transportTo(await as(service, { features: ['progress.update'] }))), /forbidden/)
  })
}

t.test('a wait ends after timeoutSeconds, when its caller leaves, and when the service closes', async t => {
  const service = await startService(t, { SHUTDOWN_GRACE_SECONDS: '4' })
  const { id } = await service.createJob()
  const { call, client } = await connect(t, overHttp(service))
  t.match(await call('wait_for_job', { jobId: id, timeoutSeconds: 1 }), {
    data: { finished: false },
  })

  const left = new AbortController()
  let told = 0
  const abandoned = call(
    'wait_for_job',
    { jobId: id, timeoutSeconds: 300 },
    { signal: left.signal, onprogress: () => (told += 1) },
  )
  await waitFor(() => told === 1)
  left.abort()
  await t.rejects(abandoned)
  const begun = call('wait_for_job', { jobId: id, timeoutSeconds: 300 }, { onprogress: () => (told += 1) })
  await waitFor(() => told === 2)
  const startedAt = performance.now()
  const closed = service.close()
  t.match(await begun, { data: { finished: false } }, 'what is known is answered')
  await closed
  t.ok(performance.now() - startedAt < 3_000, 'nobody is waited for')
  await client.close()
})

/** Not the selector of pictures, which a heart has. */
const HIDDEN = /\n|\p{Cf}|\p{Cc}|\u3164|\u2800|\ufe01|\u{e0101}/u

t.test('texts of callers are data to an assistant, and all of their characters are visible', async t => {
  const service = await startService(t)
  const hidden = String.fromCodePoint(0xe0063, 0xe0061, 0x202e, 0x9b, 0x200b, 0xfe01, 0x3164, 0x2800, 0xe0101)
  const seen = '\\u{e0063}\\u{e0061}\\u{202e}\\u{9b}\\u{200b}\\u{fe01}\\u{3164}\\u{2800}\\u{e0101}'
  const { id } = await service.createJob({
    description: `❤️ 👍🏽 ü${hidden}`,
    totalCount: 9,
    meta: { [`key${hidden}`]: [{ deep: hidden }] },
  })
  await service.heartbeat(id, { processedCount: 1, message: `Row 1${hidden}`, stage: 's', workerId: 'w' })
  // As they could be named once.
  const { pool } = service.database
  const name = `Import\n\nExport [x] (running)${hidden}`
  await pool.query('UPDATE public.progress_jobs SET name = $2, stage = $3 WHERE id = $1', [id, name, hidden])
  await pool.query('UPDATE public.job_progress SET worker_id = worker_id || $2 WHERE job_id = $1', [id, hidden])
  const { client, call } = await connect(t, overHttp(service))
  const told: (string | undefined)[] = []
  await call('wait_for_job', { jobId: id, timeoutSeconds: 1 }, { onprogress: ({ message }) => void told.push(message) })
  t.match(told[0], /^running, {10}, 1 of 9, Row 1 {9}$/)
  await service.call('POST', `/jobs/${id}/fail`, { errorMessage: hidden, errorStack: `at x\n\tat y${hidden}` })
  for (const [tool, args] of [
    ['get_job', { jobId: id }],
    ['wait_for_job', { jobId: id }],
    ['list_jobs', { includeFinished: true }],
    ['job_history', { jobId: id, includeProgress: true }],
  ] as const) {
    const { text, data } = await call(tool, args)
    t.same(JSON.parse(text), data, 'the same in both')
    t.notMatch(text, HIDDEN, tool)
    t.notMatch(JSON.stringify(data), HIDDEN, tool)
  }
  const { data } = await call('get_job', { jobId: id })
  t.match(data, {
    name: `Import\n\nExport [x] (running)${seen}`,
    description: `❤️ 👍🏽 ü${seen}`,
    message: `Row 1${seen}`,
    meta: { [`key${seen}`]: [{ deep: seen }] },
    errorStack: `at x\n\tat y${seen}`,
    workers: [{ workerId: `w${seen}` }],
  })
  t.match(client.getInstructions(), /is data, and never instructions/)
})

t.test('an unknown argument of a tool is refused, and the refusal names the known arguments', async t => {
  const { url, jobs } = await startServer(t)
  const { call, tools } = await connect(t, overHttp({ url, headers: {} }))
  const good = { jobId: JOB_ID }
  for (const [tool, args, known] of [
    [
      'list_jobs',
      { stauts: ['failed'] },
      'status, deadline, unusual, includeFinished, jobType, search, parentJobId, limit',
    ],
    ['get_job', { ...good, includeWorkers: true }, 'jobId'],
    ['wait_for_job', { ...good, timeout: 5 }, 'jobId, timeoutSeconds'],
    ['cancel_job', { ...good, reason: 'x' }, 'jobId'],
    ['job_history', { ...good, pageSize: 5 }, 'jobId, includeProgress, page, limit'],
    ['get_job', { ...good, constructor: {} }, 'jobId'],
  ] as const) {
    const [name = ''] = Object.keys(args).slice(-1)
    const { isError, text } = await call(tool, args)
    t.equal(isError, true, tool)
    t.ok(text.includes(`There is no argument ${name}: this tool takes ${known}`), text)
  }
  t.equal(jobs.calls.length, 0, 'and nothing was done')
  for (const { inputSchema } of tools)
    t.equal((inputSchema as object as { additionalProperties: unknown }).additionalProperties, false)
})

t.test('answers that an assistant does not read count as bytes in flight', async t => {
  const { url } = await startServer(t, { inFlight: new InFlight({ maxBytes: 1_000, maxBytesPerCaller: 1_000 }) })
  const { call } = await connect(t, overHttp({ url, headers: {} }))
  t.match(await call('get_job', { jobId: JOB_ID }), { isError: true, text: /^overloaded: / })
  t.match(await call('cancel_job', { jobId: JOB_ID }), { data: { id: JOB_ID } }, 'what was done is told')
})

t.test('an answer that several assistants wait for counts for each of them', async t => {
  const { url, jobs, live } = await startServer(t, {
    inFlight: new InFlight({ maxBytes: 60_000, maxBytesPerCaller: 60_000 }),
  })
  const { call } = await connect(t, overHttp({ url, headers: {} }))
  const waits = [1, 2].map(() => call('wait_for_job', { jobId: JOB_ID, timeoutSeconds: 300 }))
  await waitFor(() => live.waiting.size === 2)
  jobs.job = { ...jobs.job, status: 'completed', resultSummary: { text: 'x'.repeat(20_000) } }
  live.announce()
  const [one, two] = (await Promise.all(waits)).sort((a, b) => Number(a.isError ?? false) - Number(b.isError ?? false))
  t.match(one, { data: { finished: true } }, 'there is room for one')
  t.match(two, { isError: true, text: /^overloaded: / })
})

t.test("no tool finds a job outside of the token's job or organization", async t => {
  const service = await startGuarded(t)
  const owner = await as(service)
  const [own, other] = [await owner.createJob({ cancellable: true }), await owner.createJob({ cancellable: true })]
  const elsewhere = { organization_id: randomUUID(), features: ['progress.view', 'progress.cancel'] }
  for (const claims of [{ job_id: own.id }, elsewhere]) {
    const { call } = await connect(t, overHttp(await as(service, claims)))
    const mine = 'job_id' in claims ? [own.id] : []
    const { data } = await call('list_jobs', { includeFinished: true })
    t.same(
      (data['jobs'] as { id: string }[]).map(({ id }) => id),
      mine,
    )
    for (const tool of ['get_job', 'wait_for_job', 'cancel_job', 'job_history'])
      t.match(await call(tool, { jobId: other.id }), { isError: true, text: /^job_not_found/ }, tool)
  }
  t.equal((await owner.job(other.id)).cancelRequestedAt, null)
})

t.test('a call that its client cancels ends, and calls of other clients go on', async t => {
  const { url, live } = await startServer(t)
  const address = { url, headers: {} }
  const [one, two] = [await connect(t, overHttp(address)), await connect(t, overHttp(address))]
  const params = { jobId: JOB_ID, timeoutSeconds: 300 }
  const takenBack = new AbortController()
  const waiting = one.call('wait_for_job', params, { signal: takenBack.signal })
  await waitFor(() => live.waiting.size === 1)
  // Both count their requests from 0: this one has the id of the other.
  void two.call('wait_for_job', params).catch(() => undefined)
  await waitFor(() => live.waiting.size === 2)
  const [, other] = live.waiting
  takenBack.abort()
  await t.rejects(waiting)
  await waitFor(() => live.waiting.size === 1)
  t.ok(live.waiting.has(other!))
  // A call that ends by the time limit of the client is cancelled as well.
  await t.rejects(one.call('wait_for_job', params, { timeout: 50 }), /timed out/)
  await waitFor(() => live.waiting.size === 1)
})

t.test('an answer begins at once, and a pipelined call ends when its client has left', async t => {
  const { url, port, live } = await startServer(t)
  const body = (id: number) =>
    JSON.stringify({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name: 'wait_for_job', arguments: { jobId: JOB_ID, timeoutSeconds: 300 } },
    })
  const left = new AbortController()
  const headers = { 'content-type': 'application/json' }
  const startedAt = performance.now()
  const begun = await fetch(`${url}/mcp`, { method: 'POST', headers, body: body(0), signal: left.signal })
  t.match(begun, { status: 200 })
  t.ok(performance.now() - startedAt < 10_000, 'long before the first sign of life')
  t.equal(begun.headers.get('x-accel-buffering'), 'no')
  const socket = connectTo(port, '127.0.0.1')
  for (let id = 1; id <= 20; id++)
    socket.write(
      `POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body(id).length}\r\n\r\n${body(id)}`,
    )
  await waitFor(() => live.waiting.size === 21)
  socket.destroy()
  await waitFor(() => live.waiting.size === 1)
  left.abort()
  await waitFor(() => live.waiting.size === 0)
})

t.test('a call ends when its client leaves or cancels it through headway mcp', async t => {
  const { url, live } = await startServer(t)
  const gone = new AbortController()
  const params = { name: 'wait_for_job', arguments: { jobId: JOB_ID, timeoutSeconds: 300 } }
  const left = fetch(`${url}/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }),
    signal: gone.signal,
  }).then(response => response.text())
  await waitFor(() => live.waiting.size === 1)
  gone.abort()
  await t.rejects(left)
  await waitFor(() => live.waiting.size === 0)

  const { client, call } = await connect(t, overStdio({ url, headers: {} }))
  const takenBack = new AbortController()
  const waiting = call('wait_for_job', params.arguments, { signal: takenBack.signal })
  await waitFor(() => live.waiting.size === 1)
  takenBack.abort()
  await t.rejects(waiting)
  await waitFor(() => live.waiting.size === 0)
  await client.close()
})

t.test('/mcp has the same limits and checks as all other routes', async t => {
  const service = await startService(t)
  const post = (body: unknown, headers: Record<string, string> = {}) =>
    fetch(`${service.url}/mcp`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
      body: JSON.stringify(body),
    })
  const list = { jsonrpc: '2.0', id: 1, method: 'tools/list' }
  t.match(await post(list), { status: 200 }, 'without a session')
  const refused: [unknown, Record<string, string>, number, string][] = [
    [list, { origin: 'https://evil.example' }, 403, 'forbidden'],
    [list, { accept: 'application/json' }, 406, 'not_acceptable'],
    [{ ...list, jsonrpc: '1.0' }, {}, 400, 'validation_failed'],
    [{ jsonrpc: '2.0' }, {}, 400, 'validation_failed'],
    [[list], {}, 400, 'validation_failed'],
    [list, { 'mcp-protocol-version': '1999-01-01' }, 400, 'validation_failed'],
    [list, { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
  ]
  for (const [body, headers, status, code] of refused) {
    const response = await post(body, headers)
    t.match(
      { status: response.status, body: await response.json() },
      { status, body: { code } },
      JSON.stringify([body, headers]),
    )
  }
  for (const method of ['GET', 'DELETE']) {
    const response = await fetch(`${service.url}/mcp`, { method, headers: { accept: 'text/event-stream' } })
    t.match({ status: response.status, allow: response.headers.get('allow') }, { status: 405, allow: 'POST' }, method)
  }
  t.match(await post({ jsonrpc: '2.0', method: 'notifications/initialized' }), { status: 202 })
  const limited = await startGuarded(t, { RATE_LIMIT_PER_SECOND: '1' })
  const token = (await as(limited)).headers
  const statuses = await Promise.all(
    Array.from(
      { length: 40 },
      async () =>
        (
          await fetch(`${limited.url}/mcp`, {
            method: 'POST',
            headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...token },
            body: JSON.stringify(list),
          })
        ).status,
    ),
  )
  // How many depends on how long they take.
  t.ok(statuses.includes(200) && statuses.includes(429), statuses.join(' '))
})

t.test('headway mcp explains what is wrong with its service, and ends with its client', async t => {
  const unreachable = new Client({ name: 'test', version: '1' })
  const transport = (url: string) =>
    new StdioClientTransport({ command: process.execPath, args: [MAIN, 'mcp'], env: { HEADWAY_URL: url } })
  await t.rejects(unreachable.connect(transport('http://127.0.0.1:1')), /cannot be reached at http:\/\/127\.0\.0\.1:1/)
  const service = await startService(t)
  const { client, call } = await connect(t, overStdio(service))
  const { id } = await service.createJob()
  await service.close()
  await t.rejects(call('get_job', { jobId: id }), /cannot be reached/)
  await client.close()
})

import fc from 'fast-check'
import t from 'tap'
import { startService } from '../helpers/service.ts'
import { FUNCTIONS } from '../../src/database/functions.ts'

const service = await startService(t)

const words = (text: string) => text.trim().split(/\s+/).sort()

const JOB = words(`
  id jobType name description status progressPercent processedCount totalCount remainingCount unit throughputPerSecond
  etaSeconds etaSource etaLowSeconds etaHighSeconds stage stages message liveness advancedAt workerCount startedByUserId
  cancelledByUserId startedAt heartbeatAt
  finishedAt createdAt updatedAt resultSummary errorMessage errorStack failureReason meta cancellable cancelRequestedAt
  priority attempt heartbeatTimeoutSeconds pendingTimeoutSeconds parentJobId partitionIndex partitionCount children
  tenantId organizationId finishBy finishWithinSeconds deadline usualSeconds unusual revision`)
const WORKER = words(`
  workerId attempt processedCount totalCount unit progressPercent throughputPerSecond etaSeconds stage message payload
  liveness advancedAt heartbeatAt createdAt`)
const PROGRESS = words(`
  id status progressPercent processedCount totalCount remainingCount unit stage message throughputPerSecond etaSeconds
  etaSource etaLowSeconds etaHighSeconds liveness attempt updatedAt finishBy deadline usualSeconds unusual revision`)
const LIVE = words(`
  id jobType name description status progressPercent processedCount totalCount unit throughputPerSecond etaSeconds
  etaSource etaLowSeconds etaHighSeconds stage stages message liveness advancedAt workerCount attempt priority cancellable cancelRequestedAt
  startedByUserId startedAt finishedAt updatedAt resultSummary errorMessage failureReason parentJobId partitionIndex
  partitionCount children tenantId organizationId finishBy deadline usualSeconds unusual revision`)

const keysOf = (document: object) => Object.keys(document).sort()

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

t.test('a job has the same fields wherever it is read, except that lists leave out the stack of its error', async t => {
  const created = await service.createJob({ jobType: 'documents', cancellable: true })
  t.same(keysOf(created), JOB)
  await service.heartbeat(created.id, { processedCount: 1 })
  const { workers, ...read } = await service.job(created.id)
  t.same(keysOf(read), JOB)
  t.same(workers.map(keysOf), [WORKER])
  const list = await service.call<{ items: object[] }>('GET', '/jobs?jobType=documents')
  t.same(keysOf(list.body), ['items', 'next', 'page', 'pageSize', 'total', 'totalIsExact'])
  const { errorStack: noStack, ...listed } = read
  t.equal(noStack, null)
  t.same(list.body.items, [listed])
  const active = await service.call<{ active: object[] }>('GET', '/active')
  t.same(active.body.active, [listed])
  const { body: progress } = await service.call<object>('GET', `/jobs/${created.id}/progress`)
  t.same(keysOf(progress), PROGRESS)
  t.match(read, progress)
  const finished = await service.call<object>('POST', `/jobs/${created.id}/complete`)
  t.same(keysOf(finished.body), JOB)
})

t.test('no list of jobs has the stack of an error, and the document of the job has it', async t => {
  const jobType = 'with a stack'
  const errorStack = 'at print (printer.ts:3)\n"quoted" \\ é 😀'
  const batch = await service.createJob({ jobType, partitions: [{ name: 'one' }] })
  const { body: partitions } = await service.call<{ items: { id: string }[] }>('GET', `/jobs?parentJobId=${batch.id}`)
  const alone = await service.createJob({ jobType })
  for (const id of [alone.id, partitions.items[0]?.id]) {
    await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no ink', errorStack })
    const { body } = await service.call<object>('GET', `/jobs/${id}`)
    t.match(body, { errorStack })
  }
  for (const path of [
    `/jobs?jobType=${jobType}&includeCompleted=true`,
    `/jobs?status=failed&topLevel=false`,
    `/jobs?parentJobId=${batch.id}`,
    '/active?recentSeconds=300',
  ]) {
    const { status, body } = await service.call('GET', path)
    const answer = JSON.stringify(body)
    t.equal(status, 200, path)
    t.match(answer, 'no ink', path)
    t.notMatch(answer, /errorStack|printer\.ts/, path)
  }
})

t.test('the progress document has meta and payload if they are asked for', async t => {
  const meta = { channel: 'C42', nothing: null }
  const { id } = await service.createJob({ meta })
  const read = (query: string, headers = {}) =>
    service.call<Record<string, unknown>>('GET', `/jobs/${id}/progress${query}`, undefined, headers)
  const { body: before } = await read('?include=meta,payload')
  t.match(before, { meta, payload: null })
  await service.heartbeat(id, { workerId: 'a', payload: { file: 'a' }, message: 'Row 1' })
  await service.heartbeat(id, { workerId: 'b', payload: { file: 'b', line: null } })
  await service.heartbeat(id, { workerId: 'c' })
  const payload = { file: 'b', line: null }
  const { body: plain } = await read('')
  t.same(keysOf(plain), PROGRESS)
  t.equal(plain['message'], 'Row 1')
  for (const [query, added] of [
    ['?include=message', {}],
    ['?include=meta', { meta }],
    ['?include=payload', { payload }],
    ['?include=meta,payload,message', { meta, payload }],
    ['?include=payload&include=meta', { payload, meta }],
  ] as const) {
    t.same((await read(query)).body, { ...plain, ...added }, query)
  }
  // Callers who wait at the same time share a read only with callers who want the same parts.
  const wait = { prefer: 'wait=1', 'if-none-match': 'W/"another"' }
  const waited = await Promise.all(['', '?include=meta', '?include=payload,meta'].map(query => read(query, wait)))
  t.same(
    waited.map(({ body }) => body),
    [plain, { ...plain, meta }, { ...plain, meta, payload }],
  )
  await service.heartbeat(id, { workerId: 'a' })
  t.match((await read('?include=payload')).body, { payload: { file: 'a' } }, 'of the worker that was heard of last')
  await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
  await service.call('POST', `/jobs/${id}/retry`)
  t.match((await read('?include=payload')).body, { payload: null }, 'another attempt')
  for (const query of [
    '?include=',
    '?include=meta,',
    '?include=Meta',
    '?include=meta&include=errorStack',
    '?includes=meta',
  ]) {
    t.match(await read(query), { status: 400, body: { code: 'validation_failed', detail: /include/ } }, query)
  }
  t.equal((await service.call('GET', `/jobs/${id}?include=meta`)).status, 400, 'the job itself has all of it')
})

t.test(
  'the range of an estimate spreads the time left, and not the time for which heartbeats have changed nothing',
  async t => {
    const { id } = await service.createJob({ totalCount: 10 })
    await service.heartbeat(id, { processedCount: 1 })
    const rangeOf = async (fields: string) => {
      await service.database.pool.query(`UPDATE public.progress_jobs SET ${fields} WHERE id = $1`, [id])
      const { etaLowSeconds, etaHighSeconds } = await service.job(id)
      return [etaLowSeconds, etaHighSeconds]
    }
    const spread = Math.log(2) / 1.2816
    const silent = "heartbeat_at = updated_at + interval '100 seconds'"
    t.same(await rangeOf(`eta_seconds = 400, eta_spread = ${spread}, heartbeat_at = updated_at`), [200, 800])
    t.same(await rangeOf(`eta_seconds = 500, ${silent}`), [300, 900], '100 s passed, and 400 s are left')
    t.same(await rangeOf(`eta_seconds = 60, ${silent}`), [100, 100], 'more time has passed than was left')
    t.same(await rangeOf(`eta_seconds = 400, eta_spread = 0, heartbeat_at = updated_at`), [400, 400])
    t.same(await rangeOf(`eta_spread = NULL, eta_source = 'worker'`), [null, null], 'what a worker says has none')
    t.same(await rangeOf(`eta_seconds = NULL, eta_source = NULL, eta_spread = 1`), [null, null])
    t.equal((await rangeOf(`eta_seconds = 9007199254740991, eta_spread = 5`))[1], Number.MAX_SAFE_INTEGER)
  },
)

t.test('times are ISO 8601 in UTC with milliseconds', async t => {
  const { id } = await service.createJob({ cancellable: true })
  await service.heartbeat(id, { processedCount: 1 })
  await service.call('POST', `/jobs/${id}/cancel`)
  await service.call('POST', `/jobs/${id}/complete`)
  const job = await service.job(id)
  for (const field of [
    'createdAt',
    'startedAt',
    'heartbeatAt',
    'advancedAt',
    'cancelRequestedAt',
    'finishedAt',
    'updatedAt',
  ] as const) {
    t.match(job[field], INSTANT, field)
  }
})

t.test('a new job has the defaults that are documented', async t => {
  const job = await service.createJob({ jobType: 'import', name: 'Importing' })
  t.match(job, {
    status: 'pending',
    progressPercent: 0,
    processedCount: 0,
    totalCount: null,
    remainingCount: null,
    unit: 'unknown',
    liveness: null,
    meta: {},
    cancellable: false,
    priority: 0,
    attempt: 1,
    heartbeatTimeoutSeconds: 60,
    pendingTimeoutSeconds: null,
    children: null,
    organizationId: null,
    revision: 1,
  })
  t.equal(job.createdAt, job.updatedAt)
})

t.test('the live document is one line and leaves out fields that are null', async t => {
  const { id } = await service.createJob({ meta: { 'line\nbreak': 1 } })
  // As it could be named once.
  await service.database.pool.query(`UPDATE public.progress_jobs SET name = E'two\\nlines' WHERE id = $1`, [id])
  const live = async () => {
    const { rows } = await service.database.pool.query<{ json: string }>(
      `SELECT ${FUNCTIONS}.live_document(j)::text AS json FROM public.progress_jobs j WHERE id = $1`,
      [id],
    )
    return rows[0]?.json ?? ''
  }
  const pending = await live()
  t.notMatch(pending, /\n|:null/)
  t.same(
    keysOf(JSON.parse(pending) as object),
    words(`id jobType name status progressPercent processedCount unit workerCount attempt priority cancellable updatedAt
      tenantId revision`),
  )
  // Every column that can be set at once, whatever its meaning; the invariants forbid the rest together.
  await service.database.pool.query(
    `UPDATE public.progress_jobs SET status = 'failed', total_count = 5, throughput_per_second = 1, eta_seconds = 1,
       eta_source = 'rate', eta_spread = 0.5, stage = 's', stages = '[]', message = 'm', advanced_at = now(), cancel_requested_at = now(),
       started_at = now(), finished_at = now(), error_message = 'e', failure_reason = 'worker',
       parent_job_id = id, partition_index = 0, partition_count = 1, description = 'd', started_by_user_id = 'u',
       result_summary = '{}', organization_id = gen_random_uuid(), finish_by = now(), expected_seconds = 1,
       long_seconds = -1 WHERE id = $1`,
    [id],
  )
  const failed = JSON.parse(await live()) as Record<string, unknown>
  t.same(
    keysOf(failed),
    LIVE.filter(key => key !== 'liveness' && key !== 'children'),
  )
  const running = await service.createJob()
  await service.heartbeat(running.id)
  await service.database.pool.query(
    `UPDATE public.progress_jobs SET children = '{"total": 1, "current": []}', partition_count = 1 WHERE id = $1`,
    [running.id],
  )
  const { rows } = await service.database.pool.query<{ document: object }>(
    `SELECT ${FUNCTIONS}.live_document(j) AS document FROM public.progress_jobs j WHERE id = $1`,
    [running.id],
  )
  t.match(rows[0]?.document, { liveness: 'ok', children: { total: 1 } })
})

/** What documents may be full of: blanks of jsonb are behind each of its commas and colons, and in strings they are its own. */
const FILLINGS = {
  numbers: 0,
  unicode: 'é, 🦊: ',
  empties: { none: {}, list: [], '': [[], {}] },
  pairs: [{ a: 1, b: null }],
}

/** A document of exactly so many bytes as JSON without blanks. */
const sized = (bytes: number, fill: unknown) => {
  const length = (value: unknown) => Buffer.byteLength(JSON.stringify(value))
  const list: unknown[] = []
  while (length({ list: [...list, fill], text: '' }) <= bytes) list.push(fill)
  return { list, text: 'x'.repeat(bytes - length({ list, text: '' })) }
}

t.test(
  'the live document has the result as the worker gave it, and resultSummaryOmitted for a result over 8 KB',
  async t => {
    const live = async (resultSummary?: object) => {
      const { id } = await service.createJob()
      await service.call('POST', `/jobs/${id}/complete`, resultSummary && { resultSummary })
      const { rows } = await service.database.pool.query<{ json: string }>(
        `SELECT ${FUNCTIONS}.live_document(j)::text AS json FROM public.progress_jobs j WHERE id = $1`,
        [id],
      )
      t.notMatch(rows[0]?.json, /\n/, 'it is one line')
      const { resultSummary: result, resultSummaryOmitted: omitted } = JSON.parse(rows[0]?.json ?? '') as Record<
        string,
        unknown
      >
      return [result, omitted]
    }
    t.same(await live(), [undefined, undefined])
    t.same(await live({}), [{}, undefined])
    const odd = { empty: null, nested: { none: null, list: [null, {}] }, 'line\nbreak': '"}' }
    t.same(await live(odd), [odd, undefined], 'its nulls are its own')
    for (const fill of Object.values(FILLINGS)) {
      t.same(await live(sized(8192, fill)), [sized(8192, fill), undefined], `8 KB of ${JSON.stringify(fill)}`)
      t.same(await live(sized(8193, fill)), [undefined, true], `a byte more of ${JSON.stringify(fill)}`)
    }
    t.same(await live(sized(20_000, 0)), [undefined, true])
  },
)

t.test('the database measures the size of a document as JSON without blanks', async t => {
  const fits = async (document: unknown, bytes: number): Promise<boolean | undefined> => {
    const { rows } = await service.database.pool.query<{ fits: boolean }>(
      `SELECT ${FUNCTIONS}.json_fits($1, $2) AS fits`,
      [JSON.stringify(document), bytes],
    )
    return rows[0]?.fits
  }
  // Numbers that JSON.stringify writes with an exponent are written out by Postgres; texts that it refuses never get there.
  const anything = fc
    .jsonValue({ depthSize: 'medium', maxDepth: 6, stringUnit: 'grapheme' })
    .map(
      value =>
        JSON.parse(
          JSON.stringify(value, (_, each: unknown) =>
            typeof each === 'number' ? Math.trunc(each % 1e6) : each,
          ).replaceAll('\\u0000', ''),
        ) as unknown,
    )
  const property = fc.assert(
    fc.asyncProperty(anything, async value => {
      const bytes = Buffer.byteLength(JSON.stringify(value))
      // Not as names of assertions: some texts end the test document that they are written to.
      return (await fits(value, bytes)) === true && (await fits(value, bytes - 1)) === false
    }),
    { numRuns: 200 },
  )
  await t.resolves(property)
})

t.test('meta grows by heartbeats to 16 KB as JSON without blanks', async t => {
  for (const [name, fill] of Object.entries(FILLINGS)) {
    const { id } = await service.createJob({ meta: { kept: fill } })
    const put = async (meta: object) => (await service.call('PUT', `/jobs/${id}`, { meta })).status
    const own = Buffer.byteLength(JSON.stringify({ kept: fill })) - 1
    t.equal(await put(sized(16_385 - own, fill)), 422, `a byte too many of ${name}`)
    t.equal(await put(sized(16_384 - own, fill)), 200, `16 KB of ${name}`)
    t.equal(await put({ one: 'more' }), 422, name)
    t.equal(await put({ kept: null }), fill === 0 ? 422 : 200, 'what gets no larger may change')
  }
})

t.test('workerCount is how many workers have reported in the present attempt', async t => {
  const { id } = await service.createJob()
  const count = async () => (await service.job(id)).workerCount
  t.equal(await count(), 0)
  await service.heartbeat(id, { workerId: 'a' })
  await service.heartbeat(id, { workerId: 'b' })
  await service.heartbeat(id, { workerId: 'a' })
  t.equal(await count(), 2)
  await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'no' })
  t.equal(await count(), 2)
  await service.call('POST', `/jobs/${id}/retry`)
  t.equal(await count(), 0)
})

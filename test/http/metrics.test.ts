import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { parse } from 'yaml'
import { createLog } from '../../src/log.ts'
import { shareReading } from '../../src/metrics/shared-reading.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { parseMetrics, scrape } from '../helpers/prometheus.ts'
import { startProxy } from '../helpers/proxy.ts'
import { startService, type Service } from '../helpers/service.ts'
import { openStream } from '../helpers/stream.ts'
import { waitFor } from '../helpers/wait.ts'
import { readFromRoot } from '../helpers/manual.ts'
import { JOB_ID, raw, readProblem, startServer } from './in-memory.ts'

const UNKNOWN_ID = '0197a3c2-5b1e-7c44-9d0a-000000000000'
const EVERY_SECOND = '* * * * * *'

t.test("the answer is Prometheus's text format, with units in the names", async t => {
  const service = await startService(t)
  const response = await fetch(`${service.url}/metrics`)
  t.equal(response.status, 200)
  t.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  const rebound = await raw(
    Number(new URL(service.url).port),
    'GET /metrics HTTP/1.1\r\nhost: evil.test\r\nconnection: close\r\n\r\n',
  )
  t.match(rebound, /^HTTP\/1.1 421 /, 'without authentication, not for a name that leads here')
  const families = parseMetrics(await response.text())
  for (const { name, type, help } of families.values()) {
    t.match(help, /^[A-Z]/, name)
    t.equal(name.endsWith('_total'), type === 'counter', `${name} is a ${type}`)
    t.notMatch(name, /_ms$|milli|minutes/, name)
  }
  for (const name of [
    'process_resident_memory_bytes',
    'process_cpu_seconds_total',
    'nodejs_eventloop_lag_p99_seconds',
  ]) {
    t.ok(families.has(name), name)
  }
})

interface Dashboard {
  title: string
  schemaVersion: number
  templating: { list: { name: string; type: string }[] }
  panels: { id: number; type: string; title: string; datasource?: { uid: string }; targets?: { expr: string }[] }[]
}

interface Rules {
  groups: { rules: { alert: string; expr: string; labels: { severity: string }; annotations: { summary: string } }[] }[]
}

const DEPLOY = new URL('../../deploy/', import.meta.url)
const readDeploy = (path: string): string => readFileSync(new URL(path, DEPLOY), 'utf8')

/** Ours, and those of the process, as PromQL names them. `up` is Prometheus's own. */
const namesIn = (expression: string): string[] => expression.match(/\b(?:headway|nodejs|process)_\w+/g) ?? []

t.test(
  'the dashboard, the alerts and the manual name no metric that /metrics does not have, and omit none of ours',
  async t => {
    const { families, samples } = await scrape((await startService(t)).url)
    const known = new Set([...families.keys(), ...samples.map(({ name }) => name)])
    for (const { name, type } of families.values()) {
      if (type === 'histogram') for (const part of ['bucket', 'sum', 'count']) known.add(`${name}_${part}`)
    }
    const dashboard = JSON.parse(readDeploy('grafana/headway.json')) as Dashboard
    const rules = (parse(readDeploy('prometheus/alerts.yaml')) as Rules).groups.flatMap(group => group.rules)
    const charts = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
    const alerts = rules.map(({ alert, expr }) => ({ title: alert, expr }))
    t.ok(charts.length > 30 && alerts.length > 10)
    for (const { title, expr } of [...charts, ...alerts]) {
      for (const name of namesIn(expr)) t.ok(known.has(name), `${title}: ${name}`)
      t.match(expr, /\b(?:headway|nodejs|process)_|\bup\{/, title)
    }
    const page = readFromRoot('docs/reference/metrics.md')
    const described = new Set(page.match(/`headway_\w+/g)?.map(name => name.slice(1)))
    const ours = [...families.keys()].filter(name => name.startsWith('headway_'))
    t.strictSame([...described].sort(), ours.sort(), 'the page lists each once it exists, and no other')
    const drawn = charts.flatMap(({ expr }) => namesIn(expr).map(name => name.replace(/_(?:bucket|sum|count)$/, '')))
    for (const name of ours) t.ok(drawn.includes(name), `${name} is on the dashboard`)

    t.strictSame(
      dashboard.panels.filter(({ type }) => type === 'row').map(({ title }) => title),
      ['Intake', 'Live', 'Liveness', 'Webhooks', 'Database', 'Process'],
    )
    t.equal(new Set(dashboard.panels.map(({ id }) => id)).size, dashboard.panels.length)
    t.match(dashboard.templating.list[0], { name: 'datasource', type: 'datasource' })
    for (const { datasource, type } of dashboard.panels) if (type !== 'row') t.equal(datasource?.uid, '${datasource}')
    for (const { alert, labels, annotations } of rules) {
      t.match(labels.severity, /^(?:page|ticket)$/, alert)
      t.ok(annotations.summary.length > 40, `${alert} says what to do`)
      t.ok(readFromRoot('docs/operate/alerts.md').includes(`\`${alert}\``), `${alert} is in the manual`)
    }
  },
)

t.test("the test's parser notices an answer that is not in the text format", t => {
  const good = '# HELP a_total A\n# TYPE a_total counter\na_total{b="c\\"d"} 1\n'
  t.equal(parseMetrics(good).get('a_total')?.samples[0]?.labels['b'], 'c"d')
  const bad = [
    good.trimEnd(),
    `${good}a_total{b="c\\"d"} 2\n`,
    `${good}b_total 1\n`,
    good.replace('} 1', '} one'),
    good.replace('} 1', '} undefined'),
    good.replace('b="c', 'b=c'),
    good.replace('# TYPE a_total counter\n', ''),
    good.replace('counter', 'histogram'),
    '# HELP h H\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
    '# HELP h H\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_sum 1\nh_count 2\n',
  ]
  for (const text of bad) t.throws(() => parseMetrics(text), text)
  t.end()
})

t.test('heartbeats are counted by what was answered, and flushes by what they carried', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  await service.heartbeat(id, { processedCount: 1 })
  await service.heartbeat(id, { attempt: 7 })
  await service.heartbeat(UNKNOWN_ID)
  await service.call('PUT', `/jobs/${id}`, { processedCount: 2 })
  await service.call('POST', `/jobs/${id}/increment`, { increment: 1 })
  const heartbeats = [
    { jobId: id, workerId: 'a' },
    { jobId: id, workerId: 'b' },
    { jobId: UNKNOWN_ID },
    { jobId: id, attempt: 7 },
  ]
  await service.call('POST', '/heartbeats', { heartbeats })
  await service.call('POST', `/jobs/${id}/complete`)
  await service.heartbeat(id)

  const metrics = await scrape(service.url)
  const counted = (labels: Record<string, string>) => metrics.value('headway_heartbeats_total', labels)
  t.equal(counted({ outcome: 'written' }), 5)
  t.equal(counted({ outcome: 'buffered' }), 0)
  t.equal(counted({ outcome: 'refused', code: 'job_not_found' }), 2)
  t.equal(counted({ outcome: 'refused', code: 'superseded' }), 2)
  t.equal(counted({ outcome: 'refused', code: 'already_finished' }), 1)
  t.equal(counted({ outcome: 'refused' }), 5)
  t.equal(metrics.value('headway_flush_duration_seconds_count'), 7)
  t.equal(metrics.value('headway_flush_entries_sum'), 10, 'three of the bulk were written together')
  t.equal(metrics.value('headway_flush_failures_total'), 0)
  t.equal(metrics.value('headway_intake_entries'), 0)
  t.equal(metrics.value('headway_intake_bytes'), 0)
})

t.test('requests are counted by route and status, but not those that are held open', async t => {
  const service = await startService(t)
  const { id, revision } = await service.createJob()
  await service.job(id)
  await service.call('GET', `/jobs/${UNKNOWN_ID}`)
  await service.call('GET', `/nothing/here/${id}`)
  await service.call('GET', `/jobs/${id}`, undefined, {
    prefer: 'wait=1',
    'if-none-match': `W/"${id}.${revision}"`,
  })
  const stream = new AbortController()
  const opened = await fetch(`${service.url}/api/progress/jobs/${id}/stream`, { signal: stream.signal })
  t.equal(opened.status, 200)
  stream.abort()
  await service.call('GET', `/jobs/${UNKNOWN_ID}/stream`)
  await waitFor(async () => (await scrape(service.url)).value('headway_streams_open') === 0)

  const metrics = await scrape(service.url)
  const counted = (route: string, status: string) =>
    metrics.value('headway_http_request_duration_seconds_count', { route, status })
  t.equal(counted('/api/progress/jobs', '201'), 1)
  t.equal(counted('/api/progress/jobs/:id', '200'), 1)
  t.equal(counted('/api/progress/jobs/:id', '404'), 1)
  t.equal(counted('/api/progress/jobs/:id', '304'), undefined, 'held by Prefer: wait')
  t.equal(counted('none', '404'), 1)
  t.equal(counted('/api/progress/jobs/:id/stream', '200'), undefined)
  t.equal(counted('/api/progress/jobs/:id/stream', '404'), 1, 'a refused one was not held')
})

t.test('no label names a job, a caller or a URL, and new jobs, callers and URLs make no new series', async t => {
  const service = await startService(t)
  const visit = async (n: number) => {
    const { id } = await service.createJob({ jobType: `type-${n}`, name: `name-${n}` })
    await service.heartbeat(id, { workerId: `worker-${n}`, message: `message-${n}` })
    await service.call('GET', `/jobs/${id}?a=${n}`)
    await service.call('GET', `/path-${n}`)
    await service.call('GET', `/jobs?jobType=type-${n}`, undefined, { 'x-request-id': `request-${n}` })
    return id
  }
  const ids = [await visit(1)]
  // The scrape itself is the first of its route, and the collector of garbage may not have run yet.
  const series = async () => {
    const { samples } = await scrape(service.url)
    return samples.filter(({ name }) => name.startsWith('headway_')).map(({ name, labels }) => ({ name, labels }))
  }
  await series()
  const before = await series()
  for (let n = 2; n < 12; n += 1) ids.push(await visit(n))
  const after = await series()
  t.strictSame(after, before)
  for (const { name, labels } of after) {
    for (const [label, value] of Object.entries(labels)) {
      t.ok(
        ['le', 'method', 'route', 'status', 'outcome', 'code', 'reason', 'pool', 'state', 'kind', 'deadline'].includes(
          label,
        ),
        label,
      )
      t.notOk(ids.includes(value), `${name} ${label}`)
      t.notMatch(value, /type-|name-|worker-|message-|path-|request-|\?|[0-9a-f]{8}-/, `${name} ${label}`)
    }
  }
})

t.test('the metrics of the live side show streams, bytes written, the listener and announcements', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  const reader = openStream(t, () => service.url)
  await waitFor(() => reader.jobs.has(id))
  await service.heartbeat(id, { processedCount: 5 })
  await waitFor(() => reader.jobs.get(id)?.processedCount === 5)
  const metrics = await scrape(service.url)
  t.equal(metrics.value('headway_streams_open'), 1)
  t.equal(metrics.value('headway_feeds_open'), 1)
  t.equal(metrics.value('headway_stream_snapshots_total'), 1)
  t.equal(metrics.value('headway_listener_deaf'), 0)
  t.equal(metrics.value('headway_streams_cut_total'), 0)
  const positive = [
    'headway_stream_frames_total',
    'headway_stream_encoded_frames_total',
    'headway_stream_writes_total',
    'headway_stream_written_bytes_total',
    'headway_listener_lag_seconds',
    'headway_announce_lag_seconds',
    'headway_announced_changes_total',
    'headway_announce_statements_total',
  ]
  for (const name of positive) t.ok(metrics.value(name)! > 0, name)
  t.ok(metrics.value('headway_listener_lag_seconds')! < 5, 'in seconds')
})

t.test('sweeps, ended and stalled jobs, erased jobs, and jobs by status are counted', async t => {
  const service = await startService(t, {
    SWEEP_SCHEDULE: EVERY_SECOND,
    RETENTION_SCHEDULE: EVERY_SECOND,
    STALLED_AFTER_SECONDS: '1',
  })
  const [silent, doomed, old] = await Promise.all([
    service.createJob({ heartbeatTimeoutSeconds: 600 }),
    service.createJob({ heartbeatTimeoutSeconds: 1 }),
    service.createJob(),
  ])
  await service.createJob({ finishBy: '2026-01-31T12:00:00Z' })
  await service.call('POST', `/jobs/${old.id}/complete`)
  await service.age(old.id, 40 * 86_400)
  await Promise.all([service.heartbeat(silent.id), service.heartbeat(doomed.id)])
  await waitFor(async () => (await service.job(silent.id)).liveness === 'stalled', { timeoutMs: 15_000 })
  await waitFor(async () => (await service.job(doomed.id)).status === 'failed', { timeoutMs: 15_000 })
  await waitFor(async () => (await service.call('GET', `/jobs/${old.id}`)).status === 404, { timeoutMs: 15_000 })

  const metrics = await scrape(service.url)
  t.equal(metrics.value('headway_jobs_ended_total'), 1)
  t.ok(metrics.value('headway_jobs_stalled_total')! >= 1)
  await waitFor(async () => (await scrape(service.url)).value('headway_jobs_erased_total') === 1)
  t.ok(metrics.value('headway_sweep_duration_seconds_count')! >= 2)
  t.equal(metrics.value('headway_sweeps_skipped_total', { reason: 'database' }), 0)
  t.equal(metrics.value('headway_jobs', { status: 'running' }), 1)
  t.equal(metrics.value('headway_jobs', { status: 'pending' }), 1)
  t.equal(metrics.value('headway_stalled_jobs'), 1)
  t.equal(metrics.value('headway_late_jobs', { deadline: 'overdue' }), 1)
  t.equal(metrics.value('headway_deadline_alarms_total', { deadline: 'overdue' }), 1)
  t.equal(metrics.value('headway_deadline_alarms_total', { deadline: 'at_risk' }), 0)
  t.ok(metrics.value('headway_jobs_age_seconds')! < 15)
})

t.test('the ends of jobs are counted by outcome and type, of a hundred types', async t => {
  const service = await startService(t)
  const end = async (jobType: string, path: string, body: object = {}) => {
    const { id } = await service.createJob({ jobType, cancellable: true })
    t.equal((await service.call('POST', `/jobs/${id}/${path}`, body)).status, 200)
    // Carried out before: it changes nothing.
    await service.call('POST', `/jobs/${id}/${path}`, body)
  }
  const odd = '"}\\n# HELP'
  await end(odd, 'complete')
  for (const path of ['complete', 'complete', 'cancel']) await end('import', path)
  await end('import', 'fail', { errorMessage: 'no' })
  const batch = await service.createJob({
    jobType: 'batch',
    partitions: [{ name: 'a' }, { name: 'b' }],
    cancellable: true,
  })
  await service.call('POST', `/jobs/${batch.id}/cancel`)
  const counted = async (job_type: string, outcome: string) =>
    (await scrape(service.url)).value('headway_jobs_finished_total', { job_type, outcome })
  t.equal(await counted('import', 'completed'), 2)
  t.equal(await counted('import', 'failed'), 1)
  t.equal(await counted('import', 'cancelled'), 1)
  t.equal(await counted('batch', 'cancelled'), 3)
  for (let n = 0; n < 110; n += 10)
    await Promise.all(Array.from({ length: 10 }, (_, k) => end(`type-${n + k}`, 'complete')))
  await end('import', 'complete')
  t.equal(await counted('import', 'completed'), 3)
  t.equal(await counted('other', 'completed'), 13, 'with a hundred in all, 97 of these have a series of their own')
})

t.test('an end that a worker makes in SQL is counted and logged by exactly one process', async t => {
  const database = await createTestDatabase(t)
  const lines: { msg: string; jobId: string; event?: string; by?: string; level: number }[] = []
  const log = createLog('debug', { write: chunk => void lines.push(JSON.parse(chunk) as (typeof lines)[number]) })
  const startReplica = () => startService(t, { database, log })
  const replicas = [await startReplica(), await startReplica()]
  const [replica] = replicas as [Service]
  const query = (text: string, id: string) => database.pool.query(text, [id])
  const counted = async (job_type: string, outcome: string) => {
    let sum = 0
    for (const { url } of replicas)
      sum += (await scrape(url)).value('headway_jobs_finished_total', { job_type, outcome }) ?? 0
    return sum
  }
  const said = (id: string, event: string) => lines.filter(line => line.jobId === id && line.event === event)
  const create = (fields = {}) => replica.createJob({ jobType: 'import', ...fields })

  const completed = await Promise.all(Array.from({ length: 20 }, () => create()))
  await Promise.all(completed.map(({ id }) => query('SELECT headway.complete_job_progress($1)', id)))
  const failed = await create()
  await query('SELECT headway.update_job_progress($1)', failed.id)
  await query(`SELECT headway.error_job_progress($1, 'no')`, failed.id)
  await query(`SELECT headway.error_job_progress($1, 'again')`, failed.id)
  const batch = await create({ jobType: 'batch', partitions: [{ name: 'a' }] })
  const [partition] = (batch as unknown as { partitions: { id: string }[] }).partitions
  await query('SELECT headway.complete_job_progress($1)', partition?.id ?? '')
  await waitFor(async () => (await counted('import', 'completed')) >= 20 && (await counted('batch', 'completed')) >= 2)
  t.equal(await counted('import', 'completed'), 20)
  t.equal(await counted('import', 'failed'), 1)
  t.equal(await counted('batch', 'completed'), 2)
  for (const { id } of completed) t.match(said(id, 'completed'), [{ level: 20, by: 'sql' }])
  t.match(said(failed.id, 'failed'), [{ level: 30, msg: 'job failed', by: 'sql' }])
  t.equal(lines.filter(line => line.jobId === failed.id && line.msg === 'job started or recovered').length, 1)
  t.match([said(batch.id, 'completed').length, said(partition?.id ?? '', 'completed').length], [1, 1])

  const { id: rolledBack } = await create()
  const { id: unheard } = await create()
  const client = await database.pool.connect()
  await client.query('BEGIN')
  await client.query('SELECT headway.complete_job_progress($1)', [rolledBack])
  await client.query('ROLLBACK')
  client.release()
  await Promise.all(replicas.map(each => each.close()))
  await query('SELECT headway.complete_job_progress($1)', unheard)
  replicas.splice(0, 2, await startReplica())
  await waitFor(() => said(unheard, 'completed').length > 0)
  t.equal(await counted('import', 'completed'), 1, 'what no process heard of is found by the first sweep of the next')
  t.same(said(rolledBack, 'completed'), [])
})

t.test('retention says when it last ran, and for how long the oldest job should have been gone', async t => {
  const read = async (settings: object) => {
    const service = await startService(t, { RETENTION_SCHEDULE: '17 * * * *', RETENTION_DAYS: '30', ...settings })
    const [{ id }, pending, partitioned] = [
      await service.createJob(),
      await service.createJob(),
      await service.createJob({ partitions: [{ name: 'a' }, { name: 'b' }] }),
    ]
    const { body } = await service.call<{ items: { id: string }[] }>('GET', `/jobs?parentJobId=${partitioned.id}`)
    for (const ended of [id, body.items[0]!.id]) await service.call('POST', `/jobs/${ended}/complete`)
    await service.age(id, 30 * 86_400 + 7_200)
    await service.age(pending.id, 30 * 86_400 + 3_600)
    await service.age(body.items[0]!.id, 50 * 86_400)
    return scrape(service.url)
  }
  const metrics = await read({})
  const behind = metrics.value('headway_retention_behind_seconds')!
  t.ok(behind >= 7_200 && behind < 10_000, 'the first that finished; partitions go with their batch')
  t.equal(metrics.value('headway_retention_interval_seconds'), 3_600)
  t.ok(metrics.value('headway_retention_age_seconds')! >= 0)
  t.equal((await read({ RETENTION_DAYS: '0' })).value('headway_retention_behind_seconds'), 0, 'nothing is to be erased')
})

t.test('two apps in one process have counters of their own', async t => {
  const database = await createTestDatabase(t)
  const [one, other] = [await startService(t, { database }), await startService(t, { database })]
  const { id } = await one.createJob()
  await one.heartbeat(id)
  const written = async (url: string) => (await scrape(url)).value('headway_heartbeats_total', { outcome: 'written' })
  t.equal(await written(one.url), 1)
  t.equal(await written(other.url), 0)
})

t.test('/metrics answers while the database is away, with the last known numbers and their age', async t => {
  const database = await createTestDatabase(t)
  const { proxy, url } = await startProxy(t, database.url)
  const service = await startService(t, { database: { ...database, url }, DATABASE_URL: url })
  const fresh = await startService(t, { database: { ...database, url }, DATABASE_URL: url })
  const { id } = await service.createJob()
  await service.heartbeat(id)
  const before = await scrape(service.url)
  t.equal(before.value('headway_jobs', { status: 'running' }), 1)
  t.equal(before.value('headway_database_connections_max', { pool: 'requests' }), 10)
  t.equal(before.value('headway_database_connections_max', { pool: 'heartbeats' }), 5)
  t.ok(before.value('headway_database_connections', { pool: 'heartbeats' })! >= 1)

  proxy.blackHole()
  const reply = await service.heartbeat(id)
  t.equal(reply.status, 202)
  const begun = performance.now()
  const unknown = await scrape(fresh.url)
  t.ok(performance.now() - begun < 2_000, 'a scrape waits for nothing long')
  t.equal(unknown.value('headway_jobs'), undefined, 'what was never known is not 0')
  t.equal(unknown.value('headway_stalled_jobs'), undefined)
  t.equal(unknown.value('headway_jobs_age_seconds'), Infinity)
  const away = await scrape(service.url)
  t.equal(away.value('headway_heartbeats_total', { outcome: 'buffered' }), 1)
  t.equal(away.value('headway_intake_entries'), 1)
  t.ok(away.value('headway_intake_bytes')! > 0)
  t.ok(away.value('headway_intake_oldest_wait_seconds')! >= 2)
  t.equal(away.value('headway_jobs', { status: 'running' }), 1)
  t.ok(away.value('headway_jobs_age_seconds')! >= 2)
  proxy.heal()
  await waitFor(async () => (await scrape(service.url)).value('headway_intake_entries') === 0, { timeoutMs: 20_000 })
})

t.test('a costly reading is made once for all callers, and not repeated too soon', async t => {
  let clock = 0
  let reads = 0
  let answer: () => Promise<number> = async () => reads
  const reading = shareReading({
    read: () => {
      reads += 1
      return answer()
    },
    everyMs: 15_000,
    patienceMs: 20,
    now: () => clock,
  })
  t.strictSame(await Promise.all([reading(), reading(), reading()]), Array(3).fill({ value: 1, ageSeconds: 0 }))
  clock = 14_999
  t.strictSame(await reading(), { value: 1, ageSeconds: 14.999 })
  clock = 15_000
  t.strictSame(await reading(), { value: 2, ageSeconds: 0 })

  answer = () => Promise.reject(new Error('away'))
  clock = 40_000
  t.strictSame(await reading(), { value: 2, ageSeconds: 25 }, 'the last one, while it fails')
  t.strictSame(await reading(), { value: 2, ageSeconds: 25 })
  t.equal(reads, 3, 'a failure is not repeated at once either')

  let finish: (value: number) => void = () => undefined
  answer = () => new Promise(resolve => (finish = resolve))
  clock = 60_000
  t.strictSame(await reading(), { value: 2, ageSeconds: 45 }, 'nobody waits longer than their patience')
  clock = 90_000
  const waiting = reading()
  finish(7)
  t.strictSame(await waiting, { value: 7, ageSeconds: 30 }, 'as old as its beginning')
  t.equal(reads, 4, 'the one under way is shared')

  const never = shareReading({ read: () => Promise.reject(new Error('away')), everyMs: 1, patienceMs: 20 })
  t.equal(await never(), null)
})

t.test('under pressure calls are refused, while health and metrics answer and open streams go on', async t => {
  let refused = 0
  const { api, url, log, live } = await startServer(t, {
    // Every process uses more than this, so the limit is always exceeded.
    pressure: { maxEventLoopDelayMs: 0, maxHeapBytes: 1, onRefused: () => (refused += 1) },
  })
  const stream = await fetch(`${api}/stream`, { headers: { accept: 'application/x-ndjson' } })
  t.equal(stream.status, 200, 'before the first look at the process')
  const calls: [string, RequestInit][] = [
    ['/jobs', {}],
    ['/stream', {}],
    [`/jobs/${JOB_ID}/heartbeat`, { method: 'POST' }],
    ['/heartbeats', { method: 'POST', body: 'not even JSON' }],
  ]
  await waitFor(async () => (await fetch(`${api}/active`)).status === 503)
  const known = refused
  for (const [path, init] of calls) {
    const response = await fetch(api + path, { ...init, headers: { 'x-request-id': 'mine' } })
    t.match(await readProblem(response), { status: 503, code: 'overloaded', requestId: 'mine' }, path)
    t.equal(response.headers.get('retry-after'), '2')
  }
  t.equal(refused, known + calls.length)
  for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json']) {
    t.equal((await fetch(url + path)).status, 200, path)
  }
  t.equal(live.started, 1)
  const reader = stream.body!.getReader()
  const first = (await reader.read()) as { value: Uint8Array }
  t.match(new TextDecoder().decode(first.value), /snapshot/)
  await reader.cancel()
  const lines = log.filter(line => line.includes('under pressure'))
  t.equal(lines.length, 1, 'one line tells of it')
  t.match(JSON.parse(lines[0]!), { level: 40, measure: 'heapUsedBytes', requestId: /./ })
})

/** Holds the event loop as long garbage collections would: without it, nothing is read and no timer runs. */
const holdEventLoop = async (times: number, ms: number) => {
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  for (let n = 0; n < times; n += 1) {
    Atomics.wait(nothing, 0, 0, ms)
    await turn()
  }
}

t.test('bytes in flight are shown for as long as they are held', async t => {
  const service = await startService(t)
  const bodies = async () => (await scrape(service.url)).value('headway_in_flight_bytes', { kind: 'body' })
  t.equal(await bodies(), 0)
  const client = connect(Number(new URL(service.url).port), '127.0.0.1')
  t.teardown(() => client.destroy())
  client.write(
    'POST /api/progress/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 20000\r\n\r\n',
  )
  client.write(' '.repeat(10_000))
  await waitFor(async () => ((await bodies()) ?? 0) >= 10_000)
  client.destroy()
  await waitFor(async () => (await bodies()) === 0)
  const metrics = await scrape(service.url)
  t.equal(metrics.value('headway_in_flight_bytes', { kind: 'answer' }), 0)
  t.equal(metrics.value('headway_in_flight_refused_bodies_total'), 0)
})

t.test('a process whose event loop lags asks workers to report less often before it refuses calls', async t => {
  const service = await startService(t, { MAX_EVENT_LOOP_DELAY_MS: '2000' })
  const { id } = await service.createJob()
  await waitFor(async () => {
    await holdEventLoop(4, 300)
    const { status, body } = await service.heartbeat(id)
    return status === 200 && body.heartbeatIntervalMs > 6_000
  })
  await waitFor(async () => (await service.heartbeat(id)).body.heartbeatIntervalMs < 6_000, { timeoutMs: 20_000 })
})

t.test('a process whose event loop lags refuses calls, judges no job meanwhile, and recovers', async t => {
  const service = await startService(t, { MAX_EVENT_LOOP_DELAY_MS: '100', SWEEP_SCHEDULE: EVERY_SECOND })
  const { id } = await service.createJob()
  await holdEventLoop(10, 300)
  t.match((await service.heartbeat(id)).body, { code: 'overloaded' })
  await waitFor(async () => (await service.heartbeat(id)).status === 200)
  const metrics = await waitFor(async () => {
    const read = await scrape(service.url)
    return read.value('headway_sweeps_skipped_total', { reason: 'intake' })! > 0 && read
  })
  t.ok((metrics as Awaited<ReturnType<typeof scrape>>).value('headway_pressure_refused_calls_total')! >= 1)
})

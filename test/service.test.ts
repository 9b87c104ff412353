import type pg from 'pg'
import t, { type Test } from 'tap'
import type { JobDocument } from '../src/contract/job.ts'
import { createTestDatabase } from './helpers/database.ts'
import { startProxy } from './helpers/proxy.ts'
import { startService, type Service } from './helpers/service.ts'
import { waitFor } from './helpers/wait.ts'

interface StreamEvent {
  event: string
  id: string
  data: { id: string; status: string; revision: number; processedCount: number; jobs: { id: string; status: string }[] }
}

/** An open NDJSON stream: the received events, and the next ones. */
const openStream = async (t: Test, service: Service, path: string, lastEventId?: string) => {
  const controller = new AbortController()
  t.teardown(() => controller.abort())
  const response = await fetch(`${service.url}/api/progress${path}`, {
    headers: { accept: 'application/x-ndjson', ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) },
    signal: controller.signal,
  })
  const events: StreamEvent[] = []
  let ended = false
  const read = async () => {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) {
      const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) if (line !== '') events.push(JSON.parse(line) as StreamEvent)
    }
  }
  const done = read()
    .catch(() => undefined)
    .finally(() => {
      ended = true
    })
  const next = (event: string, when: (data: StreamEvent['data']) => boolean = () => true) =>
    waitFor(() => events.find(candidate => candidate.event === event && when(candidate.data)))
  return { response, events, next, done, close: () => controller.abort(), hasEnded: () => ended }
}

t.test('an open stream shows every change of a job, from creation to its end', async t => {
  const service = await startService(t, { LIVE_INTERVAL_MS: '50' })
  const stream = await openStream(t, service, '/stream')
  await stream.next('snapshot')
  const { id } = await service.createJob({ totalCount: 10 })
  await stream.next('progress.job.created')
  await service.call('POST', `/jobs/${id}/start`)
  await stream.next('progress.job.started')
  await service.heartbeat(id, { processedCount: 4 })
  await stream.next('progress.job.updated', data => data.processedCount === 4)
  await service.call('POST', `/jobs/${id}/complete`)
  const last = await stream.next('progress.job.completed')
  t.match(last, {
    id: /^\d+\.\d+\.\d+(-\d+)*$/,
    data: { id, status: 'completed', progressPercent: 100, processedCount: 4 },
  })
  t.equal((await service.job(id)).revision, last?.data.revision)
})

t.test("a heartbeat's change is on the stream of an idle feed at once, however long the interval", async t => {
  // Longer than a reader waits here. How fast "at once" is on a quiet machine is measured by the bench (`latency`).
  const service = await startService(t, { LIVE_INTERVAL_MS: '10000' })
  const { id } = await service.createJob()
  await service.heartbeat(id)
  const stream = await openStream(t, service, '/stream')
  await stream.next('snapshot')
  const sent = performance.now()
  await service.heartbeat(id, { processedCount: 1 })
  await stream.next('progress.job.updated', data => data.processedCount === 1)
  t.ok(performance.now() - sent < 10_000, 'it was not held back')
})

t.test('two replicas on one database show each other’s changes', async t => {
  const one = await startService(t)
  const two = await startService(t, { database: one.database })
  const stream = await openStream(t, two, '/stream')
  await stream.next('snapshot')
  const { id } = await one.createJob()
  await one.heartbeat(id, { processedCount: 1 })
  await stream.next('progress.job.started')
  await two.heartbeat(id, { processedCount: 2 })
  await one.call('POST', `/jobs/${id}/complete`)
  t.match(await stream.next('progress.job.completed'), { data: { id, processedCount: 2 } })
})

t.test('a reader that reconnects to another replica with its last id never misses a final state', async t => {
  const one = await startService(t)
  const two = await startService(t, { database: one.database })
  const { id } = await one.createJob()
  await one.heartbeat(id)
  const first = await openStream(t, one, '/stream')
  const seen = await first.next('snapshot')
  first.close()
  await one.call('POST', `/jobs/${id}/complete`)
  await one.age(id, 45)
  const fresh = await openStream(t, two, '/stream')
  t.same((await fresh.next('snapshot'))?.data.jobs, [], 'a new reader does not see what finished 45 s ago')
  const again = await openStream(t, two, '/stream', seen?.id)
  t.match((await again.next('snapshot'))?.data.jobs, [{ id, status: 'completed' }])
})

t.test('an end is shown once, when it is committed, even if it was written minutes before', async t => {
  const service = await startService(t)
  const { pool } = service.database
  const [late, early, seen, restored] = await Promise.all([1, 2, 3, 4].map(() => service.createJob()))
  for (const { id } of [seen!, restored!]) {
    await service.call('POST', `/jobs/${id}/complete`)
    await service.age(id, 200)
  }
  // As in rows that were restored from another server, whose transactions had higher numbers.
  await pool.query("UPDATE progress_jobs SET finished_xact = '9007199254740000' WHERE id = $1", [restored!.id])

  /** Ends a job in a transaction that stays open, as if that had been so many seconds ago. */
  const endIn = async (client: pg.PoolClient, id: string, seconds: number) => {
    await client.query('BEGIN')
    await client.query("SELECT headway.complete_job_progress($1, 'by SQL')", [id])
    await client.query(
      `UPDATE progress_jobs SET finished_at = finished_at - make_interval(secs => $2), updated_at = finished_at - make_interval(secs => $2),
         started_at = finished_at - make_interval(secs => $2) WHERE id = $1`,
      [id, seconds],
    )
  }
  const [one, two] = [await pool.connect(), await pool.connect()]
  const reader = await openStream(t, service, '/stream')
  const before = await reader.next('snapshot')
  await endIn(one, early!.id, 140)
  await endIn(two, late!.id, 4_000)
  const other = await openStream(t, service, '/stream?topLevel=true')
  const during = await other.next('snapshot')
  t.equal(during?.data.jobs.length, 2, 'for others they run')
  reader.close()
  other.close()
  // A replica that has just started shares no earlier snapshot.
  const replica = () => startService(t, { database: service.database })
  let current = service
  const shownTo = async (id: string | undefined, path = '/stream') => {
    const stream = await openStream(t, current, path, id)
    const jobs = (await stream.next('snapshot'))?.data.jobs ?? []
    stream.close()
    return jobs.map(job => `${job.id} ${job.status}`).sort()
  }
  await one.query('COMMIT')
  const [ends, running] = [[`${early!.id} completed`], [`${late!.id} pending`]]
  for (const event of [before, during])
    t.same(await shownTo(event?.id), [...ends, ...running].sort(), String(event?.id))
  t.same(await shownTo(before?.id, '/stream?topLevel=true'), [...ends, ...running].sort(), 'on another stream as well')
  t.same(
    await shownTo(before?.id.replace(/^(\d+\.\d+).*/, '$1')),
    running,
    'an id of an earlier version tells only a time',
  )
  const between = await openStream(t, await replica(), '/stream')
  const after = await between.next('snapshot')
  t.match(after?.id, /-\d+$/, 'it names the transaction that is still open')
  between.close()
  await service.createJob()
  await two.query('COMMIT')
  one.release()
  two.release()
  current = await replica()
  const lateEnd = `${late!.id} completed`
  t.ok((await shownTo(after?.id)).includes(lateEnd))
  t.notOk(
    (await shownTo(after?.id)).includes(ends[0]!),
    'what was seen is not shown again, however long another has been open',
  )
  t.notOk((await shownTo(undefined)).includes(lateEnd), 'nor to whoever begins')
  const { rows } = await pool.query(
    'SELECT id FROM progress_jobs WHERE (finished_at IS NULL) <> (finished_xact IS NULL)',
  )
  t.same(rows, [])
})

t.test(
  "a job's stream ends after the job has finished, and a reader that has seen the end is answered 204",
  async t => {
    const service = await startService(t)
    const { id } = await service.createJob()
    const stream = await openStream(t, service, `/jobs/${id}/stream`)
    await stream.next('snapshot')
    await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'disk full' })
    const last = await stream.next('progress.job.failed')
    await stream.done
    const again = await openStream(t, service, `/jobs/${id}/stream`, last?.id)
    t.equal(again.response.status, 204)
    const unknowing = await openStream(t, service, `/jobs/${id}/stream`)
    t.match((await unknowing.next('snapshot'))?.data.jobs, [{ id, status: 'failed' }])
    await unknowing.done
  },
)

t.test("a job's stream ends when the job is erased, even if the job was stale and other jobs change", async t => {
  const service = await startService(t, { LIVE_INTERVAL_MS: '50' })
  const { id } = await service.createJob()
  const other = await service.createJob()
  await service.heartbeat(id)
  const stream = await openStream(t, service, `/jobs/${id}/stream`)
  await stream.next('snapshot')
  const all = await openStream(t, service, '/stream')
  await all.next('snapshot')
  await service.database.pool.query(
    `UPDATE progress_jobs SET status = 'failed', failure_reason = 'stale', liveness = NULL, finished_at = now(),
       revision = revision + 1, lifecycle = 'failed', lifecycle_revision = revision + 1 WHERE id = $1`,
    [id],
  )
  await stream.next('progress.job.failed')
  t.notOk(stream.hasEnded(), 'a stale job may recover')
  t.equal((await service.call('DELETE', `/jobs/${id}?purge=true`)).status, 204)
  let count = 0
  await waitFor(
    async () => {
      await service.heartbeat(other.id, { processedCount: ++count })
      return stream.hasEnded()
    },
    { timeoutMs: 15_000 },
  )
  t.ok(stream.hasEnded())
})

t.test('one request waits for a job to finish, on any replica', async t => {
  const one = await startService(t)
  const two = await startService(t, { database: one.database })
  const { id } = await one.createJob()
  const waiting = two.call<JobDocument>('GET', `/jobs/${id}?until=finished`, undefined, { prefer: 'wait=20' })
  await one.heartbeat(id, { processedCount: 1 })
  await one.call('POST', `/jobs/${id}/complete`, { resultSummary: { rows: 1 } })
  t.match(await waiting, { status: 200, body: { status: 'completed', resultSummary: { rows: 1 } } })
})

t.test('a conditional request is held until the revision changes', async t => {
  const service = await startService(t)
  const { id } = await service.createJob()
  const { headers } = await service.call('GET', `/jobs/${id}/progress`)
  const etag = headers.get('etag') ?? ''
  const unchanged = await service.call('GET', `/jobs/${id}/progress`, undefined, { 'if-none-match': etag })
  t.equal(unchanged.status, 304)
  const held = service.call<JobDocument>('GET', `/jobs/${id}/progress`, undefined, {
    'if-none-match': etag,
    prefer: 'wait=20',
  })
  await service.heartbeat(id, { message: 'moved' })
  t.match(await held, { status: 200, body: { message: 'moved', revision: 2 } })
})

t.test('closing the service ends its streams', async t => {
  const service = await startService(t)
  const stream = await openStream(t, service, '/stream')
  await stream.next('snapshot')
  const begun = performance.now()
  await service.close()
  await stream.done
  t.ok(stream.hasEnded())
  t.ok(performance.now() - begun < 2_000)
})

t.test('a service whose listener alone has no connection is degraded until the connection is back', async t => {
  const database = await createTestDatabase(t)
  const { proxy, url: listenUrl } = await startProxy(t, database.url)
  const service = await startService(t, { database, listenUrl })
  const degraded = async () => {
    const response = await fetch(`${service.url}/readyz`)
    return response.status === 200 && ((await response.json()) as { degraded: string[] }).degraded.join()
  }
  await waitFor(async () => (await degraded()) === '')
  proxy.blackHole()
  proxy.cutAll()
  await waitFor(async () => (await degraded()) === 'listener')
  proxy.heal()
  await waitFor(async () => (await degraded()) === '', { timeoutMs: 20_000 })
})

t.test('readiness names a listener that is not connected, and needs the database', async t => {
  const service = await startService(t)
  const ready = async () => {
    const response = await fetch(`${service.url}/readyz`)
    return { status: response.status, body: await response.json() }
  }
  await waitFor(async () => JSON.stringify((await ready()).body) === '{"status":"ready","degraded":[]}')
  await service.database.drop()
  await waitFor(async () => (await ready()).status === 503)
  t.equal((await fetch(`${service.url}/healthz`)).status, 200, 'the process is up all the same')
})

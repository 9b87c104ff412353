import { randomUUID } from 'node:crypto'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { FUNCTIONS } from '../../src/database/functions.ts'
import { webhookMessage } from '../../src/http/schemas/webhook-message.ts'
import type { DeliveryDocument, DeliveryPage, WebhookDocument, WebhookWithSecret } from '../../src/contract/webhook.ts'
import { openDatabase } from '../../src/database/connection.ts'
import { createOutbox } from '../../src/webhooks/outbox.ts'
import { createDeliveryRetention } from '../../src/webhooks/retention.ts'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { spawnService } from '../helpers/process.ts'
import { startReceiver, verify, type Receiver } from '../helpers/receiver.ts'
import { startService, type Service } from '../helpers/service.ts'
import { mint, SECRET } from '../helpers/tokens.ts'
import { waitFor } from '../helpers/wait.ts'

const LOOPBACK = { WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1' }

const createWebhook = async (service: Service, { url }: { url: string }, fields: object = {}) => {
  const { status, body } = await service.call<WebhookWithSecret>('POST', '/webhooks', { url, ...fields })
  if (status !== 201) throw new Error(JSON.stringify(body))
  return body
}

const start = async (t: Test, fields: object = {}) => {
  const [service, receiver] = await Promise.all([startService(t, LOOPBACK), startReceiver(t)])
  const webhook = await createWebhook(service, receiver, fields)
  return { service, receiver, webhook }
}

const deliveriesOf = async (service: Service, { id }: { id: string }, query = '') =>
  (await service.call<DeliveryPage>('GET', `/webhooks/${id}/deliveries?pageSize=100&${query}`)).body.items

/** The only delivery, once it is in that state. */
const settled = async (service: Service, webhook: { id: string }, isSo: (delivery: DeliveryDocument) => boolean) =>
  (await waitFor(async () => (await deliveriesOf(service, webhook)).find(isSo)))!

const read = async (service: Service, { id }: { id: string }) =>
  (await service.call<WebhookDocument>('GET', `/webhooks/${id}`)).body

/** As if the time until the next attempt had gone by, and that for which a receiver that fails is left alone. */
const makeDue = async (service: Service, { id }: { id: string }) => {
  const { pool } = service.database
  await pool.query("UPDATE webhook_deliveries SET due_at = now() WHERE status = 'waiting' AND claim IS NULL")
  await pool.query("UPDATE webhooks SET paused_until = NULL WHERE paused_until < now() + interval '1 minute'")
  // Wakes the deliverer, which would find it by itself within a second.
  await service.call('PUT', `/webhooks/${id}`, {})
}

t.test('every change of a job is sent in order, and signed with the secret of the webhook', async t => {
  const { service, receiver, webhook } = await start(t)
  t.match(webhook.secret, /^whsec_[\w+/]{43}=$/)
  const { id } = await service.createJob({
    name: 'Import',
    totalCount: 10,
    meta: { channel: 'C42' },
    cancellable: true,
  })
  await service.heartbeat(id, { processedCount: 5 })
  await service.call('POST', `/jobs/${id}/cancel`)
  await service.call('POST', `/jobs/${id}/cancelled`)
  await receiver.count(4)
  t.same(receiver.types, ['created', 'started', 'cancel_requested', 'cancelled'])
  for (const request of receiver.received) {
    t.same(verify(webhook.secret, request), request.body)
    t.throws(() => verify(`whsec_${Buffer.alloc(32).toString('base64')}`, request))
    t.match(request.headers, { 'content-type': 'application/json', 'user-agent': /^headway\/\d/ })
  }
  const [created, started, , cancelled] = receiver.received.map(({ body }) => body)
  t.match(created, { data: { id, status: 'pending', revision: 1, meta: { channel: 'C42' } } })
  t.match(started, { data: { status: 'running', progressPercent: 50, name: 'Import' } })
  for (const { body } of receiver.received) t.same(webhookMessage.parse(body), body, 'all of it is documented')
  t.match(cancelled, { data: { status: 'cancelled' }, timestamp: /Z$/ })
  const revisions = receiver.received.map(({ body }) => body.data.revision)
  t.same(
    revisions,
    [...revisions].sort((a, b) => a - b),
    'by revision, whoever gets them out of order puts them in order',
  )
  const ids = receiver.received.map(({ headers }) => headers['webhook-id'])
  t.equal(new Set(ids).size, 4)
  const records = await waitFor(async () => {
    const found = await deliveriesOf(service, webhook, 'status=delivered')
    return found.length === 4 ? found : null
  })
  t.same(records!.map(record => record.id).reverse(), ids)
  t.match(records![0], {
    jobId: id,
    type: 'progress.job.cancelled',
    attempts: 1,
    responseStatus: 204,
    error: null,
    nextAttemptAt: null,
  })
  t.equal((await deliveriesOf(service, webhook, `jobId=${randomUUID()}`)).length, 0)
})

t.test('a webhook that names all changes is also told of later ones, until its list is shorter', async t => {
  const { service, webhook } = await start(t)
  const isForAll = async () => {
    const { rows } = await service.database.pool.query('SELECT all_events FROM webhooks WHERE id = $1', [webhook.id])
    return (rows as { all_events: boolean }[])[0]?.all_events
  }
  t.equal(await isForAll(), true)
  const { events } = await read(service, webhook)
  await service.call('PUT', `/webhooks/${webhook.id}`, { events: events.slice(1) })
  t.equal(await isForAll(), false)
  await service.call('PUT', `/webhooks/${webhook.id}`, { description: 'x' })
  t.equal(await isForAll(), false, 'another field changes nothing of it')
  await service.call('PUT', `/webhooks/${webhook.id}`, { events })
  t.equal(await isForAll(), true)
})

t.test('the message of a completed job has its result, whole and with its nulls, and says who began it', async t => {
  const { service, receiver } = await start(t, { events: ['completed'] })
  const { id } = await service.createJob({ description: 'What for', priority: 3 })
  await service.heartbeat(id, { workerId: 'a' })
  await service.heartbeat(id, { workerId: 'b' })
  await service.database.pool.query("UPDATE progress_jobs SET started_by_user_id = 'auth0|7' WHERE id = $1", [id])
  const resultSummary = { skipped: null, text: 'a'.repeat(60_000) }
  await service.call('POST', `/jobs/${id}/complete`, { resultSummary })
  const [request] = await receiver.count(1)
  const { body } = request!
  const data = { description: 'What for', priority: 3, workerCount: 2, startedByUserId: 'auth0|7', resultSummary }
  t.match(body, { data })
  t.same(webhookMessage.parse(body), body, 'all of it is documented')
})

t.test('the range of an estimate is the same in REST, in a stream, in a webhook and by MCP', async t => {
  const { service, receiver } = await start(t, { events: ['started'] })
  const former = await service.createJob({ jobType: 'ranged' })
  await service.heartbeat(former.id)
  await service.database.pool.query("UPDATE progress_jobs SET started_at = now() - interval '20 min' WHERE id = $1", [
    former.id,
  ])
  await service.call('POST', `/jobs/${former.id}/complete`)
  const { id } = await service.createJob({ jobType: 'ranged' })
  await service.call('POST', `/jobs/${id}/start`)
  const job = await service.job(id)
  const { etaSeconds, etaLowSeconds, etaHighSeconds } = job
  const estimate = { etaSeconds, etaLowSeconds, etaHighSeconds }
  t.ok(etaLowSeconds! < etaSeconds! && etaSeconds! < etaHighSeconds!, JSON.stringify(estimate))

  const [, told] = await receiver.count(2)
  t.match(told!.body.data, { id, ...estimate })
  t.same(webhookMessage.parse(told!.body), told!.body, 'all of it is documented')
  t.match((await service.call<object>('GET', `/jobs/${id}/progress`)).body, estimate)
  t.match((await service.call<object>('GET', '/jobs?jobType=ranged&status=running')).body, { items: [estimate] })
  const stream = await fetch(`${service.url}/api/progress/stream?jobId=${id}`, {
    headers: { accept: 'application/x-ndjson' },
  })
  const { value } = (await stream.body!.getReader().read()) as { value?: Uint8Array }
  t.match(JSON.parse(Buffer.from(value ?? []).toString()), { event: 'snapshot', data: { jobs: [estimate] } })
  const call = { name: 'get_job', arguments: { jobId: id } }
  const answer = await fetch(`${service.url}/mcp`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: call }),
  })
  const [said] = /\{.*\}/.exec(await answer.text()) ?? []
  t.match(JSON.parse(said ?? ''), { result: { structuredContent: estimate } })
})

t.test('a secret is shown once, and the old one signs for a day after a new one was made', async t => {
  const { service, receiver, webhook } = await start(t)
  const { items } = (await service.call<{ items: WebhookDocument[] }>('GET', '/webhooks')).body
  for (const shown of [items[0], await read(service, webhook)]) {
    t.equal(shown?.id, webhook.id)
    t.notMatch(JSON.stringify(shown), /whsec_|"secret"/)
  }
  const { body: rotated } = await service.call<WebhookWithSecret>('POST', `/webhooks/${webhook.id}/rotate-secret`)
  t.not(rotated.secret, webhook.secret)
  const test = await service.call<DeliveryDocument>('POST', `/webhooks/${webhook.id}/test`)
  t.match(test, { status: 202, body: { type: 'webhook.test', status: 'waiting', jobId: null } })
  const [request] = await receiver.count(1)
  t.match(verify(rotated.secret, request!), { type: 'webhook.test', data: { webhookId: webhook.id } })
  t.same(webhookMessage.parse(request!.body), request!.body)
  t.same(verify(webhook.secret, request!), request!.body)
  await service.database.pool.query("UPDATE webhooks SET previous_secret_until = now() - interval '1 second'")
  await service.call('POST', `/webhooks/${webhook.id}/test`)
  const [, later] = await receiver.count(2)
  t.ok(verify(rotated.secret, later!))
  t.throws(() => verify(webhook.secret, later!))
})

t.test('a webhook gets only the messages that it asked for', async t => {
  const { service, receiver } = await start(t, { events: ['completed'], jobType: 'import' })
  const partitions = await startReceiver(t)
  await createWebhook(service, partitions, { events: ['completed'], topLevel: false, jobType: null })
  const [wanted, other] = [
    await service.createJob({ jobType: 'import' }),
    await service.createJob({ jobType: 'export' }),
  ]
  const batch = await service.createJob({ jobType: 'import', partitionCount: 1 })
  const partition = await service.createJob({ parentJobId: batch.id })
  for (const { id } of [other, partition, wanted]) await service.call('POST', `/jobs/${id}/complete`)
  await partitions.count(4)
  await receiver.count(2)
  t.same(receiver.received.map(({ body }) => body.data.id).sort(), [batch.id, wanted.id].sort())
  t.same(new Set([...receiver.types, ...partitions.types]), new Set(['completed']))
})

t.test('a failed delivery is tried again with the same id, and the record says why', async t => {
  const { service, receiver, webhook } = await start(t, { events: ['created'] })
  receiver.answerWith(500)
  await service.createJob()
  const failed = await settled(service, webhook, ({ error }) => error !== null)
  t.match(failed, { status: 'waiting', attempts: 1, responseStatus: 500, error: 'The receiver did not take it' })
  const delayMs = Date.parse(failed.nextAttemptAt!) - Date.parse(failed.attemptedAt!)
  t.ok(delayMs > 3_900 && delayMs < 8_000, `${delayMs} ms`)
  t.equal((await read(service, webhook)).consecutiveFailures, 1)
  receiver.answerWith(302, { location: '/elsewhere' })
  await makeDue(service, webhook)
  t.match(await settled(service, webhook, ({ attempts, error }) => attempts === 2 && /Redirects/.test(error ?? '')), {
    responseStatus: 302,
  })
  receiver.answerWith(200)
  await makeDue(service, webhook)
  t.match(await settled(service, webhook, ({ status }) => status === 'delivered'), { attempts: 3, error: null })
  t.same(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size, 1)
  t.same(new Set(receiver.received.map(({ path }) => path)), new Set(['/hook']), 'nobody followed the redirect')
  t.match(await read(service, webhook), { consecutiveFailures: 0, failingSince: null, deliveredAt: /Z$/ })
})

t.test('a failing receiver gets longer and longer pauses until its address is corrected', async t => {
  const { service, receiver, webhook } = await start(t, { events: ['created'] })
  const { pool } = service.database
  receiver.answerWith(500)
  await service.createJob()
  await settled(service, webhook, ({ error }) => error !== null)
  const { failingSince } = await read(service, webhook)
  t.match(failingSince, /Z$/)
  await pool.query("UPDATE webhooks SET failing_since = now() - interval '1000 seconds'")
  await makeDue(service, webhook)
  const paused = async () => {
    const { rows } = await pool.query<{ seconds: number }>(
      "SELECT extract(epoch FROM paused_until - now())::float8 AS seconds FROM webhooks WHERE paused_until > now() + interval '1 minute'",
    )
    return rows[0]?.seconds
  }
  const seconds = await waitFor(paused)
  t.ok(seconds! > 90 && seconds! <= 101, `a tenth of that time: ${seconds} s`)
  const calls = receiver.received.length
  await Promise.all([1, 2, 3].map(() => service.createJob()))
  await waitFor(async () => (await deliveriesOf(service, webhook, 'status=waiting')).length === 4)
  t.equal((await pool.query(`SELECT FROM ${FUNCTIONS}.claim_deliveries(100, '{}', '{}', 8, 60)`)).rowCount, 0)
  t.equal(receiver.received.length, calls)
  const moved = await startReceiver(t)
  t.match(await service.call('PUT', `/webhooks/${webhook.id}`, { url: moved.url }), {
    body: { consecutiveFailures: 0, failingSince: null },
  })
  await moved.count(3)
  t.equal(receiver.received.length, calls)
})

t.test('the answer of an earlier address does not change the webhook', async t => {
  const { service, receiver, webhook } = await start(t, { events: ['created'] })
  const held = new Promise<() => void>(resolve => {
    receiver.answer = response => resolve(() => response.writeHead(410).end())
  })
  await service.createJob()
  const release = await held
  const moved = await startReceiver(t)
  await service.call('PUT', `/webhooks/${webhook.id}`, { url: moved.url })
  release()
  await settled(service, webhook, ({ status }) => status === 'dead')
  t.match(await read(service, webhook), { enabled: true, gone: false, consecutiveFailures: 0 })
  await service.createJob()
  await moved.count(1)
})

t.test('after three days a delivery is dead, and can be sent again', async t => {
  const { service, receiver, webhook } = await start(t, { events: ['created'] })
  receiver.answerWith(500)
  await service.createJob()
  await settled(service, webhook, ({ error }) => error !== null)
  await service.database.pool.query("UPDATE webhook_deliveries SET expires_at = now() - interval '1 second'")
  await makeDue(service, webhook)
  const dead = await settled(service, webhook, ({ status }) => status === 'dead')
  t.match(dead, { attempts: 2, responseStatus: 500, nextAttemptAt: null, finishedAt: /Z$/ })
  t.same(await deliveriesOf(service, webhook, 'status=dead'), [dead])
  receiver.answerWith(204)
  const again = await service.call('POST', `/webhooks/${webhook.id}/deliveries/${dead.id}/redeliver`)
  t.match(again, { status: 202, body: { id: dead.id, status: 'waiting', attempts: 0 } })
  t.match(await settled(service, webhook, ({ status }) => status === 'delivered'), { id: dead.id, attempts: 1 })
  const unknown = await service.call('POST', `/webhooks/${webhook.id}/deliveries/${randomUUID()}/redeliver`)
  t.match(unknown, { status: 404, body: { code: 'delivery_not_found' } })
})

t.test('a receiver that asks for a pause gets it, and a receiver that answers 410 is not called again', async t => {
  const { service, receiver, webhook } = await start(t, { events: ['created'] })
  receiver.answerWith(429, { 'retry-after': '120' })
  await service.createJob()
  const failed = await settled(service, webhook, ({ error }) => error !== null)
  const delayMs = Date.parse(failed.nextAttemptAt!) - Date.parse(failed.attemptedAt!)
  t.ok(delayMs >= 120_000 && delayMs < 130_000, `${delayMs} ms`)
  // As it would be for whatever is due in the meantime.
  await makeDue(service, webhook)
  await service.createJob()
  const spared = await startReceiver(t)
  await createWebhook(service, spared, { events: ['created'] })
  await service.createJob()
  await spared.count(1)
  t.equal(receiver.received.length, 1, 'nor with anything else')

  receiver.answerWith(410)
  await service.database.pool.query('UPDATE webhooks SET paused_until = NULL')
  await settled(service, webhook, ({ status, error }) => status === 'dead' && /gone/.test(error ?? ''))
  t.match(await read(service, webhook), { enabled: false, gone: true })
  const calls = receiver.received.length
  await service.createJob()
  await spared.count(2)
  t.equal(receiver.received.length, calls)
  t.match(await service.call('POST', `/webhooks/${webhook.id}/test`), {
    status: 409,
    body: { code: 'webhook_disabled' },
  })
  receiver.answerWith(204)
  t.match(await service.call('PUT', `/webhooks/${webhook.id}`, { enabled: true }), {
    body: { enabled: true, gone: false },
  })
  await receiver.count(calls + 1)
  t.pass('what still waits is sent when it is enabled again')
})

t.test('the messages of one job are sent one after the other, and messages of other jobs meanwhile', async t => {
  const { service, receiver } = await start(t)
  const held: (() => void)[] = []
  receiver.answer = response => held.push(() => response.writeHead(204).end())
  const { id } = await service.createJob()
  await service.heartbeat(id)
  await service.call('POST', `/jobs/${id}/complete`)
  const other = await service.createJob()
  await receiver.count(2)
  t.same(receiver.received.map(({ body }) => body.data.id).sort(), [id, other.id].sort())
  receiver.answer = response => response.writeHead(204).end()
  for (const release of held) release()
  await receiver.count(4)
  t.same(
    receiver.received.filter(({ body }) => body.data.id === id).map(({ body }) => body.type),
    ['created', 'started', 'completed'].map(name => `progress.job.${name}`),
  )
})

t.test('progress is never sent before an earlier change, however late the change becomes a delivery', async t => {
  const { service, receiver, webhook } = await start(t, { progressIntervalSeconds: 1 })
  const { pool } = service.database
  const other = await pool.connect()
  // As if another process were about to make deliveries of the queued messages.
  await other.query('SELECT pg_advisory_lock(5272015424)')
  const { id } = await service.createJob()
  await service.heartbeat(id, { processedCount: 1 })
  await pool.query('UPDATE webhooks SET progress_checked_at = NULL')
  await pool.query(`SELECT ${FUNCTIONS}.queue_progress(100, 1000, 1)`)
  t.same(await deliveriesOf(service, webhook), [])
  await other.query('SELECT pg_advisory_unlock(5272015424)')
  other.release()
  await receiver.count(2)
  t.same(receiver.types.slice(0, 2), ['created', 'started'])
})

t.test('each message is sent by one of two replicas', async t => {
  const database = await createTestDatabase(t)
  const replicas = await Promise.all([1, 2].map(() => startService(t, { database, ...LOOPBACK })))
  const receiver = await startReceiver(t)
  await createWebhook(replicas[0]!, receiver)
  const jobs = await Promise.all(Array.from({ length: 40 }, (_, n) => replicas[n % 2]!.createJob()))
  await Promise.all(jobs.map(({ id }, n) => replicas[(n + 1) % 2]!.call('POST', `/jobs/${id}/complete`)))
  await receiver.count(80)
  await waitFor(async () => {
    const { rows } = await database.pool.query("SELECT FROM webhook_deliveries WHERE status = 'waiting'")
    return rows.length === 0
  })
  t.equal(receiver.received.length, 80)
  t.equal(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size, 80)
})

t.test('a delivery of a killed process is sent by another process when its lease ends', async t => {
  const database = await createTestDatabase(t)
  const receiver = await startReceiver(t)
  const doomed = await spawnService(t, { DATABASE_URL: database.url, ...LOOPBACK }).ready()
  receiver.answer = () => undefined
  const post = (path: string, body: object) =>
    fetch(`${doomed.url}/api/progress${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  await post('/webhooks', { url: receiver.url, events: ['created'] })
  await post('/jobs', { jobType: 'test', name: 'a job' })
  await receiver.count(1)
  await doomed.kill('SIGKILL')
  const other = await startService(t, { database, ...LOOPBACK })
  receiver.answerWith(204)
  const { rowCount } = await database.pool.query('UPDATE webhook_deliveries SET due_at = now() WHERE claim IS NOT NULL')
  t.equal(rowCount, 1, 'as if the minute had gone by')
  const [first, second] = await receiver.count(2)
  t.equal(first!.headers['webhook-id'], second!.headers['webhook-id'])
  const { items } = (await other.call<{ items: WebhookDocument[] }>('GET', '/webhooks')).body
  t.match(await settled(other, items[0]!, ({ status }) => status === 'delivered'), { attempts: 2 })
})

t.test('a service that stops gives back its deliveries in flight', async t => {
  const database = await createTestDatabase(t)
  const receiver = await startReceiver(t)
  const stopping = await startService(t, { database, ...LOOPBACK, SHUTDOWN_GRACE_SECONDS: '1' })
  receiver.answer = () => undefined
  const webhook = await createWebhook(stopping, receiver, { events: ['created'] })
  await stopping.createJob()
  await receiver.count(1)
  await stopping.close()
  receiver.answerWith(204)
  const other = await startService(t, { database, ...LOOPBACK })
  await receiver.count(2)
  t.match(await settled(other, webhook, ({ status }) => status === 'delivered'), { attempts: 1 })
})

t.test('progress is sent at most once per interval, and only the newest message about it waits', async t => {
  const { service, receiver, webhook } = await start(t, { events: ['completed'], progressIntervalSeconds: 2 })
  const { id } = await service.createJob({ totalCount: 1_000_000, unit: 'rows' })
  let count = 0
  const timer = setInterval(() => void service.heartbeat(id, { processedCount: ++count }), 50)
  t.teardown(() => clearInterval(timer))
  await receiver.count(2)
  const [first, second] = receiver.received.map(({ body }) => body)
  t.match(first, { type: 'progress.job.updated', data: { id, status: 'running' } })
  const apartMs = Date.parse(second!.timestamp) - Date.parse(first!.timestamp)
  t.ok(apartMs >= 2_000, `${apartMs} ms`)
  t.ok((second!.data['processedCount'] as number) > (first!.data['processedCount'] as number) + 10)

  receiver.answerWith(500)
  await receiver.count(3)
  const failed = await settled(service, webhook, ({ error, status }) => error !== null && status === 'waiting')
  await waitFor(async () => (await service.job(id)).revision > failed.revision!)
  await makeDue(service, webhook)
  const newer = await settled(service, webhook, ({ attempts, error }) => attempts === 2 && error !== null)
  t.ok(newer.revision! > failed.revision!, 'it tells what is so now')
  t.not(newer.id, failed.id, 'as another message: the old one may have been taken without an answer')
  t.equal((await deliveriesOf(service, webhook, 'status=waiting')).length, 1, 'and nothing piles up')
  clearInterval(timer)
  await service.call('POST', `/jobs/${id}/complete`)
  receiver.answerWith(204)
  await waitFor(() => receiver.types.includes('completed'))
  await waitFor(async () => (await deliveriesOf(service, webhook, 'status=waiting')).length === 0)
  t.equal(receiver.types.at(-1), 'completed', 'what it has overtaken is not sent any more')
})

t.test(
  'a webhook with only a progress interval gets the end of a job, and the record keeps its last progress',
  async t => {
    const { service, receiver, webhook } = await start(t, { events: [], progressIntervalSeconds: 1 })
    const { id } = await service.createJob({ totalCount: 100 })
    await service.heartbeat(id, { processedCount: 1 })
    await receiver.count(1)
    await service.heartbeat(id, { processedCount: 2 })
    await receiver.count(2)
    await service.call('POST', `/jobs/${id}/complete`)
    await receiver.count(3)
    t.same(receiver.types, ['updated', 'updated', 'completed'])
    await waitFor(async () => (await deliveriesOf(service, webhook, 'status=waiting')).length === 0)
    t.same(
      (await deliveriesOf(service, webhook)).map(({ type }) => type),
      ['progress.job.completed', 'progress.job.updated'],
    )
  },
)

t.test('old records are erased, and so are the records of a deleted webhook', async t => {
  const { service, receiver, webhook } = await start(t, { events: ['created'] })
  await service.createJob()
  await receiver.count(1)
  const { id } = await settled(service, webhook, ({ status }) => status === 'delivered')
  const other = await createWebhook(service, receiver, { events: ['created'] })
  await service.createJob()
  await receiver.count(3)
  await settled(service, other, ({ status }) => status === 'delivered')
  await waitFor(async () => (await deliveriesOf(service, webhook, 'status=delivered')).length === 2)
  const { pool } = service.database
  await pool.query("UPDATE webhook_deliveries SET finished_at = now() - interval '8 days' WHERE message_id = $1", [id])
  const erase = async () => {
    await pool.query(`SELECT ${FUNCTIONS}.erase_deliveries(7, 1000)`)
    return (await pool.query<{ count: string }>('SELECT count(*) FROM webhook_deliveries')).rows[0]!.count
  }
  t.equal(await erase(), '2')
  t.equal((await service.call('DELETE', `/webhooks/${other.id}`)).status, 204)
  t.match(await service.call('GET', `/webhooks/${other.id}`), { status: 404, body: { code: 'webhook_not_found' } })
  t.equal(await erase(), '1')
  receiver.answerWith(500)
  await service.createJob()
  await settled(service, webhook, ({ error }) => error !== null)
  await service.call('PUT', `/webhooks/${webhook.id}`, { enabled: false })
  await pool.query(
    `UPDATE webhook_deliveries SET expires_at = now() - interval '2 hours', claim = gen_random_uuid(), due_at = now() - interval '1 second'
     WHERE status = 'waiting'`,
  )
  t.equal(await erase(), '2')
  t.match(await deliveriesOf(service, webhook, 'status=dead'), [{ attempts: 1 }], 'nobody will try it any more')
})

t.test(
  'heartbeats that change no status queue nothing, and a message is queued with its change or not at all',
  async t => {
    const { service, webhook } = await start(t, { url: 'http://127.0.0.1:1/' })
    const { id } = await service.createJob({ totalCount: 100 })
    const { pool } = service.database
    const count = async () => {
      const { rows } = await pool.query<{ count: string }>(
        'SELECT (SELECT count(*) FROM webhook_messages) + (SELECT count(*) FROM webhook_deliveries) AS count',
      )
      return Number(rows[0]!.count)
    }
    for (let done = 1; done <= 5; done++) await service.heartbeat(id, { processedCount: done })
    t.equal(await count(), 2, 'created, started')
    const client = await pool.connect()
    await client.query('BEGIN')
    await client.query("SELECT headway.complete_job_progress($1, 'by SQL')", [id])
    await client.query('ROLLBACK')
    t.equal(await count(), 2)
    await client.query("SELECT headway.complete_job_progress($1, 'by SQL')", [id])
    client.release()
    t.equal(await count(), 3, 'also of workers without HTTP')
    await service.call('DELETE', `/webhooks/${webhook.id}`)
    await service.createJob()
    t.equal(await count(), 3)
  },
)

t.test('a change is stored as one message for any number of webhooks, and each webhook gets it', async t => {
  const { service, receiver } = await start(t)
  for (let n = 1; n < 10; n++) await createWebhook(service, receiver)
  const { id } = await service.createJob()
  await receiver.count(10)
  const client = await service.database.pool.connect()
  await client.query('BEGIN')
  await client.query("SELECT headway.complete_job_progress($1, 'by SQL')", [id])
  const { rows } = await client.query('SELECT type, cardinality(webhook_ids) AS webhooks FROM webhook_messages')
  t.same(rows, [{ type: 'progress.job.completed', webhooks: 10 }])
  await client.query('COMMIT')
  client.release()
  await receiver.count(20)
  t.same(new Set(receiver.types.slice(10)), new Set(['completed']))
  t.equal((await service.database.pool.query('SELECT FROM webhook_messages')).rowCount, 0)
})

/** Webhooks of a new tenant that nobody sends to, for tests of queued and claimed deliveries. */
const insertWebhooks = async ({ pool }: TestDatabase, count: number, progressIntervalSeconds: number | null = null) => {
  const { rows } = await pool.query<{ id: string; tenant_id: string }>(
    `INSERT INTO webhooks (tenant_id, url, events, secret, top_level, progress_interval_seconds)
     SELECT $1, 'https://example.com/', '{created,started,completed}', 'whsec_x', false, $3 FROM generate_series(1, $2::integer)
     RETURNING id, tenant_id`,
    [randomUUID(), count, progressIntervalSeconds],
  )
  return { tenantId: rows[0]!.tenant_id, ids: rows.map(({ id }) => id) }
}

/** New jobs of a tenant, as the service makes them: each leaves a message. */
const insertJobs = async ({ pool }: TestDatabase, tenantId: string, count: number): Promise<string[]> => {
  const { rows } = await pool.query<{ id: string }>(
    `SELECT (c.document ->> 'id')::uuid AS id FROM generate_series(1, $2::integer) AS n CROSS JOIN LATERAL ${FUNCTIONS}.create_job($1, true, NULL, NULL,
       jsonb_build_object('tenant_id', $1::uuid, 'job_type', 'a', 'name', 'job ' || n, 'heartbeat_timeout_seconds', 60)) c`,
    [tenantId, count],
  )
  return rows.map(({ id }) => id)
}

const change = ({ pool }: TestDatabase, tenantId: string, jobId: string, command: string) =>
  pool.query(`SELECT code FROM ${FUNCTIONS}.change_job($1, $2, true, NULL, NULL, $3, NULL, '{}')`, [
    jobId,
    tenantId,
    command,
  ])

const openOutbox = (t: Test, { url }: TestDatabase, mostWaiting?: number) => {
  const database = openDatabase({ url, poolSize: 2, preparedStatements: true, onConnectionError: () => undefined })
  t.teardown(() => database.close())
  return createOutbox({ database, perWebhook: 8, leaseSeconds: 60, ...(mostWaiting !== undefined && { mostWaiting }) })
}

const waitingOf = async ({ pool }: TestDatabase, webhookIds: string[]) => {
  const { rows } = await pool.query<{ webhook_id: string; count: number }>(
    `SELECT w.id, count(d)::integer FROM webhooks w LEFT JOIN webhook_deliveries d ON d.webhook_id = w.id AND d.status = 'waiting'
     WHERE w.id = ANY ($1) GROUP BY w.id`,
    [webhookIds],
  )
  return rows.map(row => row.count)
}

t.test(
  'the messages of a tenant become deliveries with the next ones, however many messages another tenant has',
  async t => {
    const database = await createTestDatabase(t)
    const [many, few] = [await insertWebhooks(database, 50), await insertWebhooks(database, 1)]
    await insertJobs(database, many.tenantId, 200)
    await insertJobs(database, few.tenantId, 2)
    const outbox = openOutbox(t, database)
    t.same(await outbox.queueDeliveries(), { more: true, dropped: 0 })
    t.same(await waitingOf(database, few.ids), [2])
    const [first] = await waitingOf(database, many.ids)
    t.ok(first! > 0 && first! < 200, `${first} of 200: no statement makes all of them`)
    while ((await outbox.queueDeliveries()).more);
    t.same(new Set(await waitingOf(database, many.ids)), new Set([200]))
  },
)

t.test('no tenant gets a place for an attempt while it has as many as are free', async t => {
  const database = await createTestDatabase(t)
  const tenants = [
    await insertWebhooks(database, 10),
    await insertWebhooks(database, 3),
    await insertWebhooks(database, 1),
  ]
  await insertJobs(database, tenants[0]!.tenantId, 20)
  const outbox = openOutbox(t, database)
  const queue = async () => {
    while ((await outbox.queueDeliveries()).more);
  }
  await queue()
  const taken = new Map<string, number>()
  let free = 40
  const claim = async () => {
    const claimed = await outbox.claim({ free, taken })
    for (const { tenantId } of claimed) taken.set(tenantId, (taken.get(tenantId) ?? 0) + 1)
    free -= claimed.length
    return claimed
  }
  const spread = new Map<string, number>()
  for (const { webhookId } of await claim()) spread.set(webhookId, (spread.get(webhookId) ?? 0) + 1)
  t.same([...spread.values()], Array(10).fill(2), 'half of all places, equally among the webhooks')
  t.same(await claim(), [])
  for (const { tenantId } of tenants.slice(1)) await insertJobs(database, tenantId, 20)
  await queue()
  await claim()
  await claim()
  t.same(
    tenants.map(({ tenantId }) => taken.get(tenantId)),
    [20, 7, 7],
    'those that come later share what is left, and leave a place',
  )
  t.equal(free, 6)
})

t.test(
  'the waiting deliveries of a tenant are limited, no change fails at the limit, and each webhook counts its lost messages',
  async t => {
    const database = await createTestDatabase(t)
    const { tenantId, ids } = await insertWebhooks(database, 1)
    const outbox = openOutbox(t, database, 20)
    const jobs = await insertJobs(database, tenantId, 15)
    t.same(await outbox.queueDeliveries(), { more: false, dropped: 0 }, 'the limit is that of a beginning statement')
    const more = await insertJobs(database, tenantId, 3)
    t.same(await outbox.queueDeliveries(), { more: false, dropped: 3 })
    t.same(await waitingOf(database, ids), [15])
    const { rows } = await database.pool.query('SELECT dropped_count, dropped_at IS NOT NULL AS told FROM webhooks')
    t.same(rows, [{ dropped_count: '3', told: true }])

    t.same((await change(database, tenantId, jobs[0]!, 'complete')).rows, [{ code: null }])
    t.same((await change(database, tenantId, more[0]!, 'complete')).rows, [{ code: null }])
    t.same(await outbox.queueDeliveries(), { more: false, dropped: 2 })
    const { rows: waiting } = await database.pool.query<{ type: string; body: string }>(
      'SELECT type, body FROM webhook_deliveries WHERE job_id = $1',
      [jobs[0]],
    )
    t.match(waiting, [{ type: 'progress.job.completed', body: /"status": ?"completed"/ }], 'the newest takes its place')

    const { tenantId: stranger, ids: others } = await insertWebhooks(database, 1)
    await insertJobs(database, stranger, 5)
    t.same(await outbox.queueDeliveries(), { more: false, dropped: 0 }, 'another tenant has a limit of its own')
    t.same(await waitingOf(database, others), [5])

    await database.pool.query("UPDATE webhook_deliveries SET status = 'delivered', finished_at = now()")
    await database.pool.query("UPDATE webhook_backlogs SET counted_at = counted_at - interval '3 seconds'")
    await insertJobs(database, tenantId, 5)
    t.same(await outbox.queueDeliveries(), { more: false, dropped: 0 }, 'what was sent makes room')
  },
)

t.test('a webhook whose deliveries pile up leaves room for the others of its tenant', async t => {
  const database = await createTestDatabase(t)
  const [away, { ids }] = [await insertWebhooks(database, 1), await insertWebhooks(database, 1)]
  await database.pool.query('UPDATE webhooks SET tenant_id = $1', [away.tenantId])
  await database.pool.query("UPDATE webhooks SET events = '{completed}', all_events = false WHERE id = $1", [ids[0]])
  const outbox = openOutbox(t, database, 30)
  const jobs: string[] = []
  for (let n = 0; n < 10; n += 1) {
    jobs.push(...(await insertJobs(database, away.tenantId, 5)))
    await outbox.queueDeliveries()
  }
  const [piled] = await waitingOf(database, away.ids)
  t.ok(piled! >= 15 && piled! < 20, `half of the limit, and what one statement adds: ${piled}`)
  for (const jobId of jobs.slice(0, 5)) await change(database, away.tenantId, jobId, 'complete')
  await outbox.queueDeliveries()
  t.same(await waitingOf(database, ids), [5])
})

t.test(
  'the progress of one tenant, however many jobs and webhooks it has, does not keep that of others waiting',
  async t => {
    const database = await createTestDatabase(t)
    const [many, few] = [await insertWebhooks(database, 20, 60), await insertWebhooks(database, 1, 60)]
    await database.pool.query("UPDATE webhooks SET events = '{}', all_events = false")
    for (const [{ tenantId }, count] of [
      [many, 30],
      [few, 1],
    ] as const)
      for (const jobId of await insertJobs(database, tenantId, count)) await change(database, tenantId, jobId, 'start')
    // At most 40 deliveries, of 601.
    await database.pool.query(`SELECT ${FUNCTIONS}.queue_progress(40, 1000, 60)`)
    t.same(await waitingOf(database, few.ids), [1])
    for (let n = 0; n < 16; n += 1) await database.pool.query(`SELECT ${FUNCTIONS}.queue_progress(40, 1000, 60)`)
    t.same(new Set(await waitingOf(database, many.ids)), new Set([30]), 'all of it is told in the end, and once')
  },
)

t.test('an erasure of records that meets a lock of another session ends soon and is left to its next run', async t => {
  const database = await createTestDatabase(t)
  const { ids } = await insertWebhooks(database, 1)
  await database.pool.query(
    `INSERT INTO webhook_deliveries (webhook_id, type, body, due_at, expires_at, status, finished_at)
     SELECT $1, 'webhook.test', '{}', now(), now(), 'delivered', now() - interval '8 days'`,
    ids,
  )
  const outbox = openOutbox(t, database)
  const holder = await database.pool.connect()
  t.teardown(() => holder.release())
  await holder.query('BEGIN')
  await holder.query('LOCK TABLE webhook_backlogs IN SHARE MODE')
  await t.rejects(outbox.erase(7), { code: '55P03' }, 'as if nothing had been erased')
  const warnings: string[] = []
  const log = pino({}, { write: (line: string) => void warnings.push(line) })
  const erase = createDeliveryRetention({ outbox, recordDays: 7, log })
  await erase()
  t.match(warnings, [/another session has locked rows/])
  await holder.query('ROLLBACK')
  await erase()
  t.equal((await database.pool.query('SELECT FROM webhook_deliveries')).rowCount, 0)
})

/** As if the database's clock had been set back by an hour: all times of webhooks are an hour ahead of it. */
const setClockBack = async ({ pool }: TestDatabase) => {
  const { rows } = await pool.query<{ table: string; times: string }>(
    `SELECT table_name AS table, string_agg(format('%1$I = %1$I + interval ''1 hour''', column_name), ', ') AS times
     FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name ~ '^webhook' AND data_type = 'timestamp with time zone' GROUP BY table_name`,
  )
  for (const { table, times } of rows) await pool.query(`UPDATE ${table} SET ${times}`)
}

const NOTHING_TAKEN = { free: 40, taken: new Map<string, number>() }

const FAILED = {
  outcome: 'failed' as const,
  responseStatus: 503,
  error: 'no',
  delaySeconds: 600,
  pauseSeconds: 300,
}

/** One webhook, and deliveries of so many jobs, which are queued by the clock before it is set back. */
const queueBeforeClock = async (t: Test, jobs: number) => {
  const database = await createTestDatabase(t)
  const { tenantId, ids } = await insertWebhooks(database, 1)
  const outbox = openOutbox(t, database)
  await insertJobs(database, tenantId, jobs)
  await outbox.queueDeliveries()
  return { database, tenantId, ids, outbox }
}

t.test('a delivery that was queued before the clock was set back is due at once', async t => {
  const { database, outbox, tenantId } = await queueBeforeClock(t, 3)
  await insertJobs(database, tenantId, 3)
  await setClockBack(database)
  await outbox.queueDeliveries()
  t.equal((await outbox.claim(NOTHING_TAKEN)).length, 6, 'deliveries, and messages that were none yet')
})

t.test('a retry is due as long after the clock was set back as it was to wait after its attempt', async t => {
  const { database, outbox } = await queueBeforeClock(t, 2)
  for (const delivery of await outbox.claim(NOTHING_TAKEN))
    await outbox.finish(delivery, { ...FAILED, pauseSeconds: 0 })
  await database.pool.query('UPDATE webhooks SET paused_until = NULL')
  await setClockBack(database)
  t.same(await outbox.claim(NOTHING_TAKEN), [])
  const { rows } = await database.pool.query<{ wait: number }>(
    "SELECT max(date_part('epoch', due_at - now())) AS wait FROM webhook_deliveries",
  )
  t.ok(rows[0]!.wait > 0 && rows[0]!.wait <= 601, `${rows[0]!.wait} s`)
})

t.test('a pause that began before the clock was set back is over', async t => {
  const { database, outbox } = await queueBeforeClock(t, 2)
  const [first, second] = await outbox.claim(NOTHING_TAKEN)
  await outbox.finish(first!, FAILED)
  await outbox.finish(second!, { ...FAILED, outcome: 'released' })
  t.same(await outbox.claim(NOTHING_TAKEN), [], 'the receiver is left alone')
  await setClockBack(database)
  t.equal((await outbox.claim(NOTHING_TAKEN)).length, 1)
})

t.test('the lease of a process that died before the clock was set back ends as soon as any other', async t => {
  const { database, outbox } = await queueBeforeClock(t, 1)
  t.equal((await outbox.claim(NOTHING_TAKEN)).length, 1)
  await setClockBack(database)
  t.same(await outbox.claim(NOTHING_TAKEN), [])
  await database.pool.query(
    "UPDATE webhook_deliveries SET due_at = due_at - interval '61 seconds', attempted_at = attempted_at - interval '61 seconds'",
  )
  t.equal((await outbox.claim(NOTHING_TAKEN)).length, 1)
})

t.test('progress is sent and waiting deliveries are counted after the clock was set back', async t => {
  const database = await createTestDatabase(t)
  const { tenantId, ids } = await insertWebhooks(database, 1, 60)
  await database.pool.query("UPDATE webhooks SET events = '{}', all_events = false")
  const outbox = openOutbox(t, database, 1)
  const [jobId] = await insertJobs(database, tenantId, 1)
  await change(database, tenantId, jobId!, 'start')
  await outbox.queueProgress()
  t.same(await waitingOf(database, ids), [1])
  const [delivery] = await outbox.claim(NOTHING_TAKEN)
  await outbox.finish(delivery!, { ...FAILED, outcome: 'delivered', pauseSeconds: 0 })
  await database.pool.query('UPDATE progress_jobs SET revision = revision + 1 WHERE id = $1', [jobId])
  await outbox.queueProgress()
  t.same(await waitingOf(database, ids), [0], 'not before the minute is over')
  await setClockBack(database)
  await outbox.queueProgress()
  t.same(await waitingOf(database, ids), [1])
})

t.test('a tenant whose receivers hang does not hold up the messages of others', async t => {
  const service = await startService(t, { ...LOOPBACK, AUTH_JWT_SECRET: SECRET })
  const [hanging, answering] = [service.as(await mint()), service.as(await mint())]
  const [slow, quick] = [await startReceiver(t), await startReceiver(t)]
  slow.answer = () => undefined
  await Promise.all(Array.from({ length: 30 }, () => createWebhook(hanging, slow)))
  await createWebhook(answering, quick)
  await Promise.all(Array.from({ length: 10 }, () => hanging.createJob()))
  await slow.count(100)
  // An attempt takes fifteen seconds to fail, which is longer than the test waits.
  await answering.createJob()
  await quick.count(1)
})

t.test('at most ten test messages wait', async t => {
  const { service, receiver, webhook } = await start(t)
  receiver.answer = () => undefined
  const path = `/webhooks/${webhook.id}/test`
  const sent: string[] = []
  for (let n = 0; n < 14; n += 1) {
    const answer = await service.call<DeliveryDocument>('POST', path)
    t.equal(answer.status, 202)
    sent.push(answer.body.id)
  }
  t.equal(new Set(sent).size, 10)
  t.same(sent.slice(9), Array(5).fill(sent[9]))
})

t.test('webhooks are told of jobs of their own tenant, at most 50, and a token for one job manages none', async t => {
  const service = await startService(t, { AUTH_JWT_SECRET: SECRET, ...LOOPBACK })
  const receiver: Receiver = await startReceiver(t)
  const [ours, theirs] = [randomUUID(), randomUUID()]
  const owner = service.as(await mint({ tenant_id: ours, organization_id: randomUUID() }))
  const stranger = service.as(await mint({ tenant_id: theirs }))
  const limited = service.as(await mint({ tenant_id: ours, job_id: randomUUID() }))
  await createWebhook(owner, receiver, { events: ['created'] })
  await stranger.createJob()
  const { id } = await owner.createJob()
  await receiver.count(1)
  t.match(receiver.received, [{ body: { data: { id, tenantId: ours } } }])
  t.match(await limited.call('GET', '/webhooks'), { status: 403, body: { code: 'forbidden' } })
  t.same((await stranger.call<{ items: unknown[] }>('GET', '/webhooks')).body.items, [])
  for (let n = 1; n < 50; n++) await createWebhook(owner, receiver, { enabled: false })
  const one = await owner.call('POST', '/webhooks', { url: receiver.url })
  t.match(one, { status: 422, body: { code: 'too_many_webhooks' } })
  await createWebhook(stranger, receiver)
})

import t from 'tap'
import { CHAT_KINDS } from '../../src/contract/destinations.ts'
import type { DeliveryDocument } from '../../src/contract/webhook.ts'
import { openDatabase } from '../../src/database/connection.ts'
import { createOutbox } from '../../src/webhooks/outbox.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { begin, deliveriesOf, passTime, readWebhook, settle, until } from './destination.ts'

const ENDS = { slack: /Completed/, discord: /Completed/, telegram: /Completed/, matrix: /Completed/ }

for (const kind of CHAT_KINDS) {
  t.test(`${kind}: a job has one message for each attempt, which ends at the final state`, async t => {
    const { service, platform, webhook } = await begin(t, kind)
    const { id } = await service.createJob({ name: 'Nightly import', totalCount: 10 })
    await until(service, webhook, () => platform.posts === 1)
    await service.heartbeat(id, { processedCount: 5 })
    await until(service, webhook, () => /\b50\\?%/.test(platform.shown[0]?.text ?? ''))
    await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'Row 812' })
    await settle(service, webhook)
    t.equal(platform.posts, 1)
    t.ok(platform.edits >= 2)
    t.match(platform.shown[0]?.text, /Nightly import[^]*Failed[^]*Error[^]*Row 812/)
    t.match(platform.shown[0]?.text, /jobs\.example\.com|Open in Headway/)

    await service.call('POST', `/jobs/${id}/retry`)
    await service.heartbeat(id, { processedCount: 10, attempt: 2 })
    await service.call('POST', `/jobs/${id}/complete`, { attempt: 2 })
    await settle(service, webhook)
    t.equal(platform.posts, 2, 'the second attempt has a message of its own')
    const [first, second] = platform.shown
    t.match(first?.text, /Failed/)
    t.match(second?.text, ENDS[kind])
    t.match(second?.text, /Attempt 2/)
  })

  t.test(`${kind}: a message that was deleted is posted again`, async t => {
    const { service, platform, webhook } = await begin(t, kind)
    const { id } = await service.createJob()
    await settle(service, webhook)
    platform.delete()
    await service.call('POST', `/jobs/${id}/complete`)
    await settle(service, webhook)
    t.equal(platform.shown.length, 1)
    t.match(platform.shown[0]?.text, ENDS[kind])
  })

  t.test(`${kind}: while the platform asks for a pause, changes do not queue, and then the newest is sent`, async t => {
    const { service, platform, webhook } = await begin(t, kind)
    const { id } = await service.createJob({ cancellable: true })
    await settle(service, webhook)
    platform.faults.push(platform.limitedAnswer(30))
    await passTime(service, webhook)
    await service.heartbeat(id)
    await waitFor(async () => (await deliveriesOf(service, webhook, 'status=waiting'))[0]?.responseStatus === 429)
    const { rows } = await service.database.pool.query<{ seconds: number }>(
      'SELECT extract(epoch FROM paused_until - now())::float8 AS seconds FROM webhooks',
    )
    t.ok((rows[0]?.seconds ?? 0) > 20, `left alone for ${rows[0]?.seconds} s`)
    const before = platform.calls.filter(({ what }) => what !== 'read').length
    await service.call('POST', `/jobs/${id}/cancel`)
    await service.call('POST', `/jobs/${id}/cancelled`)
    await waitFor(async () => (await service.database.pool.query('SELECT FROM webhook_messages')).rows.length === 0)
    const waiting = await deliveriesOf(service, webhook, 'status=waiting')
    t.equal(waiting.length, 1, 'one edit waits')
    t.equal(platform.calls.filter(({ what }) => what !== 'read').length, before, 'nothing is sent during the pause')
    await settle(service, webhook)
    t.equal(platform.calls.filter(({ what }) => what !== 'read').length, before + 1)
    t.match(platform.shown[0]?.text, /Cancelled/)
    t.match(await readWebhook(service, webhook), { consecutiveFailures: 0, enabled: true }, 'a limit is no failure')
  })

  t.test(`${kind}: an answer of 500 is tried again, and a revoked token disables the destination`, async t => {
    const { service, platform, webhook } = await begin(t, kind)
    platform.faults.push({ status: 500, body: {} }, { status: 502, body: {} })
    const { id } = await service.createJob()
    await settle(service, webhook)
    t.equal(platform.posts, 1)
    platform.isRevoked = true
    await service.heartbeat(id)
    await until(service, webhook, async () => !(await readWebhook(service, webhook)).enabled)
    t.match(await readWebhook(service, webhook), { gone: true })
    const [newest] = await deliveriesOf(service, webhook, 'status=dead')
    t.match(newest, { error: /the destination was disabled/ })
    t.notMatch(JSON.stringify(await deliveriesOf(service, webhook)), /secret/, 'the record has no secret')
  })

  t.test(`${kind}: a test message says what became of it`, async t => {
    const { service, platform, webhook } = await begin(t, kind, { fields: { language: 'de' } })
    const good = await service.call<DeliveryDocument>('POST', `/webhooks/${webhook.id}/test`)
    t.match(good, { status: 202, body: { status: 'delivered', error: null } })
    t.match(platform.shown[0]?.text, /Testnachricht/)
    platform.faults.push({ status: 500, body: {} })
    await passTime(service, webhook)
    const bad = await service.call<DeliveryDocument>('POST', `/webhooks/${webhook.id}/test`)
    t.match(bad, {
      status: 202,
      body: { status: 'waiting', attempts: 1, responseStatus: 500, error: /did not take it/ },
    })
  })

  t.test(`${kind}: two replicas send each state once`, async t => {
    const { service, platform, webhook, environment } = await begin(t, kind)
    platform.delayMs = 20
    const other = await startService(t, { ...environment, database: service.database })
    const jobs = await Promise.all([1, 2, 3].map(n => service.createJob({ name: `Job ${n}` })))
    for (const [index, { id }] of jobs.entries()) {
      const replica = index % 2 === 0 ? service : other
      await replica.heartbeat(id)
      await replica.call('POST', `/jobs/${id}/complete`)
    }
    await Promise.all([settle(service, webhook), settle(other, webhook)])
    t.equal(platform.posts, 3)
    for (const { texts } of platform.shown) {
      t.match(texts.at(-1), ENDS[kind])
      t.equal(new Set(texts).size, texts.length, 'no state was sent twice')
    }
    t.equal(platform.mostInFlight, 1, 'a chat gets one call at a time')
  })
}

t.test('an older state is never sent over a newer one', async t => {
  const { service, platform, webhook } = await begin(t, 'slack')
  const { id } = await service.createJob()
  await settle(service, webhook)
  await service.call('POST', `/jobs/${id}/complete`)
  await settle(service, webhook)
  await passTime(service, webhook)
  const before = platform.calls.length
  for (const delivery of await deliveriesOf(service, webhook))
    await service.call('POST', `/webhooks/${webhook.id}/deliveries/${delivery.id}/redeliver`)
  await waitFor(async () => (await deliveriesOf(service, webhook, 'status=waiting')).length === 0)
  t.equal(platform.calls.length, before)
  t.match(platform.shown[0]?.text, /Completed/)
  const { rows } = await service.database.pool.query<{ seconds: number }>(
    'SELECT coalesce(extract(epoch FROM paused_until - now()), 0)::float8 AS seconds FROM webhooks',
  )
  t.ok((rows[0]?.seconds ?? 99) < 5, 'a state that is not sent keeps no pause')
})

t.test('the end of a job does not wait behind the progress of many others', async t => {
  const { service, platform, webhook } = await begin(t, 'slack', { fields: { events: ['completed'] } })
  const jobs = []
  for (let n = 0; n < 25; n++) jobs.push(await service.createJob({ name: `Job ${n}`, totalCount: 10 }))
  for (const { id } of jobs) await service.heartbeat(id, { processedCount: 1 })
  platform.faults.push(platform.limitedAnswer(30))
  await service.call('PUT', `/webhooks/${webhook.id}`, { progressIntervalSeconds: 60 })
  await waitFor(async () =>
    (await deliveriesOf(service, webhook, 'status=waiting')).some(({ responseStatus }) => responseStatus === 429),
  )
  t.ok((await deliveriesOf(service, webhook, 'status=waiting')).length <= 10)
  await service.call('POST', `/jobs/${jobs[20]!.id}/complete`)
  await until(service, webhook, () => platform.shown.some(({ text }) => /Job 20[^]*Completed/.test(text)))
  t.ok(platform.calls.length <= 13, `${platform.calls.length} calls`)
})

t.test('which message belongs to a job is forgotten with the records, but not while the job runs', async t => {
  const { service, webhook } = await begin(t, 'slack')
  const [running, ended] = [await service.createJob(), await service.createJob()]
  await service.heartbeat(running.id)
  await service.call('POST', `/jobs/${ended.id}/complete`)
  await settle(service, webhook)
  const { pool } = service.database
  await pool.query("UPDATE chat_messages SET updated_at = now() - interval '8 days'")
  const database = openDatabase({
    url: service.database.url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined,
  }) // prettier-ignore
  t.teardown(() => database.close())
  await createOutbox({ database, perWebhook: 8, leaseSeconds: 60 }).erase(7)
  const { rows } = await pool.query('SELECT job_id FROM chat_messages')
  t.same(rows, [{ job_id: running.id }])
})

t.test('a batch has one message, which tells of its partitions', async t => {
  const { service, platform, webhook } = await begin(t, 'discord')
  const batch = await service.createJob({ name: 'Cities', partitionCount: 3 })
  const names = ['Berlin', 'Paris', 'Rome']
  const partitions = []
  for (const name of names) partitions.push(await service.createJob({ name, parentJobId: batch.id }))
  await service.heartbeat(partitions[0]!.id)
  await service.call('POST', `/jobs/${partitions[0]!.id}/complete`)
  await service.call('POST', `/jobs/${partitions[1]!.id}/fail`, { errorMessage: 'No map' })
  await service.heartbeat(partitions[2]!.id)
  await service.call('POST', `/jobs/${partitions[2]!.id}/complete`)
  await settle(service, webhook)
  t.equal(platform.posts, 1)
  t.match(platform.shown[0]?.text, /2 of 3 parts completed/)
  t.match(platform.shown[0]?.text, /1 failed/)
})

t.test(
  'progress is sent as often as its interval says, and a destination that never told of a job stays silent at its end',
  async t => {
    const { service, platform, webhook } = await begin(t, 'slack', { fields: { events: ['failed'] } })
    const { id } = await service.createJob()
    await service.call('POST', `/jobs/${id}/complete`)
    const failing = await service.createJob()
    await service.call('POST', `/jobs/${failing.id}/fail`, { errorMessage: 'x' })
    await settle(service, webhook)
    t.equal(platform.posts, 1)
    t.match(platform.shown[0]?.text, /Failed/)

    await service.call('PUT', `/webhooks/${webhook.id}`, { events: [], progressIntervalSeconds: 1 })
    const running = await service.createJob({ totalCount: 100 })
    await service.heartbeat(running.id, { processedCount: 10 })
    await until(service, webhook, () => /10%/.test(platform.shown[1]?.text ?? ''))
    await service.heartbeat(running.id, { processedCount: 40 })
    await until(service, webhook, () => /40%/.test(platform.shown[1]?.text ?? ''))
    await service.call('POST', `/jobs/${running.id}/complete`)
    await settle(service, webhook)
    t.equal(platform.posts, 2)
    t.match(platform.shown[1]?.text, /Completed/)
  },
)

t.test('an attempt whose process died is taken over, and the message ends at the final state', async t => {
  const { service, platform, webhook } = await begin(t, 'slack')
  const { id } = await service.createJob()
  await settle(service, webhook)
  // A call that is never answered, as if the process had died in it.
  platform.faults.push(null)
  await passTime(service, webhook)
  await service.heartbeat(id)
  await waitFor(() => platform.calls.at(-1)?.status === 0)
  const { pool } = service.database
  const { rows } = await pool.query<{ seconds: number }>(
    'SELECT extract(epoch FROM paused_until - now())::float8 AS seconds FROM webhooks',
  )
  t.ok((rows[0]?.seconds ?? 0) > 50, 'nobody else calls while the attempt may be in flight')
  await pool.query("UPDATE webhook_deliveries SET due_at = now() - interval '1 second' WHERE claim IS NOT NULL")
  await pool.query('UPDATE webhooks SET paused_until = NULL')
  await service.call('POST', `/jobs/${id}/complete`)
  await until(service, webhook, () => /Completed/.test(platform.shown[0]?.text ?? ''))
  t.equal(platform.posts, 1)
})

t.test('a post whose answer was lost is not made twice where the platform knows transactions', async t => {
  const { service, platform, webhook } = await begin(t, 'matrix')
  const { id } = await service.createJob()
  await settle(service, webhook)
  // As if the process had died between the post and its record.
  await service.database.pool.query('DELETE FROM chat_messages')
  await service.call('POST', `/jobs/${id}/complete`)
  await settle(service, webhook)
  t.equal(platform.messages.size, 1)
  t.match(platform.shown[0]?.text, /Completed/, 'and it shows the newest state')
})

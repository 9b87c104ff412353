import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { createServer } from 'node:http'
import { SMTPServer } from 'smtp-server'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config.ts'
import { openDatabase } from '../../src/database/connection.ts'
import type { WebhookDocument, WebhookWithSecret } from '../../src/contract/webhook.ts'
import { createWebhookRepository } from '../../src/webhooks/repository.ts'
import { createReseal } from '../../src/webhooks/reseal.ts'
import { createSeal, SealError } from '../../src/webhooks/seal.ts'
import { createTestDatabase } from '../helpers/database.ts'
import { startReceiver, verify } from '../helpers/receiver.ts'
import { startService, type Service } from '../helpers/service.ts'
import {
  createDestination,
  deliveriesOf,
  ENVIRONMENT,
  keyOf,
  passTime,
  settle,
  startPlatform,
  until,
} from './destination.ts'
import { pino } from 'pino'

// Most of a test is waiting: for starts, polls and answers.
t.jobs = 3

const SLACK = { token: 'xoxb-secret', channel: 'C1' }
const DISCORD = { url: 'https://discord.com/api/webhooks/1/secret' }
const TELEGRAM = { token: '1:secret', chatId: '-100' }
const MATRIX = { homeserver: 'https://matrix.example.org', token: 'secret', roomId: '!a:example.org' }

const place = { webhookId: 'a', column: 'settings' } as const
const key = (byte: number) => Buffer.alloc(32, byte)

t.test('a sealed secret opens with its key, at its place, and unchanged only', t => {
  const seal = createSeal([key(1)])
  const sealed = seal.seal('geheim', place)
  t.notMatch(sealed, /geheim/)
  t.not(sealed, seal.seal('geheim', place), 'no two are the same')
  t.equal(seal.open(sealed, place), 'geheim')
  t.equal(createSeal([key(2), key(1)]).open(sealed, place), 'geheim')
  t.throws(() => createSeal([key(2)]).open(sealed, place), SealError)
  t.throws(() => createSeal([]).open(sealed, place), { message: /ENCRYPTION_KEYS lacks its key/ })
  t.throws(() => seal.open(sealed, { ...place, webhookId: 'b' }), SealError)
  t.throws(() => seal.open(sealed, { ...place, column: 'secret' }), SealError)
  for (const at of [16, 30, sealed.length - 3]) {
    const other = sealed[at] === 'A' ? 'B' : 'A'
    t.throws(() => seal.open(sealed.slice(0, at) + other + sealed.slice(at + 1), place), SealError)
  }
  t.throws(() => seal.open(sealed.slice(0, 20), place), SealError)
  t.equal(seal.open('whsec_x', place), 'whsec_x', 'from before there was a key')
  t.same(
    ['', 'whsec_x', sealed].map(stored => createSeal([key(2), key(1)]).isOutdated(stored)),
    [false, true, true],
  )
  t.notOk(createSeal([key(1), key(2)]).isOutdated(sealed))
  t.end()
})

t.test('settings that cannot work are refused at the start, without showing a secret', t => {
  const refuses = (environment: Record<string, string>, name: RegExp) =>
    t.throws(() => readConfig(environment), { message: name }, JSON.stringify(environment))
  for (const bad of [
    'short',
    Buffer.alloc(31).toString('base64'),
    Buffer.alloc(33).toString('base64'),
    `${keyOf(1)},x`,
  ])
    refuses({ ENCRYPTION_KEYS: bad }, /^(?!.*short).*ENCRYPTION_KEYS/)
  refuses({ SMTP_URL: 'smtp://mail.example.com' }, /MAIL_FROM/)
  refuses({ SMTP_URL: 'https://user:geheim@mail.example.com', MAIL_FROM: 'a@b.c' }, /^(?!.*geheim).*SMTP_URL/)
  refuses({ MAIL_FROM: 'nobody\r\nBcc: a@b.c' }, /MAIL_FROM/)
  refuses({ SLACK_ORIGIN: 'https://slack.com/api' }, /SLACK_ORIGIN/)
  refuses({ PUBLIC_URL: 'jobs.example.com' }, /PUBLIC_URL/)
  t.equal(readConfig({ PUBLIC_URL: 'https://jobs.example.com/headway/' }).publicUrl, 'https://jobs.example.com/headway')
  t.equal(readConfig({ ENCRYPTION_KEYS: `${keyOf(1)}, ${keyOf(2)}` }).encryptionKeys.length, 2)
  t.end()
})

t.test('secrets of destinations are stored encrypted and never answered', { buffered: true }, async t => {
  const service = await startService(t, ENVIRONMENT)
  const kinds = { slack: SLACK, discord: DISCORD, telegram: TELEGRAM, matrix: MATRIX } as const
  for (const [kind, settings] of Object.entries(kinds)) {
    const created = await createDestination(service, kind as keyof typeof kinds, settings, { enabled: false })
    t.match(created, { kind, url: null, secret: null, secretSet: true })
    const { body } = await service.call<WebhookDocument>('GET', `/webhooks/${created.id}`)
    const changed = await service.call('PUT', `/webhooks/${created.id}`, { description: 'x' })
    const list = await service.call('GET', '/webhooks')
    for (const answer of [created, body, changed.body, list.body])
      t.notMatch(JSON.stringify(answer).replaceAll(/"secret(?:Set)?":/g, ''), /secret|sealed/)
    t.match(await service.call('POST', `/webhooks/${created.id}/rotate-secret`), { status: 409 })
  }
  const { rows } = await service.database.pool.query<{ row: string }>('SELECT w::text AS row FROM webhooks w')
  for (const { row } of rows) t.notMatch(row, /xoxb|secret/)
  t.equal(rows.length, 4)
})

t.test('a change of some settings keeps the others, the secret included', { buffered: true }, async t => {
  const { platform, settings, environment } = await startPlatform('slack')
  t.teardown(() => platform.close())
  const service = await startService(t, environment)
  const webhook = await createDestination(service, 'slack', { ...settings, channel: 'C9' })
  const change = (body: object) => service.call<WebhookDocument>('PUT', `/webhooks/${webhook.id}`, body)
  const changed = await change({ settings: { channel: settings.channel } })
  t.match(changed, { status: 200, body: { settings: { channel: settings.channel }, secretSet: true } })
  t.match(await service.call('POST', `/webhooks/${webhook.id}/test`), { body: { status: 'delivered' } })
  await change({ settings: { token: 'xoxb-wrong' } })
  t.match(await service.call('POST', `/webhooks/${webhook.id}/test`), { body: { error: /refused the token/ } })
})

t.test('what a kind does not have, or cannot be, is refused by its path', { buffered: true }, async t => {
  const service = await startService(t, { ENCRYPTION_KEYS: keyOf(1) })
  const refused = async (body: object, path: string) => {
    const reply = await service.call('POST', '/webhooks', body)
    t.match(reply, { status: 400, body: { code: 'validation_failed' } }, JSON.stringify(body))
    t.ok(
      reply.body.errors?.some(error => error.path === path),
      `${path} in ${JSON.stringify(reply.body.errors)}`,
    )
  }
  await refused({ kind: 'pager', settings: {} }, 'kind')
  await refused({}, 'url')
  await refused({ kind: 'slack' }, 'settings.token')
  await refused({ kind: 'slack', settings: { token: 'x' } }, 'settings.channel')
  await refused({ kind: 'slack', settings: { ...SLACK, chatId: '1' } }, 'settings.chatId')
  await refused({ kind: 'slack', settings: { ...SLACK, other: '1' } }, 'settings.other')
  await refused({ kind: 'slack', settings: { ...SLACK, token: 'a\r\nb' } }, 'settings.token')
  await refused({ kind: 'slack', url: 'https://example.com', settings: SLACK }, 'url')
  await refused({ kind: 'slack', settings: SLACK, topLevel: false }, 'topLevel')
  await refused({ url: 'https://example.com', settings: { token: 'x' } }, 'settings.token')
  await refused({ kind: 'telegram', settings: { ...TELEGRAM, token: '../x' } }, 'settings.token')
  await refused({ kind: 'telegram', settings: { ...TELEGRAM, chatId: 'a b' } }, 'settings.chatId')
  await refused({ kind: 'matrix', settings: { ...MATRIX, roomId: '#alias' } }, 'settings.roomId')
  for (const homeserver of [
    'https://127.0.0.1',
    'https://169.254.169.254',
    'https://[::1]',
    'http://matrix.example.org',
    'https://0x7f000001',
  ])
    await refused({ kind: 'matrix', settings: { ...MATRIX, homeserver } }, 'settings.homeserver')
  for (const url of [
    'https://evil.example/api/webhooks/1/a',
    'https://discord.com/api/users/1',
    'https://discord.com.evil.example/api/webhooks/1/a',
  ])
    await refused({ kind: 'discord', settings: { url } }, 'settings.url')
  await refused({ kind: 'teams', settings: { url: 'https://10.0.0.1/workflows' } }, 'settings.url')
  await refused(
    { kind: 'teams', settings: { url: 'https://example.com/' }, progressIntervalSeconds: 5 },
    'progressIntervalSeconds',
  )
  for (const to of [
    [],
    ['nobody'],
    ['a@b.c\r\nBcc: d@e.f'],
    ['a@b.c, d@e.f'],
    ['A <a@b.c>'],
    Array.from({ length: 21 }, () => 'a@b.c'),
  ])
    t.match(
      await service.call('POST', '/webhooks', { kind: 'email', settings: { to } }),
      { status: 400 },
      JSON.stringify(to),
    )
  const webhook = await createDestination(service, 'slack', SLACK)
  t.match(
    await service.call('PUT', `/webhooks/${webhook.id}`, { kind: 'discord' }),
    { status: 400 },
    'a webhook keeps its kind',
  )
  t.match(await service.call('PUT', `/webhooks/${webhook.id}`, { settings: DISCORD }), { status: 400 })
})

t.test(
  'a destination with a secret is refused without a key, and mail without a server',
  { buffered: true },
  async t => {
    const service = await startService(t)
    const refusal = { status: 409, body: { code: 'destination_unavailable' } }
    const slack = await service.call('POST', '/webhooks', { kind: 'slack', settings: SLACK })
    t.match(slack, refusal)
    t.match(slack.body.detail, /ENCRYPTION_KEYS/)
    const email = await service.call('POST', '/webhooks', { kind: 'email', settings: { to: ['a@example.com'] } })
    t.match(email, refusal)
    t.match(email.body.detail, /SMTP_URL/)
  },
)

t.test(
  'a new key takes over all secrets in the background, those that were not encrypted included',
  { buffered: true },
  async t => {
    const database = await createTestDatabase(t)
    const receiver = await startReceiver(t)
    const { platform, settings, environment } = await startPlatform('slack')
    t.teardown(() => platform.close())
    const start = (keys: string): Promise<Service> =>
      startService(t, { ...environment, ENCRYPTION_KEYS: keys, database })
    const before = await start('')
    const { body: signed } = await before.call<WebhookWithSecret>('POST', '/webhooks', {
      url: receiver.url,
      events: ['created'],
    })
    await before.call('POST', `/webhooks/${signed.id}/rotate-secret`)
    await before.close()
    const old = await start(keyOf(1))
    const slack = await createDestination(old, 'slack', settings)
    await old.close()

    const opened = openDatabase({
      url: database.url,
      poolSize: 1,
      preparedStatements: true,
      onConnectionError: () => undefined,
    })
    t.teardown(() => opened.close())
    const seal = createSeal([key(2), key(1)])
    const reseal = createReseal({
    repository: createWebhookRepository(opened), seal, isClosing: () => false, log: pino({ level: 'silent' }),
  }) // prettier-ignore
    await reseal()
    const { rows } = await database.pool.query<Record<string, string | null>>(
      'SELECT secret, previous_secret, sealed_settings FROM webhooks',
    )
    const stored = rows.flatMap(row => Object.values(row)).filter(value => value !== null && value !== '')
    t.equal(stored.length, 3)
    t.ok(stored.every(value => !seal.isOutdated(value ?? '')))

    const after = await start(keyOf(2))
    t.match(await after.call('POST', `/webhooks/${slack.id}/test`), { body: { status: 'delivered' } })
    await after.createJob()
    const [request] = await receiver.count(1)
    t.ok(verify(signed.secret ?? '', request!), 'the old secret still signs')
    await after.close()

    const without = await start(keyOf(3))
    await passTime(without, slack)
    const lost = await without.call('POST', `/webhooks/${slack.id}/test`)
    t.match(lost, { body: { status: 'waiting', error: /ENCRYPTION_KEYS lacks its key/ } })
  },
)

interface Mail {
  to: string[]
  source: string
}

/** An SMTP server that knows no address with `nobody` in it. */
const startMail = async (t: Test) => {
  const mails: Mail[] = []
  const state = { refuses: false }
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onRcptTo({ address }, _session, callback) {
      const refusal = Object.assign(new Error('no such user at internal.host'), { responseCode: 550 })
      callback(state.refuses || address.startsWith('nobody') ? refusal : undefined)
    },
    onData(stream, session, callback) {
      void text(stream).then(source => {
        mails.push({ to: session.envelope.rcptTo.map(({ address }) => address), source })
        callback()
      })
    },
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  t.teardown(() => new Promise<void>(resolve => server.close(resolve)))
  return { mails, state, url: `smtp://127.0.0.1:${(server.server.address() as AddressInfo).port}` }
}

const headerOf = (source: string, name: string): string | undefined =>
  new RegExp(`^${name}:\\s*(.*(?:\r\n[ \t].*)*)`, 'im').exec(source)?.[1]?.replaceAll(/\r\n\s+/g, ' ')

t.test('mail tells how a job ended, in one thread, and not that it began', { buffered: true }, async t => {
  const { mails, state, url } = await startMail(t)
  const service = await startService(t, {
    ...ENVIRONMENT, SMTP_URL: url, MAIL_FROM: 'Headway <headway@example.com>',
  }) // prettier-ignore
  const webhook = await createDestination(service, 'email', { to: ['team@example.com', 'lead@example.com'] })
  t.match(webhook, { settings: { to: ['team@example.com', 'lead@example.com'] }, secretSet: false })
  const { id } = await service.createJob({ name: 'Import <b>&\u00e9 "x"', finishBy: '2020-01-01T00:00:00.000Z' })
  await service.heartbeat(id)
  await service.call('POST', `/jobs/${id}/fail`, { errorMessage: 'Row <812>' })
  await settle(service, webhook)
  const mail = mails.at(-1)!
  t.same(mail.to, ['team@example.com', 'lead@example.com'])
  t.match(headerOf(mail.source, 'from'), /headway@example\.com/)
  t.match(headerOf(mail.source, 'subject'), /=\?UTF-8\?/)
  t.match(headerOf(mail.source, 'auto-submitted'), 'auto-generated')
  const thread = new RegExp(`^<${webhook.id}\\.${id}\\.1@example\\.com>$`)
  for (const { source } of mails) t.match(headerOf(source, 'references'), thread)
  t.equal(new Set(mails.map(({ source }) => headerOf(source, 'message-id'))).size, mails.length)
  t.ok(mails.every(({ source }) => !/<b>/.test(source.replaceAll(/=\r\n/g, '').split('text/html')[1] ?? '')))
  const delivered = await deliveriesOf(service, webhook)
  t.notOk(delivered.some(({ type }) => /created|started/.test(type)))

  state.refuses = true
  const refused = await service.call('POST', `/webhooks/${webhook.id}/test`)
  t.match(refused, { body: { status: 'waiting', responseStatus: 550, error: 'The mail server answered 550' } })
  state.refuses = false
  await passTime(service, webhook)
  await until(service, webhook, async () => (await deliveriesOf(service, webhook, 'status=waiting')).length === 0)
})

t.test('Teams gets a card for each change', { buffered: true }, async t => {
  const cards: unknown[] = []
  const server = createServer((request, response) => {
    void text(request).then(body => {
      cards.push(JSON.parse(body))
      response.writeHead(202).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const service = await startService(t, ENVIRONMENT)
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/workflows/1?sig=secret`
  const webhook = await createDestination(service, 'teams', { url }, { language: 'fr' })
  const { id } = await service.createJob({ name: '**bold**' })
  await service.heartbeat(id)
  await service.call('POST', `/jobs/${id}/complete`)
  await settle(service, webhook)
  t.equal(cards.length, 1)
  t.match(cards[0], {
    type: 'message',
    attachments: [{ contentType: 'application/vnd.microsoft.card.adaptive', content: { type: 'AdaptiveCard' } }],
  })
  t.match(JSON.stringify(cards[0]), /\*\*bold\*\*.*Terminée/)
})

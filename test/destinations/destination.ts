import type { Test } from 'tap'
import type { ChatKind, DestinationKind, DestinationSettings } from '../../src/contract/destinations.ts'
import type { DeliveryPage, WebhookDocument, WebhookWithSecret } from '../../src/contract/webhook.ts'
import type { TestDatabase } from '../helpers/database.ts'
import { startService, type Service } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'
import { StrictDiscord } from './discord.ts'
import { StrictMatrix } from './matrix.ts'
import type { Platform } from './platform.ts'
import { StrictSlack } from './slack.ts'
import { StrictTelegram } from './telegram.ts'

export const keyOf = (byte: number): string => Buffer.alloc(32, byte).toString('base64')

export interface Stage {
  kind: ChatKind
  platform: Platform
  settings: DestinationSettings
  environment: Record<string, string>
}

/** A strict server of a platform, and what leads there. */
const make: Record<ChatKind, () => Promise<Omit<Stage, 'kind'>>> = {
  async slack() {
    const platform = await new StrictSlack().listen()
    const { token, channel, origin } = platform
    return { platform, settings: { token, channel }, environment: { SLACK_ORIGIN: origin } }
  },
  async discord() {
    const platform = await new StrictDiscord().listen()
    return { platform, settings: { url: platform.url }, environment: { DISCORD_ORIGIN: platform.origin } }
  },
  async telegram() {
    const platform = await new StrictTelegram().listen()
    const { token, chatId, origin } = platform
    return { platform, settings: { token, chatId }, environment: { TELEGRAM_ORIGIN: origin } }
  },
  async matrix() {
    const platform = await new StrictMatrix().listen()
    const { token, roomId, origin } = platform
    return { platform, settings: { homeserver: origin, token, roomId }, environment: {} }
  },
}

export const ENVIRONMENT = {
  WEBHOOK_ALLOWED_NETWORKS: '127.0.0.1',
  ENCRYPTION_KEYS: keyOf(1),
  PUBLIC_URL: 'https://jobs.example.com',
}

export const startPlatform = async (kind: ChatKind): Promise<Stage> => {
  const stage = await make[kind]()
  return { kind, ...stage, environment: { ...ENVIRONMENT, ...stage.environment } }
}

export const createDestination = async (
  service: Service,
  kind: DestinationKind,
  settings: DestinationSettings,
  fields: object = {},
) => {
  const reply = await service.call<WebhookWithSecret>('POST', '/webhooks', { kind, settings, ...fields })
  if (reply.status !== 201) throw new Error(JSON.stringify(reply.body))
  return reply.body
}

/** A service, a platform, and a destination there. */
export const begin = async (
  t: Test,
  kind: ChatKind,
  { fields = {}, database }: { fields?: object; database?: TestDatabase } = {},
) => {
  const stage = await startPlatform(kind)
  t.teardown(() => {
    stage.platform.close()
    // No assertion: the test has ended, and an error fails it all the same.
    if (stage.platform.misuses.length > 0) throw new Error(`${kind} was misused: ${stage.platform.misuses.join('; ')}`)
  })
  const service = await startService(t, { ...stage.environment, ...(database && { database }) })
  const webhook = await createDestination(service, kind, stage.settings, { progressIntervalSeconds: null, ...fields })
  return { ...stage, service, webhook }
}

/** As if the pauses between two calls, and those between two attempts, had gone by. An attempt that is in flight keeps its pause. */
export const passTime = async (service: Service, { id }: { id: string }): Promise<void> => {
  const { pool } = service.database
  // What is in flight is looked for once no claim is being made: claims are made under this lock.
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('SELECT FROM webhooks WHERE id = $1 FOR UPDATE', [id])
    await client.query(
      `UPDATE webhooks w SET paused_until = NULL WHERE id = $1 AND NOT EXISTS (
         SELECT FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.claim IS NOT NULL)`,
      [id],
    )
    await client.query('COMMIT')
  } finally {
    client.release()
  }
  await pool.query(
    "UPDATE webhook_deliveries SET due_at = now() WHERE status = 'waiting' AND claim IS NULL AND webhook_id = $1",
    [id],
  )
  // Wakes the deliverer, which would find it by itself within a second.
  await service.call('PUT', `/webhooks/${id}`, {})
}

/** Waits for something, while time passes quickly. */
export const until = (service: Service, webhook: { id: string }, isSo: () => unknown): Promise<unknown> =>
  waitFor(async () => {
    if (await isSo()) return true
    await passTime(service, webhook)
    return false
  })

export const deliveriesOf = async (service: Service, { id }: { id: string }, query = '') =>
  (await service.call<DeliveryPage>('GET', `/webhooks/${id}/deliveries?pageSize=100&${query}`)).body.items

/** Waits until nothing waits to be sent. */
export const settle = (service: Service, webhook: { id: string }): Promise<unknown> =>
  until(service, webhook, async () => {
    const { rows } = await service.database.pool.query('SELECT FROM webhook_messages')
    return rows.length === 0 && (await deliveriesOf(service, webhook, 'status=waiting')).length === 0
  })

export const readWebhook = async (service: Service, { id }: { id: string }) =>
  (await service.call<WebhookDocument>('GET', `/webhooks/${id}`)).body

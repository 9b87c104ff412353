import { randomUUID } from 'node:crypto'
import type { DestinationKind, DestinationSettings } from '../contract/destinations.ts'
import { HeadwayError } from '../contract/errors.ts'
import type { Identity } from '../jobs/identity.ts'
import { withRefusals } from '../jobs/with-refusals.ts'
import type { StoredFields, WebhookRepository } from './repository.ts'
import type { Seal } from './seal.ts'
import { splitSettings, defaultsOf, type CheckedSettings } from './settings.ts'
import { newSecret } from './signature.ts'
import { type Webhooks } from './webhook.ts'
import { TEST_TYPE, type WebhookFields } from '../contract/webhook.ts'

export interface WebhooksOptions {
  repository: WebhookRepository
  rules: CheckedSettings
  seal: Seal
  /** Called when something may be sent that could not be sent before. */
  onChange: () => void
}

/** Each change of a job reads all webhooks of its tenant. */
const MAX_WEBHOOKS = 50

const SECRET_OVERLAP_SECONDS = 86_400

const DEFAULTS: Omit<WebhookFields, 'kind' | 'url' | 'settings' | 'events' | 'progressIntervalSeconds'> = {
  description: null,
  jobType: null,
  organizationId: null,
  topLevel: true,
  language: 'en',
  enabled: true,
}

const notFound = (id: string) => new HeadwayError('webhook_not_found', `There is no webhook ${id}, or it is not yours.`)

const deliveryNotFound = (id: string, deliveryId: string) =>
  new HeadwayError(
    'delivery_not_found',
    `Webhook ${id} has no delivery ${deliveryId}: records are kept for a while only.`,
  )

const missingUrl = () =>
  new HeadwayError('validation_failed', 'url is missing.', { errors: [{ path: 'url', message: 'is missing' }] })

/** A token for one job must not get messages about other jobs through a webhook. */
const tenantOf = ({ tenantId, jobId }: Identity): string => {
  if (jobId === null) return tenantId
  throw new HeadwayError('forbidden', 'This token is limited to one job, and webhooks are told of all.')
}

/** The use cases over a repository. `Webhooks` describes each of them. */
export const createWebhooks = ({ repository, rules, seal, onChange }: WebhooksOptions): Webhooks => {
  /** The settings in the form in which they are stored. */
  const store = (id: string, settings: DestinationSettings): Pick<StoredFields, 'settings' | 'sealedSettings'> => {
    const { shown, secrets } = splitSettings(settings)
    const isOpen = Object.keys(secrets).length === 0
    return {
      settings: shown,
      sealedSettings: isOpen ? null : seal.seal(JSON.stringify(secrets), { webhookId: id, column: 'settings' }),
    }
  }
  /** Only the kind `webhook` signs its messages. */
  const makeSecret = (id: string, kind: DestinationKind): { secret: string | null; stored: string } => {
    if (kind !== 'webhook') return { secret: null, stored: '' }
    const secret = newSecret()
    return { secret, stored: seal.seal(secret, { webhookId: id, column: 'secret' }) }
  }
  const find = async (identity: Identity, id: string) => {
    const webhook = await repository.find(tenantOf(identity), id)
    if (!webhook) throw notFound(id)
    return webhook
  }
  const findEnabled = async (identity: Identity, id: string) => {
    const webhook = await find(identity, id)
    if (webhook.enabled) return webhook
    throw new HeadwayError('webhook_disabled', `Webhook ${id} is disabled: nothing is sent. Enable it first.`)
  }

  return {
    create: (identity, input) =>
      withRefusals(async () => {
        const tenantId = tenantOf(identity)
        const { kind = 'webhook', url = null, settings = {}, ...fields } = input
        rules.refuseBadFields(kind, input)
        if (kind === 'webhook' && url === null) throw missingUrl()
        rules.refuseBadSettings(kind, settings, false)
        rules.refuseUnavailable(kind)
        const id = randomUUID()
        const { secret, stored } = makeSecret(id, kind)
        const webhook = await repository.create(
          tenantId,
          { ...DEFAULTS, ...defaultsOf(kind), ...fields, id, kind, url, ...store(id, settings) },
          stored,
          MAX_WEBHOOKS,
        )
        if (!webhook)
          throw new HeadwayError('too_many_webhooks', `A tenant has at most ${MAX_WEBHOOKS} webhooks: delete one.`)
        onChange()
        return { ...webhook, secret }
      }),

    list: identity => withRefusals(async () => repository.list(tenantOf(identity))),

    get: (identity, id) => withRefusals(() => find(identity, id)),

    update: (identity, id, input) =>
      withRefusals(async () => {
        const tenantId = tenantOf(identity)
        const { kind, secretSet, settings: shown } = await find(identity, id)
        const { settings, ...fields } = input
        rules.refuseBadFields(kind, fields)
        let stored: Partial<StoredFields> = fields
        if (settings !== undefined) {
          const { shown: newShown, secrets } = splitSettings(settings)
          rules.refuseBadSettings(kind, { ...shown, ...settings }, secretSet)
          if (Object.keys(secrets).length === 0) stored = { ...fields, settings: { ...shown, ...newShown } }
          else {
            rules.refuseUnavailable(kind)
            // Each kind has one secret, so a new one takes the place of all that is stored.
            stored = { ...fields, ...store(id, { ...shown, ...settings }) }
          }
        }
        const webhook = await repository.update(tenantId, id, stored)
        if (!webhook) throw notFound(id)
        onChange()
        return webhook
      }),

    remove: (identity, id) =>
      withRefusals(async () => {
        if (!(await repository.remove(tenantOf(identity), id))) throw notFound(id)
      }),

    rotateSecret: (identity, id) =>
      withRefusals(async () => {
        const { kind } = await find(identity, id)
        const { secret, stored } = makeSecret(id, kind)
        if (secret === null)
          throw new HeadwayError(
            'destination_unavailable',
            `Messages to ${kind} are not signed: change the secret by PUT of its settings.`,
          )
        const webhook = await repository.rotateSecret(tenantOf(identity), id, stored, SECRET_OVERLAP_SECONDS)
        if (!webhook) throw notFound(id)
        return { ...webhook, secret }
      }),

    test: (identity, id) =>
      withRefusals(async () => {
        const webhook = await findEnabled(identity, id)
        const body = { type: TEST_TYPE, timestamp: new Date().toISOString(), data: { webhookId: id } }
        const delivery = await repository.queue(webhook.id, TEST_TYPE, JSON.stringify(body))
        onChange()
        return delivery
      }),

    delivery: (identity, id, deliveryId) =>
      withRefusals(async () => {
        const webhook = await find(identity, id)
        const delivery = await repository.findDelivery(webhook.id, deliveryId)
        if (!delivery) throw deliveryNotFound(id, deliveryId)
        return delivery
      }),

    deliveries: (identity, id, query) =>
      withRefusals(async () => {
        const webhook = await find(identity, id)
        const found = await repository.listDeliveries(webhook.id, query)
        return { ...found, page: query.page, pageSize: query.pageSize }
      }),

    redeliver: (identity, id, deliveryId) =>
      withRefusals(async () => {
        const webhook = await findEnabled(identity, id)
        const delivery = await repository.requeue(webhook.id, deliveryId)
        if (!delivery) throw deliveryNotFound(id, deliveryId)
        onChange()
        return delivery
      }),
  }
}

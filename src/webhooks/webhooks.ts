import { HeadwayError } from '../contract/errors.ts'
import type { Identity } from '../jobs/identity.ts'
import { LIFECYCLES } from '../contract/states.ts'
import { withRefusals } from '../jobs/with-refusals.ts'
import { hostOf, isRefusedLiteral, type Addresses } from './addresses.ts'
import type { WebhookRepository } from './repository.ts'
import { newSecret } from './signature.ts'
import { type Webhooks } from './webhook.ts'
import { TEST_TYPE, type WebhookFields } from '../contract/webhook.ts'

export interface WebhooksOptions {
  repository: WebhookRepository
  addresses: Addresses
  /** Whether webhooks may use plain HTTP. */
  takesPlainHttp: boolean
  /** Called when something may be sent that could not be sent before. */
  onChange: () => void
}

/** Each change of a job reads all webhooks of its tenant. */
const MAX_WEBHOOKS = 50

const SECRET_OVERLAP_SECONDS = 86_400

const DEFAULTS: Omit<WebhookFields, 'url'> = {
  description: null,
  events: [...LIFECYCLES],
  jobType: null,
  organizationId: null,
  topLevel: true,
  progressIntervalSeconds: null,
  enabled: true,
}

const notFound = (id: string) => new HeadwayError('webhook_not_found', `There is no webhook ${id}, or it is not yours.`)

const badUrl = (message: string) =>
  new HeadwayError('validation_failed', `url ${message}.`, { errors: [{ path: 'url', message }] })

/** A token for one job must not get messages about other jobs through a webhook. */
const tenantOf = ({ tenantId, jobId }: Identity): string => {
  if (jobId === null) return tenantId
  throw new HeadwayError('forbidden', 'This token is limited to one job, and webhooks are told of all.')
}

/** The use cases over a repository. `Webhooks` describes each of them. */
export const createWebhooks = ({ repository, addresses, takesPlainHttp, onChange }: WebhooksOptions): Webhooks => {
  /** Refuses addresses that are known to be wrong before anything is sent; all others are checked at each connection. */
  const refuseBadUrl = (text: string): void => {
    const url = new URL(text)
    if (url.protocol === 'http:' && !takesPlainHttp)
      throw badUrl('must begin with https: plain HTTP is for addresses of WEBHOOK_ALLOWED_NETWORKS')
    if (isRefusedLiteral(hostOf(url), addresses.isAllowed))
      throw badUrl('must not lead to a private address, unless WEBHOOK_ALLOWED_NETWORKS has it')
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
        refuseBadUrl(input.url)
        const secret = newSecret()
        const webhook = await repository.create(tenantId, { ...DEFAULTS, ...input }, secret, MAX_WEBHOOKS)
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
        if (input.url !== undefined) refuseBadUrl(input.url)
        const webhook = await repository.update(tenantId, id, input)
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
        const secret = newSecret()
        const webhook = await repository.rotateSecret(tenantOf(identity), id, secret, SECRET_OVERLAP_SECONDS)
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
        if (!delivery)
          throw new HeadwayError(
            'delivery_not_found',
            `Webhook ${id} has no delivery ${deliveryId}: records are kept for a while only.`,
          )
        onChange()
        return delivery
      }),
  }
}

import type {
  DeliveryDocument,
  DeliveryPage,
  DeliveryStatus,
  WebhookDocument,
  WebhookFields,
  WebhookWithSecret,
} from '../contract/webhook.ts'
import type { Identity } from '../jobs/identity.ts'

export interface ListDeliveries {
  status?: DeliveryStatus
  jobId?: string
  /** From 1. */
  page: number
  pageSize: number
}

/** The use cases of webhooks, each limited to the caller's tenant. All raise `HeadwayError`. */
export interface Webhooks {
  create(identity: Identity, input: Partial<WebhookFields>): Promise<WebhookWithSecret>
  list(identity: Identity): Promise<WebhookDocument[]>
  get(identity: Identity, id: string): Promise<WebhookDocument>
  /** A field that is left out keeps its value, and so does each of the settings. */
  update(identity: Identity, id: string, input: Partial<Omit<WebhookFields, 'kind'>>): Promise<WebhookDocument>
  remove(identity: Identity, id: string): Promise<void>
  /** The old secret signs beside the new one for a day. */
  rotateSecret(identity: Identity, id: string): Promise<WebhookWithSecret>
  /** Queues a test message. The use case in turns (`answerTests`) waits for its first attempt. */
  test(identity: Identity, id: string): Promise<DeliveryDocument>
  delivery(identity: Identity, id: string, deliveryId: string): Promise<DeliveryDocument>
  deliveries(identity: Identity, id: string, query: ListDeliveries): Promise<DeliveryPage>
  /** Queues a delivery again in any status, with the same message id. */
  redeliver(identity: Identity, id: string, deliveryId: string): Promise<DeliveryDocument>
}

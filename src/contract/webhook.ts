import type { Page } from './job.ts'
import type { Lifecycle } from './states.ts'

/**
 * The words of webhooks:
 *
 * - webhook: the address to which a tenant wants to be sent messages about its jobs, and which messages.
 * - message: one event that a receiver is told. It keeps its id however often it is sent.
 * - delivery: one message to one webhook, and its result. attempt: one request that tries to deliver it.
 * - dead: given up, because the attempts failed for three days or because the receiver is gone.
 */

/** The prefix of a message's type, which is that of events of the live stream. */
export const MESSAGE_TYPE_PREFIX = 'progress.job.'
export const TEST_TYPE = 'webhook.test'

export const DELIVERY_STATUSES = ['waiting', 'delivered', 'dead'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** The fields that the owner of a webhook sets. */
export interface WebhookFields {
  url: string
  description: string | null
  /** Lifecycle changes that the webhook is sent. */
  events: Lifecycle[]
  /** null: jobs of all types. */
  jobType: string | null
  /** null: all organizations of the tenant. */
  organizationId: string | null
  /** true: without partitions. */
  topLevel: boolean
  /** The shortest time between two messages about a running job's progress; null: no messages about progress. */
  progressIntervalSeconds: number | null
  enabled: boolean
}

export interface WebhookDocument extends WebhookFields {
  id: string
  /** The receiver answered 410, and the webhook was disabled because of that. */
  gone: boolean
  /** Failed attempts since the last success. */
  consecutiveFailures: number
  /** When the first of them failed; null: the webhook does not fail. */
  failingSince: string | null
  /** When a delivery last succeeded, to within ten seconds. */
  deliveredAt: string | null
  /** Messages that were left out because too many waited. */
  droppedCount: number
  /** When a message was last left out; null: never. */
  droppedAt: string | null
  createdAt: string
  updatedAt: string
}

/** The document with the secret, which is shown only when the secret is made. */
export type WebhookWithSecret = WebhookDocument & { secret: string }

export interface DeliveryDocument {
  /** The message's id, as in the header `webhook-id`. */
  id: string
  webhookId: string
  type: string
  jobId: string | null
  /** The job's revision in the message. */
  revision: number | null
  status: DeliveryStatus
  attempts: number
  createdAt: string
  /** When the next attempt is made; null when the delivery has ended. */
  nextAttemptAt: string | null
  attemptedAt: string | null
  finishedAt: string | null
  /** The status of the receiver's last answer; null if it did not answer. */
  responseStatus: number | null
  error: string | null
}

/** Newest first. */
export type DeliveryPage = Page<DeliveryDocument>

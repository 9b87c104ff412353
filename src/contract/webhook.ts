import type { Page } from './job.ts'
import type { Lifecycle } from './states.ts'

/**
 * The words of webhooks:
 *
 * - webhook: where a tenant wants to be told of its jobs, and of what.
 * - message: one thing that is told. It keeps its id however often it is sent.
 * - delivery: what becomes of a message. attempt: one request that tries to deliver it.
 * - dead: given up, because it failed for three days or because its receiver is gone.
 */

/** What the type of a message is made of, as that of an event of the live stream. */
export const MESSAGE_TYPE_PREFIX = 'progress.job.'
export const TEST_TYPE = 'webhook.test'

export const DELIVERY_STATUSES = ['waiting', 'delivered', 'dead'] as const
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number]

/** What its owner may say about a webhook. */
export interface WebhookFields {
  url: string
  description: string | null
  /** Lifecycle changes it is told of. */
  events: Lifecycle[]
  /** null: jobs of all types. */
  jobType: string | null
  /** null: of all organizations of the tenant. */
  organizationId: string | null
  /** true: no partitions. */
  topLevel: boolean
  /** At most one message about a running job's progress in this time; null: none. */
  progressIntervalSeconds: number | null
  enabled: boolean
}

export interface WebhookDocument extends WebhookFields {
  id: string
  /** The receiver answered 410, and the webhook was disabled for it. */
  gone: boolean
  /** Attempts that failed since the last one that did not. */
  consecutiveFailures: number
  /** When the first of them failed; null: it does not fail. */
  failingSince: string | null
  /** When a delivery last succeeded, to within ten seconds. */
  deliveredAt: string | null
  /** Messages that were left out because too many waited. */
  droppedCount: number
  /** When that last happened; null: never. */
  droppedAt: string | null
  createdAt: string
  updatedAt: string
}

/** Shown once, when the secret is made. */
export type WebhookWithSecret = WebhookDocument & { secret: string }

export interface DeliveryDocument {
  /** That of the message: the header `webhook-id`. */
  id: string
  webhookId: string
  type: string
  jobId: string | null
  /** Of the job, as the message shows it. */
  revision: number | null
  status: DeliveryStatus
  attempts: number
  createdAt: string
  /** When it is tried next; null when it has ended. */
  nextAttemptAt: string | null
  attemptedAt: string | null
  finishedAt: string | null
  /** What the receiver answered last; null when it did not. */
  responseStatus: number | null
  error: string | null
}

/** Newest first. */
export type DeliveryPage = Page<DeliveryDocument>

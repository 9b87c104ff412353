import type { DestinationKind, DestinationSettings, MessageLanguage, ShownSettings } from './destinations.ts'
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

/** The fields that the owner of a webhook sets, and that are answered as they are. */
interface PlainFields {
  description: string | null
  /** Lifecycle changes that the webhook is sent. A list of all stands for those that later versions add, too. */
  events: Lifecycle[]
  /** null: jobs of all types. */
  jobType: string | null
  /** null: all organizations of the tenant. */
  organizationId: string | null
  /** true: without partitions. */
  topLevel: boolean
  /** The shortest time between two messages about a running job's progress; null: no messages about progress. */
  progressIntervalSeconds: number | null
  /** The language of the messages. A destination of the kind `webhook` is sent documents, and has no use for it. */
  language: MessageLanguage
  enabled: boolean
}

/** The fields that the owner of a webhook sets. */
export interface WebhookFields extends PlainFields {
  /** A webhook keeps its kind. */
  kind: DestinationKind
  /** Where messages of the kind `webhook` are sent; null for the other kinds. */
  url: string | null
  settings: DestinationSettings
}

export interface WebhookDocument extends PlainFields {
  id: string
  kind: DestinationKind
  url: string | null
  settings: ShownSettings
  /** Whether the webhook has a secret: one that signs, or one in its settings. */
  secretSet: boolean
  /** The receiver answered 410, or refused the secret for good, and the webhook was disabled because of that. */
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

/** The document with the secret that signs, which is shown only when it is made; null for the other kinds, which sign nothing. */
export type WebhookWithSecret = WebhookDocument & { secret: string | null }

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

import { z } from 'zod'
import { DESTINATION_KINDS, MESSAGE_LANGUAGES } from '../../contract/destinations.ts'
import { LIFECYCLES } from '../../contract/states.ts'
import {
  DELIVERY_STATUSES,
  type DeliveryDocument,
  type DeliveryPage,
  type WebhookDocument,
} from '../../contract/webhook.ts'
import { JOB_ID_EXAMPLE } from './examples.ts'
import { receiverUrl, settings, shownSettings } from './destination.ts'
import { flag, integer, oneOf, text, uuid } from './primitives.ts'
import { pageFields } from './requests.ts'

const MAX_PROGRESS_INTERVAL_SECONDS = 86_400

const WEBHOOK_ID_EXAMPLE = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3b01'
const DELIVERY_ID_EXAMPLE = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3c07'

const EVENTS_SENTENCE = `must be a list of: ${LIFECYCLES.join(', ')}`

const events = z
  .array(oneOf(LIFECYCLES), EVENTS_SENTENCE)
  .max(LIFECYCLES.length, EVENTS_SENTENCE)
  .refine(list => new Set(list).size === list.length, 'must not name one twice')

const fields = {
  description: text(0, 255).nullable().exactOptional(),
  events: events
    .exactOptional()
    .describe(
      'Lifecycle changes to be told of. Absent, or with all of them: all, also those of later versions. May be empty, for progress alone.',
    ),
  jobType: text(1, 100).nullable().exactOptional().describe('Only jobs of this type; null: of all types.'),
  organizationId: uuid
    .nullable()
    .exactOptional()
    .describe('Only jobs of this organization; null: of the whole tenant.'),
  topLevel: flag.exactOptional().describe('true (the default): no partitions, only batches and single jobs.'),
  progressIntervalSeconds: integer(1, MAX_PROGRESS_INTERVAL_SECONDS)
    .nullable()
    .exactOptional()
    .describe(
      'Tells of the progress of each running job as well, at most once in so many seconds, and of its end, whatever `events` says; ' +
        'null: never.',
    ),
  language: oneOf(MESSAGE_LANGUAGES).exactOptional().describe('Of the messages to chats and mail.'),
  enabled: flag.exactOptional().describe('false: nothing is queued or sent.'),
  url: receiverUrl.exactOptional().describe('Only of the kind `webhook`: where messages are sent, by POST.'),
  settings: settings.exactOptional().describe('The address of the other kinds.'),
}

export const newWebhook = z
  .strictObject({
    kind: oneOf(DESTINATION_KINDS).exactOptional().describe('Where messages go. Absent: `webhook`.'),
    ...fields,
  })
  .meta({ id: 'NewWebhook' })

export const changeWebhook = z.strictObject(fields).meta({ id: 'ChangeWebhook' })

export const webhookParams = z.object({
  id: uuid.describe('The id of the webhook.').meta({ example: WEBHOOK_ID_EXAMPLE }),
})

export const deliveryParams = webhookParams.extend({
  deliveryId: uuid.describe('The id of the delivery.').meta({ example: DELIVERY_ID_EXAMPLE }),
})

export const deliveriesQuery = z.strictObject({
  status: oneOf(DELIVERY_STATUSES).exactOptional(),
  jobId: uuid.exactOptional(),
  ...pageFields(100),
})

const webhookExample: WebhookDocument = {
  id: WEBHOOK_ID_EXAMPLE,
  kind: 'webhook',
  url: 'https://hooks.example.com/headway',
  description: 'The channel of the import team',
  events: ['started', 'completed', 'failed', 'cancelled', 'stalled'],
  jobType: 'import:products',
  organizationId: null,
  topLevel: true,
  progressIntervalSeconds: 10,
  language: 'en',
  enabled: true,
  settings: {},
  secretSet: true,
  gone: false,
  consecutiveFailures: 0,
  failingSince: null,
  deliveredAt: '2026-01-31T12:00:41.000Z',
  droppedCount: 0,
  droppedAt: null,
  createdAt: '2026-01-31T11:00:00.000Z',
  updatedAt: '2026-01-31T11:00:00.000Z',
}

const deliveryExample: DeliveryDocument = {
  id: DELIVERY_ID_EXAMPLE,
  webhookId: WEBHOOK_ID_EXAMPLE,
  type: 'progress.job.failed',
  jobId: JOB_ID_EXAMPLE,
  revision: 12,
  status: 'waiting',
  attempts: 2,
  createdAt: '2026-01-31T12:00:40.000Z',
  nextAttemptAt: '2026-01-31T12:01:01.000Z',
  attemptedAt: '2026-01-31T12:00:46.000Z',
  finishedAt: null,
  responseStatus: 500,
  error: 'The receiver did not take it',
}

const time = z.iso.datetime().nullable()

const webhookFields = {
  id: z.uuid(),
  kind: z.enum(DESTINATION_KINDS),
  url: z.string().nullable().describe('null for other kinds than `webhook`.'),
  settings: shownSettings.describe('Without `token` and `url`, which are never answered.'),
  secretSet: z.boolean().describe('Whether there is a secret, that signs or is one of the settings.'),
  description: z.string().nullable(),
  events: z.array(z.enum(LIFECYCLES)),
  jobType: z.string().nullable(),
  organizationId: z.uuid().nullable(),
  topLevel: z.boolean(),
  progressIntervalSeconds: z.int().nullable(),
  language: z.enum(MESSAGE_LANGUAGES),
  enabled: z.boolean(),
  gone: z.boolean().describe('The receiver answered 410 or refused the secret, and the webhook was disabled for it.'),
  consecutiveFailures: z.int().describe('Attempts that failed since the last one that did not.'),
  failingSince: time.describe('When the first of them failed: the longer ago, the less often it is tried.'),
  deliveredAt: time.describe('When a delivery last succeeded, to within ten seconds.'),
  droppedCount: z
    .int()
    .min(0)
    .describe('Messages that were left out because too many waited: read the jobs that you follow where it has grown.'),
  droppedAt: time.describe('When that last happened.'),
  createdAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
}

export const webhook = z
  .object(webhookFields)
  .meta({ id: 'Webhook', examples: [webhookExample] }) satisfies z.ZodType<WebhookDocument>

export const webhookWithSecret = z
  .object({
    ...webhookFields,
    secret: z
      .string()
      .nullable()
      .describe('Signs the messages (Standard Webhooks). It is shown only here: keep it. null for other kinds.'),
  })
  .meta({
    id: 'WebhookWithSecret',
    examples: [{ ...webhookExample, secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=' }],
  })

export const webhookList = z.object({ items: z.array(webhook).describe('Oldest first.') }).meta({ id: 'WebhookList' })

export const delivery = z
  .object({
    id: z.uuid().describe('That of the message, in its header `webhook-id`.'),
    webhookId: z.uuid(),
    type: z.string().describe('`progress.job.` and the change, `progress.job.updated`, or `webhook.test`.'),
    jobId: z.uuid().nullable(),
    revision: z.int().nullable().describe('Of the job, as the message shows it.'),
    status: z.enum(DELIVERY_STATUSES),
    attempts: z.int(),
    createdAt: z.iso.datetime(),
    nextAttemptAt: time.describe('null while an attempt is under way, and when there are no more.'),
    attemptedAt: time,
    finishedAt: time,
    responseStatus: z.int().nullable().describe('What the receiver answered last; null when it did not.'),
    error: z.string().nullable().describe('Why the last attempt failed.'),
  })
  .meta({ id: 'Delivery', examples: [deliveryExample] }) satisfies z.ZodType<DeliveryDocument>

export const deliveryPage = z
  .object({
    items: z.array(delivery).describe('Newest first.'),
    page: z.int(),
    pageSize: z.int(),
    total: z.int().describe('Stops counting at 10,000.'),
  })
  .meta({ id: 'DeliveryPage' }) satisfies z.ZodType<DeliveryPage>

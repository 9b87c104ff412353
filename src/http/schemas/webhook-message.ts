import { HEADER } from '../../contract/http.ts'
import type { OpenAPIV3_1 } from 'openapi-types'
import { z } from 'zod'
import { LIFECYCLES } from '../../contract/states.ts'
import { MESSAGE_TYPE_PREFIX, TEST_TYPE } from '../../contract/webhook.ts'
import { JOB_ID_EXAMPLE } from './examples.ts'
import { job } from './job.ts'

const always = {
  id: true, jobType: true, name: true, status: true, progressPercent: true, processedCount: true, unit: true, attempt: true,
  workerCount: true, priority: true, cancellable: true, updatedAt: true, revision: true, tenantId: true, meta: true,
} as const // prettier-ignore

const whereKnown = {
  description: true, totalCount: true, throughputPerSecond: true, etaSeconds: true, etaSource: true, etaLowSeconds: true, etaHighSeconds: true,
  stage: true, stages: true, message: true, liveness: true, advancedAt: true, cancelRequestedAt: true, startedByUserId: true, startedAt: true, finishedAt: true,
  resultSummary: true, errorMessage: true, failureReason: true, parentJobId: true, partitionIndex: true, partitionCount: true, children: true, organizationId: true,
  finishBy: true, deadline: true, usualSeconds: true, unusual: true,
} as const // prettier-ignore

const timestamp = z.iso.datetime().describe('When it happened; of progress: when it was sent.')

const jobMessage = z.object({
  type: z
    .enum([...LIFECYCLES, 'updated'].map(change => `${MESSAGE_TYPE_PREFIX}${change}`))
    .describe('What happened. `progress.job.updated`: it got on.'),
  timestamp,
  data: job
    .pick({ ...always, ...whereKnown })
    .partial(whereKnown)
    .describe('The job after the change, or as it is now where the message is of progress. What is null is left out.'),
})

const testMessage = z.object({
  type: z.literal(TEST_TYPE),
  timestamp,
  data: z.object({ webhookId: z.uuid() }),
})

/** The messages that receivers get. */
export const webhookMessage = z.union([jobMessage, testMessage]).meta({
  id: 'WebhookMessage',
  examples: [
    {
      type: 'progress.job.failed',
      timestamp: '2026-01-31T12:00:40.114Z',
      data: {
        id: JOB_ID_EXAMPLE,
        jobType: 'import:products',
        name: 'Importing products',
        status: 'failed',
        progressPercent: 67,
        processedCount: 812,
        totalCount: 1200,
        unit: 'rows',
        attempt: 1,
        workerCount: 1,
        priority: 0,
        cancellable: true,
        finishedAt: '2026-01-31T12:00:40.114Z',
        updatedAt: '2026-01-31T12:00:40.114Z',
        errorMessage: 'Row 812: the price is missing',
        failureReason: 'worker',
        revision: 12,
        tenantId: '00000000-0000-0000-0000-000000000000',
        meta: { channel: 'C42' },
      },
    },
  ],
})

const header = (name: string, description: string, example: string): OpenAPIV3_1.ParameterObject => ({
  name,
  in: 'header',
  required: true,
  description,
  schema: { type: 'string' },
  example,
})

/** The requests that the service sends, for the OpenAPI document. */
export const WEBHOOKS: Record<string, OpenAPIV3_1.PathItemObject> = {
  jobChanged: {
    post: {
      operationId: 'jobChanged',
      summary: 'Tell a receiver',
      description:
        'What a webhook sends to its url, signed as https://www.standardwebhooks.com has it: at least once, so that the same ' +
        'message may come again. Of a job, only what has a higher `data.revision` than what came before is news.',
      tags: ['webhooks'],
      security: [],
      parameters: [
        header(HEADER.webhookId, 'Of the message, however often it is sent.', '8b0cb1d4-62ab-4c6e-9d3b-0c6f5a1d7e21'),
        header(HEADER.webhookTimestamp, 'When this attempt was made, in seconds since 1970.', '1795318767'),
        header(
          HEADER.webhookSignature,
          'One or two: while a secret changes, by the old one too.',
          'v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=',
        ),
      ],
      requestBody: {
        required: true,
        content: { 'application/json': { schema: { $ref: '#/components/schemas/WebhookMessage' } } },
      },
      responses: {
        '2XX': { description: 'Taken.' },
        '410': { description: 'There is nobody any more: the webhook is disabled.' },
        default: {
          description:
            'Not taken: it is tried again, for three days. `Retry-After` of 429 and 503 is honoured, up to an hour.',
        },
      },
    },
  },
}

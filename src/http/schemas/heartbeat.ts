import { z } from 'zod'
import type { BufferedAnswer, DurableAnswer } from '../../contract/heartbeat.ts'
import { JOB_STATUSES } from '../../contract/states.ts'
import type { TrainerStatus } from '../../contract/trainer-status.ts'
import { heartbeatAnswerExample, JOB_ID_EXAMPLE } from './examples.ts'
import { DUE_TWICE, dueFields, isDueOnce, MAX_META_BYTES, unit } from './job.ts'
import { count, instant, integer, jsonObject, positiveInt32, rate, shownText, text, uuid } from './primitives.ts'
import { errorCode, fieldError } from './problem.ts'

const MAX_PAYLOAD_BYTES = 4 * 1024

export const MAX_BULK_HEARTBEATS = 1000

const workerId = shownText(200)
  .exactOptional()
  .describe('Which worker reports. Absent: the worker `default`, whose total is the total of the job.')
const attempt = positiveInt32
  .exactOptional()
  .describe('The attempt that the worker works on; another one is refused as `superseded`.')
const reportedAt = instant
  .exactOptional()
  .describe("The worker's clock. It orders this worker's reports: a late one moves nothing back.")

/** A field that is absent keeps its value; `null` clears it. */
const progressFields = {
  processedCount: count.exactOptional().describe('How much is done, all in all; with `stages`: of the current stage.'),
  totalCount: count
    .nullable()
    .exactOptional()
    .describe('Without `workerId`: of the job. With it: the share of this worker. A new stage begins without a total.'),
  progressPercent: integer(0, 100)
    .nullable()
    .exactOptional()
    .describe('Counts only while no total is known. With `stages`: of the current stage, not of the job.'),
  etaSeconds: count.nullable().exactOptional(),
  unit: unit
    .exactOptional()
    .describe(
      'What this worker counts: `unknown` and absent leave it as it is. It becomes the `unit` of the job when no worker has ' +
        "counted in the job's present one; until then the counts of this worker are not part of those of the job. A worker " +
        'that changes its unit begins at nothing.',
    ),
  stage: shownText(100)
    .nullable()
    .exactOptional()
    .describe(
      'Of a job with `stages`: one of them, not null; absent: the one that the worker was in. Stages only go forward: a ' +
        'report for an earlier one only shows that the worker lives. Of another job: any text.',
    ),
  message: text(0, 500).nullable().exactOptional().describe('One line for a person.'),
}

const heartbeatFields = {
  workerId,
  ...progressFields,
  increment: count.exactOptional().describe('Added to what is done. Not together with `processedCount`.'),
  throughputPerSecond: rate.nullable().exactOptional(),
  payload: jsonObject(MAX_PAYLOAD_BYTES)
    .nullable()
    .exactOptional()
    .describe('At most 4 KB as JSON, kept for this worker.'),
  reportedAt,
  attempt,
}

const countsOnce = ({ processedCount, increment }: { processedCount?: number; increment?: number }): boolean =>
  processedCount === undefined || increment === undefined
const COUNTED_TWICE = { path: ['increment'], error: 'must not come together with processedCount' }

export const heartbeat = z
  .strictObject(heartbeatFields)
  .refine(countsOnce, COUNTED_TWICE)
  .meta({
    id: 'Heartbeat',
    description: 'An empty object is a bare "I am alive".',
    examples: [
      {},
      { processedCount: 500, totalCount: 1200, message: 'Row 500 of 1200' },
      { workerId: 'worker-1', stage: 'import', processedCount: 0, totalCount: 600 },
    ],
  })

export const updateJob = z
  .strictObject({
    ...progressFields,
    meta: jsonObject(MAX_META_BYTES).exactOptional().describe("Merged into the job's, key by key."),
    ...dueFields,
    reportedAt,
    attempt,
  })
  .refine(isDueOnce, DUE_TWICE)
  .meta({ id: 'UpdateJob', examples: [{ processedCount: 500, totalCount: 1200 }] })

export const increment = z
  .strictObject({ increment: count, workerId, reportedAt, attempt })
  .meta({ id: 'Increment', examples: [{ increment: 10 }] })

export const bulkHeartbeat = z
  .strictObject({ jobId: uuid, ...heartbeatFields })
  .refine(countsOnce, COUNTED_TWICE)
  .meta({ id: 'BulkHeartbeat' })

const mustBeList = `must be a list of at most ${MAX_BULK_HEARTBEATS} heartbeats`

/** Items are validated one by one, so that a bad item does not fail the others. */
export const bulkHeartbeats = z
  .strictObject({
    heartbeats: z
      .array(z.unknown(), mustBeList)
      .max(MAX_BULK_HEARTBEATS, mustBeList)
      .meta({ items: { $ref: '#/components/schemas/BulkHeartbeatInput' } }),
  })
  .meta({
    id: 'BulkHeartbeats',
    examples: [{ heartbeats: [{ jobId: JOB_ID_EXAMPLE, workerId: 'worker-1', increment: 25 }] }],
  })

const number = z.number('must be a number').nullish()

/** The contract is not ours: fields that it may get later are ignored. */
export const trainerStatus = z
  .looseObject({
    trainerStatus: z
      .looseObject(
        {
          progressPercentage: number.describe('Rounded down; 100 becomes 99, because the job has not completed yet.'),
          estimatedRemainingSeconds: number,
          metrics: z
            .array(
              z.looseObject({
                name: z.string('must be text'),
                value: z.union([z.string(), z.number()], 'must be text or a number'),
              }),
              'must be a list',
            )
            .nullish()
            .describe('They become the `payload` of the worker `default`, as many as 4 KB hold.'),
          lastUpdatedTime: instant.nullish(),
        },
        'must be an object',
      )
      .nullish(),
  })
  .meta({
    id: 'TrainerStatus',
    examples: [{ trainerStatus: { progressPercentage: 45, metrics: [{ name: 'loss', value: '0.15' }] } }],
  }) satisfies z.ZodType<{ trainerStatus?: TrainerStatus | null | undefined }>

const durableAnswer = z
  .object({
    jobId: z.guid(),
    workerId: z.string(),
    status: z.enum(JOB_STATUSES),
    cancelRequested: z.boolean().describe('true: stop, and acknowledge with `POST …/cancelled`.'),
    progressPercent: z.int(),
    revision: z.int(),
    applied: z
      .boolean()
      .describe('false: the report was late or for an earlier stage, and only showed that the worker lives.'),
    heartbeatIntervalMs: z.int().describe('The cadence that the service asks for.'),
    durable: z.literal(true),
  })
  .meta({ id: 'DurableAnswer', examples: [heartbeatAnswerExample] }) satisfies z.ZodType<DurableAnswer>

const bufferedAnswer = z
  .object({
    jobId: z.guid(),
    workerId: z.string(),
    status: z.null(),
    cancelRequested: z.null(),
    progressPercent: z.null(),
    revision: z.null(),
    heartbeatIntervalMs: z.int(),
    durable: z.literal(false),
  })
  .meta({
    id: 'BufferedAnswer',
    description:
      'The database is away or slow: the report is kept in memory and written later. Nothing has been checked.',
  }) satisfies z.ZodType<BufferedAnswer>

export const heartbeatAnswer = z
  .union([durableAnswer, bufferedAnswer])
  .meta({ id: 'HeartbeatAnswer', examples: [heartbeatAnswerExample] })

const refusedHeartbeat = z
  .object({
    jobId: z.string().nullable(),
    workerId: z.string().nullable(),
    code: errorCode,
    detail: z.string(),
    jobStatus: z.string().exactOptional(),
    errors: z.array(fieldError).exactOptional(),
  })
  .meta({ id: 'RefusedHeartbeat' })

export const bulkAnswer = z
  .object({ results: z.array(z.union([durableAnswer, bufferedAnswer, refusedHeartbeat])) })
  .meta({ id: 'BulkAnswer', examples: [{ results: [{ ...heartbeatAnswerExample, workerId: 'worker-1' }] }] })

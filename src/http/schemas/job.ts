import { z } from 'zod'
import type {
  CreatedJob,
  JobWithWorkers,
  PartitionReference,
  ActiveJobs,
  Children,
  JobDocument,
  JobEvent,
  ListedJob,
  JobPage,
  Page,
  ProgressDocument,
  WorkerDocument,
} from '../../contract/job.ts'
import {
  DEADLINES,
  ETA_SOURCES,
  FAILURE_REASONS,
  JOB_EVENT_TYPES,
  JOB_STATUSES,
  LIVENESS,
} from '../../contract/states.ts'
import { MAX_UNIT_LENGTH, UNITS } from '../../contract/units.ts'
import { batchExample, eventsExample, jobExample, progressExample, workerExample } from './examples.ts'
import { instant, jsonObject, positiveInt32, shownText, text } from './primitives.ts'

export const MAX_META_BYTES = 16 * 1024
export const MAX_MESSAGE_LENGTH = 500
export const MAX_RESULT_BYTES = 64 * 1024

const UNIT_WORDS = `What is counted: ${UNITS.join(', ')}, or any text that can be shown within a line; it is shown as it is and never summed with another.`

export const unit = shownText(MAX_UNIT_LENGTH)
  .describe(UNIT_WORDS)
  .meta({ examples: [...UNITS] })

const attempt = positiveInt32
  .exactOptional()
  .describe('The attempt that the worker works on; another one is refused as `superseded`.')

export const finish = z.strictObject({ attempt }).meta({ id: 'Finish', examples: [{}, { attempt: 1 }] })

export const completeJob = z
  .strictObject({
    attempt,
    resultSummary: jsonObject(MAX_RESULT_BYTES).exactOptional().describe('At most 64 KB as JSON.'),
    message: text(0, MAX_MESSAGE_LENGTH)
      .exactOptional()
      .describe('The last message of the job, for a person; what was reported last stays when absent.'),
  })
  .meta({
    id: 'CompleteJob',
    examples: [{}, { resultSummary: { imported: 1198, skipped: 2 }, message: 'All rows imported' }],
  })

export const failJob = z
  .strictObject({
    attempt,
    errorMessage: text(1, 2000),
    errorStack: text(0, 10_000).exactOptional(),
  })
  .meta({ id: 'FailJob', examples: [{ errorMessage: 'Row 812: the price is missing' }] })

const time = z.iso.datetime()
const nullableTime = time.nullable()
const nullableCount = z.int().nullable()

/** Of a new job, and of one that runs. */
export const dueFields = {
  finishBy: instant
    .nullable()
    .exactOptional()
    .describe(
      'When it should have finished, as a time; `finishWithinSeconds`: from the start of each attempt. Not both.',
    ),
  finishWithinSeconds: positiveInt32.nullable().exactOptional(),
}
export const isDueOnce = ({
  finishBy,
  finishWithinSeconds,
}: {
  finishBy?: unknown
  finishWithinSeconds?: unknown
}): boolean => finishBy === undefined || finishWithinSeconds === undefined
export const DUE_TWICE = { path: ['finishWithinSeconds'], error: 'must not come together with finishBy' }
const freeObject = z.record(z.string(), z.unknown())

const children = z
  .object({
    total: z.int().describe('As many as `partitionCount`: those that are in no status have not been made yet.'),
    pending: z.int(),
    running: z.int(),
    stalled: z.int().describe('Of those that run: how many are stalled. The batch is stalled as soon as one is.'),
    completed: z.int(),
    failed: z.int(),
    cancelled: z.int(),
    current: z.array(z.string()).describe('Names of partitions that run now, at most 5.'),
    errors: z.array(z.string()).describe("The first errors of partitions, each after the partition's name, at most 5."),
    failures: z
      .array(z.object({ id: z.guid(), name: z.string(), failureReason: z.enum(FAILURE_REASONS).nullable() }))
      .describe('The partitions that `errors` are of, in the same order. `failureReason` says it without words.'),
  })
  .meta({ id: 'Children' }) satisfies z.ZodType<Children>

const progressFields = {
  id: z.guid(),
  status: z.enum(JOB_STATUSES),
  progressPercent: z
    .int()
    .min(0)
    .max(100)
    .describe('Floored; 100 only once completed. With `stages`: over all of them, by weight.'),
  processedCount: z
    .int()
    .describe(
      'With `stages`: of the current stage. Of a batch: the sum of its partitions; 0 where their units differ or they have ' +
        'stages, and then the percent is their mean.',
    ),
  totalCount: nullableCount.describe(
    'null: unknown. With `stages`: of the current stage. Of a batch: known once all its partitions have one.',
  ),
  remainingCount: nullableCount,
  unit: z.string().describe(UNIT_WORDS),
  stage: z.string().nullable().describe('With `stages`: the furthest that was reported, one of theirs.'),
  message: z.string().nullable().describe('One line for a person.'),
  throughputPerSecond: z.number().nullable(),
  etaSeconds: z.int().nullable().describe('As of `updatedAt`: subtract the time since.'),
  etaSource: z.enum(ETA_SOURCES).nullable(),
  etaLowSeconds: nullableCount.describe('In one of ten jobs less is left, as of `updatedAt`; null: unknown.'),
  etaHighSeconds: nullableCount.describe('In one of ten jobs more is left.'),
  liveness: z.enum(LIVENESS).nullable().describe('null: not running.'),
  attempt: z.int().describe('From 1; a retry begins the next one.'),
  updatedAt: time,
  finishBy: nullableTime.describe('By its `finishWithinSeconds`: known once it has started.'),
  deadline: z
    .enum(DEADLINES)
    .nullable()
    .describe(
      '`at_risk`: the whole range of its likely end lies after `finishBy`. Finished: `overdue` if it ended late. null: no `finishBy`.',
    ),
  usualSeconds: nullableCount.describe(
    'How long jobs of its type take: the median of the last 20. null: fewer than 5 have completed.',
  ),
  unusual: z.boolean().describe('It takes longer than 95 % of those, and than 1.5 times their median.'),
  revision: z.int().describe('Grows with every change. A heartbeat that reports nothing new leaves it as it is.'),
}

export const progress = z
  .object({
    ...progressFields,
    meta: z.record(z.string(), z.unknown()).exactOptional().describe('With `include=meta`.'),
    payload: z
      .record(z.string(), z.unknown())
      .nullable()
      .exactOptional()
      .describe('With `include=payload`: of the worker that was heard of last, among those that have sent one.'),
  })
  .meta({ id: 'Progress', examples: [progressExample] }) satisfies z.ZodType<ProgressDocument>

const listedJobFields = {
  ...progressFields,
  jobType: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  stages: z
    .array(z.object({ name: z.string(), weight: z.number().describe('Its share of the whole: together they are 1.') }))
    .nullable()
    .describe('As declared at creation, in their order.'),
  advancedAt: nullableTime.describe('When the count last grew: alive, but not advancing, is visible.'),
  workerCount: z.int().describe('Workers that have reported in this attempt. Of a batch 0: its partitions have them.'),
  startedByUserId: z.string().nullable(),
  cancelledByUserId: z.string().nullable(),
  startedAt: nullableTime,
  heartbeatAt: nullableTime,
  finishedAt: nullableTime,
  createdAt: time,
  resultSummary: freeObject.nullable(),
  errorMessage: z.string().nullable(),
  failureReason: z.enum(FAILURE_REASONS).nullable(),
  meta: freeObject,
  cancellable: z.boolean(),
  cancelRequestedAt: nullableTime,
  priority: z.int(),
  heartbeatTimeoutSeconds: z.int(),
  pendingTimeoutSeconds: nullableCount,
  parentJobId: z.guid().nullable().describe('Of a partition: its batch.'),
  partitionIndex: nullableCount.describe('Of a partition: its place in the batch, from 0.'),
  partitionCount: nullableCount.describe(
    'Of a batch: how many partitions it is going to have. Of a partition: that of its batch.',
  ),
  children: children.nullable().describe('Of a batch: its partitions, counted by status. null: no batch.'),
  tenantId: z.guid(),
  organizationId: z.guid().nullable(),
  finishWithinSeconds: nullableCount,
}

const jobFields = {
  ...listedJobFields,
  errorStack: z.string().nullable().describe('Lists leave it out.'),
}

export const job = z.object(jobFields).meta({ id: 'Job', examples: [jobExample] }) satisfies z.ZodType<JobDocument>

const partitionReference = z
  .object({ id: z.guid(), name: z.string(), partitionIndex: z.int() })
  .meta({ id: 'PartitionReference' }) satisfies z.ZodType<PartitionReference>

export const createdJob = z
  .object({
    ...jobFields,
    partitions: z
      .array(partitionReference)
      .exactOptional()
      .describe('Those that were made together with the batch, by index.'),
  })
  .meta({ id: 'CreatedJob', examples: [batchExample] }) satisfies z.ZodType<CreatedJob>

const worker = z
  .object({
    workerId: z.string(),
    attempt: z.int(),
    processedCount: z.int(),
    totalCount: nullableCount.describe("The worker's share of the total, where it named one."),
    unit: z
      .string()
      .nullable()
      .describe(
        'What this worker counts, where it named it. null: what the job counts. Where it is not the `unit` of the job, its ' +
          'counts are not part of those of the job.',
      ),
    progressPercent: nullableCount,
    throughputPerSecond: z.number().nullable(),
    etaSeconds: nullableCount,
    stage: z.string().nullable().describe('The stage that this worker is in, and that its counts are of.'),
    message: z.string().nullable(),
    payload: freeObject.nullable(),
    liveness: z
      .enum(['ok', 'stalled'])
      .nullable()
      .describe(
        'Its own: `stalled` after STALLED_AFTER_SECONDS of silence, also while others report. null: the job does not run.',
      ),
    advancedAt: nullableTime,
    heartbeatAt: time,
    createdAt: time,
  })
  .meta({ id: 'Worker', examples: [workerExample] }) satisfies z.ZodType<WorkerDocument>

export const jobWithWorkers = z.object({ ...jobFields, workers: z.array(worker) }).meta({
  id: 'JobWithWorkers',
  examples: [{ ...jobExample, workers: [workerExample] }],
}) satisfies z.ZodType<JobWithWorkers>

const pageFields = { page: z.int(), pageSize: z.int(), total: z.int().describe('Stops counting at 10,000.') }

const listedJob = z.object(listedJobFields).meta({ id: 'ListedJob' }) satisfies z.ZodType<ListedJob>

// Lists and their jobs have no example of their own: that of a job says the same, and the document has to stay short.
export const jobPage = z
  .object({
    items: z.array(listedJob),
    page: z.int().nullable().describe('null for a page by cursor.'),
    pageSize: z.int(),
    total: z.int().nullable().describe('See `totalIsExact`. null for a page by cursor: it is not counted again.'),
    totalIsExact: z.boolean().describe('false: at least `total`; the count looked at 10,000 jobs and stopped.'),
    next: z.string().nullable().describe('The cursor of the next page; null: this is the last one.'),
  })
  .meta({ id: 'JobPage' }) satisfies z.ZodType<JobPage>

const jobEvent = z
  .object({
    id: z.string(),
    type: z
      .enum(JOB_EVENT_TYPES)
      .describe('A lifecycle change, `stage_changed`, or `progress`: a sample of how far the job was.'),
    at: time,
    actor: z.string().nullable().describe('The user who caused it; null for workers without one and for the service.'),
    attempt: z.int(),
    data: freeObject,
  })
  .meta({ id: 'JobEvent' }) satisfies z.ZodType<JobEvent>

export const eventPage = z
  .object({ items: z.array(jobEvent), ...pageFields })
  .meta({ id: 'EventPage', examples: [eventsExample] }) satisfies z.ZodType<Page<JobEvent>>

export const activeJobs = z
  .object({ active: z.array(listedJob), recentlyCompleted: z.array(listedJob) })
  .meta({ id: 'ActiveJobs' }) satisfies z.ZodType<ActiveJobs>

import { z } from 'zod'
import type { ActiveJobs, CreateJob, EventPage, JobPage, JobWithWorkers } from '../../jobs/commands.ts'
import { ETA_SOURCES, FAILURE_REASONS, JOB_STATUSES, UNITS } from '../../jobs/job.ts'
import type { Children, JobDocument, JobEvent, ProgressDocument, WorkerDocument } from '../../jobs/job.ts'
import { activeExample, eventsExample, jobExample, progressExample, workerExample } from './examples.ts'
import { count, flag, int32, integer, jsonObject, oneOf, positiveInt32, text } from './primitives.ts'

/** A day: a longer silence is no heartbeat. */
const MAX_TIMEOUT_SECONDS = 86_400

export const MAX_META_BYTES = 16 * 1024
export const MAX_RESULT_BYTES = 64 * 1024

export const unit = oneOf(UNITS)

/** What `POST /jobs` takes. */
export const createJob = z
  .strictObject({
    jobType: text(1, 100).describe('What kind of work: history and statistics are kept by it.'),
    name: text(1, 255).describe('For people.'),
    description: text(0, 1000).nullable().exactOptional(),
    totalCount: count.nullable().exactOptional().describe('null or absent: unknown. 0 is a job with nothing to do.'),
    unit: unit.exactOptional(),
    cancellable: flag.exactOptional(),
    meta: jsonObject(MAX_META_BYTES).exactOptional().describe('At most 16 KB as JSON.'),
    priority: int32.exactOptional().describe('Shown and sortable, without effect.'),
    heartbeatTimeoutSeconds: integer(0, MAX_TIMEOUT_SECONDS)
      .exactOptional()
      .describe('How long a running job may be silent before it is ended; 0: for ever.'),
    pendingTimeoutSeconds: positiveInt32
      .nullable()
      .exactOptional()
      .describe('How long it may wait to be started before it fails; null: for ever.'),
  })
  .meta({
    id: 'CreateJob',
    examples: [
      { jobType: 'import:products', name: 'Importing products', totalCount: 1200, unit: 'rows', cancellable: true },
    ],
  }) satisfies z.ZodType<CreateJob>

const attempt = positiveInt32
  .exactOptional()
  .describe('The attempt that the worker works on; another one is refused as `superseded`.')

export const finish = z.strictObject({ attempt }).meta({ id: 'Finish', examples: [{}, { attempt: 1 }] })

export const completeJob = z
  .strictObject({
    attempt,
    resultSummary: jsonObject(MAX_RESULT_BYTES).exactOptional().describe('At most 64 KB as JSON.'),
  })
  .meta({ id: 'CompleteJob', examples: [{}, { resultSummary: { imported: 1198, skipped: 2 } }] })

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
const freeObject = z.record(z.string(), z.unknown())

const children = z
  .object({
    total: z.int(),
    pending: z.int(),
    running: z.int(),
    completed: z.int(),
    failed: z.int(),
    cancelled: z.int(),
    current: z.array(z.string()).describe('Names of partitions that run now, at most 5.'),
    errors: z.array(z.string()).describe('The first errors of partitions, at most 5.'),
  })
  .meta({ id: 'Children' }) satisfies z.ZodType<Children>

const progressFields = {
  id: z.guid(),
  status: z.enum(JOB_STATUSES),
  progressPercent: z.int().min(0).max(100).describe('Floored; 100 only once completed.'),
  processedCount: z.int(),
  totalCount: nullableCount.describe('null: unknown.'),
  remainingCount: nullableCount,
  unit: z.enum(UNITS),
  stage: z.string().nullable(),
  message: z.string().nullable().describe('One line for a person.'),
  throughputPerSecond: z.number().nullable(),
  etaSeconds: z.int().nullable().describe('As of `updatedAt`: subtract the time since.'),
  etaSource: z.enum(ETA_SOURCES).nullable(),
  liveness: z.enum(['ok', 'stalled']).nullable().describe('null: not running.'),
  attempt: z.int().describe('From 1; a retry begins the next one.'),
  updatedAt: time,
  revision: z.int().describe('Grows with every change; a bare heartbeat is none.'),
}

export const progress = z
  .object(progressFields)
  .meta({ id: 'Progress', examples: [progressExample] }) satisfies z.ZodType<ProgressDocument>

const jobFields = {
  ...progressFields,
  jobType: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  stages: z.array(z.object({ name: z.string(), weight: z.number() })).nullable(),
  advancedAt: nullableTime.describe('When the count last grew: alive, but not advancing, is visible.'),
  startedByUserId: z.string().nullable(),
  cancelledByUserId: z.string().nullable(),
  startedAt: nullableTime,
  heartbeatAt: nullableTime,
  finishedAt: nullableTime,
  createdAt: time,
  resultSummary: freeObject.nullable(),
  errorMessage: z.string().nullable(),
  errorStack: z.string().nullable(),
  failureReason: z.enum(FAILURE_REASONS).nullable(),
  meta: freeObject,
  cancellable: z.boolean(),
  cancelRequestedAt: nullableTime,
  priority: z.int(),
  heartbeatTimeoutSeconds: z.int(),
  pendingTimeoutSeconds: nullableCount,
  parentJobId: z.guid().nullable(),
  partitionIndex: nullableCount,
  partitionCount: nullableCount,
  children: children.nullable(),
  tenantId: z.guid(),
  organizationId: z.guid().nullable(),
}

export const job = z.object(jobFields).meta({ id: 'Job', examples: [jobExample] }) satisfies z.ZodType<JobDocument>

const worker = z
  .object({
    workerId: z.string(),
    attempt: z.int(),
    processedCount: z.int(),
    totalCount: nullableCount.describe("The worker's share of the total, where it named one."),
    progressPercent: nullableCount,
    throughputPerSecond: z.number().nullable(),
    etaSeconds: nullableCount,
    stage: z.string().nullable(),
    message: z.string().nullable(),
    payload: freeObject.nullable(),
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

export const jobPage = z.object({ items: z.array(job), ...pageFields }).meta({
  id: 'JobPage',
  examples: [{ items: [jobExample], page: 1, pageSize: 20, total: 1 }],
}) satisfies z.ZodType<JobPage>

const jobEvent = z
  .object({
    id: z.string(),
    type: z.string(),
    at: time,
    actor: z.string().nullable().describe('The user who caused it; null for workers without one and for the service.'),
    attempt: z.int(),
    data: freeObject,
  })
  .meta({ id: 'JobEvent' }) satisfies z.ZodType<JobEvent>

export const eventPage = z
  .object({ items: z.array(jobEvent), ...pageFields })
  .meta({ id: 'EventPage', examples: [eventsExample] }) satisfies z.ZodType<EventPage>

export const activeJobs = z
  .object({ active: z.array(job), recentlyCompleted: z.array(job) })
  .meta({ id: 'ActiveJobs', examples: [activeExample] }) satisfies z.ZodType<ActiveJobs>

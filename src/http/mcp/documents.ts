import { z } from 'zod'
import type { JobWithWorkers, JobEvent, ListedJob } from '../../contract/job.ts'
import { DEADLINES, JOB_EVENT_TYPES, JOB_STATUSES, LIVENESS } from '../../contract/states.ts'

/**
 * What an assistant needs to know about a job. It has fewer fields than REST, because each field takes room in the assistant's
 * context.
 */
export const jobSummary = z.object({
  id: z.string(),
  name: z.string(),
  jobType: z.string(),
  status: z.enum(JOB_STATUSES),
  progressPercent: z.number().describe('0 to 99 while it is unfinished, 100 once it is completed.'),
  processedCount: z.number(),
  totalCount: z.number().nullable().describe('null: unknown'),
  unit: z.string().describe('What is counted.'),
  stage: z.string().nullable(),
  message: z.string().nullable().describe('What its worker last said.'),
  etaSeconds: z.number().nullable().describe('Estimated time left, as of updatedAt; null: no basis for it.'),
  etaLowSeconds: z.number().nullable().describe('With etaHighSeconds: the range of it, right in about 8 of 10 cases.'),
  etaHighSeconds: z.number().nullable(),
  liveness: z.enum(LIVENESS).nullable().describe('stalled: running, but silent for too long.'),
  finishBy: z.string().nullable().describe('When it should have finished; null: it has no deadline, or none yet.'),
  deadline: z
    .enum(DEADLINES)
    .nullable()
    .describe('at_risk: it will probably finish after finishBy. overdue: finishBy has passed, or it ended later.'),
  usualSeconds: z.number().nullable().describe('How long such jobs usually take.'),
  unusual: z.boolean().describe('true: it takes, or took, longer than usual.'),
  cancellable: z.boolean(),
  cancelRequested: z.boolean(),
  attempt: z.number(),
  startedAt: z.string().nullable(),
  finishedAt: z.string().nullable(),
  updatedAt: z.string(),
  errorMessage: z.string().nullable(),
  failureReason: z.string().nullable().describe('stale: ended for its silence. never_started, partitions, worker.'),
})

export type JobSummary = z.infer<typeof jobSummary>

export const summaryOf = (job: ListedJob): JobSummary => ({
  id: job.id,
  name: job.name,
  jobType: job.jobType,
  status: job.status,
  progressPercent: job.progressPercent,
  processedCount: job.processedCount,
  totalCount: job.totalCount,
  unit: job.unit,
  stage: job.stage,
  message: job.message,
  etaSeconds: job.etaSeconds,
  etaLowSeconds: job.etaLowSeconds,
  etaHighSeconds: job.etaHighSeconds,
  liveness: job.liveness,
  finishBy: job.finishBy,
  deadline: job.deadline,
  usualSeconds: job.usualSeconds,
  unusual: job.unusual,
  cancellable: job.cancellable,
  cancelRequested: job.cancelRequestedAt !== null,
  attempt: job.attempt,
  startedAt: job.startedAt,
  finishedAt: job.finishedAt,
  updatedAt: job.updatedAt,
  errorMessage: job.errorMessage,
  failureReason: job.failureReason,
})

const MAX_WORKERS = 20

const anyObject = z.record(z.string(), z.unknown())

export const jobDetails = jobSummary.extend({
  description: z.string().nullable(),
  resultSummary: anyObject.nullable().describe('What its worker left as result.'),
  meta: anyObject.describe('What its creator attached.'),
  errorStack: z.string().nullable(),
  startedBy: z.string().nullable(),
  parentJobId: z.string().nullable().describe('The batch that it is a part of.'),
  partitions: anyObject.nullable().describe('Of a batch: how its parts are, by status, and their first errors.'),
  workers: z
    .array(
      z.object({
        workerId: z.string(),
        processedCount: z.number(),
        message: z.string().nullable(),
        liveness: z.string().nullable().describe('`stalled`: it is silent, whatever the others do.'),
        heartbeatAt: z.string(),
      }),
    )
    .describe(`At most ${MAX_WORKERS}.`),
})

export const detailsOf = (job: JobWithWorkers): z.infer<typeof jobDetails> => ({
  ...summaryOf(job),
  description: job.description,
  resultSummary: job.resultSummary,
  meta: job.meta,
  errorStack: job.errorStack,
  startedBy: job.startedByUserId,
  parentJobId: job.parentJobId,
  partitions: job.children && { ...job.children },
  workers: job.workers.slice(0, MAX_WORKERS).map(({ workerId, processedCount, message, liveness, heartbeatAt }) => ({
    workerId,
    processedCount,
    message,
    liveness,
    heartbeatAt,
  })),
})

const historyEntry = z.object({
  type: z.enum(JOB_EVENT_TYPES),
  at: z.string(),
  actor: z.string().nullable().describe('The user who caused it; null: a worker, or the service itself.'),
  attempt: z.number(),
  data: anyObject,
})

export const jobList = z.object({
  jobs: z.array(jobSummary),
  total: z
    .number()
    .nullable()
    .describe('How many there are in all; it stops counting at 10,000. null: not counted again, because of `cursor`.'),
  next: z.string().nullable().describe('Give it as `cursor` for those that follow; null: these are the last ones.'),
})

export const waitOutcome = z.object({
  finished: z.boolean().describe('false: call again to go on waiting.'),
  job: jobDetails,
})

export const historyPage = z.object({ events: z.array(historyEntry), total: z.number() })

export const entryOf = ({ type, at, actor, attempt, data }: JobEvent): z.infer<typeof historyEntry> => ({
  type,
  at,
  actor,
  attempt,
  data,
})

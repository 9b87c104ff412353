import { sqlStateOf } from '../database/failures.ts'
import { HeadwayError, type ErrorCode } from '../contract/errors.ts'
import type { JobStatus } from '../contract/states.ts'

/** The sentence for each code with which the database's functions refuse a call. */
const SENTENCES: Partial<Record<ErrorCode, (jobId: string, status: JobStatus | null) => string>> = {
  job_not_found: id => `There is no job ${id}, or it is not yours.`,
  already_finished: (id, status) => `Job ${id} has already finished (${status ?? 'unknown'}): stop working on it.`,
  not_finished: (id, status) =>
    `Job ${id} is ${status ?? 'unknown'}: only a finished job can be erased. Cancel it first.`,
  not_retryable: (id, status) =>
    status === 'pending' || status === 'running'
      ? `Job ${id} is ${status}: only a failed or cancelled job can be retried.`
      : `Job ${id} belongs to a batch that is being cancelled: retry it when the batch has ended.`,
  not_cancellable: id => `Job ${id} was created without "cancellable": it cannot be cancelled.`,
  superseded: id => `Job ${id} has gone on to another attempt: this worker belongs to an earlier one and should stop.`,
  unknown_stage: id =>
    `Job ${id} has declared stages, and the reported stage is not among them: report one of the declared stages.`,
  is_partition: id => `Job ${id} is a partition and counts in its batch: erase the whole batch instead.`,
  parent_not_found: id => `There is no job ${id} that could be the parent, or it is not yours.`,
  parent_finished: id => `Job ${id} has finished or is being cancelled, and takes no more partitions.`,
  is_batch: id => `Job ${id} is a batch: report to its partitions instead.`,
  too_many_workers: id => `Job ${id} already has 1000 workers: let several processes report as one worker.`,
  meta_too_large: id => `The meta of job ${id} would grow beyond 16 KB: keep large data elsewhere and store a link.`,
}

/** Why a job cannot become a partition, by the reason that headway.create_job answers. */
const PARTITION_SENTENCES: Record<string, string> = {
  grandchild: 'The parent is a partition itself: partitions have none of their own.',
  not_a_batch:
    'The parent has begun to work itself, or has a total or stages of its own: create the batch as a job with partitionCount.',
  count_missing:
    'Send in partitionCount how many partitions the batch will have: the batch ends when so many have ended.',
  count_differs: 'partitionCount is not that of the batch: leave it out, or send the same one.',
  batch_full: 'The batch already has as many partitions as its partitionCount says.',
  index_outside: 'partitionIndex must be below partitionCount; the first is 0.',
  index_taken: 'The batch has a partition with this partitionIndex already: leave it out to get the next free one.',
  cancellable_differs: 'A partition is cancellable if its batch is: leave cancellable out, or send the same value.',
  type_differs: 'A partition has the jobType of its batch: leave it out, or send the same one.',
}

/** The refusal of a new job, from the answer of headway.create_job. */
export const refusalOfCreation = (
  { code, reason }: { code: ErrorCode; reason: string | null },
  parentJobId = '',
): HeadwayError =>
  reason === null
    ? refusalOf(code, parentJobId, null)
    : new HeadwayError(code, PARTITION_SENTENCES[reason] ?? `The partition is not possible: ${reason}.`)

/**
 * The refusal for a code that a statement answered. It has no stack: a stack would say nothing about the call, and making it
 * takes ten times as long as the rest, while one request may get a thousand refusals.
 */
export const refusalOf = (code: ErrorCode, jobId: string, status: JobStatus | null): HeadwayError => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return new HeadwayError(
      code,
      SENTENCES[code]?.(jobId, status) ?? `Job ${jobId}: ${code}.`,
      code === 'already_finished' && status !== null ? { jobStatus: status } : {},
    )
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** The refusal of input that the database cannot store (`data` in failures.ts). */
export const refusalOfData = (error: unknown): HeadwayError =>
  new HeadwayError(
    'validation_failed',
    `The database cannot store this (SQLSTATE ${sqlStateOf(error) ?? 'unknown'}).`,
    { cause: error },
  )

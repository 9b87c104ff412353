import { sqlStateOf } from '../database/failures.ts'
import { HeadwayError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { JobStatus } from './job.ts'

/** The sentences for what the database refuses, by the code that its functions answer. */
const SENTENCES: Partial<Record<ErrorCode, (jobId: string, status: JobStatus | null) => string>> = {
  job_not_found: id => `There is no job ${id}, or it is not yours.`,
  already_finished: (id, status) => `Job ${id} has already finished (${status ?? 'unknown'}): stop working on it.`,
  not_finished: (id, status) =>
    `Job ${id} is ${status ?? 'unknown'}: only a finished job can be erased. Cancel it first.`,
  not_retryable: (id, status) => `Job ${id} is ${status ?? 'unknown'}: only a failed or cancelled job can be retried.`,
  not_cancellable: id => `Job ${id} was created without "cancellable": it cannot be cancelled.`,
  superseded: id => `Job ${id} has gone on to another attempt: this worker belongs to an earlier one and should stop.`,
  is_batch: id => `Job ${id} is a batch: report to its partitions instead.`,
  too_many_workers: id => `Job ${id} already has 1000 workers: let several processes report as one worker.`,
  meta_too_large: id => `The meta of job ${id} would grow beyond 16 KB: keep large data elsewhere and store a link.`,
}

/** The refusal with a code that a statement answered. */
export const refusalOf = (code: ErrorCode, jobId: string, status: JobStatus | null): HeadwayError =>
  new HeadwayError(
    code,
    SENTENCES[code]?.(jobId, status) ?? `Job ${jobId}: ${code}.`,
    code === 'already_finished' && status !== null ? { jobStatus: status } : {},
  )

/** The refusal of input that the database cannot store: a failure of the kind `data`. */
export const refusalOfData = (error: unknown): HeadwayError =>
  new HeadwayError(
    'validation_failed',
    `The database cannot store this (SQLSTATE ${sqlStateOf(error) ?? 'unknown'}).`,
    { cause: error },
  )

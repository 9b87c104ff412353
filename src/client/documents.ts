import { JUST_FINISHED_SECONDS } from '../just-finished.ts'
import type { JobStatus, LiveJob } from './types.ts'

/** A job as the wire has it: fields that are null may be missing. */
export type WireJob = Pick<LiveJob, 'id' | 'revision'> & Partial<LiveJob>

/** The live document whole again. Fields that only REST answers have are left behind. */
export const toLiveJob = (job: WireJob): LiveJob => ({
  id: job.id,
  jobType: job.jobType ?? '',
  name: job.name ?? '',
  description: job.description ?? null,
  status: job.status ?? 'pending',
  progressPercent: job.progressPercent ?? 0,
  processedCount: job.processedCount ?? 0,
  totalCount: job.totalCount ?? null,
  unit: job.unit ?? 'unknown',
  throughputPerSecond: job.throughputPerSecond ?? null,
  etaSeconds: job.etaSeconds ?? null,
  etaSource: job.etaSource ?? null,
  stage: job.stage ?? null,
  stages: job.stages ?? null,
  message: job.message ?? null,
  liveness: job.liveness ?? null,
  advancedAt: job.advancedAt ?? null,
  workerCount: job.workerCount ?? 0,
  attempt: job.attempt ?? 1,
  priority: job.priority ?? 0,
  cancellable: job.cancellable ?? false,
  cancelRequestedAt: job.cancelRequestedAt ?? null,
  startedByUserId: job.startedByUserId ?? null,
  startedAt: job.startedAt ?? null,
  finishedAt: job.finishedAt ?? null,
  updatedAt: job.updatedAt ?? '',
  resultSummary: job.resultSummary ?? null,
  ...(job.resultSummaryOmitted && { resultSummaryOmitted: true }),
  errorMessage: job.errorMessage ?? null,
  failureReason: job.failureReason ?? null,
  parentJobId: job.parentJobId ?? null,
  partitionIndex: job.partitionIndex ?? null,
  partitionCount: job.partitionCount ?? null,
  children: job.children ?? null,
  tenantId: job.tenantId ?? '',
  organizationId: job.organizationId ?? null,
  revision: job.revision,
})

const FINISHED: ReadonlySet<JobStatus> = new Set<JobStatus>(['completed', 'failed', 'cancelled'])

export const isFinished = ({ status }: Pick<LiveJob, 'status'>): boolean => FINISHED.has(status)

/** Whether a finished job is still shown beside those that run. */
export const hasJustFinished = (
  { status, finishedAt }: Pick<LiveJob, 'status' | 'finishedAt'>,
  nowMs: number,
): boolean =>
  Date.parse(finishedAt ?? '') >
  nowMs - 1000 * (status === 'failed' ? JUST_FINISHED_SECONDS.failed : JUST_FINISHED_SECONDS.completed)

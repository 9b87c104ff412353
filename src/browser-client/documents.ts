import { JUST_FINISHED_SECONDS } from '../contract/just-finished.ts'
import type { LiveJob, WireJob } from '../contract/live-job.ts'

/** A job document with all its fields. Fields that only REST answers have are left out. */
export const toLiveJob = (job: WireJob): LiveJob => ({
  id: job.id,
  jobType: job.jobType ?? '',
  name: job.name ?? '',
  description: job.description ?? null,
  status: job.status,
  progressPercent: job.progressPercent,
  processedCount: job.processedCount,
  totalCount: job.totalCount ?? null,
  unit: job.unit ?? 'unknown',
  throughputPerSecond: job.throughputPerSecond ?? null,
  etaSeconds: job.etaSeconds ?? null,
  etaSource: job.etaSource ?? null,
  etaLowSeconds: job.etaLowSeconds ?? null,
  etaHighSeconds: job.etaHighSeconds ?? null,
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
  finishBy: job.finishBy ?? null,
  deadline: job.deadline ?? null,
  usualSeconds: job.usualSeconds ?? null,
  unusual: job.unusual ?? false,
  revision: job.revision,
})

/** Whether a finished job is still shown beside the running jobs. */
export const hasJustFinished = (
  { status, finishedAt }: Pick<LiveJob, 'status' | 'finishedAt'>,
  nowMs: number,
): boolean =>
  Date.parse(finishedAt ?? '') >
  nowMs - 1000 * (status === 'failed' ? JUST_FINISHED_SECONDS.failed : JUST_FINISHED_SECONDS.completed)

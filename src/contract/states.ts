/**
 * The words of the domain:
 *
 * - job: one long-running operation. worker: a process that does part of it and reports for it.
 * - stalled: running, without a heartbeat for STALLED_AFTER_SECONDS. A warning.
 * - stale: running, without a heartbeat for the job's own timeout. The sweeper ends it.
 * - finished: completed, failed or cancelled.
 * - partition: a job with a parent. batch: a job that has partitions.
 */

export const FINISHED_STATUSES = ['completed', 'failed', 'cancelled'] as const
export type FinishedStatus = (typeof FINISHED_STATUSES)[number]

export const JOB_STATUSES = ['pending', 'running', ...FINISHED_STATUSES] as const
export type JobStatus = (typeof JOB_STATUSES)[number]

const FINISHED: ReadonlySet<string> = new Set(FINISHED_STATUSES)

/** Whether a job has ended, in whatever way. */
export const isFinished = ({ status }: { status: string }): boolean => FINISHED.has(status)

/** Whether a running job is heard of. */
export const LIVENESS = ['ok', 'stalled'] as const
export type Liveness = (typeof LIVENESS)[number]

/** Lifecycle changes: the history keeps them for ever, and the live stream names its events after them. */
export const LIFECYCLES = [
  'created',
  'started',
  'cancel_requested',
  'cancelled',
  'completed',
  'failed',
  'stalled',
  'recovered',
  'retried',
] as const
export type Lifecycle = (typeof LIFECYCLES)[number]

/** What the history holds: lifecycle changes, the stages a job went through, and samples of its progress. */
export const JOB_EVENT_TYPES = [...LIFECYCLES, 'stage_changed', 'progress'] as const
export type JobEventType = (typeof JOB_EVENT_TYPES)[number]

export const FAILURE_REASONS = ['worker', 'stale', 'partitions', 'never_started'] as const
export type FailureReason = (typeof FAILURE_REASONS)[number]

export const ETA_SOURCES = ['rate', 'history', 'worker'] as const
export type EtaSource = (typeof ETA_SOURCES)[number]

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

/** Whether a job has ended, with any status. */
export const isFinished = ({ status }: { status: string }): boolean => FINISHED.has(status)

/** Whether the workers of a running job report. */
export const LIVENESS = ['ok', 'stalled'] as const
export type Liveness = (typeof LIVENESS)[number]

/**
 * Whether a job with a deadline will finish in time. At risk: the whole range of its likely end lies after the deadline. Overdue:
 * the deadline has passed. A finished job is overdue if it ended after its deadline, and otherwise on time.
 */
export const DEADLINES = ['on_time', 'at_risk', 'overdue'] as const
export type Deadline = (typeof DEADLINES)[number]

/** Lifecycle changes. The history keeps them as long as the job, and the live stream names its events after them. */
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
  'at_risk',
  'overdue',
] as const
export type Lifecycle = (typeof LIFECYCLES)[number]

/** The types of entries in the history: lifecycle changes, changes of stage, and samples of progress. */
export const JOB_EVENT_TYPES = [...LIFECYCLES, 'stage_changed', 'progress'] as const
export type JobEventType = (typeof JOB_EVENT_TYPES)[number]

export const FAILURE_REASONS = ['worker', 'stale', 'partitions', 'never_started'] as const
export type FailureReason = (typeof FAILURE_REASONS)[number]

export const ETA_SOURCES = ['rate', 'history', 'worker'] as const
export type EtaSource = (typeof ETA_SOURCES)[number]

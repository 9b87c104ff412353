import type { JsonObject } from './job.ts'
import type { Deadline, JobStatus, Liveness } from './states.ts'
import type { Unit } from './units.ts'

/** A partition that is created with its batch, and takes job type, unit, stages, timeouts and so on from it. */
export interface NewPartition {
  name: string
  totalCount?: number | null
  meta?: JsonObject
}

/** The body of `POST /jobs`. */
export interface CreateJob {
  /** May be left out for a partition, which has its batch's. */
  jobType?: string
  name: string
  description?: string | null
  totalCount?: number | null
  unit?: Unit
  /** A weight that is left out counts as 1. */
  stages?: { name: string; weight?: number }[]
  /** Makes this job a batch, with these partitions. */
  partitions?: NewPartition[]
  /** For a batch: how many partitions it will have. It finishes when so many have finished. */
  partitionCount?: number
  /** Makes this job a partition of that batch. */
  parentJobId?: string
  /** From 0; the next free one if absent. */
  partitionIndex?: number
  cancellable?: boolean
  meta?: JsonObject
  priority?: number
  heartbeatTimeoutSeconds?: number
  pendingTimeoutSeconds?: number | null
  /** ISO 8601. Not together with `finishWithinSeconds`. */
  finishBy?: string | null
  /** From the start of each attempt. */
  finishWithinSeconds?: number | null
}

/** The fields of all commands that end a job. */
export interface Finish {
  /** The command is refused as `superseded` if this is not the job's present attempt. */
  attempt?: number
}

export interface CompleteJob extends Finish {
  resultSummary?: JsonObject
  /** The job's last message; if absent, the earlier message stays. */
  message?: string
}

export interface FailJob extends Finish {
  errorMessage: string
  errorStack?: string
}

/**
 * Which jobs a list has. Pages, the command `headway list` and assistants take these filters as REST does. A job must pass all of
 * them, and one of the values of each.
 */
export interface JobFilters {
  /** Wins over `includeCompleted`. */
  status?: readonly JobStatus[]
  /** Only running jobs with this liveness. */
  liveness?: Liveness
  deadline?: readonly Deadline[]
  /** true: only jobs that take, or took, longer than usual; false: only the others. */
  unusual?: boolean
  jobType?: string
  /** Only the partitions of this batch. */
  parentJobId?: string
  /** true: no partitions; false: only partitions. */
  topLevel?: boolean
  organizationId?: string
  /** Only jobs that this user has begun. */
  startedByUserId?: string
  /** Finished jobs as well. */
  includeCompleted?: boolean
  /** Only jobs whose name has this text. */
  search?: string
}

export type SortKey = 'createdAt' | 'startedAt' | 'finishedAt' | 'priority' | 'partitionIndex'

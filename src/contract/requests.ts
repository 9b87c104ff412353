import type { JsonObject } from './job.ts'
import type { Unit } from './units.ts'

/** A partition that is made with its batch. It takes job type, unit, stages, timeouts and the like from there. */
export interface NewPartition {
  name: string
  totalCount?: number | null
  meta?: JsonObject
}

/** The body of `POST /jobs`. */
export interface CreateJob {
  /** May be left out of a partition: it has that of its batch. */
  jobType?: string
  name: string
  description?: string | null
  totalCount?: number | null
  unit?: Unit
  /** A weight that is left out counts as 1. */
  stages?: { name: string; weight?: number }[]
  /** Makes this job a batch, with these partitions. */
  partitions?: NewPartition[]
  /** Of a batch: how many partitions it is going to have. It finishes when so many have. */
  partitionCount?: number
  /** Makes this job a partition of that batch. */
  parentJobId?: string
  /** From 0; the next free one when absent. */
  partitionIndex?: number
  cancellable?: boolean
  meta?: JsonObject
  priority?: number
  heartbeatTimeoutSeconds?: number
  pendingTimeoutSeconds?: number | null
}

/** What each of the three ends may say. */
export interface Finish {
  /** Refused as `superseded` when it is not the job's own. */
  attempt?: number
}

export interface CompleteJob extends Finish {
  resultSummary?: JsonObject
  /** The job's last message; the one before stays when absent. */
  message?: string
}

export interface FailJob extends Finish {
  errorMessage: string
  errorStack?: string
}

export type SortKey = 'createdAt' | 'startedAt' | 'finishedAt' | 'priority' | 'partitionIndex'

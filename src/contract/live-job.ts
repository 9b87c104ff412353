import type { JobDocument } from './job.ts'

/**
 * A job as the live stream shows it, with null for each field that the stream leaves out, and false for `unusual`. Objects are replaced and never
 * changed.
 */
export type LiveJob = Readonly<
  Pick<
    JobDocument,
    | 'id'
    | 'jobType'
    | 'name'
    | 'description'
    | 'status'
    | 'progressPercent'
    | 'processedCount'
    | 'totalCount'
    | 'unit'
    | 'throughputPerSecond'
    | 'etaSeconds'
    | 'etaSource'
    | 'etaLowSeconds'
    | 'etaHighSeconds'
    | 'stage'
    | 'stages'
    | 'message'
    | 'liveness'
    | 'advancedAt'
    | 'workerCount'
    | 'attempt'
    | 'priority'
    | 'cancellable'
    | 'cancelRequestedAt'
    | 'startedByUserId'
    | 'startedAt'
    | 'finishedAt'
    | 'updatedAt'
    | 'resultSummary'
    | 'errorMessage'
    | 'failureReason'
    | 'parentJobId'
    | 'partitionIndex'
    | 'partitionCount'
    | 'children'
    | 'tenantId'
    | 'organizationId'
    | 'finishBy'
    | 'deadline'
    | 'usualSeconds'
    | 'unusual'
    | 'revision'
  > & {
    /** The job has a result that is too large for the stream (over 8 KB): `api.job` reads it. */
    resultSummaryOmitted?: true
  }
>

type Always = 'id' | 'status' | 'progressPercent' | 'processedCount' | 'revision'

/** A live job as the stream sends it: fields that are null are left out. */
export type WireJob = Pick<LiveJob, Always> & Partial<LiveJob>

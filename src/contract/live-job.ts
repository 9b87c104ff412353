import type { JobDocument } from './job.ts'

/** A job as the live stream shows it, with null where the wire leaves a field out. Objects are never changed, only replaced. */
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
    | 'revision'
  > & {
    /** There is a result that is too large for the stream (over 8 KB): `api.job` has it. */
    resultSummaryOmitted?: true
  }
>

type Always = 'id' | 'status' | 'progressPercent' | 'processedCount' | 'revision'

/** A live job as the wire has it: fields that are null are left out. */
export type WireJob = Pick<LiveJob, Always> & Partial<LiveJob>

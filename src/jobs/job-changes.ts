import { and, eq, isNotNull, isNull } from '../database/drizzle.ts'
import type { JobChange } from '../contract/change.ts'
import type { ErrorCode } from '../contract/errors.ts'
import type { CreatedJob, JobDocument, PartitionReference } from '../contract/job.ts'
import type { JobStatus } from '../contract/states.ts'
import type { Database } from '../database/connection.ts'
import { FUNCTIONS } from '../database/functions.ts'
import { progressJobs } from '../database/schema.ts'
import type { Scope } from './identity.ts'
import { inScope } from './in-scope.ts'
import type { JobColumns } from './job-columns.ts'

export type JobCommand = 'start' | 'complete' | 'fail' | 'cancel' | 'acknowledge_cancel' | 'retry'

export interface ChangeResult {
  code: ErrorCode | null
  status: JobStatus | null
  /** False when the command had had its effect before. */
  changed: boolean
  revision: number
  job: JobDocument | null
  /** The other jobs that changed: the partitions of a batch, or the batch of a partition. */
  others: JobChange[]
}

export type CreateResult =
  | { code: null; job: CreatedJob; others: JobChange[] }
  /** The idempotency key created this job earlier, by a request with this hash. */
  | { code: 'exists'; job: CreatedJob; requestHash: string }
  | { code: ErrorCode; reason: string | null }

/** The statements that make, change and erase jobs. Each is limited to a scope. */
export const createJobChanges = (database: Database) => ({
  /**
   * Creates a job, with the partitions that it names. Null when the job with this idempotency key was erased during the call.
   */
  async create(scope: Scope, job: JobColumns): Promise<CreateResult | null> {
    const rows = await database.query<{
      code: ErrorCode | 'exists' | null
      reason: string | null
      document: JobDocument
      partitions: PartitionReference[] | null
      others: JobChange[] | null
      request_hash: string
    }>(
      'headway_create_job',
      `SELECT c.* FROM ${FUNCTIONS}.commit_durably(), ${FUNCTIONS}.create_job($1, $2, $3, $4, $5) c`,
      [scope.tenantId, scope.allOrganizations, scope.organizationId, scope.jobId, JSON.stringify(job)],
    )
    const row = rows[0]
    if (!row) return null
    if (row.code !== null && row.code !== 'exists') return { code: row.code, reason: row.reason }
    const created = { ...row.document, ...(row.partitions && { partitions: row.partitions }) }
    return row.code === null
      ? { code: null, job: created, others: row.others ?? [] }
      : { code: 'exists', job: created, requestHash: row.request_hash }
  },
  /** Carries out one command on one job; headway.change_job decides about it under the job's lock. */
  async change(
    scope: Scope,
    jobId: string,
    command: JobCommand,
    actor: string | null,
    input: object,
  ): Promise<ChangeResult> {
    const rows = await database.query<{
      code: ErrorCode | null
      job_status: JobStatus | null
      changed: boolean
      revision: number
      document: JobDocument | null
      others: JobChange[] | null
    }>(
      'headway_change_job',
      `SELECT c.* FROM ${FUNCTIONS}.commit_durably(), ${FUNCTIONS}.change_job($1, $2, $3, $4, $5, $6, $7, $8) c`,
      [
        jobId,
        scope.tenantId,
        scope.allOrganizations,
        scope.organizationId,
        scope.jobId,
        command,
        actor,
        JSON.stringify(input),
      ],
    )
    const row = rows[0]
    if (!row) throw new Error('headway.change_job answered no row')
    const { code, job_status: status, changed, revision, document: job, others } = row
    return { code, status, changed, revision, job, others: others ?? [] }
  },

  /** Erases a finished job. Answers the job's status and the code of a refusal, or null when there is no such job. */
  async purge(scope: Scope, jobId: string): Promise<{ code: ErrorCode | null; status: JobStatus } | null> {
    const found = and(eq(progressJobs.id, jobId), inScope(scope))
    const erased = await database.drizzle
      .delete(progressJobs)
      .where(and(found, isNotNull(progressJobs.finishedAt), isNull(progressJobs.parentJobId)))
      .returning({ status: progressJobs.status })
    if (erased[0]) return { code: null, status: erased[0].status as JobStatus }
    const left = await database.drizzle
      .select({ status: progressJobs.status, parentJobId: progressJobs.parentJobId })
      .from(progressJobs)
      .where(found)
    if (!left[0]) return null
    return {
      code: left[0].parentJobId === null ? 'not_finished' : 'is_partition',
      status: left[0].status as JobStatus,
    }
  },
})

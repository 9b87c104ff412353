import { and, eq, sql } from '../database/drizzle.ts'
import type { JobDocument, JsonObject, ProgressDocument, ProgressPart, WorkerDocument } from '../contract/job.ts'
import type { Statistics } from '../contract/statistics.ts'
import type { Database } from '../database/connection.ts'
import { functions } from '../database/functions.ts'
import { progressJobs } from '../database/schema.ts'
import type { Scope } from './identity.ts'
import { inScope } from './in-scope.ts'
import { createJobChanges } from './job-changes.ts'
import { createJobLists } from './job-lists.ts'
import { rowDocument } from './row-document.ts'
import { readStatistics, type StatisticsQuery } from './statistics/read.ts'

/**
 * Every statement on jobs except the flush and those of the sweeper. Each is limited to a scope; jobs outside it do not exist
 * for it. `stalledAfterSeconds` is how long a worker may be silent before its document says that it is stalled.
 */
export const createJobRepository = (
  database: Database,
  {
    stalledAfterSeconds = 30,
    sweepIntervalSeconds = 5,
  }: { stalledAfterSeconds?: number; sweepIntervalSeconds?: number } = {},
) => {
  const db = database.drizzle
  return {
    ...createJobChanges(database),
    ...createJobLists(database),

    /** The job and its workers at the same moment. */
    async find(scope: Scope, jobId: string): Promise<{ job: JobDocument; workers: WorkerDocument[] } | null> {
      const workers = sql<WorkerDocument[]>`${functions}.workers_document(
        progress_jobs, ${sweepIntervalSeconds}, ${stalledAfterSeconds})`
      const rows = await db
        .select({ job: rowDocument<JobDocument>('job'), workers })
        .from(progressJobs)
        .where(and(eq(progressJobs.id, jobId), inScope(scope)))
      return rows[0] ?? null
    },

    async findProgress(
      scope: Scope,
      jobId: string,
      include: readonly ProgressPart[] = [],
    ): Promise<ProgressDocument | null> {
      const [meta, payload] = [include.includes('meta'), include.includes('payload')]
      const newestPayload = sql<JsonObject | null>`(
        SELECT w.payload FROM public.job_progress w
        WHERE w.job_id = progress_jobs.id AND w.attempt = progress_jobs.attempt AND w.payload IS NOT NULL
        ORDER BY w.heartbeat_at DESC, w.worker_id LIMIT 1)`
      const rows = await db
        .select({
          progress: rowDocument<ProgressDocument>('progress'),
          meta: meta ? sql<JsonObject>`${progressJobs.meta}` : sql<JsonObject>`NULL`,
          payload: payload ? newestPayload : sql<null>`NULL`,
        })
        .from(progressJobs)
        .where(and(eq(progressJobs.id, jobId), inScope(scope)))
      const row = rows[0]
      return row ? { ...row.progress, ...(meta && { meta: row.meta }), ...(payload && { payload: row.payload }) } : null
    },

    statistics: (scope: Scope, query: StatisticsQuery): Promise<Statistics> => readStatistics(database, scope, query),
  }
}

export type JobRepository = ReturnType<typeof createJobRepository>

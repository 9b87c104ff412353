import type { Database } from '../database/connection.ts'

/**
 * How many jobs of all tenants have not finished, and how old the oldest expirable job is. `running` includes the stalled jobs.
 */
export interface JobCounts {
  pending: number
  running: number
  stalled: number
  atRisk: number
  overdue: number
  /** How long ago the next job to be erased finished, or last changed if it is pending; 0 when there is none. */
  oldestSeconds: number
}

/**
 * Reads the active jobs by the partial index `progress_jobs_active`, and the first entries of `progress_jobs_retention`. Its
 * cost does not grow with the number of finished jobs. Partitions are left out, because they are erased with their batch.
 */
export const countJobs = async (database: Database): Promise<JobCounts> => {
  const rows = await database.query<JobCounts>(
    'headway_count_jobs',
    `SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
       count(*) FILTER (WHERE status = 'running') AS running,
       count(*) FILTER (WHERE liveness = 'stalled') AS stalled,
       count(*) FILTER (WHERE deadline = 'at_risk') AS "atRisk", count(*) FILTER (WHERE deadline = 'overdue') AS overdue,
       coalesce(date_part('epoch', now() - least(
         min(updated_at) FILTER (WHERE status = 'pending' AND parent_job_id IS NULL),
         (SELECT f.finished_at FROM public.progress_jobs f
          WHERE f.finished_at IS NOT NULL AND f.parent_job_id IS NULL ORDER BY f.finished_at NULLS FIRST LIMIT 1))), 0) AS "oldestSeconds"
     FROM public.progress_jobs WHERE finished_at IS NULL`,
    [],
  )
  return rows[0] ?? { pending: 0, running: 0, stalled: 0, atRisk: 0, overdue: 0, oldestSeconds: 0 }
}

import type { Database } from '../database/connection.ts'

/** How many jobs there are that have not finished, of all tenants, and the oldest. Stalled ones are running too. */
export interface JobCounts {
  pending: number
  running: number
  stalled: number
  /** How long ago the first of those to be erased finished, or was last touched while it was pending; 0: there is none. */
  oldestSeconds: number
}

/**
 * Reads active jobs alone, by the partial index `progress_jobs_active`, and the first entries of `progress_jobs_finished_at`: what
 * has finished costs nothing, however much it is. Partitions are erased with their batch.
 */
export const countJobs = async (database: Database): Promise<JobCounts> => {
  const rows = await database.query<JobCounts>(
    'headway_count_jobs',
    `SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
       count(*) FILTER (WHERE status = 'running') AS running,
       count(*) FILTER (WHERE liveness = 'stalled') AS stalled,
       coalesce(date_part('epoch', now() - least(
         min(updated_at) FILTER (WHERE status = 'pending' AND parent_job_id IS NULL),
         (SELECT f.finished_at FROM public.progress_jobs f
          WHERE f.finished_at IS NOT NULL AND f.parent_job_id IS NULL ORDER BY f.finished_at LIMIT 1))), 0) AS "oldestSeconds"
     FROM public.progress_jobs WHERE finished_at IS NULL`,
    [],
  )
  return rows[0] ?? { pending: 0, running: 0, stalled: 0, oldestSeconds: 0 }
}

import type { Database } from '../database/connection.ts'

/** How many jobs there are that have not finished, of all tenants. Stalled ones are running too. */
export interface JobCounts {
  pending: number
  running: number
  stalled: number
}

/** Reads active jobs alone, by the partial index `progress_jobs_active`: what has finished costs nothing, however much it is. */
export const countJobs = async (database: Database): Promise<JobCounts> => {
  const rows = await database.query<JobCounts>(
    'headway_count_jobs',
    `SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
       count(*) FILTER (WHERE status = 'running') AS running,
       count(*) FILTER (WHERE liveness = 'stalled') AS stalled
     FROM public.progress_jobs WHERE finished_at IS NULL`,
    [],
  )
  return rows[0] ?? { pending: 0, running: 0, stalled: 0 }
}

// The statistics as one statement over the jobs, as they were read before roll-ups: to compare times and counts.
const TEXT = functions => `
  WITH outcomes AS (
    SELECT job_type COLLATE "C" AS job_type, count(completed_seconds) AS completed, count(failure_reason) AS failed,
      count(*) - count(completed_seconds) - count(failure_reason) AS cancelled,
      percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY completed_seconds) AS seconds
    FROM public.progress_jobs
    WHERE ${functions}.sees(progress_jobs, $1::uuid, $2::boolean, $3::uuid, $4::uuid) AND parent_job_id IS NULL
      AND finished_at >= $5::timestamptz AND finished_at < $6::timestamptz
    GROUP BY 1
  ), alarmed AS (
    SELECT progress_jobs.job_type COLLATE "C" AS job_type, bool_or(EXISTS (
        SELECT FROM public.job_events l WHERE l.job_id = e.job_id AND l.id > e.id AND l.attempt = e.attempt
          AND l.type IN ('recovered', 'completed', 'failed', 'cancelled'))) AS recovered
    FROM public.job_events e JOIN public.progress_jobs ON progress_jobs.id = e.job_id
    WHERE e.type = 'failed' AND e.data ->> 'failureReason' = 'stale' AND e.at >= $5::timestamptz AND e.at < $6::timestamptz
      AND ${functions}.sees(progress_jobs, $1::uuid, $2::boolean, $3::uuid, $4::uuid)
    GROUP BY progress_jobs.id
  ), alarms AS (
    SELECT job_type, count(*) AS stale, count(*) FILTER (WHERE recovered) AS recovered FROM alarmed GROUP BY 1
  ), late AS (
    SELECT job_type COLLATE "C" AS job_type, count(*) AS late
    FROM public.progress_jobs
    WHERE ${functions}.sees(progress_jobs, $1::uuid, $2::boolean, $3::uuid, $4::uuid) AND parent_job_id IS NULL AND late_seconds > 0
      AND finished_at >= $5::timestamptz AND finished_at < $6::timestamptz
    GROUP BY 1
  )
  SELECT job_type AS "jobType", coalesce(completed, 0) AS completed, coalesce(failed, 0) AS failed, coalesce(cancelled, 0) AS cancelled,
    coalesce(stale, 0) AS stale, coalesce(recovered, 0) AS recovered, coalesce(late, 0) AS late, seconds
  FROM outcomes FULL JOIN alarms USING (job_type) LEFT JOIN late USING (job_type) ORDER BY 1`

export const readFormer = (database, functions, scope, since, until) =>
  database.query(null, TEXT(functions), [
    scope.tenantId,
    scope.allOrganizations,
    scope.organizationId,
    scope.jobId,
    since.toISOString(),
    until.toISOString(),
  ])

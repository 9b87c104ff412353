-- Whether a job exists for a caller. This is the one place in the database that decides it; src/contract/visibility.ts decides
-- it in the service. The planner replaces the call by the body. With known arguments only comparisons of columns with values
-- remain, and indexes can be used for them. This requires a single expression without SET. Organizations are compared by `=`
-- and IS NULL, since no index supports IS NOT DISTINCT FROM.
--
-- A function that finds a job by its id writes `headway.sees(…) IS TRUE`, for which no index is used. Its plan is kept, and may be
-- made while the table is empty. Then an index of tenants seems as good as that of ids, and each call would read all jobs of the
-- tenant until the table is analysed.
CREATE FUNCTION headway.sees(
  j public.progress_jobs, tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (j).tenant_id = sees.tenant_id
    AND (sees.all_organizations OR (j).organization_id = sees.organization_id
      OR sees.organization_id IS NULL AND (j).organization_id IS NULL)
    AND (sees.scope_job_id IS NULL OR (j).id = sees.scope_job_id OR (j).parent_job_id = sees.scope_job_id)
$$;

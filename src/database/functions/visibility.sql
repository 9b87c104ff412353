-- Whether a job exists for a caller: the one place in the database that decides it, as src/visibility.ts does in the service.
-- The planner puts the body in place of the call, and of arguments that it knows it leaves nothing but comparisons of columns
-- with values, which indexes take. For that it must stay one expression, without SET; and organizations are compared by `=`
-- and IS NULL, since no index takes IS NOT DISTINCT FROM.
CREATE FUNCTION headway.sees(
  j public.progress_jobs, tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (j).tenant_id = sees.tenant_id
    AND (sees.all_organizations OR (j).organization_id = sees.organization_id
      OR sees.organization_id IS NULL AND (j).organization_id IS NULL)
    AND (sees.scope_job_id IS NULL OR (j).id = sees.scope_job_id OR (j).parent_job_id = sees.scope_job_id)
$$;

-- Writes a batch of heartbeats, at most one per job and worker, and answers each. The plain ones come first, as columns in the
-- form of headway.plain_heartbeats (`job_tenant_ids` are its `tenant_ids`), and are numbered from 0. A plain heartbeat is the
-- only one of its job in the batch. `others` are the remaining heartbeats, each with its number as `i`, and `other_ids` are
-- their jobs. `tenant_ids` are the tenants of all heartbeats: jobs of other tenants are not locked. A replica of another
-- version calls the function of its own schema (generations.ts), so the parameters may change freely.
CREATE FUNCTION headway.flush(
  skip_locked boolean, tenant_ids uuid[], other_ids uuid[], others json, job_ids uuid[], job_tenant_ids uuid[],
  worker_ids text[], attempts integer[], organization_bound boolean[], organization_ids uuid[], scope_job_ids uuid[],
  actors text[], processed_counts bigint[], increments bigint[], total_counts bigint[], messages text[],
  reported_ats timestamptz[]
) RETURNS SETOF headway.heartbeat_answers
LANGUAGE plpgsql
SET jit = off SET lock_timeout = '250ms' SET enable_seqscan = off
AS $$
DECLARE
  held uuid[];
  batches uuid[];
  at timestamptz(3);
  answer headway.heartbeat_answers;
  done integer[] := '{}';
  rest json := others;
BEGIN
  IF skip_locked THEN
    -- Every writer of a worker's row locks the job first. If the row is locked while its job is free, another program holds it,
    -- and waiting for it gains nothing. Each try may meet another such row, and the reports of all other jobs wait meanwhile.
    PERFORM set_config('lock_timeout', '10ms', true);
  END IF;
  SELECT l.held, l.batches INTO held, batches FROM headway.lock_jobs(job_ids || other_ids, skip_locked, tenant_ids) AS l;
  at := headway.clock();
  -- With `skip_locked`, some jobs may be locked by another session. headway.flush_any looks each job up among those that are
  -- held; headway.flush_plain does not.
  IF NOT skip_locked AND job_ids IS NOT NULL THEN
    FOR answer IN
      SELECT * FROM headway.flush_plain(at, job_ids, job_tenant_ids, worker_ids, attempts, organization_bound,
        organization_ids, scope_job_ids, actors, processed_counts, increments, total_counts, messages, reported_ats)
    LOOP
      done := done || answer.items;
      RETURN NEXT answer;
    END LOOP;
  END IF;
  IF cardinality(done) < cardinality(job_ids) THEN
    rest := (
      SELECT json_agg(r.report) FROM (
        SELECT to_json(p) AS report
        FROM headway.plain_heartbeats(job_ids, job_tenant_ids, worker_ids, attempts, organization_bound, organization_ids,
          scope_job_ids, actors, processed_counts, increments, total_counts, messages, reported_ats) AS p
        WHERE p.i <> ALL (done)
        UNION ALL
        SELECT o.report FROM json_array_elements(coalesce(others, '[]')) AS o (report)
      ) r
    );
  END IF;
  IF rest IS NOT NULL THEN
    RETURN QUERY SELECT * FROM headway.flush_any(rest, at, held, skip_locked);
  END IF;
  IF batches <> '{}' THEN
    -- Only batches of partitions that took a report: a refused report must not change a batch.
    batches := ARRAY(
      SELECT DISTINCT p.parent_job_id FROM public.progress_jobs p
      WHERE p.id = ANY (held) AND p.partition_count IS NOT NULL AND p.parent_job_id IS NOT NULL AND p.heartbeat_at = at);
    RETURN QUERY
    SELECT NULL::integer[], NULL::text, NULL::text, NULL::boolean, NULL::integer[], NULL::bigint[], NULL::boolean[],
      NULL::integer, NULL::boolean, NULL::boolean, json_agg(headway.change_document(r))
    FROM headway.roll_up(batches, at, 'heartbeat') AS r HAVING count(*) > 0;
  END IF;
END
$$;

-- The plain heartbeats as rows. They are sent column by column, because a report as JSON takes ten times the bytes of its
-- numbers. A column is null if no heartbeat has a value in it. That means worker `default`, all organizations of the tenant, or
-- a token for any job. A single tenant id stands for all heartbeats.
CREATE FUNCTION headway.plain_heartbeats(
  job_ids uuid[], tenant_ids uuid[], worker_ids text[], attempts integer[], organization_bound boolean[],
  organization_ids uuid[], scope_job_ids uuid[], actors text[], processed_counts bigint[], increments bigint[],
  total_counts bigint[], messages text[], reported_ats timestamptz[]
) RETURNS TABLE (
  i integer, job_id uuid, worker_id text, attempt integer, tenant_id uuid, all_organizations boolean, organization_id uuid,
  scope_job_id uuid, actor text, processed_count bigint, increment bigint, total_count bigint, message text,
  reported_at timestamptz
) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT u.i::integer - 1, u.job_id, coalesce(worker_ids[u.i], 'default'), attempts[u.i],
    CASE WHEN cardinality(tenant_ids) = 1 THEN tenant_ids[1] ELSE tenant_ids[u.i] END,
    organization_bound IS NULL OR NOT organization_bound[u.i], organization_ids[u.i],
    scope_job_ids[u.i], actors[u.i], processed_counts[u.i], increments[u.i], total_counts[u.i], messages[u.i],
    reported_ats[u.i]
  FROM unnest(job_ids) WITH ORDINALITY AS u (job_id, i) OFFSET 0
$$;

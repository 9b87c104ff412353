-- Writes a batch of heartbeats, at most one per job and worker, and answers each. First come the plain ones, which are alone
-- in the batch with their jobs, by the columns of headway.plain_heartbeats (`job_tenant_ids` are its `tenant_ids`); they are
-- numbered from 0. `others`, of the jobs `other_ids`, go on from there: each carries its number as `i`. `tenant_ids` are those
-- of all: other tenants' jobs are not locked.
-- Replicas of another version call the function of their own schema (generations.ts), so the parameters may change freely.
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
    -- Whoever writes the row of a worker holds its job first: a row that is locked under a free job is held by somebody from
    -- outside, and worth no wait. Each try may meet another one, and the reports of all other jobs wait behind it.
    PERFORM set_config('lock_timeout', '10ms', true);
  END IF;
  SELECT l.held, l.batches INTO held, batches FROM headway.lock_jobs(job_ids || other_ids, skip_locked, tenant_ids) AS l;
  at := headway.clock();
  -- Where some are locked by somebody else, each one must be looked up among those that are held: flush_any does.
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
    -- Those of partitions that took a report: who is refused must not move a batch.
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

-- Heartbeats of flush_plain, column by column, because the JSON of a report costs ten times the numbers in it. A column that
-- none of them fills is null: worker `default`, all organizations of the tenant, any job. A single tenant stands for all.
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

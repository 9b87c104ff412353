-- Makes a job, a batch with its partitions, or a partition of a batch, in one transaction. `job` is the row as JSON; for a
-- batch that is created with its partitions it has `partitions`. The other parameters are what the caller may see.
--
-- Answers the document and the other jobs that changed; or the code of a refusal and its reason. With the code `exists`, the
-- answer is the job that this idempotency key created earlier, and the hash of that request. It has no job if that job has been
-- erased since.
CREATE FUNCTION headway.create_job(
  tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid, job jsonb
) RETURNS TABLE (code text, reason text, document json, partitions json, others json, request_hash text)
LANGUAGE plpgsql SET jit = off SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
  j public.progress_jobs := jsonb_populate_record(NULL::public.progress_jobs, job);
  parent public.progress_jobs;
  at timestamptz(3);
  made uuid[];
BEGIN
  IF j.parent_job_id IS NOT NULL THEN
    SELECT p.* INTO parent FROM public.progress_jobs p
    -- A token of one job can make partitions of that job only.
    WHERE p.id = j.parent_job_id AND coalesce(p.id = create_job.scope_job_id, true) AND headway.sees(
      p, create_job.tenant_id, create_job.all_organizations, create_job.organization_id, create_job.scope_job_id) IS TRUE
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
      RETURN QUERY SELECT 'parent_not_found', NULL, NULL::json, NULL::json, NULL::json, NULL;
      RETURN;
    END IF;
    -- Before any other refusal: a repeated call is answered as the first one was.
    RETURN QUERY SELECT * FROM headway.existing_job(j.tenant_id, parent.organization_id, j.idempotency_key);
    IF FOUND THEN
      RETURN;
    END IF;
    j.partition_count := coalesce(j.partition_count, parent.partition_count);
    j.partition_index := coalesce(j.partition_index, (
      SELECT min(free.index) FROM generate_series(0, j.partition_count - 1) AS free (index)
      WHERE NOT EXISTS (SELECT FROM public.progress_jobs p WHERE p.parent_job_id = parent.id AND p.partition_index = free.index)));
    SELECT r.code, r.reason INTO code, reason FROM headway.partition_refusal(j, parent) r;
    IF code IS NOT NULL THEN
      RETURN NEXT;
      RETURN;
    END IF;
    j := headway.inherit(j, parent);
  END IF;

  at := headway.clock();
  made := headway.insert_jobs(at, ARRAY[j]);
  IF made = '{}' THEN
    RETURN QUERY SELECT * FROM headway.existing_job(j.tenant_id, j.organization_id, j.idempotency_key);
    RETURN;
  END IF;
  SELECT p.* INTO j FROM public.progress_jobs p WHERE p.id = made[1];
  IF j.children IS NOT NULL THEN
    made := headway.insert_jobs(at, ARRAY(
      SELECT headway.inherit(jsonb_populate_record(NULL::public.progress_jobs, p.partition || jsonb_build_object(
        'parent_job_id', j.id, 'partition_index', p.place - 1, 'partition_count', j.partition_count,
        'unit', job -> 'partition_unit', 'stages', job -> 'partition_stages', 'started_by_user_id', j.started_by_user_id)), j)
      FROM jsonb_array_elements(job -> 'partitions') WITH ORDINALITY AS p (partition, place)));
    PERFORM headway.roll_up(ARRAY[j.id], at, 'create');
    SELECT p.* INTO j FROM public.progress_jobs p WHERE p.id = j.id;
    partitions := headway.partition_references(j.id);
    others := (
      SELECT json_agg(headway.change_document(
        ROW (p.tenant_id, p.id, p.revision, true, false, p.job_type, p.lifecycle)::headway.change))
      FROM public.progress_jobs p WHERE p.parent_job_id = j.id);
  ELSIF parent.id IS NOT NULL THEN
    UPDATE public.progress_jobs p SET partition_count = j.partition_count, children = '{}'
    WHERE p.id = parent.id AND p.children IS NULL;
    others := (SELECT json_agg(headway.change_document(c)) FROM headway.roll_up(ARRAY[parent.id], at, 'create') c);
  END IF;
  document := headway.job_document(j);
  RETURN NEXT;
END
$$;

-- The job that an idempotency key created, as create_job answers it. The row is locked, so that the commit waits as it does
-- after a write. The transaction that created the job may have been cancelled while it waited for a synchronous standby, and
-- the standby may not have the job yet. Since Postgres 18 a session keeps the plan. One that was made for a few jobs would read all
-- of the tenant later.
CREATE FUNCTION headway.existing_job(tenant_id uuid, organization_id uuid, idempotency_key text)
RETURNS TABLE (code text, reason text, document json, partitions json, others json, request_hash text)
LANGUAGE sql SET plan_cache_mode = force_custom_plan SET jit = off AS $$
  SELECT 'exists', NULL, headway.job_document(j), headway.partition_references(j.id), NULL::json, j.idempotency_hash
  FROM public.progress_jobs j
  WHERE j.tenant_id = existing_job.tenant_id AND j.idempotency_key = existing_job.idempotency_key
    AND coalesce(j.organization_id, '00000000-0000-0000-0000-000000000000')
      = coalesce(existing_job.organization_id, '00000000-0000-0000-0000-000000000000')
  FOR KEY SHARE OF j
$$;

-- Why a new partition of `parent` is refused: a code and a reason, or nulls.
CREATE FUNCTION headway.partition_refusal(j public.progress_jobs, parent public.progress_jobs, OUT code text, OUT reason text)
LANGUAGE sql STABLE AS $$
  SELECT r.code, r.reason FROM (VALUES
    (parent.parent_job_id IS NOT NULL, 'invalid_partition', 'grandchild'),
    (parent.finished_at IS NOT NULL OR parent.cancel_requested_at IS NOT NULL, 'parent_finished', NULL),
    (parent.children IS NULL AND (parent.status <> 'pending' OR parent.stages IS NOT NULL OR parent.own_total_count IS NOT NULL),
      'invalid_partition', 'not_a_batch'),
    (j.partition_count IS NULL, 'invalid_partition', 'count_missing'),
    (j.partition_count <> parent.partition_count, 'invalid_partition', 'count_differs'),
    (j.partition_index IS NULL, 'invalid_partition', 'batch_full'),
    (j.partition_index >= j.partition_count, 'invalid_partition', 'index_outside'),
    (j.job_type <> parent.job_type, 'invalid_partition', 'type_differs'),
    (j.cancellable <> parent.cancellable, 'invalid_partition', 'cancellable_differs'),
    (EXISTS (SELECT FROM public.progress_jobs p WHERE p.parent_job_id = parent.id AND p.partition_index = j.partition_index),
      'invalid_partition', 'index_taken')
  ) AS r (holds, code, reason) WHERE r.holds LIMIT 1
$$;

-- A partition with the values that it inherits: some always come from its batch, others only if the partition names none.
CREATE FUNCTION headway.inherit(j public.progress_jobs, parent public.progress_jobs) RETURNS public.progress_jobs LANGUAGE plpgsql AS $$
BEGIN
  j.tenant_id := parent.tenant_id;
  j.organization_id := parent.organization_id;
  j.job_type := parent.job_type;
  j.cancellable := parent.cancellable;
  j.priority := coalesce(j.priority, parent.priority);
  j.heartbeat_timeout_seconds := coalesce(j.heartbeat_timeout_seconds, parent.heartbeat_timeout_seconds);
  j.pending_timeout_seconds := coalesce(j.pending_timeout_seconds, parent.pending_timeout_seconds);
  RETURN j;
END
$$;

-- Stores new jobs with the first entry of their history, and answers their ids. A job whose idempotency key exists is left out.
CREATE FUNCTION headway.insert_jobs(at timestamptz, jobs public.progress_jobs[]) RETURNS uuid[] LANGUAGE sql AS $$
  WITH created AS (
    INSERT INTO public.progress_jobs (
      tenant_id, organization_id, job_type, name, description, own_total_count, total_count, unit, stages, cancellable, meta,
      priority, heartbeat_timeout_seconds, pending_timeout_seconds, started_by_user_id, parent_job_id, partition_index,
      partition_count, children, idempotency_key, idempotency_hash, created_at, updated_at, finish_by, finish_within_seconds
    )
    SELECT
      j.tenant_id, j.organization_id, j.job_type, j.name, j.description, j.total_count, j.total_count,
      coalesce(j.unit, 'unknown'), j.stages, coalesce(j.cancellable, false), coalesce(j.meta, '{}'),
      coalesce(j.priority, 0), j.heartbeat_timeout_seconds, j.pending_timeout_seconds, j.started_by_user_id,
      j.parent_job_id, j.partition_index, j.partition_count, j.children, j.idempotency_key, j.idempotency_hash, at, at,
      j.finish_by, j.finish_within_seconds
    FROM unnest(jobs) AS j
    ON CONFLICT DO NOTHING
    RETURNING id, started_by_user_id, attempt
  ),
  history AS (
    INSERT INTO public.job_events (job_id, type, at, actor, attempt)
    SELECT c.id, 'created', insert_jobs.at, c.started_by_user_id, c.attempt FROM created c
  )
  SELECT coalesce(array_agg(c.id), '{}') FROM created c
$$;

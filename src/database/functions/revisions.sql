-- What reconcile compares: the revisions of all jobs of these tenants that are active or finished within `seconds`, and of
-- those in `also`, of any tenant. A job may come more than once, always the same.
-- One arm per partial index, so that what it costs grows with the tenants that someone watches and with no other; sorting out
-- duplicates would cost more than reading them. A function, because only that can forbid a scan of the table: where a fifth of
-- all jobs runs, the planner takes one, and reads five times as much.
CREATE FUNCTION headway.revisions(tenants uuid[], seconds integer, also uuid[])
RETURNS TABLE (id uuid, tenant_id uuid, revision bigint, updated_at_ms bigint)
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off AS $$
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint
  FROM public.progress_jobs j WHERE j.finished_at IS NULL AND j.tenant_id = ANY (tenants)
  UNION ALL
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint
  FROM public.progress_jobs j WHERE j.finished_at >= now() - make_interval(secs => seconds) AND j.tenant_id = ANY (tenants)
  UNION ALL
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint
  FROM public.progress_jobs j WHERE j.id = ANY (also)
$$;

-- What reconcile compares: the revisions of all jobs of these tenants that are active, finished within `seconds`, or whose end
-- was committed since a position in the order of commits; and of those in `also`, of any tenant. A job may come more than once,
-- always with the same revision.
-- The position: every transaction below `position_floor` was committed or rolled back by then, except those in `position_open`.
-- Null: none. A transaction that is older than a day is not looked for, nor is one that is yet to begin: such numbers are those
-- of another server, from which the rows were restored.
-- One arm per partial index, so that what it costs grows with the tenants that someone watches and with no other; sorting out
-- duplicates would cost more than reading them. A function, because only that can forbid a scan of the table: where a fifth of
-- all jobs runs, the planner takes one, and reads five times as much.
CREATE FUNCTION headway.revisions(tenants uuid[], seconds integer, also uuid[], position_floor xid8, position_open xid8[])
RETURNS TABLE (id uuid, tenant_id uuid, revision bigint, updated_at_ms bigint, ended_since boolean)
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off AS $$
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint, false
  FROM public.progress_jobs j WHERE j.finished_at IS NULL AND j.tenant_id = ANY (tenants)
  UNION ALL
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint, false
  FROM public.progress_jobs j WHERE j.finished_at >= now() - make_interval(secs => seconds) AND j.tenant_id = ANY (tenants)
  UNION ALL
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint, true
  FROM public.progress_jobs j WHERE j.finished_at IS NOT NULL AND j.tenant_id = ANY (tenants)
    AND j.finished_xact >= position_floor AND j.finished_xact < pg_snapshot_xmax(pg_current_snapshot())
    AND j.finished_at + interval '1 day' >= now()
  UNION ALL
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint, true
  FROM public.progress_jobs j WHERE j.finished_at IS NOT NULL AND j.tenant_id = ANY (tenants)
    AND j.finished_xact = ANY (position_open) AND j.finished_at + interval '1 day' >= now()
  UNION ALL
  SELECT j.id, j.tenant_id, j.revision, round(1000 * date_part('epoch', j.updated_at))::bigint, false
  FROM public.progress_jobs j WHERE j.id = ANY (also)
$$;

-- What the reconciler compares: the revisions of all jobs of `tenants` that are active, that finished within `seconds`, or
-- whose end was committed after a position in the order of commits. The jobs in `also` are answered as well, of any tenant. A
-- job may come more than once, always with the same revision. The position: every transaction below `position_floor` was
-- committed or rolled back by then, except those in `position_open`. With null, no job is answered for its position. Ends that
-- are older than a day, and transactions that have not begun yet, are left out. A number that has not begun here belongs to
-- another server, from which the rows were restored. There is one SELECT per partial index, so that the cost grows with the
-- watched tenants only. Removing duplicates would cost more than reading them. It is a function, because only a function can
-- forbid a scan of the table. Where a fifth of all jobs is running, the planner would choose a scan, and read five times as
-- many rows.
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

-- The statements of the sweeper and of the retention. None waits for a lock for longer than 250 ms. While a process waits, it
-- cannot say that it is there or which reports it has not written, and the jobs that it has locked wait with it. Each statement
-- takes a batch of rows, skips rows that another session has locked (that session is alive), and decides by the newest version
-- of a row. Jobs are locked before their batches, against the order of locks.sql. This cannot cause a deadlock, because a
-- statement that skips locked rows never waits. The rows of a sweep have no order. With ORDER BY id the planner would walk the
-- primary key through every job that ever was, and hope to find enough rows soon. The sweeper's statements never scan the
-- table: the cost of a sweep must grow with the active jobs and not with the history.

-- Records that a process is there, and answers for how many seconds it has been healthy without a break. That time begins anew
-- in three cases: `troubled` says that the process could not reach the database; the last visit of the process is more than
-- three intervals ago (a paused database, a suspended host); the clock went back. `heard_until` and `waiting_job_ids` say which
-- reports this process has written. headway.heard_until and headway.waiting_jobs below read them.
CREATE FUNCTION headway.visit(
  process_id uuid, interval_seconds float8, troubled boolean, heard_until timestamptz, waiting_job_ids uuid[]
) RETURNS float8
LANGUAGE sql SET jit = off SET lock_timeout = '250ms' AS $$
  -- A process that was not seen for a day no longer delays any verdict.
  DELETE FROM public.service_processes WHERE id IN (
    SELECT id FROM public.service_processes WHERE seen_at < now() - interval '1 day' FOR UPDATE SKIP LOCKED);
  INSERT INTO public.service_processes AS p (id, started_at, seen_at, healthy_since, heard_until, waiting_job_ids)
  VALUES (process_id, now(), now(), now(), heard_until, waiting_job_ids)
  ON CONFLICT (id) DO UPDATE SET
    seen_at = now(),
    heard_until = excluded.heard_until,
    waiting_job_ids = excluded.waiting_job_ids,
    healthy_since = CASE
      WHEN troubled OR headway.seconds(now(), p.seen_at) NOT BETWEEN 0 AND 3 * interval_seconds THEN now()
      ELSE p.healthy_since END
  RETURNING headway.seconds(now(), healthy_since)
$$;

-- Whether a job may be judged that has been silent for `timeout_seconds`. Three conditions hold: This process has been healthy
-- for that long, and its last visit is at most three intervals ago. With an older visit, the process was suspended between its
-- visit and this statement. No other process went missing less than that long ago: its workers may be about to report to
-- another process. No other process was in trouble less than that long ago. One hour is enough for any timeout. Otherwise a
-- service that is restarted every day would never judge a longer one. A process that went missing right after its start had no
-- workers: a process that crashes again and again must not delay verdicts for ever.
CREATE FUNCTION headway.may_judge(process_id uuid, interval_seconds float8, timeout_seconds float8) RETURNS boolean
-- The table is small and has no index for this. With sequential scans forbidden, all plans would seem equally bad to the
-- planner.
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = on AS $$
  SELECT EXISTS (
    SELECT FROM public.service_processes p
    WHERE p.id = process_id AND headway.seconds(now(), p.healthy_since) >= least(timeout_seconds, 3600)
      AND headway.seconds(now(), p.seen_at) <= 3 * interval_seconds
  ) AND NOT EXISTS (
    SELECT FROM public.service_processes p
    WHERE p.id <> process_id
      AND headway.seconds(now(), p.seen_at) > 1.5 * interval_seconds
      AND headway.seconds(now(), p.seen_at) < 1.5 * interval_seconds + least(timeout_seconds, 3600)
      AND headway.seconds(p.seen_at, p.started_at) >= 3 * interval_seconds
  ) AND NOT EXISTS (
    -- Another process was in trouble less than the timeout ago: reports that it accepted may still wait in its memory. If its
    -- healthy time began when the process started, there was no trouble. A visit in the future says nothing either: the
    -- database's clock was set back, or another server took over, and a live process visits again.
    SELECT FROM public.service_processes p
    WHERE p.id <> process_id AND p.healthy_since > p.started_at AND p.seen_at <= now()
      AND headway.seconds(now(), p.healthy_since) < least(timeout_seconds, 3600)
  )
$$;

-- The moment up to which silence counts. Every live process has written all reports that it received before this moment, except
-- those for the jobs of headway.waiting_jobs. So a job whose last heartbeat was written at time H has said nothing between H
-- and this moment. Reports that arrived later may still wait in a process, which will name them at its next visit. A missing
-- process delays verdicts in headway.may_judge. A process of an older version names no moment, and its last visit is used
-- instead, as that version does.
CREATE FUNCTION headway.heard_until(process_id uuid, interval_seconds float8) RETURNS timestamptz
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = on AS $$
  SELECT least(now(), min(coalesce(p.heard_until, p.seen_at))) FROM public.service_processes p
  WHERE p.id = process_id OR p.seen_at <= now() AND headway.seconds(now(), p.seen_at) <= 1.5 * interval_seconds
$$;

-- Since when a job has been silent. `spoke_at` is the time of its last heartbeat. If that is in the future, the database's
-- clock was set back afterwards, or another server took over. The healthy time of this process began anew at that moment, so
-- the silence counts from there. Otherwise a dead job would look alive until the clock had caught up.
CREATE FUNCTION headway.silent_since(spoke_at timestamptz, healthy_since timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN spoke_at > now() + interval '1 minute' THEN healthy_since ELSE spoke_at END
$$;

-- Jobs whose reports wait in some process because another session holds the job's lock. When that session ends, a sweep could
-- run before the report is written, so these jobs are not judged.
CREATE FUNCTION headway.waiting_jobs(process_id uuid, interval_seconds float8) RETURNS uuid[]
LANGUAGE sql STABLE SET jit = off SET enable_seqscan = on AS $$
  SELECT ARRAY(
    SELECT unnest(p.waiting_job_ids) FROM public.service_processes p
    WHERE p.id = process_id OR p.seen_at <= now() AND headway.seconds(now(), p.seen_at) <= 1.5 * interval_seconds)
$$;

-- The workers of a job in its present attempt. The `liveness` of a worker says whether it has been silent for `after_seconds`.
-- The rules are those for jobs: no worker is judged for a silence during which some process was in trouble. A silent worker
-- does not stall its job while other workers report. Liveness of workers is computed when it is read, because a sweep would
-- have to look at every worker. The rules are only evaluated if some worker seems silent.
CREATE FUNCTION headway.workers_document(j public.progress_jobs, interval_seconds float8, after_seconds float8) RETURNS json
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
  at timestamptz := now();
  silent_before timestamptz := '-infinity';
  healthy timestamptz;
BEGIN
  IF j.liveness = 'ok' AND EXISTS (
    SELECT FROM public.job_progress w WHERE w.job_id = j.id AND w.attempt = j.attempt
      AND w.heartbeat_at NOT BETWEEN at - make_interval(secs => after_seconds) AND at + interval '1 minute'
  ) THEN
    SELECT headway.heard_until(p.id, interval_seconds) - make_interval(secs => after_seconds), p.healthy_since
    INTO silent_before, healthy
    FROM public.service_processes p
    WHERE headway.may_judge(p.id, interval_seconds, after_seconds)
      AND j.id <> ALL (headway.waiting_jobs(p.id, interval_seconds))
    ORDER BY p.healthy_since LIMIT 1;
  END IF;
  RETURN (
    SELECT coalesce(json_agg(headway.worker_document(w, at, CASE
      WHEN j.liveness IS DISTINCT FROM 'ok' THEN j.liveness
      WHEN headway.silent_since(w.heartbeat_at, healthy) < silent_before THEN 'stalled'
      ELSE 'ok' END) ORDER BY w.worker_id), '[]')
    FROM public.job_progress w WHERE w.job_id = j.id AND w.attempt = j.attempt);
END
$$;

-- Marks running jobs as stalled that have had no heartbeat for `after_seconds`.
CREATE FUNCTION headway.mark_stalled(process_id uuid, interval_seconds float8, after_seconds float8, batch integer)
RETURNS SETOF headway.change LANGUAGE plpgsql SET jit = off SET lock_timeout = '250ms' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  held uuid[];
  batches uuid[];
  at timestamptz(3);
  heard timestamptz := headway.heard_until(process_id, interval_seconds);
  healthy timestamptz := (SELECT p.healthy_since FROM public.service_processes p WHERE p.id = process_id);
  waiting uuid[] := headway.waiting_jobs(process_id, interval_seconds);
BEGIN
  IF NOT headway.may_judge(process_id, interval_seconds, after_seconds) THEN
    RETURN;
  END IF;
  SELECT l.held, l.batches INTO held, batches FROM headway.lock_jobs(ARRAY(
    SELECT id FROM public.progress_jobs
    WHERE finished_at IS NULL AND status = 'running' AND liveness = 'ok' AND children IS NULL
      AND headway.silent_since(heartbeat_at, healthy) < heard - make_interval(secs => after_seconds) AND id <> ALL (waiting)
    LIMIT batch FOR NO KEY UPDATE SKIP LOCKED), true) AS l;
  at := headway.clock();
  RETURN QUERY
  WITH marked AS (
    -- Checked again: a heartbeat may have been written before the lock was taken.
    UPDATE public.progress_jobs j SET liveness = 'stalled', eta_seconds = headway.eta_at(j, at), updated_at = at,
      revision = j.revision + 1, lifecycle = 'stalled', lifecycle_revision = j.revision + 1
    WHERE j.id = ANY (held) AND j.status = 'running' AND j.liveness = 'ok'
      AND headway.silent_since(j.heartbeat_at, healthy) < heard - make_interval(secs => after_seconds)
    RETURNING j.*
  ),
  history AS (
    INSERT INTO public.job_events (job_id, type, at, attempt, data)
    SELECT m.id, m.lifecycle, m.updated_at, m.attempt, jsonb_build_object('heartbeatAt', headway.iso(m.heartbeat_at))
    FROM marked m ORDER BY m.id
  )
  SELECT m.tenant_id, m.id, m.revision, true, false, m.job_type, m.lifecycle FROM marked m;
  IF batches <> '{}' THEN
    RETURN QUERY SELECT * FROM headway.roll_up(batches, at, 'sweep');
  END IF;
END
$$;

-- Whether a job is abandoned. A running job is abandoned when it has had no heartbeat for its own timeout, a pending one when
-- nobody has started it within its pending timeout. Silence after `heard` does not count.
CREATE FUNCTION headway.is_abandoned(j public.progress_jobs, heard timestamptz, healthy timestamptz) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT CASE j.status
    WHEN 'running' THEN j.heartbeat_timeout_seconds > 0
      AND headway.silent_since(j.heartbeat_at, healthy) < heard - make_interval(secs => j.heartbeat_timeout_seconds)
    WHEN 'pending' THEN coalesce(
      headway.silent_since(j.updated_at, healthy) < heard - make_interval(secs => j.pending_timeout_seconds), false)
    ELSE false END
$$;

-- Ends running jobs that have had no heartbeat for their own timeout, and pending jobs that nobody started in time.
CREATE FUNCTION headway.end_abandoned(process_id uuid, interval_seconds float8, batch integer)
RETURNS SETOF headway.change LANGUAGE plpgsql SET jit = off SET lock_timeout = '250ms' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  held uuid[];
  batches uuid[];
  at timestamptz(3);
  heard timestamptz := headway.heard_until(process_id, interval_seconds);
  healthy timestamptz := (SELECT p.healthy_since FROM public.service_processes p WHERE p.id = process_id);
  waiting uuid[] := headway.waiting_jobs(process_id, interval_seconds);
BEGIN
  SELECT l.held, l.batches INTO held, batches FROM headway.lock_jobs(ARRAY(
    SELECT j.id FROM public.progress_jobs j
    WHERE j.finished_at IS NULL AND j.children IS NULL AND headway.is_abandoned(j, heard, healthy) AND j.id <> ALL (waiting)
      AND headway.may_judge(process_id, interval_seconds,
        CASE j.status WHEN 'running' THEN j.heartbeat_timeout_seconds ELSE j.pending_timeout_seconds END)
    LIMIT batch FOR NO KEY UPDATE SKIP LOCKED), true) AS l;
  -- One time for all rows written here. It is read after the locks are taken, so it is later than every time in the rows.
  at := headway.clock();
  RETURN QUERY
  WITH ended AS (
    -- Checked again: a heartbeat may have been written before the lock was taken.
    UPDATE public.progress_jobs j SET
      status = CASE WHEN j.cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
      lifecycle = CASE WHEN j.cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
      failure_reason = CASE WHEN j.cancel_requested_at IS NULL
        THEN CASE j.status WHEN 'pending' THEN 'never_started' ELSE 'stale' END END,
      error_message = CASE WHEN j.cancel_requested_at IS NULL THEN CASE j.status
        WHEN 'pending' THEN format('Not started within %s seconds', j.pending_timeout_seconds)
        ELSE format('No heartbeat for %s seconds', j.heartbeat_timeout_seconds) END END,
      liveness = NULL, eta_seconds = NULL, eta_source = NULL, eta_spread = NULL,
      finished_at = at, finished_xact = pg_current_xact_id(), updated_at = at,
      revision = j.revision + 1, lifecycle_revision = j.revision + 1
    WHERE j.id = ANY (held) AND headway.is_abandoned(j, heard, healthy)
    RETURNING j.*
  ),
  history AS (
    INSERT INTO public.job_events (job_id, type, at, attempt, data)
    SELECT e.id, e.lifecycle, e.updated_at, e.attempt, headway.end_document(
        e.progress_percent, e.processed_count, e.total_count, e.failure_reason, e.error_message)
      || jsonb_strip_nulls(jsonb_build_object('heartbeatAt', headway.iso(e.heartbeat_at)))
    FROM ended e ORDER BY e.id
  )
  SELECT e.tenant_id, e.id, e.revision, true, false, e.job_type, e.lifecycle FROM ended e;
  IF batches <> '{}' THEN
    RETURN QUERY SELECT * FROM headway.roll_up(batches, at, 'sweep');
  END IF;
END
$$;

-- Deletes those of `ids` that come before `most` rows are together: a batch counts with its partitions. The first one is always
-- deleted. Workers, history and partitions go with their job. The caller has locked the jobs, in the order of `ids`.
CREATE FUNCTION headway.erase_jobs(ids uuid[], most integer) RETURNS bigint LANGUAGE sql AS $$
  WITH weighed AS (
    SELECT j.id, sum(w.weight) OVER (ORDER BY i.place) - w.weight AS before
    FROM unnest(ids) WITH ORDINALITY AS i (id, place)
      JOIN public.progress_jobs j ON j.id = i.id
      CROSS JOIN LATERAL (SELECT 1 + CASE WHEN j.children IS NULL THEN 0 ELSE j.partition_count END AS weight) AS w
  ), erased AS (
    DELETE FROM public.progress_jobs j USING weighed w WHERE j.id = w.id AND w.before < most RETURNING j.id
  )
  SELECT count(*) FROM erased
$$;

-- Erases jobs that are older than the retention: finished jobs, those that finished first before the others, and then pending
-- jobs that did not change for as long. It stops before it erases much more than `batch` rows, partitions counted. `since` is
-- `reached` of the call before: no older jobs are looked for, whose dead rows each call would read again. Answers how many jobs
-- were erased; 0 also while another process erases. A job that another session has locked is skipped. The rows that are erased
-- with a job are not skipped: where another session holds one of them, or a table, the statement fails (55P03) and nothing is
-- erased.
CREATE FUNCTION headway.erase_expired(
  retention_days integer, batch integer, since timestamptz DEFAULT NULL, OUT erased bigint, OUT reached timestamptz
) LANGUAGE plpgsql SET jit = off SET enable_seqscan = off SET lock_timeout = '250ms' AS $$
DECLARE
  expired timestamptz := now() - make_interval(days => retention_days);
  ids uuid[];
BEGIN
  erased := 0;
  reached := since;
  -- Any constant that no other program uses.
  IF NOT pg_try_advisory_xact_lock(5272015422) THEN
    RETURN;
  END IF;
  ids := ARRAY(
    SELECT id FROM public.progress_jobs
    WHERE parent_job_id IS NULL AND finished_at < expired AND finished_at >= coalesce(since, '-infinity')
    ORDER BY finished_at NULLS FIRST LIMIT batch FOR UPDATE SKIP LOCKED);
  IF ids = '{}' THEN
    ids := ARRAY(
      SELECT id FROM public.progress_jobs
      WHERE parent_job_id IS NULL AND finished_at IS NULL AND status = 'pending' AND updated_at < expired
      LIMIT batch FOR UPDATE SKIP LOCKED);
  ELSE
    reached := (SELECT finished_at FROM public.progress_jobs WHERE id = ids[1]);
  END IF;
  IF ids <> '{}' THEN
    erased := headway.erase_jobs(ids, batch);
  END IF;
END
$$;

-- The sweeper's statements. Each takes a batch, skips what someone else holds (its holder is alive), and judges the newest
-- version of a row. Jobs are locked before their batches, against the order of locks.sql: who skips what is locked never
-- waits, and cannot be part of a deadlock. For the same reason a batch is in no order: with ORDER BY id the planner walks the
-- primary key, through every job there ever was, in the hope of finding a batch soon. Nor may it scan the table: what a sweep
-- costs must grow with the active jobs, not with the history.

-- Says that a process is there, and answers for how many seconds it has been healthy without a break. The window begins
-- anew when `troubled` (the process could not reach the database), when its last visit is more than three intervals ago
-- (a paused database, a suspended host), or when the clock went back.
CREATE FUNCTION headway.visit(process_id uuid, interval_seconds float8, troubled boolean) RETURNS float8
LANGUAGE sql AS $$
  -- A process that was not seen for a day delays no verdict any more.
  DELETE FROM service_processes WHERE seen_at < now() - interval '1 day';
  INSERT INTO service_processes AS p (id, started_at, seen_at, healthy_since) VALUES (process_id, now(), now(), now())
  ON CONFLICT (id) DO UPDATE SET
    seen_at = now(),
    healthy_since = CASE
      WHEN troubled OR headway.seconds(now(), p.seen_at) NOT BETWEEN 0 AND 3 * interval_seconds THEN now()
      ELSE p.healthy_since END
  RETURNING headway.seconds(now(), healthy_since)
$$;

-- May a job that has been silent for its timeout be judged? Not before the process has been healthy for that long, and not
-- while another process is missing for less than that: its workers may be on their way to another one. Nor by a window whose
-- last visit is more than three intervals ago: the process was suspended between its visit and this statement.
-- An hour is enough for any timeout: a service that is started anew every day would otherwise never judge a longer one. And
-- a process that went missing right after its start had no workers: one that crashes again and again must not delay for ever.
CREATE FUNCTION headway.may_judge(process_id uuid, interval_seconds float8, timeout_seconds float8) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT EXISTS (
    SELECT FROM service_processes p
    WHERE p.id = process_id AND headway.seconds(now(), p.healthy_since) >= least(timeout_seconds, 3600)
      AND headway.seconds(now(), p.seen_at) <= 3 * interval_seconds
  ) AND NOT EXISTS (
    SELECT FROM service_processes p
    WHERE p.id <> process_id
      AND headway.seconds(now(), p.seen_at) > 1.5 * interval_seconds
      AND headway.seconds(now(), p.seen_at) < 1.5 * interval_seconds + least(timeout_seconds, 3600)
      AND headway.seconds(p.seen_at, p.started_at) >= 3 * interval_seconds
  ) AND NOT EXISTS (
    -- Another one was in trouble less than the timeout ago: reports that it has accepted may still wait in its memory. A window
    -- that began with its process tells of no trouble, nor does a visit that is still to come: the database's clock was set
    -- back, or another server took over, and a process that lives visits anew.
    SELECT FROM service_processes p
    WHERE p.id <> process_id AND p.healthy_since > p.started_at AND p.seen_at <= now()
      AND headway.seconds(now(), p.healthy_since) < least(timeout_seconds, 3600)
  )
$$;

-- Marks running jobs as stalled that had no heartbeat for `after_seconds`.
CREATE FUNCTION headway.mark_stalled(process_id uuid, interval_seconds float8, after_seconds float8, batch integer)
RETURNS SETOF headway.change LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  held uuid[];
  batches uuid[];
  at timestamptz(3);
BEGIN
  IF NOT headway.may_judge(process_id, interval_seconds, after_seconds) THEN
    RETURN;
  END IF;
  SELECT l.held, l.batches INTO held, batches FROM headway.lock_jobs(ARRAY(
    SELECT id FROM progress_jobs
    WHERE finished_at IS NULL AND status = 'running' AND liveness = 'ok' AND children IS NULL
      AND heartbeat_at < now() - make_interval(secs => after_seconds)
    LIMIT batch FOR NO KEY UPDATE SKIP LOCKED), true) AS l;
  at := headway.clock();
  RETURN QUERY
  WITH marked AS (
    -- Judged again: it may have spoken before the lock was taken.
    UPDATE progress_jobs j SET liveness = 'stalled', updated_at = at,
      revision = j.revision + 1, lifecycle = 'stalled', lifecycle_revision = j.revision + 1
    WHERE j.id = ANY (held) AND j.status = 'running' AND j.liveness = 'ok'
      AND j.heartbeat_at < now() - make_interval(secs => after_seconds)
    RETURNING j.*
  ),
  history AS (
    INSERT INTO job_events (job_id, type, at, attempt, data)
    SELECT m.id, m.lifecycle, m.updated_at, m.attempt, jsonb_build_object('heartbeatAt', headway.iso(m.heartbeat_at))
    FROM marked m ORDER BY m.id
  )
  SELECT m.tenant_id, m.id, m.revision, true, false FROM marked m;
  IF batches <> '{}' THEN
    RETURN QUERY SELECT * FROM headway.roll_up(batches, at, 'sweep');
  END IF;
END
$$;

-- Is a job abandoned: running without a heartbeat for its own timeout, or pending for longer than it may be.
CREATE FUNCTION headway.is_abandoned(j progress_jobs) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT CASE j.status
    WHEN 'running' THEN j.heartbeat_timeout_seconds > 0
      AND j.heartbeat_at < now() - make_interval(secs => j.heartbeat_timeout_seconds)
    WHEN 'pending' THEN coalesce(j.updated_at < now() - make_interval(secs => j.pending_timeout_seconds), false)
    ELSE false END
$$;

-- Ends running jobs that had no heartbeat for their own timeout, and pending ones that nobody started in time.
CREATE FUNCTION headway.end_abandoned(process_id uuid, interval_seconds float8, batch integer)
RETURNS SETOF headway.change LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  held uuid[];
  batches uuid[];
  at timestamptz(3);
BEGIN
  SELECT l.held, l.batches INTO held, batches FROM headway.lock_jobs(ARRAY(
    SELECT j.id FROM progress_jobs j
    WHERE j.finished_at IS NULL AND j.children IS NULL AND headway.is_abandoned(j)
      AND headway.may_judge(process_id, interval_seconds,
        CASE j.status WHEN 'running' THEN j.heartbeat_timeout_seconds ELSE j.pending_timeout_seconds END)
    LIMIT batch FOR NO KEY UPDATE SKIP LOCKED), true) AS l;
  -- One time for all that is written, read after the locks are taken: later than whatever the rows hold.
  at := headway.clock();
  RETURN QUERY
  WITH ended AS (
    -- Judged again: it may have spoken before the lock was taken.
    UPDATE progress_jobs j SET
      status = CASE WHEN j.cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
      lifecycle = CASE WHEN j.cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
      failure_reason = CASE WHEN j.cancel_requested_at IS NULL
        THEN CASE j.status WHEN 'pending' THEN 'never_started' ELSE 'stale' END END,
      error_message = CASE WHEN j.cancel_requested_at IS NULL THEN CASE j.status
        WHEN 'pending' THEN format('Not started within %s seconds', j.pending_timeout_seconds)
        ELSE format('No heartbeat for %s seconds', j.heartbeat_timeout_seconds) END END,
      liveness = NULL, eta_seconds = NULL, eta_source = NULL,
      finished_at = at, finished_xact = pg_current_xact_id(), updated_at = at,
      revision = j.revision + 1, lifecycle_revision = j.revision + 1
    WHERE j.id = ANY (held) AND headway.is_abandoned(j)
    RETURNING j.*
  ),
  history AS (
    INSERT INTO job_events (job_id, type, at, attempt, data)
    SELECT e.id, e.lifecycle, e.updated_at, e.attempt, headway.end_document(
        e.progress_percent, e.processed_count, e.total_count, e.failure_reason, e.error_message)
      || jsonb_strip_nulls(jsonb_build_object('heartbeatAt', headway.iso(e.heartbeat_at)))
    FROM ended e ORDER BY e.id
  )
  SELECT e.tenant_id, e.id, e.revision, true, false FROM ended e;
  IF batches <> '{}' THEN
    RETURN QUERY SELECT * FROM headway.roll_up(batches, at, 'sweep');
  END IF;
END
$$;

-- Erases what is older than the retention: finished jobs, and pending ones that nobody touched for as long. Workers,
-- history and partitions go with the job. Answers how many; 0 also while another process erases.
CREATE FUNCTION headway.erase_expired(retention_days integer, batch integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  erased bigint;
BEGIN
  -- Any constant that no other program uses.
  IF NOT pg_try_advisory_xact_lock(5272015422) THEN
    RETURN 0;
  END IF;
  WITH expired AS (
    SELECT id FROM progress_jobs
    WHERE parent_job_id IS NULL AND (
      finished_at < now() - make_interval(days => retention_days)
      OR finished_at IS NULL AND status = 'pending' AND updated_at < now() - make_interval(days => retention_days))
    ORDER BY id LIMIT batch FOR UPDATE SKIP LOCKED
  )
  DELETE FROM progress_jobs j USING expired e WHERE j.id = e.id;
  GET DIAGNOSTICS erased = ROW_COUNT;
  RETURN erased;
END
$$;

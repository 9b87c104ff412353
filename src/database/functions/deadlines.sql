-- When a job should have finished, and the sweeps' statements that judge it. Neither depends on whether workers report: the
-- database's clock passes a deadline also while the service is in trouble.

-- When the job should have finished; null: no time is given, or the seconds from its start do not count yet.
CREATE FUNCTION headway.finish_by(j public.progress_jobs) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(j.finish_by, j.started_at + make_interval(secs => j.finish_within_seconds))
$$;

-- The deadline as documents show it. A finished job was late or was not: what a sweep found while it ran no longer counts. A
-- job that no sweep has judged is on time.
CREATE FUNCTION headway.shown_deadline(j public.progress_jobs) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN headway.finish_by(j) IS NULL THEN NULL
    WHEN j.finished_at IS NULL THEN coalesce(j.deadline, 'on_time')
    WHEN j.finished_at > headway.finish_by(j) THEN 'overdue'
    ELSE 'on_time' END
$$;

-- Whether the job has run longer than usual. A sweep notes it of a running job, so that streams and revisions tell of it.
CREATE FUNCTION headway.is_unusual(j public.progress_jobs) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN j.finished_at IS NULL THEN j.unusual
    ELSE coalesce(headway.seconds(j.finished_at, j.started_at) > j.long_seconds, false) END
$$;

-- How long jobs of the type usually take, in whole seconds. Null when too few have completed to say what is usual
-- (headway.long_seconds), and before the job has started. The estimate counts fewer runs as well.
CREATE FUNCTION headway.usual_seconds(j public.progress_jobs) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN j.long_seconds IS NOT NULL THEN headway.hold_seconds(round(j.expected_seconds)) END
$$;

-- The estimate of a job that changes at `at` without a report, given for that moment: the likely end stays where it was.
CREATE FUNCTION headway.eta_at(j public.progress_jobs, at timestamptz) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN j.eta_seconds IS NOT NULL
    THEN greatest(0, j.eta_seconds - round(greatest(0, headway.seconds(at, j.updated_at)))::bigint) END
$$;

-- What a sweep at `at` finds of an unfinished job that has a deadline. The job is at risk when every sweep has found the whole
-- range of its end after the deadline for a tenth of the time that is left to the deadline, and in at least two sweeps. An early
-- estimate of a long job so has the time to be corrected, and near the deadline the alarm comes at once. A deadline at the usual
-- end lies in the middle of the range from the beginning (figures: docs/decisions/0005-rate-and-eta.md). Sweeps of several
-- processes that come less than half an interval apart count as one. The job is back on time when the whole range lies before the
-- deadline. What is overdue stays overdue.
-- `tells` says that the change is worth an alarm: a job that comes and goes within a minute raises one.
CREATE FUNCTION headway.next_deadline(j public.progress_jobs, at timestamptz, interval_seconds float8)
RETURNS TABLE (deadline text, doubted_since timestamptz, calm_since timestamptz, tells boolean)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT n.deadline,
    CASE WHEN n.deadline = 'on_time' AND n.is_doubtful THEN least(j.doubted_since, at) END,
    CASE WHEN n.deadline = 'on_time' AND j.deadline = 'at_risk' THEN at ELSE j.calm_since END,
    n.deadline IS DISTINCT FROM j.deadline AND (n.deadline = 'overdue'
      OR n.deadline = 'at_risk' AND coalesce(headway.seconds(at, j.calm_since) NOT BETWEEN 0 AND 60, true))
  FROM (
    SELECT e.is_doubtful, CASE
      WHEN j.deadline = 'overdue' OR at > e.finish_by THEN 'overdue'
      WHEN j.deadline = 'at_risk' THEN CASE
        WHEN headway.seconds(e.finish_by, at) >= coalesce(headway.eta_high_seconds(j), j.eta_seconds) - headway.seconds(at, j.updated_at)
        THEN 'on_time' ELSE 'at_risk' END
      WHEN e.is_doubtful
        AND headway.seconds(at, j.doubted_since) >= greatest(interval_seconds / 2, headway.seconds(e.finish_by, at) / 10) THEN 'at_risk'
      ELSE 'on_time' END AS deadline
    FROM (
      SELECT f.finish_by, coalesce(coalesce(headway.eta_low_seconds(j), j.eta_seconds) > headway.seconds(f.finish_by, j.updated_at), false) AS is_doubtful
      FROM (SELECT headway.finish_by(j) AS finish_by) f
    ) e
  ) n
  WHERE headway.finish_by(j) IS NOT NULL
$$;

-- Judges the deadlines of up to `batch` unfinished jobs, pending ones included. Answers every job that it has written. The
-- revision is null where nothing has changed that anybody is shown. A pending job keeps `updated_at`, from which its own timeout
-- counts.
CREATE FUNCTION headway.judge_deadlines(interval_seconds float8, batch integer)
RETURNS SETOF headway.change LANGUAGE plpgsql SET jit = off SET lock_timeout = '250ms' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  at timestamptz(3) := headway.clock();
  held uuid[];
BEGIN
  held := ARRAY(
    SELECT j.id FROM public.progress_jobs j CROSS JOIN LATERAL headway.next_deadline(j, at, interval_seconds) n
    WHERE j.finished_at IS NULL AND (j.finish_by IS NOT NULL OR j.finish_within_seconds IS NOT NULL)
      AND j.deadline IS DISTINCT FROM 'overdue'
      AND (n.deadline, n.doubted_since) IS DISTINCT FROM (coalesce(j.deadline, 'on_time'), j.doubted_since)
    LIMIT batch FOR NO KEY UPDATE OF j SKIP LOCKED);
  IF held = '{}' THEN
    RETURN;
  END IF;
  at := headway.clock();
  RETURN QUERY
  WITH judged AS MATERIALIZED (
    -- Judged again: the job may have changed before the lock was taken.
    SELECT j.id, n.*, n.deadline <> coalesce(j.deadline, 'on_time') AS changed
    FROM public.progress_jobs j CROSS JOIN LATERAL headway.next_deadline(j, at, interval_seconds) n
    WHERE j.id = ANY (held) AND j.finished_at IS NULL
  ),
  updated AS (
    UPDATE public.progress_jobs j SET
      deadline = n.deadline, doubted_since = n.doubted_since, calm_since = n.calm_since,
      eta_seconds = CASE WHEN n.changed AND j.status <> 'pending' THEN headway.eta_at(j, at) ELSE j.eta_seconds END,
      updated_at = CASE WHEN n.changed AND j.status <> 'pending' THEN at ELSE j.updated_at END,
      revision = j.revision + n.changed::integer,
      lifecycle = CASE WHEN n.tells THEN n.deadline ELSE j.lifecycle END,
      lifecycle_revision = CASE WHEN n.tells THEN j.revision + 1 ELSE j.lifecycle_revision END
    FROM judged n WHERE j.id = n.id
    RETURNING j.*, n.changed, n.tells
  ),
  history AS (
    INSERT INTO public.job_events (job_id, type, at, attempt, data)
    SELECT u.id, u.deadline, at, u.attempt, jsonb_strip_nulls(jsonb_build_object(
      'finishBy', headway.iso(coalesce(u.finish_by, u.started_at + make_interval(secs => u.finish_within_seconds))),
      'etaSeconds', u.eta_seconds))
    FROM updated u WHERE u.tells ORDER BY u.id
  )
  SELECT u.tenant_id, u.id, CASE WHEN u.changed THEN u.revision END, u.tells, false, u.job_type, CASE WHEN u.tells THEN u.deadline END
  FROM updated u;
END
$$;

-- Notes of up to `batch` running jobs that they have run longer than usual.
CREATE FUNCTION headway.mark_unusual(batch integer)
RETURNS SETOF headway.change LANGUAGE plpgsql SET jit = off SET lock_timeout = '250ms' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  at timestamptz(3) := headway.clock();
  held uuid[];
BEGIN
  held := ARRAY(
    SELECT j.id FROM public.progress_jobs j
    WHERE j.finished_at IS NULL AND j.status = 'running' AND NOT j.unusual AND headway.seconds(at, j.started_at) > j.long_seconds
    LIMIT batch FOR NO KEY UPDATE SKIP LOCKED);
  IF held = '{}' THEN
    RETURN;
  END IF;
  at := headway.clock();
  RETURN QUERY
  UPDATE public.progress_jobs j SET
    unusual = true, eta_seconds = headway.eta_at(j, at), updated_at = at, revision = j.revision + 1
  WHERE j.id = ANY (held) AND j.status = 'running' AND NOT j.unusual AND headway.seconds(at, j.started_at) > j.long_seconds
  RETURNING j.tenant_id, j.id, j.revision, false, false, j.job_type, NULL::text;
END
$$;

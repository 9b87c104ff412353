-- Every change of a job's state that is not made by a heartbeat or by the sweeper. Each function locks the job's row first and
-- then decides by what the locked row says. A command is one round trip, so no lock is held while a caller computes.

-- Whether a command has already had its effect on a job. The caller may repeat a command because its first answer was lost. The
-- repetition changes nothing, and it is no error. A batch accepts only `cancel` and `retry`, so no other command can have had
-- its effect on one.
CREATE FUNCTION headway.is_done_already(j public.progress_jobs, command text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT (j.children IS NULL OR command IN ('cancel', 'retry')) AND CASE command
    WHEN 'start' THEN j.status = 'running'
    WHEN 'complete' THEN j.status = 'completed'
    WHEN 'fail' THEN j.status = 'failed' AND j.failure_reason <> 'stale'
    -- `cancel` has had its effect on a batch that was asked to stop, even if the batch then ended as failed because some of its
    -- partitions had failed before.
    WHEN 'cancel' THEN j.status = 'cancelled'
      OR j.cancel_requested_at IS NOT NULL AND (j.status = 'running' OR j.children IS NOT NULL)
    WHEN 'acknowledge_cancel' THEN j.status = 'cancelled'
    WHEN 'retry' THEN j.status = 'pending' AND j.attempt > 1
  END
$$;

-- The error code with which the command is refused for the job, or null. `batch` is the job's batch if the job is a partition.
CREATE FUNCTION headway.refusal_of(j public.progress_jobs, batch public.progress_jobs, command text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN j.children IS NOT NULL AND command IN ('start', 'complete', 'fail', 'acknowledge_cancel') THEN 'is_batch'
    WHEN command = 'retry' THEN CASE
      WHEN j.status = 'completed' THEN 'already_finished'
      WHEN j.status IN ('pending', 'running') THEN 'not_retryable'
      -- The batch was asked to stop and has not ended yet: a retry would give it new work.
      WHEN batch.cancel_requested_at IS NOT NULL AND batch.finished_at IS NULL THEN 'not_retryable'
    END
    WHEN j.finished_at IS NOT NULL AND NOT (coalesce(j.failure_reason = 'stale', false)
      AND command IN ('complete', 'fail', 'acknowledge_cancel')) THEN 'already_finished'
    WHEN command = 'cancel' AND NOT j.cancellable THEN 'not_cancellable'
    WHEN command = 'acknowledge_cancel' AND NOT j.cancellable AND j.cancel_requested_at IS NULL THEN 'not_cancellable'
  END
$$;

-- Carries out a command on a job that is no batch, and answers its new row. The caller holds the job's lock and has checked
-- that nothing refuses the command. One change makes one entry in the history.
CREATE FUNCTION headway.apply_command(j public.progress_jobs, at timestamptz, command text, actor text, input jsonb)
RETURNS public.progress_jobs LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  event_data jsonb := '{}';
  history headway.type_history;
BEGIN
  j.eta_seconds := headway.eta_at(j, at);
  j.updated_at := at;
  j.revision := j.revision + 1;
  j.lifecycle_revision := j.revision;
  CASE
    WHEN command = 'start' THEN
      j.lifecycle := 'started';
      j.status := 'running';
      j.liveness := 'ok';
      j.started_at := at;
      j.heartbeat_at := at;
      history := headway.history_of(j.tenant_id, j.job_type, j.parent_job_id IS NOT NULL);
      j.expected_seconds := history.expected_seconds;
      j.shape := history.shape;
      j.long_seconds := history.long_seconds;
      IF j.expected_seconds > 0 THEN
        j.eta_seconds := ceil(j.expected_seconds);
        j.eta_source := 'history';
        j.eta_spread := headway.eta_spread(j.shape, NULL, 1, NULL, NULL);
      END IF;
    WHEN command = 'cancel' AND j.status = 'running' THEN
      j.lifecycle := 'cancel_requested';
      j.cancel_requested_at := at;
      j.cancelled_by_user_id := actor;
    WHEN command = 'retry' THEN
      event_data := jsonb_build_object('previousStatus', j.status);
      DELETE FROM public.job_progress w WHERE w.job_id = j.id;
      j := headway.begin_attempt(j);
    ELSE
      -- complete, fail, acknowledge_cancel, and cancel of a job that is still pending
      j.liveness := NULL;
      j.finished_at := at;
      j.finished_xact := pg_current_xact_id();
      j.eta_source := NULL;
      j.eta_spread := NULL;
      j.eta_seconds := CASE WHEN command = 'complete' THEN 0 END;
      j.failure_reason := NULL;
      j.error_message := NULL;
      j.message := coalesce(input ->> 'message', j.message);
      -- A job can end without having been started. It then starts and ends at the same time, and the history has one entry, for
      -- the end.
      IF command IN ('complete', 'fail') THEN
        j.started_at := coalesce(j.started_at, at);
      END IF;
      CASE command
        WHEN 'complete' THEN
          j.lifecycle := 'completed';
          j.status := 'completed';
          j.progress_percent := 100;
          j.result_summary := input -> 'resultSummary';
        WHEN 'fail' THEN
          j.lifecycle := 'failed';
          j.status := 'failed';
          j.failure_reason := 'worker';
          j.error_message := input ->> 'errorMessage';
          j.error_stack := input ->> 'errorStack';
        ELSE
          j.lifecycle := 'cancelled';
          j.status := 'cancelled';
          j.cancelled_by_user_id := CASE WHEN j.cancel_requested_at IS NULL THEN actor ELSE j.cancelled_by_user_id END;
          j.cancel_requested_at := coalesce(j.cancel_requested_at, at);
      END CASE;
      event_data := headway.end_document(
        j.progress_percent, j.processed_count, j.total_count, j.failure_reason, j.error_message);
  END CASE;
  j := headway.store_job(j);
  INSERT INTO public.job_events (job_id, type, at, actor, attempt, data)
  VALUES (j.id, j.lifecycle, at, apply_command.actor, j.attempt, event_data);
  RETURN j;
END
$$;

-- The job as it is at the beginning of its next attempt.
CREATE FUNCTION headway.begin_attempt(j public.progress_jobs) RETURNS public.progress_jobs LANGUAGE plpgsql AS $$
BEGIN
  j.lifecycle := 'retried';
  j.status := 'pending';
  j.attempt := j.attempt + 1;
  j.progress_percent := 0;
  j.processed_count := 0;
  j.total_count := j.own_total_count;
  j.throughput_per_second := NULL;
  j.eta_seconds := NULL;
  j.eta_source := NULL;
  j.eta_spread := NULL;
  j.expected_seconds := NULL;
  j.shape := NULL;
  j.long_seconds := NULL;
  j.share_path := NULL;
  j.share_step := NULL;
  j.shape_odds := NULL;
  j.percent_at := NULL;
  j.unusual := false;
  j.deadline := NULL;
  j.doubted_since := NULL;
  j.calm_since := NULL;
  j.stage := NULL;
  j.message := NULL;
  j.advanced_at := NULL;
  j.started_at := NULL;
  j.heartbeat_at := NULL;
  j.finished_at := NULL;
  j.finished_xact := NULL;
  j.result_summary := NULL;
  j.error_message := NULL;
  j.error_stack := NULL;
  j.failure_reason := NULL;
  j.cancel_requested_at := NULL;
  j.cancelled_by_user_id := NULL;
  j.sampled_at := NULL;
  j.sampled_percent := NULL;
  -- The total of a stage belongs to the attempt that reported it.
  IF j.stages IS NOT NULL THEN
    j.own_total_count := NULL;
    j.total_count := NULL;
  END IF;
  RETURN j;
END
$$;

-- Stores every column that a command may change, and answers the stored row.
CREATE FUNCTION headway.store_job(j public.progress_jobs) RETURNS public.progress_jobs LANGUAGE sql AS $$
  UPDATE public.progress_jobs p SET
    status = j.status, progress_percent = j.progress_percent, processed_count = j.processed_count,
    total_count = j.total_count, own_total_count = j.own_total_count, throughput_per_second = j.throughput_per_second,
    eta_seconds = j.eta_seconds, eta_source = j.eta_source, expected_seconds = j.expected_seconds,
    eta_spread = j.eta_spread, shape = j.shape, long_seconds = j.long_seconds, share_path = j.share_path, share_step = j.share_step,
    shape_odds = j.shape_odds, percent_at = j.percent_at, unusual = j.unusual, deadline = j.deadline,
    doubted_since = j.doubted_since, calm_since = j.calm_since, stage = j.stage,
    message = j.message, liveness = j.liveness, advanced_at = j.advanced_at,
    cancelled_by_user_id = j.cancelled_by_user_id, started_at = j.started_at, heartbeat_at = j.heartbeat_at,
    finished_at = j.finished_at, finished_xact = j.finished_xact, updated_at = j.updated_at, result_summary = j.result_summary,
    error_message = j.error_message, error_stack = j.error_stack, failure_reason = j.failure_reason,
    cancel_requested_at = j.cancel_requested_at, attempt = j.attempt, revision = j.revision, lifecycle = j.lifecycle,
    lifecycle_revision = j.lifecycle_revision, sampled_at = j.sampled_at, sampled_percent = j.sampled_percent
  WHERE p.id = j.id
  RETURNING p.*
$$;

-- Cancels or retries a batch by changing its partitions. The caller holds the batch's lock. `cancel` cancels the pending
-- partitions and asks the running ones to stop. `retry` begins a new attempt of the failed and the cancelled partitions.
-- Answers all jobs that changed, the batch included.
CREATE FUNCTION headway.change_batch(b public.progress_jobs, at timestamptz, command text, actor text)
RETURNS SETOF headway.change LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  p public.progress_jobs;
BEGIN
  FOR p IN SELECT * FROM public.progress_jobs WHERE parent_job_id = b.id ORDER BY id FOR NO KEY UPDATE LOOP
    IF headway.refusal_of(p, NULL, command) IS NULL AND NOT headway.is_done_already(p, command) THEN
      p := headway.apply_command(p, at, command, actor, '{}');
      RETURN NEXT ROW (p.tenant_id, p.id, p.revision, true, false, p.job_type, p.lifecycle)::headway.change;
    END IF;
  END LOOP;
  IF command = 'retry' THEN
    PERFORM headway.store_job(headway.begin_attempt(b));
    RETURN QUERY SELECT * FROM headway.roll_up(
      ARRAY[b.id], at, command, 'retried', actor, jsonb_build_object('previousStatus', b.status));
  ELSE
    UPDATE public.progress_jobs SET cancel_requested_at = at, cancelled_by_user_id = actor WHERE id = b.id;
    RETURN QUERY SELECT * FROM headway.roll_up(ARRAY[b.id], at, command, 'cancel_requested', actor);
  END IF;
END
$$;

-- One command on one job. `input` carries attempt, resultSummary, message, errorMessage, errorStack where the command takes them.
--
--   start              pending -> running
--   complete, fail     pending, running, failed as stale -> completed, failed
--   cancel             pending -> cancelled; running -> running, asked to stop
--   acknowledge_cancel pending, running, failed as stale -> cancelled (asked to stop, or cancellable)
--   retry              failed, cancelled -> pending, next attempt
--
-- Answers an error code, or null and the job's document. `others` are the other jobs that changed: the partitions of a batch,
-- or the batch of a partition.
CREATE FUNCTION headway.change_job(
  job_id uuid, tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid,
  command text, actor text, input jsonb
) RETURNS TABLE (code text, job_status text, changed boolean, revision bigint, document json, others json)
LANGUAGE plpgsql SET jit = off SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
  j public.progress_jobs;
  batch public.progress_jobs;
  at timestamptz(3);
  done boolean;
  refusal text;
BEGIN
  SELECT p.* INTO j FROM public.progress_jobs p
  WHERE p.id = change_job.job_id AND headway.sees(
    p, change_job.tenant_id, change_job.all_organizations, change_job.organization_id, change_job.scope_job_id) IS TRUE;
  -- Locks the batch before its partition, in the order that locks.sql prescribes. `headway.sees` reads only columns that never
  -- change, so its result still holds after the lock is taken.
  SELECT p.* INTO batch FROM public.progress_jobs p WHERE p.id = j.parent_job_id FOR NO KEY UPDATE;
  SELECT p.* INTO j FROM public.progress_jobs p WHERE p.id = j.id FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'job_not_found', NULL, false, NULL::bigint, NULL::json, NULL::json;
    RETURN;
  END IF;
  at := headway.clock();

  done := headway.is_done_already(j, command);
  refusal := CASE
    WHEN (input ->> 'attempt')::integer <> j.attempt THEN 'superseded'
    WHEN NOT done THEN headway.refusal_of(j, batch, command)
  END;
  IF refusal IS NOT NULL OR done THEN
    RETURN QUERY SELECT refusal, j.status, false, j.revision, headway.job_document(j), NULL::json;
    RETURN;
  END IF;

  IF j.children IS NOT NULL THEN
    others := (
      SELECT json_agg(headway.change_document(c)) FROM headway.change_batch(j, at, command, actor) c WHERE c.job_id <> j.id);
    SELECT p.* INTO j FROM public.progress_jobs p WHERE p.id = j.id;
  ELSE
    j := headway.apply_command(j, at, command, actor, input);
    IF batch.id IS NOT NULL THEN
      others := (SELECT json_agg(headway.change_document(c)) FROM headway.roll_up(ARRAY[batch.id], at, command) c);
    END IF;
  END IF;
  RETURN QUERY SELECT NULL, j.status, true, j.revision, headway.job_document(j), others;
END
$$;

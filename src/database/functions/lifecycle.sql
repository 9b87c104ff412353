-- Everything that changes a job's state apart from heartbeats. Decided by the row under its lock, never by read-then-write,
-- in one round trip: no lock is ever held while a caller thinks.

-- Records a lifecycle change of a job that the caller has locked and updated.
CREATE FUNCTION headway.record_event(j progress_jobs, actor text, data jsonb) RETURNS void LANGUAGE sql AS $$
  INSERT INTO job_events (job_id, type, at, actor, attempt, data)
  VALUES (j.id, j.lifecycle, j.updated_at, actor, j.attempt, data)
$$;

-- One command on one job. `input` carries attempt, resultSummary, errorMessage, errorStack where the command takes them.
--
--   start              pending -> running
--   complete, fail     pending, running, failed as stale -> completed, failed
--   cancel             pending -> cancelled; running -> running, asked to stop
--   acknowledge_cancel pending, running, failed as stale -> cancelled (asked to stop, or cancellable)
--   retry              failed, cancelled -> pending, next attempt
--
-- The same command again changes nothing and is no error: its answer may have been lost.
-- Answers an error code, or null and the job's document.
CREATE FUNCTION headway.change_job(
  job_id uuid, tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid,
  command text, actor text, input jsonb
) RETURNS TABLE (code text, job_status text, changed boolean, revision bigint, document json)
LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
#variable_conflict use_column
DECLARE
  j progress_jobs;
  at timestamptz(3);
  stale boolean;
  already boolean;
  refusal text;
  event_data jsonb := '{}';
BEGIN
  SELECT p.* INTO j FROM progress_jobs p
  WHERE p.id = change_job.job_id AND p.tenant_id = change_job.tenant_id
    AND (change_job.all_organizations OR p.organization_id IS NOT DISTINCT FROM change_job.organization_id)
    AND (change_job.scope_job_id IS NULL OR change_job.scope_job_id IN (p.id, p.parent_job_id))
  FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'job_not_found', NULL, false, NULL::bigint, NULL::json;
    RETURN;
  END IF;
  at := headway.clock();
  stale := coalesce(j.failure_reason = 'stale', false);

  already := CASE command
    WHEN 'start' THEN j.status = 'running'
    WHEN 'complete' THEN j.status = 'completed'
    WHEN 'fail' THEN j.status = 'failed' AND NOT stale
    WHEN 'cancel' THEN j.status = 'cancelled' OR j.status = 'running' AND j.cancel_requested_at IS NOT NULL
    WHEN 'acknowledge_cancel' THEN j.status = 'cancelled'
    WHEN 'retry' THEN j.status = 'pending' AND j.attempt > 1
  END;
  refusal := CASE
    WHEN (input ->> 'attempt')::integer <> j.attempt THEN 'superseded'
    WHEN already THEN NULL
    WHEN j.children IS NOT NULL AND command IN ('start', 'complete', 'fail', 'acknowledge_cancel') THEN 'is_batch'
    WHEN command = 'retry' THEN
      CASE j.status WHEN 'completed' THEN 'already_finished' WHEN 'pending' THEN 'not_retryable' WHEN 'running' THEN 'not_retryable' END
    WHEN j.finished_at IS NOT NULL AND NOT (stale AND command IN ('complete', 'fail', 'acknowledge_cancel')) THEN 'already_finished'
    WHEN command = 'cancel' AND NOT j.cancellable THEN 'not_cancellable'
    WHEN command = 'acknowledge_cancel' AND NOT j.cancellable AND j.cancel_requested_at IS NULL THEN 'not_cancellable'
  END;
  IF refusal IS NOT NULL OR already THEN
    RETURN QUERY SELECT refusal, j.status, false, j.revision, headway.job_document(j);
    RETURN;
  END IF;

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
    WHEN command = 'cancel' AND j.status = 'running' THEN
      j.lifecycle := 'cancel_requested';
      j.cancel_requested_at := at;
      j.cancelled_by_user_id := actor;
    WHEN command = 'retry' THEN
      event_data := jsonb_build_object('previousStatus', j.status);
      DELETE FROM job_progress w WHERE w.job_id = j.id;
      j.lifecycle := 'retried';
      j.status := 'pending';
      j.attempt := j.attempt + 1;
      j.progress_percent := 0;
      j.processed_count := 0;
      j.total_count := j.own_total_count;
      j.throughput_per_second := NULL;
      j.eta_seconds := NULL;
      j.eta_source := NULL;
      j.stage := NULL;
      j.message := NULL;
      j.advanced_at := NULL;
      j.started_at := NULL;
      j.heartbeat_at := NULL;
      j.finished_at := NULL;
      j.result_summary := NULL;
      j.error_message := NULL;
      j.error_stack := NULL;
      j.failure_reason := NULL;
      j.cancel_requested_at := NULL;
      j.cancelled_by_user_id := NULL;
    ELSE
      -- complete, fail, acknowledge_cancel, and cancel of a job that has not begun
      event_data := jsonb_build_object('processedCount', j.processed_count, 'totalCount', j.total_count);
      j.liveness := NULL;
      j.finished_at := at;
      j.eta_source := NULL;
      j.eta_seconds := CASE WHEN command = 'complete' THEN 0 END;
      j.failure_reason := NULL;
      j.error_message := NULL;
      -- A job that nobody started has begun by now. One change, one entry in the history: its end.
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
          event_data := event_data || jsonb_build_object('failureReason', 'worker', 'errorMessage', j.error_message);
        ELSE
          j.lifecycle := 'cancelled';
          j.status := 'cancelled';
          j.cancelled_by_user_id := CASE WHEN j.cancel_requested_at IS NULL THEN actor ELSE j.cancelled_by_user_id END;
          j.cancel_requested_at := coalesce(j.cancel_requested_at, at);
      END CASE;
  END CASE;

  UPDATE progress_jobs p SET
    status = j.status, progress_percent = j.progress_percent, processed_count = j.processed_count,
    total_count = j.total_count, throughput_per_second = j.throughput_per_second, eta_seconds = j.eta_seconds,
    eta_source = j.eta_source, stage = j.stage, message = j.message, liveness = j.liveness, advanced_at = j.advanced_at,
    cancelled_by_user_id = j.cancelled_by_user_id, started_at = j.started_at, heartbeat_at = j.heartbeat_at,
    finished_at = j.finished_at, updated_at = j.updated_at, result_summary = j.result_summary,
    error_message = j.error_message, error_stack = j.error_stack, failure_reason = j.failure_reason,
    cancel_requested_at = j.cancel_requested_at, attempt = j.attempt, revision = j.revision, lifecycle = j.lifecycle,
    lifecycle_revision = j.lifecycle_revision
  WHERE p.id = j.id
  RETURNING p.* INTO j;
  PERFORM headway.record_event(j, actor, event_data);
  RETURN QUERY SELECT NULL::text, j.status, true, j.revision, headway.job_document(j);
END
$$;

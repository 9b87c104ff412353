-- Functions for workers that have a database connection and no HTTP. They do what a heartbeat, `complete` and `fail` do, under
-- the same rules and with the same events. They run with the rights of their owner, so a worker's role needs no rights on the
-- tables. Only members of the role headway_worker may call them (database/worker-role.ts). They and the functions that they
-- call search pg_catalog alone. In a schema where others may create functions and operators, one of these could match better
-- than a built-in one, and would run with the owner's rights. Workers call update_job_progress, complete_job_progress and
-- error_job_progress in the schema `headway`. The service moves these three there, whatever schema the generation has.
--
-- They notify in the caller's transaction, and hold the job's lock until that transaction ends. A caller should commit at once,
-- and change one job per transaction. Each function answers what an HTTP heartbeat answers; `cancelRequested` tells the worker
-- to stop. A refusal is an exception with SQLSTATE HW001, whose message begins with the error code that HTTP would answer.

-- Whether a text that names something can be shown within a line: the rule and the lists of src/contract/shown-text.ts. The
-- first pattern matches characters that cannot stand in a line, joiners that follow a blank or ASCII, and tags that follow no
-- black flag. The second pattern matches any character that can be seen.
CREATE FUNCTION headway.is_shown_text(given text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT AS $$
  SELECT given !~ (
      '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb'
      '\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff]'
      '|(?<![^\u0001-\u00a0\u00ad\u061c\u115f\u1160\u1680\u17b4\u17b5\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800'
      '\u3000\u3164\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a'
      '\U000e0000-\U000e00ff\U000e01f0-\U000e0fff])[\u200c\u200d]'
      '|(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]')
    AND given ~ (
      '[^\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f'
      '\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb'
      '\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]')
$$;

-- A report of the worker `default`. A parameter that is null leaves its value as it is.
CREATE FUNCTION headway.update_job_progress(
  job_id uuid, stage text DEFAULT NULL, current_step bigint DEFAULT NULL, total_steps bigint DEFAULT NULL, message text DEFAULT NULL
) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET jit = off SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  report json := json_build_array(json_strip_nulls(json_build_object(
    'i', 0, 'job_id', job_id, 'worker_id', 'default', 'actor', session_user,
    'tenant_id', (SELECT j.tenant_id FROM public.progress_jobs j WHERE j.id = update_job_progress.job_id), 'all_organizations', true,
    'processed_count', current_step, 'total_count', total_steps, 'stage', stage, 'message', message)));
  outcome record;
  changes json;
BEGIN
  PERFORM headway.refuse('validation_failed', job_id)
  -- Integers above 2^53-1 are not exact in JSON.
  WHERE current_step NOT BETWEEN 0 AND 9007199254740991 OR total_steps NOT BETWEEN 0 AND 9007199254740991
    OR length(stage) NOT BETWEEN 1 AND 100 OR NOT headway.is_shown_text(stage) OR length(message) > 500;
  FOR outcome IN SELECT * FROM headway.flush_patiently(job_id, report) LOOP
    IF outcome.items IS NULL THEN
      changes := outcome.others;
    ELSE
      PERFORM headway.refuse(outcome.code, job_id) WHERE outcome.code IS NOT NULL;
      PERFORM headway.notify_change(job_id, outcome.revisions[1], outcome.lifecycle_changed) WHERE outcome.changed;
    END IF;
  END LOOP;
  PERFORM headway.notify_others(changes);
  RETURN headway.worker_answer(job_id);
END
$$;

-- Completes the job.
CREATE FUNCTION headway.complete_job_progress(job_id uuid, message text DEFAULT NULL) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET jit = off SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM headway.refuse('validation_failed', job_id) WHERE length(message) > 500;
  RETURN headway.finish_job_progress(job_id, 'complete', jsonb_build_object('message', message));
END
$$;

-- Ends the job as failed.
CREATE FUNCTION headway.error_job_progress(job_id uuid, error_message text) RETURNS json
LANGUAGE plpgsql SECURITY DEFINER SET jit = off SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM headway.refuse('validation_failed', job_id) WHERE coalesce(length(error_message), 0) NOT BETWEEN 1 AND 2000;
  RETURN headway.finish_job_progress(job_id, 'fail', jsonb_build_object('errorMessage', error_message));
END
$$;

CREATE FUNCTION headway.finish_job_progress(job_id uuid, command text, input jsonb) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
  outcome record;
BEGIN
  SELECT c.* INTO outcome FROM headway.change_job(
    job_id, (SELECT j.tenant_id FROM public.progress_jobs j WHERE j.id = finish_job_progress.job_id), true, NULL, NULL,
    command, session_user, input) c;
  PERFORM headway.refuse(outcome.code, job_id) WHERE outcome.code IS NOT NULL;
  PERFORM headway.notify_change(job_id, outcome.revision, true,
    CASE command WHEN 'complete' THEN 'completed' WHEN 'fail' THEN 'failed' END) WHERE outcome.changed;
  PERFORM headway.notify_others(outcome.others);
  RETURN headway.worker_answer(job_id);
END
$$;

-- headway.flush gives up on a lock after 250 ms, because other heartbeats wait behind it. Here only one worker waits, so this
-- tries for up to 5 s.
CREATE FUNCTION headway.flush_patiently(job_id uuid, report json) RETURNS SETOF headway.heartbeat_answers
LANGUAGE plpgsql AS $$
DECLARE
  deadline timestamptz := clock_timestamp() + interval '5 seconds';
BEGIN
  LOOP
    BEGIN
      RETURN QUERY SELECT * FROM headway.flush(false, NULL, ARRAY[job_id], report, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL);
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() > deadline THEN
        RAISE;
      END IF;
    END;
  END LOOP;
END
$$;

-- Raises a refusal, which ends the call and the caller's statement.
CREATE FUNCTION headway.refuse(code text, job_id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%: job %', code, job_id USING ERRCODE = 'HW001';
END
$$;

-- Tells every replica of a change, as live/payload.ts does, and stores a lifecycle change for the process that logs and counts
-- it. `event` is the kind of the change; null if it is only known that a heartbeat made it.
CREATE FUNCTION headway.notify_change(job_id uuid, revision bigint, lifecycle boolean, event text DEFAULT NULL)
RETURNS void LANGUAGE sql AS $$
  INSERT INTO public.untold_changes (tenant_id, job_id, job_type, revision, event)
  SELECT j.tenant_id, j.id, j.job_type, notify_change.revision, notify_change.event
  FROM public.progress_jobs j WHERE j.id = job_id AND notify_change.lifecycle;
  SELECT pg_notify('headway', json_build_array(json_build_array(j.tenant_id, json_build_array(json_build_array(
    j.id, notify_change.revision, notify_change.lifecycle::integer, notify_change.lifecycle::integer))))::text)
  FROM public.progress_jobs j WHERE j.id = job_id
$$;

CREATE FUNCTION headway.notify_others(others json) RETURNS void LANGUAGE sql AS $$
  SELECT headway.notify_change(o."jobId", o.revision, o.lifecycle, o.event)
  FROM json_to_recordset(coalesce(others, '[]')) AS o ("jobId" uuid, revision bigint, lifecycle boolean, event text)
$$;

CREATE FUNCTION headway.worker_answer(job_id uuid) RETURNS json LANGUAGE sql STABLE AS $$
  SELECT json_build_object('jobId', j.id, 'workerId', 'default', 'status', j.status,
    'cancelRequested', j.cancel_requested_at IS NOT NULL, 'progressPercent', j.progress_percent, 'revision', j.revision)
  FROM public.progress_jobs j WHERE j.id = job_id
$$;

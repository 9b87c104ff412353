-- Marks of hours whose finished jobs have changed afterwards. A roll-up of an hour (statistics.sql) is only read while the hour has
-- no mark. Triggers set the marks, because every way of changing a finished job has to: commands, heartbeats, the retention, a
-- cascade, an import, an operator's own SQL, and replicas of an older version.
--
-- A job that finishes now sets no mark, and neither does a change of a job that finished less than five minutes ago: an hour is
-- rolled up once every transaction that may have made such a change is over (headway.roll_up_statistics). So the ordinary end of a
-- job costs one comparison.

-- Marks the hours of these moments, each once in a transaction. Other transactions may have marked the same hour: whether such a
-- mark still counts for this change cannot be known before this transaction commits.
--
-- This function and the next one are PL/pgSQL because it keeps their plans. A function in SQL is planned for each row: that took
-- four fifths of the time of retention.
CREATE FUNCTION headway.mark_hours(tenant_id uuid, moments timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.statistics_marks (tenant_id, hour)
  SELECT DISTINCT mark_hours.tenant_id, date_trunc('hour', m.at, 'UTC') FROM unnest(moments) AS m (at)
  WHERE m.at IS NOT NULL AND NOT EXISTS (
    SELECT FROM public.statistics_marks k WHERE k.tenant_id = mark_hours.tenant_id AND k.hour = date_trunc('hour', m.at, 'UTC')
      AND k.xmin = pg_current_xact_id()::xid);
END
$$;

-- When a job was ended for its silence, in all its attempts.
CREATE FUNCTION headway.alarms_of(job_id uuid) RETURNS timestamptz[] LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN (
    SELECT array_agg(e.at::timestamptz) FROM public.job_events e
    WHERE e.job_id = alarms_of.job_id AND e.type = 'failed' AND e.data ->> 'failureReason' = 'stale');
END
$$;

-- A finished job was inserted, changed or erased. A job that is erased, or has another type, tenant or organization, takes its
-- alarms with it.
CREATE FUNCTION headway.mark_job() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM headway.mark_hours(OLD.tenant_id, headway.alarms_of(OLD.id) || OLD.finished_at::timestamptz);
    RETURN OLD;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF (OLD.tenant_id, OLD.organization_id, OLD.job_type) IS DISTINCT FROM (NEW.tenant_id, NEW.organization_id, NEW.job_type) THEN
      PERFORM headway.mark_hours(OLD.tenant_id, headway.alarms_of(OLD.id));
      PERFORM headway.mark_hours(NEW.tenant_id, headway.alarms_of(OLD.id));
    END IF;
    PERFORM headway.mark_hours(OLD.tenant_id, ARRAY[OLD.finished_at::timestamptz]);
  END IF;
  PERFORM headway.mark_hours(NEW.tenant_id, ARRAY[NEW.finished_at::timestamptz]);
  RETURN NULL;
END
$$;

-- An entry of the past was added to the history, changed or erased by hand. Whether a job counts as stale or recovered in an hour
-- depends on its other alarms, too. Where the entry is erased with its job, headway.mark_job has marked the hours.
CREATE FUNCTION headway.mark_event() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off SET enable_seqscan = off AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    PERFORM headway.mark_hours(j.tenant_id, headway.alarms_of(j.id) || OLD.at::timestamptz)
    FROM public.progress_jobs j WHERE j.id = OLD.job_id;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    PERFORM headway.mark_hours(j.tenant_id, headway.alarms_of(j.id)) FROM public.progress_jobs j WHERE j.id = NEW.job_id;
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION headway.forget_statistics() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
  DELETE FROM public.statistics_coverage;
  DELETE FROM public.statistics_rollups;
  RETURN NULL;
END
$$;

-- Without the triggers, changes were made that nothing has marked: an operator went back to a version that does not have them.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'public.progress_jobs'::regclass AND tgname = 'progress_jobs_statistics') THEN
    DELETE FROM public.statistics_coverage;
    DELETE FROM public.statistics_rollups;
  END IF;
END $$;

-- No heartbeat that only counts names one of these columns. One that does (flush_any.sql) costs the comparisons in WHEN.
CREATE OR REPLACE TRIGGER progress_jobs_statistics
AFTER UPDATE OF finished_at, status, started_at, failure_reason, finish_by, finish_within_seconds, parent_job_id
ON public.progress_jobs FOR EACH ROW WHEN (
  (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL)
  AND (OLD.finished_at < clock_timestamp() - interval '5 minutes' OR NEW.finished_at < clock_timestamp() - interval '5 minutes')
  AND (OLD.finished_at, OLD.failure_reason, OLD.completed_seconds, OLD.completed_count, OLD.completed_unit, OLD.late_seconds,
      OLD.parent_job_id)
    IS DISTINCT FROM (NEW.finished_at, NEW.failure_reason, NEW.completed_seconds, NEW.completed_count, NEW.completed_unit,
      NEW.late_seconds, NEW.parent_job_id)
) EXECUTE FUNCTION headway.mark_job();

CREATE OR REPLACE TRIGGER progress_jobs_statistics_key AFTER UPDATE OF tenant_id, organization_id, job_type
ON public.progress_jobs FOR EACH ROW EXECUTE FUNCTION headway.mark_job();

CREATE OR REPLACE TRIGGER progress_jobs_statistics_insert AFTER INSERT ON public.progress_jobs FOR EACH ROW
WHEN (NEW.finished_at < clock_timestamp() - interval '5 minutes') EXECUTE FUNCTION headway.mark_job();

-- Before, because the history is erased with its job.
CREATE OR REPLACE TRIGGER progress_jobs_statistics_delete BEFORE DELETE ON public.progress_jobs FOR EACH ROW
EXECUTE FUNCTION headway.mark_job();

CREATE OR REPLACE TRIGGER progress_jobs_statistics_truncate AFTER TRUNCATE ON public.progress_jobs FOR EACH STATEMENT
EXECUTE FUNCTION headway.forget_statistics();

CREATE OR REPLACE TRIGGER job_events_statistics_insert AFTER INSERT ON public.job_events FOR EACH ROW
WHEN (NEW.type IN ('failed', 'recovered', 'completed', 'cancelled') AND NEW.at < clock_timestamp() - interval '5 minutes')
EXECUTE FUNCTION headway.mark_event();

CREATE OR REPLACE TRIGGER job_events_statistics_update AFTER UPDATE ON public.job_events FOR EACH ROW
EXECUTE FUNCTION headway.mark_event();

CREATE OR REPLACE TRIGGER job_events_statistics_delete AFTER DELETE ON public.job_events FOR EACH ROW
WHEN (OLD.type IN ('failed', 'recovered', 'completed', 'cancelled')) EXECUTE FUNCTION headway.mark_event();

CREATE OR REPLACE TRIGGER job_events_statistics_truncate AFTER TRUNCATE ON public.job_events FOR EACH STATEMENT
EXECUTE FUNCTION headway.forget_statistics();

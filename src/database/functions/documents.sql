-- Documents are built in the database: this is the one place that maps columns to JSON fields, for every reader.

CREATE FUNCTION headway.iso(t timestamptz) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- A rate as documents show it: digits after the fourth are chance.
CREATE FUNCTION headway.four_digits(rate float8) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN rate > 0 THEN round(rate::numeric, 3 - floor(log(rate))::integer)::float8 ELSE rate END
$$;

-- For how long a job's heartbeats have changed nothing, in whole seconds. So much was added to `eta_seconds`, because readers
-- subtract the time since `updated_at`.
CREATE FUNCTION headway.unchanged_seconds(j public.progress_jobs) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT greatest(0, ceil(headway.seconds(j.heartbeat_at, j.updated_at)))::bigint
$$;

-- The range of the time left, as of `updated_at`. Only the time that is left is uncertain, and not the time since `updated_at`.
-- The limit is that of headway.hold_seconds. That function uses its argument twice, so Postgres would call it for each job of a
-- list, a flush and a sweep, which takes ten times as long as the formula.
CREATE FUNCTION headway.eta_low_seconds(j public.progress_jobs) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN j.eta_seconds IS NOT NULL AND j.eta_spread IS NOT NULL THEN least(9007199254740991, headway.unchanged_seconds(j)
    + headway.eta_low(j.eta_seconds - least(j.eta_seconds, headway.unchanged_seconds(j)), j.eta_spread))::bigint END
$$;

CREATE FUNCTION headway.eta_high_seconds(j public.progress_jobs) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN j.eta_seconds IS NOT NULL AND j.eta_spread IS NOT NULL THEN least(9007199254740991, headway.unchanged_seconds(j)
    + headway.eta_high(j.eta_seconds - least(j.eta_seconds, headway.unchanged_seconds(j)), j.eta_spread))::bigint END
$$;

-- The document of a batch's partitions. jsonb sorts keys by their length; this is the order for people. `stalled` is 0 for a
-- batch that was last rolled up by a version that did not count it.
CREATE FUNCTION headway.children_document(c jsonb) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN c IS NOT NULL THEN json_build_object('total', c -> 'total', 'pending', c -> 'pending',
    'running', c -> 'running', 'stalled', coalesce(c -> 'stalled', '0'), 'completed', c -> 'completed', 'failed', c -> 'failed', 'cancelled', c -> 'cancelled',
    'current', c -> 'current', 'errors', c -> 'errors',
    -- A batch that was last rolled up by an earlier version has no `failures`.
    'failures', coalesce(c -> 'failures', '[]')) END
$$;

-- How many workers have reported in the job's present attempt: the length of `workers` in the job's REST answer.
CREATE FUNCTION headway.worker_count(j public.progress_jobs) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT count(*) FROM public.job_progress w WHERE w.job_id = j.id AND w.attempt = j.attempt
$$;

-- The job as REST lists show it: without the stack of its error, because the stacks of a page of 100 could be a megabyte.
CREATE FUNCTION headway.listed_job_document(j public.progress_jobs) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT row_to_json(d) FROM (SELECT
    j.id, j.job_type AS "jobType", j.name, j.description, j.status,
    j.progress_percent AS "progressPercent", j.processed_count AS "processedCount", j.total_count AS "totalCount",
    j.remaining_count AS "remainingCount", j.unit, headway.four_digits(j.throughput_per_second) AS "throughputPerSecond",
    j.eta_seconds AS "etaSeconds", j.eta_source AS "etaSource",
    headway.eta_low_seconds(j) AS "etaLowSeconds", headway.eta_high_seconds(j) AS "etaHighSeconds",
    j.stage, j.stages, j.message, j.liveness,
    headway.iso(j.advanced_at) AS "advancedAt", headway.worker_count(j) AS "workerCount",
    j.started_by_user_id AS "startedByUserId", j.cancelled_by_user_id AS "cancelledByUserId",
    headway.iso(j.started_at) AS "startedAt", headway.iso(j.heartbeat_at) AS "heartbeatAt",
    headway.iso(j.finished_at) AS "finishedAt", headway.iso(j.created_at) AS "createdAt",
    headway.iso(j.updated_at) AS "updatedAt",
    j.result_summary AS "resultSummary", j.error_message AS "errorMessage",
    j.failure_reason AS "failureReason", j.meta, j.cancellable,
    headway.iso(j.cancel_requested_at) AS "cancelRequestedAt", j.priority, j.attempt,
    j.heartbeat_timeout_seconds AS "heartbeatTimeoutSeconds", j.pending_timeout_seconds AS "pendingTimeoutSeconds",
    j.parent_job_id AS "parentJobId", j.partition_index AS "partitionIndex", j.partition_count AS "partitionCount",
    headway.children_document(j.children) AS children, j.tenant_id AS "tenantId", j.organization_id AS "organizationId",
    headway.iso(headway.finish_by(j)) AS "finishBy", j.finish_within_seconds AS "finishWithinSeconds",
    headway.shown_deadline(j) AS deadline, headway.usual_seconds(j) AS "usualSeconds", headway.is_unusual(j) AS unusual, j.revision
  ) d
$$;

-- The job as the REST answer of a single job shows it.
CREATE FUNCTION headway.job_document(j public.progress_jobs) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT (left(headway.listed_job_document(j)::text, -1) || ',"errorStack":' || coalesce(to_json(j.error_stack)::text, 'null') || '}')::json
$$;

-- The fields that a polling client needs.
CREATE FUNCTION headway.progress_document(j public.progress_jobs) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT row_to_json(d) FROM (SELECT
    j.id, j.status, j.progress_percent AS "progressPercent", j.processed_count AS "processedCount",
    j.total_count AS "totalCount", j.remaining_count AS "remainingCount", j.unit, j.stage, j.message,
    headway.four_digits(j.throughput_per_second) AS "throughputPerSecond", j.eta_seconds AS "etaSeconds", j.eta_source AS "etaSource",
    headway.eta_low_seconds(j) AS "etaLowSeconds", headway.eta_high_seconds(j) AS "etaHighSeconds",
    j.liveness, j.attempt, headway.iso(j.updated_at) AS "updatedAt",
    headway.iso(headway.finish_by(j)) AS "finishBy", headway.shown_deadline(j) AS deadline,
    headway.usual_seconds(j) AS "usualSeconds", headway.is_unusual(j) AS unusual, j.revision
  ) d
$$;

-- The live document without the job's result, on one line. Fields that are null are left out.
CREATE FUNCTION headway.live_fields(j public.progress_jobs) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT json_strip_nulls(row_to_json(d)) FROM (SELECT
    j.id, j.job_type AS "jobType", j.name, j.description, j.status, j.progress_percent AS "progressPercent",
    j.processed_count AS "processedCount", j.total_count AS "totalCount", j.unit,
    headway.four_digits(j.throughput_per_second) AS "throughputPerSecond", j.eta_seconds AS "etaSeconds", j.eta_source AS "etaSource",
    headway.eta_low_seconds(j) AS "etaLowSeconds", headway.eta_high_seconds(j) AS "etaHighSeconds",
    j.stage, j.stages, j.message, j.liveness, headway.iso(j.advanced_at) AS "advancedAt",
    headway.worker_count(j) AS "workerCount", j.attempt, j.priority, j.cancellable,
    headway.iso(j.cancel_requested_at) AS "cancelRequestedAt", j.started_by_user_id AS "startedByUserId",
    headway.iso(j.started_at) AS "startedAt",
    headway.iso(j.finished_at) AS "finishedAt", headway.iso(j.updated_at) AS "updatedAt",
    j.error_message AS "errorMessage", j.failure_reason AS "failureReason", j.parent_job_id AS "parentJobId",
    j.partition_index AS "partitionIndex", j.partition_count AS "partitionCount",
    headway.children_document(j.children) AS children, j.tenant_id AS "tenantId", j.organization_id AS "organizationId",
    headway.iso(headway.finish_by(j)) AS "finishBy", headway.shown_deadline(j) AS deadline,
    headway.usual_seconds(j) AS "usualSeconds", nullif(headway.is_unusual(j), false) AS unusual, j.revision
  ) d
$$;

-- The live document. The result is what the job's worker sent, its nulls included. A result of more than 8 KB as JSON is
-- replaced by the note that there is one: feeds keep all jobs that ended within a minute and snapshots have a thousand jobs. A
-- success should weigh no more than a failure, whose error message may have 2,000 characters of 4 bytes.
CREATE FUNCTION headway.live_document(j public.progress_jobs) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN j.result_summary IS NULL THEN headway.live_fields(j)
    ELSE (left(headway.live_fields(j)::text, -1) || CASE WHEN headway.json_fits(j.result_summary, 8192)
      THEN ',"resultSummary":' || j.result_summary::text ELSE ',"resultSummaryOmitted":true' END || '}')::json
  END
$$;

-- A worker's row. `at` is the database's time; the worker's own estimate is given as the time left at that moment.
CREATE FUNCTION headway.worker_document(w public.job_progress, at timestamptz, liveness text) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT row_to_json(d) FROM (SELECT
    w.worker_id AS "workerId", w.attempt, w.processed_count AS "processedCount", w.total_count AS "totalCount", w.unit,
    w.progress_percent AS "progressPercent",
    headway.four_digits(coalesce(
      w.throughput_per_second,
      headway.worker_rate(w.rate_units, w.rate_seconds, w.pace_seconds, w.paused_seconds, w.advances,
        headway.seconds(w.rate_at, w.rate_since), headway.seconds(at, w.rate_at))
    )) AS "throughputPerSecond",
    CASE WHEN w.eta_at > at THEN ceil(headway.seconds(w.eta_at, at))::bigint
      WHEN w.eta_at <= at THEN 0 END AS "etaSeconds",
    w.stage, w.message, w.payload, worker_document.liveness, headway.iso(w.advanced_at) AS "advancedAt",
    headway.iso(w.heartbeat_at) AS "heartbeatAt", headway.iso(w.created_at) AS "createdAt"
  ) d
$$;

-- The partitions of a batch in the order of their indexes: the fields that a program needs to hand them out to workers.
CREATE FUNCTION headway.partition_references(batch_id uuid) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT json_agg(json_build_object('id', p.id, 'name', p.name, 'partitionIndex', p.partition_index) ORDER BY p.partition_index)
  FROM public.progress_jobs p WHERE p.parent_job_id = batch_id
$$;

-- A partition as `GET /jobs/:id/partitions` shows it: what a picture of the whole batch needs, without what may be large (meta,
-- result, stack). Fields that are null are left out.
CREATE FUNCTION headway.partition_document(p public.progress_jobs) RETURNS json LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT json_strip_nulls(row_to_json(d)) FROM (SELECT
    p.id, p.name, p.status, p.progress_percent AS "progressPercent", p.processed_count AS "processedCount",
    p.total_count AS "totalCount", p.unit, headway.four_digits(p.throughput_per_second) AS "throughputPerSecond",
    p.eta_seconds AS "etaSeconds", p.stage, p.message, p.liveness, headway.iso(p.advanced_at) AS "advancedAt", p.attempt,
    p.cancellable, headway.iso(p.cancel_requested_at) AS "cancelRequestedAt", headway.iso(p.started_at) AS "startedAt",
    headway.iso(p.finished_at) AS "finishedAt", headway.iso(p.updated_at) AS "updatedAt", p.error_message AS "errorMessage",
    p.failure_reason AS "failureReason", p.partition_index AS "partitionIndex", headway.shown_deadline(p) AS deadline,
    p.revision
  ) d
$$;

-- The data of a progress entry in the history.
CREATE FUNCTION headway.sample_document(
  progress_percent integer, processed_count bigint, total_count bigint, throughput float8, eta float8, stage text,
  advanced_at timestamptz
) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'progressPercent', progress_percent, 'processedCount', processed_count, 'totalCount', total_count,
    'throughputPerSecond', headway.four_digits(throughput), 'etaSeconds', eta, 'stage', stage, 'advancedAt', headway.iso(advanced_at)))
$$;

-- The data of the entry in the history for a job's end.
CREATE FUNCTION headway.end_document(
  progress_percent integer, processed_count bigint, total_count bigint, failure_reason text, error_message text
) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT jsonb_strip_nulls(jsonb_build_object(
    'progressPercent', progress_percent, 'processedCount', processed_count, 'totalCount', total_count,
    'failureReason', failure_reason, 'errorMessage', error_message))
$$;

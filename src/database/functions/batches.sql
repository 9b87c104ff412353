-- The state of a batch follows from its partitions. A transaction that changes a partition holds the lock of the batch
-- (locks.sql), and rolls the batch up before it commits.

CREATE FUNCTION headway.change_document(c headway.change) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT json_build_object('tenantId', c.tenant_id, 'jobId', c.job_id, 'revision', c.revision, 'lifecycle', c.lifecycle,
    'jobType', c.job_type, 'event', c.event)
$$;

-- Computes batches anew from their partitions, and answers those whose documents changed. The caller holds their locks.
--
-- `cause` is what happened to partitions: 'heartbeat', 'create', 'sweep', or a command. After complete and fail the batch has
-- started, even if no partition is running. `event` is the lifecycle change that a command makes when it is given to the batch
-- itself.
--
-- The percent of a batch falls when its counts fall, and it may fall after a retry. Counts are added up if all units agree
-- ('unknown' agrees with all) and no partition has declared stages, because counts then belong to a stage. A completed
-- partition counts as wholly done, whatever it counted. The total is known once all partitions exist and each has a total.
-- Until then, the percent is the mean of the partitions' percents, and a partition that does not exist yet counts 0. The
-- estimate comes from the rates together, but it is never shorter than that of the slowest partition.
CREATE FUNCTION headway.roll_up(
  batch_ids uuid[], at timestamptz, cause text, event text DEFAULT NULL, actor text DEFAULT NULL, event_data jsonb DEFAULT '{}'
) RETURNS SETOF headway.change
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH summed AS MATERIALIZED (
    SELECT b.id, s.*, s.units <= 1 AND NOT s.staged AS adds_up,
      s.completed + s.failed + s.cancelled AS finished,
      -- The batch had been asked to stop and has ended: the retry of a partition withdraws that request.
      b.cancel_requested_at IS NOT NULL AND NOT (cause = 'retry' AND b.finished_at IS NOT NULL) AS asked_to_stop
    FROM unnest(batch_ids) AS i (id)
    JOIN public.progress_jobs b ON b.id = i.id
    CROSS JOIN LATERAL (
      SELECT
        count(*)::integer AS existing,
        count(*) FILTER (WHERE p.status = 'pending')::integer AS pending,
        count(*) FILTER (WHERE p.status = 'running')::integer AS running,
        count(*) FILTER (WHERE p.status = 'completed')::integer AS completed,
        count(*) FILTER (WHERE p.status = 'failed')::integer AS failed,
        count(*) FILTER (WHERE p.status = 'cancelled')::integer AS cancelled,
        sum(p.processed_count) AS processed,
        sum(CASE WHEN p.status = 'completed' THEN coalesce(p.total_count, p.processed_count) ELSE p.processed_count END) AS done,
        sum(CASE WHEN p.status = 'completed' THEN coalesce(p.total_count, p.processed_count) ELSE p.total_count END) AS total,
        count(*) FILTER (WHERE p.total_count IS NOT NULL OR p.status = 'completed')::integer AS totals,
        sum(greatest(0, p.total_count - p.processed_count)) FILTER (WHERE p.finished_at IS NULL) AS rest,
        sum(p.progress_percent) AS percents,
        count(DISTINCT p.unit) FILTER (WHERE p.unit <> 'unknown') AS units,
        coalesce(min(p.unit) FILTER (WHERE p.unit <> 'unknown'), 'unknown') AS unit,
        coalesce(bool_or(p.stages IS NOT NULL), false) AS staged,
        sum(p.throughput_per_second) FILTER (WHERE p.status = 'running') AS throughput,
        max(greatest(0, p.eta_seconds - headway.seconds(at, p.updated_at)))
          FILTER (WHERE p.status = 'running' AND p.eta_seconds IS NOT NULL) AS slowest_eta,
        count(*) FILTER (WHERE p.liveness = 'stalled')::integer AS stalled,
        min(p.started_at) AS started_at, max(p.heartbeat_at) AS heartbeat_at, max(p.advanced_at) AS advanced_at
      FROM public.progress_jobs p WHERE p.parent_job_id = b.id
    ) s
  ),
  named AS MATERIALIZED (
    SELECT s.*,
      jsonb_build_object('total', b.partition_count, 'pending', s.pending, 'running', s.running, 'stalled', s.stalled,
        'completed', s.completed, 'failed', s.failed, 'cancelled', s.cancelled,
        'current', CASE WHEN s.running = 0 THEN '[]' ELSE (
          SELECT jsonb_agg(r.name) FROM (
            SELECT p.name FROM public.progress_jobs p WHERE p.parent_job_id = s.id AND p.status = 'running'
            ORDER BY p.partition_index LIMIT 5) r) END)
      || CASE WHEN s.failed = 0 THEN '{"errors": [], "failures": []}' ELSE (
          SELECT jsonb_build_object(
            'errors', jsonb_agg(format('%s: %s', f.name, left(f.error_message, 500))),
            'failures', jsonb_agg(jsonb_build_object('id', f.id, 'name', f.name, 'failureReason', f.failure_reason)))
          FROM (
            SELECT p.id, p.name, p.error_message, p.failure_reason FROM public.progress_jobs p
            WHERE p.parent_job_id = s.id AND p.status = 'failed'
            ORDER BY p.finished_at, p.partition_index LIMIT 5) f) END
      AS children,
      CASE
        WHEN s.finished >= b.partition_count OR s.asked_to_stop AND s.finished = s.existing THEN CASE
          WHEN s.completed >= b.partition_count THEN 'completed' WHEN s.failed > 0 THEN 'failed' ELSE 'cancelled' END
        WHEN b.status <> 'pending' OR s.running > 0 OR cause IN ('complete', 'fail') THEN 'running'
        ELSE 'pending'
      END AS new_status,
      CASE WHEN s.adds_up THEN headway.hold_count(coalesce(s.processed, 0)) ELSE 0 END AS processed_count,
      CASE WHEN s.adds_up AND s.existing = b.partition_count AND s.totals = s.existing
        THEN headway.hold_count(s.total) END AS total_count
    FROM summed s
    JOIN public.progress_jobs b ON b.id = s.id
  ),
  decided AS MATERIALIZED (
    SELECT n.*,
      n.new_status IN ('completed', 'failed', 'cancelled') AS ends,
      CASE
        WHEN n.new_status IN ('completed', 'failed', 'cancelled') THEN CASE WHEN b.status <> n.new_status THEN n.new_status END
        WHEN b.finished_at IS NOT NULL THEN 'recovered'
        WHEN event IS NOT NULL THEN event
        WHEN b.status = 'pending' AND n.new_status = 'running' THEN 'started'
        WHEN b.liveness = 'ok' AND n.stalled > 0 THEN 'stalled'
        WHEN b.liveness = 'stalled' AND n.stalled = 0 AND cause = 'heartbeat' THEN 'recovered'
      END AS new_lifecycle,
      coalesce(b.started_at, CASE WHEN n.new_status IN ('running', 'completed') THEN at
        WHEN n.new_status <> 'pending' THEN n.started_at END) AS begun_at,
      (h.history).expected_seconds AS expected, (h.history).shape, (h.history).long_seconds,
      -- The share of the work that is done.
      CASE WHEN n.total_count > 0 THEN least(1, n.done::float8 / n.total_count)
        ELSE coalesce(n.percents, 0) / (100 * b.partition_count)::float8 END AS share,
      CASE WHEN n.new_status = 'completed' THEN 100 ELSE headway.next_percent(
        b.progress_percent,
        CASE WHEN n.total_count > 0 THEN headway.percent(headway.hold_count(n.done), n.total_count)
          ELSE headway.percent_of_fraction(coalesce(n.percents, 0) / (100 * b.partition_count)::float8) END,
        cause = 'retry' OR b.finished_at IS NOT NULL OR n.total_count IS NOT NULL) END AS percent_now,
      CASE WHEN n.adds_up AND n.total_count IS NOT NULL AND n.throughput > 1e-9 THEN n.rest / n.throughput END AS rate_eta
    FROM named n
    JOIN public.progress_jobs b ON b.id = n.id
    CROSS JOIN LATERAL (SELECT CASE WHEN b.status = 'pending' AND n.new_status = 'running'
      THEN headway.history_of(b.tenant_id, b.job_type, false)
      ELSE (b.expected_seconds, b.shape, b.long_seconds, NULL)::headway.type_history END AS history OFFSET 0) h
  ),
  estimated AS MATERIALIZED (
    SELECT d.*, e.weight,
      CASE WHEN d.new_status = 'completed' THEN 0
        WHEN d.new_status = 'running' THEN e.eta END AS eta,
      CASE WHEN d.new_status = 'running' AND e.eta IS NOT NULL THEN headway.eta_spread(d.shape, d.share, e.weight, NULL, NULL) END AS spread,
      coalesce(d.new_status = 'running' AND d.new_lifecycle IS NULL AND headway.sample_is_due(
        headway.seconds(at, l.noted_at), headway.seconds(l.noted_at, d.begun_at), d.percent_now,
        coalesce(b.sampled_percent, 0), d.total_count IS NULL OR NOT coalesce(d.advanced_at > l.noted_at, false)), false)
        AS samples
    FROM decided d
    JOIN public.progress_jobs b ON b.id = d.id
    CROSS JOIN LATERAL (SELECT coalesce(b.sampled_at, d.begun_at) AS noted_at) l
    CROSS JOIN LATERAL (
      SELECT w.*, headway.blend_eta(w.from_history, w.measured, w.weight) AS eta
      FROM (
        SELECT m.*, headway.history_weight(m.trust, m.odds, m.from_history, m.measured) AS weight
        FROM (
          SELECT u.trust, greatest(d.rate_eta, d.slowest_eta) AS measured,
            headway.history_eta(d.expected, u.usual, u.usual_begun, u.spent) AS from_history,
            headway.duration_odds(d.expected, u.usual, u.usual_begun, u.spent, d.share, d.shape[43]) AS odds
          FROM (
            SELECT headway.usual_time(d.shape, d.share, 0) AS usual, headway.at_share(d.shape, 0, 0) AS usual_begun,
              headway.at_share(d.shape, 21, d.share) AS trust, headway.seconds(at, d.begun_at) AS spent OFFSET 0
          ) u
          OFFSET 0
        ) m
        OFFSET 0
      ) w
    ) e
  ),
  compared AS MATERIALIZED (
    SELECT e.*, e.new_lifecycle IS NOT NULL OR coalesce(e.advanced_at > b.advanced_at, e.advanced_at IS NOT NULL)
      OR (e.children, e.processed_count, e.total_count, e.percent_now, e.unit_now, e.message_now)
        IS DISTINCT FROM (b.children, b.processed_count, b.total_count, b.progress_percent::integer, b.unit, b.error_message)
      OR (b.liveness = 'stalled') IS DISTINCT FROM (e.new_status = 'running' AND e.stalled > 0) AND b.status = 'running' AS changed
    FROM (
      SELECT e.*, CASE WHEN e.adds_up THEN e.unit ELSE 'unknown' END AS unit_now,
        CASE WHEN e.new_status = 'failed' THEN format('%s of %s partitions failed', e.failed, e.children -> 'total') END
          AS message_now
      FROM estimated e
    ) e
    JOIN public.progress_jobs b ON b.id = e.id
  ),
  updated AS (
    UPDATE public.progress_jobs b SET
      status = c.new_status,
      children = c.children,
      liveness = CASE WHEN c.new_status = 'running' THEN CASE WHEN c.stalled > 0 THEN 'stalled' ELSE 'ok' END END,
      processed_count = c.processed_count,
      total_count = c.total_count,
      progress_percent = c.percent_now,
      unit = c.unit_now,
      throughput_per_second = CASE WHEN c.adds_up THEN c.throughput END,
      eta_seconds = headway.hold_seconds(ceil(c.eta)
        + CASE WHEN c.changed THEN 0 ELSE greatest(0, ceil(headway.seconds(at, b.updated_at))) END),
      eta_source = CASE WHEN c.ends OR c.eta IS NULL THEN NULL WHEN c.weight > 0.5 THEN 'history' ELSE 'rate' END,
      eta_spread = c.spread,
      expected_seconds = c.expected,
      shape = c.shape,
      long_seconds = c.long_seconds,
      started_at = c.begun_at,
      heartbeat_at = greatest(b.heartbeat_at, c.heartbeat_at),
      advanced_at = greatest(b.advanced_at, c.advanced_at),
      finished_at = CASE WHEN c.ends THEN CASE WHEN c.new_lifecycle IS NULL THEN b.finished_at ELSE at END END,
      finished_xact = CASE WHEN c.ends THEN CASE WHEN c.new_lifecycle IS NULL THEN b.finished_xact ELSE pg_current_xact_id() END END,
      failure_reason = CASE WHEN c.new_status = 'failed' THEN 'partitions' END,
      error_message = c.message_now,
      cancel_requested_at = CASE WHEN c.asked_to_stop THEN b.cancel_requested_at END,
      cancelled_by_user_id = CASE WHEN c.asked_to_stop THEN b.cancelled_by_user_id END,
      sampled_at = CASE WHEN c.samples THEN at ELSE b.sampled_at END,
      sampled_percent = CASE WHEN c.samples THEN c.percent_now ELSE b.sampled_percent END,
      updated_at = CASE WHEN c.changed THEN at ELSE b.updated_at END,
      revision = b.revision + c.changed::integer,
      lifecycle = coalesce(c.new_lifecycle, b.lifecycle),
      lifecycle_revision = CASE WHEN c.new_lifecycle IS NOT NULL THEN b.revision + 1 ELSE b.lifecycle_revision END
    FROM compared c
    WHERE b.id = c.id
    RETURNING b.*, c.changed, c.new_lifecycle, c.samples, c.ends
  ),
  history AS (
    INSERT INTO public.job_events (job_id, type, at, actor, attempt, data)
    SELECT u.id, e.type, at, e.actor, u.attempt, e.data
    FROM updated u
    CROSS JOIN LATERAL (
      SELECT u.new_lifecycle, CASE WHEN u.new_lifecycle = event OR u.new_lifecycle = 'cancelled' THEN roll_up.actor END,
        CASE WHEN u.ends THEN headway.end_document(u.progress_percent, u.processed_count, u.total_count, u.failure_reason, u.error_message)
          WHEN u.new_lifecycle = event THEN event_data ELSE '{}' END
      WHERE u.new_lifecycle IS NOT NULL
      UNION ALL
      SELECT 'progress', NULL, headway.sample_document(u.progress_percent, u.processed_count, u.total_count,
        u.throughput_per_second, u.eta_seconds, NULL, u.advanced_at)
      WHERE u.samples
    ) AS e (type, actor, data)
  )
  SELECT u.tenant_id, u.id, u.revision, u.new_lifecycle IS NOT NULL, true, u.job_type, u.new_lifecycle FROM updated u WHERE u.changed;
END
$$;

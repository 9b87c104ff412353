-- Locks jobs in the one order that every writer follows (by id), and nothing else: sums are read by later statements, whose
-- snapshot begins after the wait. A statement that locks and sums at once sums what was there before it waited, and loses
-- counts. FOR NO KEY UPDATE, because FOR UPDATE would also block the foreign-key checks of the history.
-- Answers the ids it holds; with `skip_locked` those that someone else holds are left out.
CREATE FUNCTION headway.lock_jobs(ids uuid[], skip_locked boolean) RETURNS uuid[]
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
  IF skip_locked THEN
    RETURN ARRAY(SELECT id FROM progress_jobs WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
  END IF;
  RETURN ARRAY(SELECT id FROM progress_jobs WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE);
END
$$;

-- Writes a batch of heartbeats, at most one per job and worker, rolls their jobs up, and answers each heartbeat by its
-- place `i`: one row per job that took some (their places in `items`), and one per refused heartbeat, with its code. A
-- refused one leaves nothing behind; code `locked` means: not now, keep it.
--
-- One statement after the lock, so that worker rows, roll-up and history are one change. Read it downwards: `judged` reads
-- each row once, `stepped` is the next state of each worker's row, `written` stores it, `rolled` sums it with the rows of
-- the workers that did not report, `updated` changes the job.
-- Every table is reached by primary key in a correlated subquery, and no intermediate result is joined with another: that
-- leaves the planner, which cannot know how many rows the JSON holds, one plan that is right for one report and for a
-- thousand. It is planned once per connection; compiling it as well (jit) would take longer than running it.
CREATE FUNCTION headway.flush(ids uuid[], heartbeats json, skip_locked boolean)
RETURNS TABLE (
  items integer[], code text, status text, cancel_requested boolean, progress_percent integer, revision bigint,
  applied boolean[], heartbeat_timeout_seconds integer, changed boolean, lifecycle_changed boolean
)
LANGUAGE plpgsql
SET lock_timeout = '250ms' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  held uuid[] := headway.lock_jobs(ids, skip_locked);
  at timestamptz(3) := headway.clock();
BEGIN
  RETURN QUERY
  WITH found AS MATERIALIZED (
    SELECT
      x.*, j.id IS NOT NULL AS exists, NOT skip_locked OR x.job_id = ANY (held) AS is_held,
      j.status AS job_status, j.failure_reason, j.children IS NOT NULL AS is_batch, j.attempt AS job_attempt,
      x.meta IS NOT NULL AND octet_length((j.meta || x.meta)::text) > greatest(16384, octet_length(j.meta::text))
        AS meta_outgrows,
      -- The worker's row as it was. One of an earlier attempt is no row: the worker begins at nothing.
      w.worker_id IS NULL AS is_new,
      coalesce(w.processed_count, 0) AS old_processed, w.total_count AS old_total, w.progress_percent AS old_percent,
      w.stage AS old_stage, w.message AS old_message, w.payload AS old_payload,
      w.throughput_per_second AS old_throughput, w.eta_at AS old_eta_at, w.reported_at AS old_reported_at,
      w.advanced_at AS old_advanced_at, coalesce(w.created_at, at) AS created_at,
      coalesce(w.heartbeats, 0) + 1 AS heartbeats, coalesce(r.advances, 0) AS old_advances,
      coalesce(r.rate_since, b.begun_at) AS rate_since, coalesce(r.rate_at, b.begun_at) AS old_rate_at,
      r.rate_reported_at AS old_rate_reported_at,
      coalesce(r.rate_whole, 0) AS old_rate_whole, coalesce(r.rate_recent, 0) AS old_rate_recent,
      coalesce(NOT (x.reported_at < w.reported_at AND x.reported_at >= w.reported_at - interval '5 minutes'), true) AS applies
    FROM json_to_recordset(heartbeats) AS x (
      i integer, job_id uuid, worker_id text, attempt integer,
      tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid, actor text,
      processed_count bigint, increment bigint, keep_higher boolean, total_count bigint, progress_percent smallint,
      unit text, throughput_per_second float8, eta_seconds bigint, stage text, message text, payload jsonb, meta jsonb,
      reported_at timestamptz, clears text[]
    )
    LEFT JOIN LATERAL (
      SELECT * FROM progress_jobs j
      WHERE j.id = x.job_id AND j.tenant_id = x.tenant_id
        AND (x.all_organizations OR j.organization_id IS NOT DISTINCT FROM x.organization_id)
        AND (x.scope_job_id IS NULL OR x.scope_job_id IN (j.id, j.parent_job_id))
      OFFSET 0
    ) j ON true
    LEFT JOIN LATERAL (
      SELECT * FROM job_progress w WHERE w.job_id = x.job_id AND w.worker_id = x.worker_id OFFSET 0
    ) w ON w.attempt = j.attempt
    -- A worker that was silent for longer than the job's timeout rates its work anew: the silence was no work.
    LEFT JOIN LATERAL (
      SELECT w.advances, w.rate_since, w.rate_at, w.rate_reported_at, w.rate_whole, w.rate_recent
      WHERE j.heartbeat_timeout_seconds = 0
        OR w.heartbeat_at >= at - make_interval(secs => j.heartbeat_timeout_seconds)
    ) r ON true
    -- The first workers of a started job have been at work since its start; one that joins or returns later, since now.
    CROSS JOIN LATERAL (
      SELECT CASE WHEN j.status = 'running' AND j.advanced_at IS NULL AND w.worker_id IS NULL THEN j.started_at
        ELSE at END AS begun_at
    ) b
  ),
  crowded AS (
    -- New workers of jobs that have their thousand already, or would get more than that by this batch.
    SELECT n.i FROM (
      SELECT f.i, f.job_id, f.job_attempt, row_number() OVER (PARTITION BY f.job_id ORDER BY f.i) AS place
      FROM found f WHERE f.exists AND f.is_new
    ) n
    WHERE n.place + (SELECT count(*) FROM job_progress w WHERE w.job_id = n.job_id AND w.attempt = n.job_attempt) > 1000
  ),
  judged AS MATERIALIZED (
    SELECT f.*, CASE
      WHEN NOT f.exists THEN 'job_not_found'
      WHEN NOT f.is_held THEN 'locked'
      WHEN f.is_batch THEN 'is_batch'
      WHEN f.attempt <> f.job_attempt THEN 'superseded'
      WHEN f.job_status NOT IN ('pending', 'running') AND f.failure_reason IS DISTINCT FROM 'stale' THEN 'already_finished'
      WHEN f.is_new AND f.i IN (SELECT c.i FROM crowded c) THEN 'too_many_workers'
      WHEN f.meta_outgrows THEN 'meta_too_large'
    END AS code
    FROM found f
  ),
  counted AS (
    SELECT h.*, CASE
      WHEN NOT h.applies THEN h.old_processed
      ELSE headway.hold_count(coalesce(h.increment, 0)::numeric + CASE
        WHEN h.keep_higher AND h.reported_at IS NULL THEN greatest(h.processed_count, h.old_processed)
        ELSE coalesce(h.processed_count, h.old_processed) END)
    END AS processed
    FROM judged h WHERE h.code IS NULL
  ),
  -- Materialized, so that the arithmetic below takes columns: longer expressions would not be inlined.
  timed AS MATERIALIZED (
    SELECT c.*,
      c.processed <> c.old_processed AS moves,
      -- A worker that appears with its count has no time that the count could be divided by.
      c.processed > c.old_processed AND c.old_rate_at < at AS is_sample,
      greatest(0.001, CASE
        WHEN c.reported_at IS NOT NULL AND c.old_rate_reported_at IS NOT NULL
          THEN headway.seconds(c.reported_at, c.old_rate_reported_at)
        ELSE headway.seconds(at, c.old_rate_at) END) AS elapsed,
      greatest(0.001, headway.seconds(at, c.rate_since)) AS spent
    FROM counted c
  ),
  stepped AS MATERIALIZED (
    SELECT
      t.i, t.job_id, t.worker_id, t.actor, t.job_attempt, t.is_new, t.applies, t.unit, t.meta, t.created_at, t.heartbeats,
      t.processed, t.old_processed, t.old_total, t.old_percent, t.old_stage, t.old_message, t.old_payload,
      t.worker_id = 'default' AS is_default,
      CASE WHEN t.applies THEN t.total_count END AS given_total,
      t.applies AND t.clears @> '{total_count}' AS clears_total,
      t.applies AND (t.stage IS NOT NULL OR t.clears @> '{stage}') AS sets_stage,
      t.applies AND (t.message IS NOT NULL OR t.clears @> '{message}') AS sets_message,
      -- Absent stays, null clears, and a late report changes nothing but the heartbeat.
      CASE WHEN NOT t.applies THEN t.old_total
        WHEN t.worker_id = 'default' OR t.clears @> '{total_count}' THEN NULL
        ELSE coalesce(t.total_count, t.old_total) END AS total,
      CASE WHEN NOT t.applies THEN t.old_percent WHEN t.clears @> '{progress_percent}' THEN NULL
        ELSE coalesce(t.progress_percent, t.old_percent) END AS percent,
      CASE WHEN NOT t.applies THEN t.old_stage WHEN t.clears @> '{stage}' THEN NULL
        ELSE coalesce(t.stage, t.old_stage) END AS stage,
      CASE WHEN NOT t.applies THEN t.old_message WHEN t.clears @> '{message}' THEN NULL
        ELSE coalesce(t.message, t.old_message) END AS message,
      CASE WHEN NOT t.applies THEN t.old_payload WHEN t.clears @> '{payload}' THEN NULL
        ELSE coalesce(t.payload, t.old_payload) END AS payload,
      CASE WHEN NOT t.applies THEN t.old_throughput WHEN t.clears @> '{throughput_per_second}' THEN NULL
        ELSE coalesce(t.throughput_per_second, t.old_throughput) END AS throughput,
      CASE WHEN NOT t.applies THEN t.old_eta_at WHEN t.clears @> '{eta_seconds}' THEN NULL
        WHEN t.eta_seconds IS NULL THEN t.old_eta_at
        -- Beyond a thousand years a timestamp gains nothing and would overflow.
        ELSE at + make_interval(secs => least(t.eta_seconds, 31557600000)) END AS eta_at,
      CASE WHEN t.applies THEN coalesce(t.reported_at, t.old_reported_at) ELSE t.old_reported_at END AS reported_at,
      CASE WHEN t.processed > t.old_processed THEN at ELSE t.old_advanced_at END AS advanced_at,
      t.old_advances + t.is_sample::integer AS advances, t.rate_since,
      CASE WHEN t.moves THEN at ELSE t.old_rate_at END AS rate_at,
      CASE WHEN t.moves THEN t.reported_at ELSE t.old_rate_reported_at END AS rate_reported_at,
      CASE WHEN t.is_sample THEN t.old_rate_whole + a.of_whole * (a.pace - t.old_rate_whole)
        ELSE t.old_rate_whole END AS rate_whole,
      CASE WHEN t.is_sample THEN t.old_rate_recent + a.of_recent * (a.pace - t.old_rate_recent)
        ELSE t.old_rate_recent END AS rate_recent
    FROM timed t
    CROSS JOIN LATERAL (
      SELECT
        (t.processed - t.old_processed) / t.elapsed AS pace,
        headway.whole_alpha(t.elapsed, t.spent, t.old_advances + 1) AS of_whole,
        headway.recent_alpha(t.elapsed, t.spent, t.old_advances + 1) AS of_recent
    ) a
  ),
  written AS (
    INSERT INTO job_progress (
      job_id, worker_id, attempt, processed_count, total_count, progress_percent, stage, message, payload,
      throughput_per_second, eta_at, reported_at, heartbeat_at, created_at, advanced_at, heartbeats, advances,
      rate_since, rate_at, rate_reported_at, rate_whole, rate_recent
    )
    SELECT
      s.job_id, s.worker_id, s.job_attempt, s.processed, s.total, s.percent, s.stage, s.message, s.payload,
      s.throughput, s.eta_at, s.reported_at, at, s.created_at, s.advanced_at, s.heartbeats, s.advances,
      s.rate_since, s.rate_at, s.rate_reported_at, s.rate_whole, s.rate_recent
    FROM stepped s
    ON CONFLICT (job_id, worker_id) DO UPDATE SET
      attempt = excluded.attempt, processed_count = excluded.processed_count, total_count = excluded.total_count,
      progress_percent = excluded.progress_percent, stage = excluded.stage, message = excluded.message,
      payload = excluded.payload, throughput_per_second = excluded.throughput_per_second, eta_at = excluded.eta_at,
      reported_at = excluded.reported_at, heartbeat_at = excluded.heartbeat_at, created_at = excluded.created_at,
      advanced_at = excluded.advanced_at, heartbeats = excluded.heartbeats, advances = excluded.advances,
      rate_since = excluded.rate_since, rate_at = excluded.rate_at, rate_reported_at = excluded.rate_reported_at,
      rate_whole = excluded.rate_whole, rate_recent = excluded.rate_recent
  ),
  reported AS MATERIALIZED (
    -- What this batch says about each job: its workers' sums, and of single values the last to arrive.
    SELECT
      s.job_id, min(s.job_attempt) AS attempt, array_agg(s.worker_id) AS worker_ids, array_agg(s.actor) AS actors,
      array_agg(s.i) AS items, array_agg(s.applies) AS applied,
      sum(s.processed) AS processed, sum(s.total) AS total, sum(s.percent) AS percents, count(s.percent) AS percent_count,
      sum(coalesce(s.throughput, headway.worker_rate(s.rate_whole, s.rate_recent, s.advances,
        headway.seconds(at, s.rate_since), headway.seconds(at, s.rate_at)))) AS throughput,
      max(s.eta_at) AS eta_at,
      bool_or(
        s.is_new OR s.processed <> s.old_processed OR s.total IS DISTINCT FROM s.old_total
        OR s.percent IS DISTINCT FROM s.old_percent OR s.stage IS DISTINCT FROM s.old_stage
        OR s.message IS DISTINCT FROM s.old_message OR s.payload IS DISTINCT FROM s.old_payload
      ) AS workers_changed,
      max(s.given_total) FILTER (WHERE s.is_default) AS own_total,
      coalesce(bool_or(s.clears_total AND s.is_default), false) AS clears_total,
      (array_agg(s.unit ORDER BY s.i DESC) FILTER (WHERE s.applies AND s.unit IS NOT NULL))[1] AS unit,
      (array_agg(s.stage ORDER BY s.i DESC) FILTER (WHERE s.sets_stage))[1] AS stage,
      coalesce(bool_or(s.sets_stage), false) AS sets_stage,
      (array_agg(s.message ORDER BY s.i DESC) FILTER (WHERE s.sets_message))[1] AS message,
      coalesce(bool_or(s.sets_message), false) AS sets_message,
      (array_agg(s.meta) FILTER (WHERE s.applies AND s.meta IS NOT NULL))[1] AS meta
    FROM stepped s GROUP BY s.job_id
  ),
  rolled AS (
    -- The same sums with the workers that are not in this batch. Correlated, because the planner would compare every job
    -- of one intermediate result with every job of the other.
    SELECT r.*,
      headway.hold_count(r.processed + coalesce(o.processed, 0)) AS all_processed,
      headway.hold_count(CASE WHEN r.total IS NULL THEN o.total ELSE r.total + coalesce(o.total, 0) END) AS shared_total,
      (coalesce(r.percents, 0) + coalesce(o.percents, 0))::float8 / nullif(r.percent_count + o.percent_count, 0) AS percent,
      CASE WHEN r.throughput IS NULL THEN o.throughput ELSE r.throughput + coalesce(o.throughput, 0) END AS all_throughput,
      greatest(r.eta_at, o.eta_at) AS last_eta_at
    FROM reported r
    CROSS JOIN LATERAL (
      SELECT
        sum(w.processed_count) AS processed, sum(w.total_count) AS total,
        sum(w.progress_percent) AS percents, count(w.progress_percent) AS percent_count,
        sum(coalesce(w.throughput_per_second, headway.worker_rate(w.rate_whole, w.rate_recent, w.advances,
          headway.seconds(at, w.rate_since), headway.seconds(at, w.rate_at)))) FILTER (WHERE l.reports) AS throughput,
        max(w.eta_at) FILTER (WHERE l.reports) AS eta_at
      FROM job_progress w
      CROSS JOIN LATERAL (SELECT headway.worker_reports(at, w.heartbeat_at, w.created_at, w.heartbeats) AS reports) l
      WHERE w.job_id = r.job_id AND w.attempt = r.attempt AND w.worker_id <> ALL (r.worker_ids)
    ) o
  ),
  decided AS MATERIALIZED (
    SELECT r.*, t.own, t.all_total, m.new_meta, l.new_lifecycle,
      ceil(CASE
        WHEN r.last_eta_at IS NOT NULL THEN greatest(0, headway.seconds(r.last_eta_at, at))
        -- Slower than that, an estimate would be no information, and a tiny divisor an overflow.
        WHEN r.all_throughput > 1e-9 AND t.all_total IS NOT NULL
          THEN greatest(0, t.all_total - r.all_processed) / r.all_throughput
      END) AS eta,
      r.workers_changed OR l.new_lifecycle IS NOT NULL
        OR t.all_total IS DISTINCT FROM j.total_count OR t.own IS DISTINCT FROM j.own_total_count
        OR coalesce(r.unit <> j.unit, false) OR coalesce(m.new_meta <> j.meta, false)
        OR (r.sets_message AND r.message IS DISTINCT FROM j.message)
        OR (r.sets_stage AND r.stage IS DISTINCT FROM j.stage) AS changed
    FROM rolled r
    JOIN progress_jobs j ON j.id = r.job_id
    CROSS JOIN LATERAL (
      SELECT CASE WHEN r.clears_total THEN NULL ELSE coalesce(r.own_total, j.own_total_count) END AS own
    ) o
    CROSS JOIN LATERAL (SELECT o.own, coalesce(o.own, r.shared_total) AS all_total) t
    CROSS JOIN LATERAL (SELECT j.meta || r.meta AS new_meta) m
    CROSS JOIN LATERAL (SELECT CASE WHEN j.status = 'pending' THEN 'started'
      WHEN j.status = 'failed' OR j.liveness = 'stalled' THEN 'recovered' END AS new_lifecycle) l
  ),
  updated AS (
    UPDATE progress_jobs j SET
      status = 'running',
      liveness = 'ok',
      started_at = coalesce(j.started_at, at),
      heartbeat_at = at,
      finished_at = NULL,
      failure_reason = NULL,
      error_message = CASE WHEN j.status = 'failed' THEN NULL ELSE j.error_message END,
      processed_count = d.all_processed,
      total_count = d.all_total,
      own_total_count = d.own,
      progress_percent = headway.next_percent(j.progress_percent, d.all_processed, j.total_count, d.all_total, d.percent),
      unit = coalesce(d.unit, j.unit),
      stage = CASE WHEN d.sets_stage THEN d.stage ELSE j.stage END,
      message = CASE WHEN d.sets_message THEN d.message ELSE j.message END,
      meta = coalesce(d.new_meta, j.meta),
      throughput_per_second = d.all_throughput,
      -- As of updated_at, which a bare heartbeat leaves where it was: the time since is added, for readers subtract it.
      eta_seconds = headway.hold_count((d.eta
        + CASE WHEN d.changed THEN 0 ELSE greatest(0, ceil(headway.seconds(at, j.updated_at))) END)::numeric),
      eta_source = CASE WHEN d.eta IS NOT NULL THEN CASE WHEN d.last_eta_at IS NOT NULL THEN 'worker' ELSE 'rate' END END,
      advanced_at = CASE WHEN d.all_processed > j.processed_count THEN at ELSE j.advanced_at END,
      updated_at = CASE WHEN d.changed THEN at ELSE j.updated_at END,
      revision = j.revision + d.changed::integer,
      lifecycle = coalesce(d.new_lifecycle, j.lifecycle),
      lifecycle_revision = CASE WHEN d.new_lifecycle IS NOT NULL THEN j.revision + 1 ELSE j.lifecycle_revision END
    FROM decided d
    WHERE j.id = d.job_id
    RETURNING d.items, j.id, j.status, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.progress_percent,
      j.revision, d.applied, j.attempt, j.heartbeat_timeout_seconds, d.changed, d.new_lifecycle, d.worker_ids, d.actors
  ),
  history AS (
    INSERT INTO job_events (job_id, type, at, actor, attempt, data)
    SELECT u.id, u.new_lifecycle, at, u.actors[1], u.attempt, jsonb_build_object('workerId', u.worker_ids[1])
    FROM updated u WHERE u.new_lifecycle IS NOT NULL
  )
  SELECT u.items, NULL, u.status, u.cancel_requested, u.progress_percent::integer, u.revision, u.applied,
    u.heartbeat_timeout_seconds, u.changed, u.new_lifecycle IS NOT NULL
  FROM updated u
  UNION ALL
  SELECT ARRAY[h.i], h.code, h.job_status, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM judged h WHERE h.code IS NOT NULL;
END
$$;

-- Writes heartbeats of any kind, at most one per job and worker, updates their jobs from the rows of all their workers, and
-- answers each heartbeat. `held` are the jobs that the caller has locked. It is only read with `skip_locked`: a heartbeat whose
-- job is not in `held` is answered with code `locked`, and the service keeps it and tries it again. A refused heartbeat stores
-- nothing.
--
-- It is one statement, so that worker rows, roll-up and history are one change. The caller has locked the jobs before it. Its
-- steps in order: `judged` reads each row once and decides which heartbeats are refused, `stepped` computes the next state of
-- each worker's row, `unit_held` and `united` decide which workers count in the job's unit, `written` stores the workers'
-- rows, `rolled` adds the rows of the workers that did not report, `updated` changes the jobs. Every table is read by its
-- primary key in a correlated subquery, and no intermediate result is joined with another. The planner cannot know how many
-- heartbeats the JSON holds. In this form it has only one plan, which is right for one heartbeat and for a thousand. Each
-- connection plans the statement once. Compiling it with jit would take longer than running it.
CREATE FUNCTION headway.flush_any(heartbeats json, at timestamptz, held uuid[], skip_locked boolean)
RETURNS SETOF headway.heartbeat_answers
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH found AS MATERIALIZED (
    SELECT
      x.*, j.id IS NOT NULL AS exists, NOT skip_locked OR x.job_id = ANY (held) AS is_held,
      j.status AS job_status, j.failure_reason, j.children IS NOT NULL AS is_batch, j.attempt AS job_attempt,
      -- For a job with declared stages: a worker that names no stage stays in its own, or joins the job's current one.
      g.stage_name, g.stage_place, g.job_place, j.stage AS job_stage, v.enters,
      j.unit AS job_unit, w.unit AS old_unit, j.own_total_count IS NOT NULL AND j.unit <> 'unknown' AS unit_has_total,
      j.stages IS NOT NULL AND (g.stage_place IS NULL OR x.clears @> '{stage}') AS stage_unknown,
      -- A meta that is larger than the limit already is accepted as long as it does not grow.
      x.meta IS NOT NULL AND NOT headway.json_fits(j.meta || x.meta, 16384)
        AND octet_length((j.meta || x.meta)::text) > octet_length(j.meta::text)
        AS meta_outgrows,
      -- The worker's row before this heartbeat. A row of an earlier attempt counts as no row: the worker begins at 0.
      w.worker_id IS NULL AS is_new,
      CASE WHEN v.enters THEN 0 ELSE coalesce(w.processed_count, 0) END AS old_processed,
      CASE WHEN NOT v.enters THEN w.total_count END AS old_total,
      CASE WHEN NOT v.enters_stage THEN w.progress_percent END AS old_percent,
      w.stage AS old_stage, w.message AS old_message, w.payload AS old_payload,
      CASE WHEN NOT v.enters THEN w.throughput_per_second END AS old_throughput,
      CASE WHEN NOT v.enters_stage THEN w.eta_at END AS old_eta_at, w.reported_at AS old_reported_at,
      w.advanced_at AS old_advanced_at, coalesce(w.created_at, at) AS created_at,
      coalesce(w.heartbeats, 0) + 1 AS heartbeats, coalesce(r.advances, 0) AS old_advances,
      coalesce(r.rate_since, b.begun_at) AS rate_since, coalesce(r.rate_at, b.begun_at) AS old_rate_at,
      r.rate_reported_at AS old_rate_reported_at,
      coalesce(r.rate_units, 0) AS old_rate_units, coalesce(r.rate_seconds, 0) AS old_rate_seconds, r.rate_error AS old_rate_error,
      coalesce(r.pace_units, 0) AS old_pace_units, coalesce(r.pace_seconds, 0) AS old_pace_seconds,
      coalesce(r.pace_path, '{0}') AS old_pace_path, coalesce(r.pace_step, 0) AS old_pace_step,
      coalesce(r.longest_gap, 0) AS old_longest_gap, coalesce(r.second_gap, 0) AS old_second_gap,
      coalesce(r.left_out, 0) AS old_left_out, coalesce(r.paused_seconds, 0) AS old_paused_seconds,
      coalesce(r.after_pause, false) AS old_after_pause, w.share_fell AND NOT v.enters AS old_share_fell, j.progress_percent AS job_percent,
      v.applies, CASE WHEN l.late THEN coalesce(w.late_since, at) END AS late_since
    FROM json_populate_recordset(NULL::headway.heartbeat, heartbeats) AS x
    LEFT JOIN LATERAL (
      SELECT * FROM public.progress_jobs j
      WHERE j.id = x.job_id AND headway.sees(j, x.tenant_id, x.all_organizations, x.organization_id, x.scope_job_id) IS TRUE
      OFFSET 0
    ) j ON true
    LEFT JOIN LATERAL (
      SELECT * FROM public.job_progress w WHERE w.job_id = x.job_id AND w.worker_id = x.worker_id OFFSET 0
    ) w ON w.attempt = j.attempt
    CROSS JOIN LATERAL (
      SELECT CASE WHEN j.stages IS NOT NULL THEN coalesce(x.stage, w.stage, j.stage, j.stages -> 0 ->> 'name') END
        AS stage_name OFFSET 0
    ) n
    CROSS JOIN LATERAL (
      SELECT n.stage_name,
        CASE WHEN j.stages IS NOT NULL THEN headway.stage_place(j.stages, n.stage_name) END AS stage_place,
        CASE WHEN j.stages IS NOT NULL THEN coalesce(headway.stage_place(j.stages, j.stage), 0) END AS job_place
      OFFSET 0
    ) g
    CROSS JOIN LATERAL (SELECT headway.is_late(at, x.reported_at, w.reported_at, w.late_since) AS late OFFSET 0) l
    -- A late report, and a report for a stage that the job has left, refresh liveness only. A report for another stage than the
    -- worker's last one, or in another unit, begins at 0, because counts belong to a stage and a unit. The worker's own percent
    -- and estimate have no unit and stay.
    CROSS JOIN LATERAL (
      SELECT a.applies, a.applies AND w.stage <> n.stage_name IS TRUE AS enters_stage,
        a.applies AND (w.stage <> n.stage_name IS TRUE
          OR NOT headway.agrees(headway.known_unit(x.unit), coalesce(w.unit, headway.known_unit(j.unit)))) AS enters
      FROM (SELECT NOT (l.late OR coalesce(g.stage_place < g.job_place, false)) AS applies OFFSET 0) a
    ) v
    -- A worker that was silent for longer than the job's timeout gets a new rate: it did no work in that time.
    LEFT JOIN LATERAL (
      SELECT w.advances, w.rate_since, w.rate_at, w.rate_reported_at, w.rate_units, w.rate_seconds, w.rate_error, w.pace_units,
        w.pace_seconds, w.pace_path, w.pace_step, w.longest_gap, w.second_gap, w.left_out, w.paused_seconds,
        w.after_pause
      WHERE NOT v.enters AND (j.heartbeat_timeout_seconds = 0
        OR w.heartbeat_at >= at - make_interval(secs => j.heartbeat_timeout_seconds))
    ) r ON true
    -- The first workers of a started job have been at work since the job's start. A worker that joins or returns later has been
    -- at work since now.
    CROSS JOIN LATERAL (
      SELECT CASE WHEN j.status = 'running' AND j.advanced_at IS NULL AND w.worker_id IS NULL THEN j.started_at
        ELSE at END AS begun_at
    ) b
  ),
  crowded AS (
    -- New workers of jobs that already have 1,000 workers, or would have more than that after this batch.
    SELECT n.i FROM (
      SELECT f.i, f.job_id, f.job_attempt, row_number() OVER (PARTITION BY f.job_id ORDER BY f.i) AS place
      FROM found f WHERE f.exists AND f.is_new
    ) n
    WHERE n.place + (SELECT count(*) FROM public.job_progress w WHERE w.job_id = n.job_id AND w.attempt = n.job_attempt) > 1000
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
      WHEN f.stage_unknown THEN 'unknown_stage'
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
  -- Materialized, so that the expressions below refer to columns. The planner does not inline a function whose arguments are
  -- long expressions.
  timed AS MATERIALIZED (
    SELECT c.*,
      c.processed <> c.old_processed AS moves,
      -- The first report of a worker is no sample of its rate: the time in which the worker made that count is not known.
      c.processed > c.old_processed AND c.old_rate_at < at AS is_sample,
      headway.advance_seconds(at, c.old_rate_at, c.reported_at, c.old_rate_reported_at) AS elapsed,
      greatest(0.001, headway.seconds(at, c.rate_since)) AS spent
    FROM counted c
  ),
  stepped AS MATERIALIZED (
    SELECT
      t.i, t.job_id, t.worker_id, t.actor, t.job_attempt, t.is_new, t.applies, t.meta, t.due, t.applies AND t.clears @> '{due}' AS clears_due,
      t.created_at, t.heartbeats,
      t.stage_place, t.job_place, t.job_stage,
      -- The furthest stage that the job's workers report in this batch of heartbeats.
      max(CASE WHEN t.applies THEN t.stage_place END) OVER (PARTITION BY t.job_id) AS furthest_place,
      t.processed, t.old_processed, t.old_total, t.old_percent, t.old_stage, t.old_message, t.old_payload,
      t.worker_id = 'default' AS is_default,
      t.job_unit, t.old_unit,
      -- The name alone does not take the place of a unit in which the job has a total.
      t.applies AND headway.known_unit(t.unit) IS NOT NULL AND NOT t.unit_has_total AS names_unit,
      CASE WHEN t.applies THEN coalesce(headway.known_unit(t.unit), t.old_unit) ELSE t.old_unit END AS unit,
      t.applies AND t.clears @> '{total_count}' AS clears_total,
      t.applies AND (coalesce(t.stage, t.stage_name) IS NOT NULL OR t.clears @> '{stage}') AS sets_stage,
      t.applies AND (t.message IS NOT NULL OR t.clears @> '{message}') AS sets_message,
      -- A field that is absent keeps its value, null clears it, and a late report changes nothing but the time of the
      -- heartbeat.
      CASE WHEN NOT t.applies THEN t.old_total
        WHEN t.clears @> '{total_count}' THEN NULL
        ELSE coalesce(t.total_count, t.old_total) END AS named_total,
      CASE WHEN NOT t.applies THEN t.old_percent WHEN t.clears @> '{progress_percent}' THEN NULL
        ELSE coalesce(t.progress_percent, t.old_percent) END AS percent,
      CASE WHEN NOT t.applies THEN t.old_stage WHEN t.clears @> '{stage}' THEN NULL
        ELSE coalesce(t.stage_name, t.stage, t.old_stage) END AS stage,
      CASE WHEN NOT t.applies THEN t.old_message WHEN t.clears @> '{message}' THEN NULL
        ELSE coalesce(t.message, t.old_message) END AS message,
      CASE WHEN NOT t.applies THEN t.old_payload WHEN t.clears @> '{payload}' THEN NULL
        ELSE coalesce(t.payload, t.old_payload) END AS payload,
      CASE WHEN NOT t.applies THEN t.old_throughput WHEN t.clears @> '{throughput_per_second}' THEN NULL
        ELSE coalesce(t.throughput_per_second, t.old_throughput) END AS throughput,
      CASE WHEN NOT t.applies THEN t.old_eta_at WHEN t.clears @> '{eta_seconds}' THEN NULL
        WHEN t.eta_seconds IS NULL THEN t.old_eta_at
        -- An estimate is cut at 1,000 years: a longer one would overflow the timestamp.
        ELSE at + make_interval(secs => least(t.eta_seconds, 31557600000)) END AS eta_at,
      CASE WHEN t.applies THEN coalesce(t.reported_at, t.old_reported_at) ELSE t.old_reported_at END AS reported_at,
      t.late_since, CASE WHEN t.processed > t.old_processed THEN at ELSE t.old_advanced_at END AS advanced_at,
      t.old_advances + t.is_sample::integer AS advances, t.rate_since,
      CASE WHEN t.moves THEN at ELSE t.old_rate_at END AS rate_at,
      -- A measurement that begins now begins at the worker's time as well.
      CASE WHEN t.moves OR t.old_rate_at = at THEN t.reported_at ELSE t.old_rate_reported_at END AS rate_reported_at,
      p.rate_units, p.rate_seconds, p.rate_error, p.pace_units, p.pace_seconds, p.pace_path, p.pace_step,
      p.longest_gap, p.second_gap, p.left_out, p.paused_seconds, p.after_pause,
      coalesce(t.old_share_fell, false) OR coalesce(t.applies AND t.total_count < t.old_total, false) AS share_fell
    FROM timed t
    CROSS JOIN LATERAL (
      SELECT CASE WHEN t.is_sample THEN headway.advance_pace(
        (t.old_rate_units, t.old_rate_seconds, t.old_rate_error, t.old_pace_units, t.old_pace_seconds, t.old_pace_path,
          t.old_pace_step, t.old_longest_gap, t.old_second_gap, t.old_left_out, t.old_paused_seconds,
          t.old_after_pause)::headway.worker_pace,
        t.processed - t.old_processed, t.elapsed, t.spent, t.old_advances + 1, t.job_percent)
      ELSE (t.old_rate_units, t.old_rate_seconds, t.old_rate_error, t.old_pace_units, t.old_pace_seconds, t.old_pace_path,
        t.old_pace_step, t.old_longest_gap, t.old_second_gap, t.old_left_out, t.old_paused_seconds,
        t.old_after_pause)::headway.worker_pace END AS pace OFFSET 0
    ) a
    CROSS JOIN LATERAL (SELECT (a.pace).* OFFSET 0) p
  ),
  placed AS MATERIALIZED (
    SELECT s.*, c.counts,
      -- A unit that a worker reports and that differs from the job's: it may replace the job's unit. Of several units it is that
      -- of the first report, as if the reports had been written one by one.
      (min(ARRAY[to_char(s.i, 'FM0000000000'), s.unit]) FILTER (WHERE s.applies AND c.counts AND s.unit <> s.job_unit
        AND (s.names_unit OR s.processed > 0 OR s.named_total IS NOT NULL)) OVER job)[2] AS claimed_unit,
      bool_or(c.counts AND headway.agrees(s.unit, s.job_unit) AND (s.processed > 0 OR s.named_total IS NOT NULL))
        OVER job AS holds_unit,
      -- In one row of each job: all workers that report in this batch.
      CASE WHEN row_number() OVER job = 1 THEN array_agg(s.worker_id) OVER job END AS worker_ids
    FROM stepped s
    -- With declared stages, only the rows of the furthest one are summed.
    CROSS JOIN LATERAL (
      SELECT CASE
        WHEN s.job_place IS NULL THEN true
        WHEN s.applies THEN s.stage_place = s.furthest_place
        ELSE s.stage = s.job_stage AND coalesce(s.furthest_place <= s.job_place, true)
      END AS counts
    ) c
    WINDOW job AS (PARTITION BY s.job_id)
  ),
  -- Whether any worker has counted in the job's unit. The rows of the workers that are not in this batch are read once for each
  -- job, and not for each report: a job may have a thousand of both.
  unit_held AS (
    SELECT p.*, bool_or(coalesce(p.holds_unit, false) OR coalesce(o.hold_unit, false))
      OVER (PARTITION BY p.job_id) AS is_unit_held
    FROM placed p
    CROSS JOIN LATERAL (
      SELECT CASE
        WHEN p.worker_ids IS NOT NULL AND p.claimed_unit IS NOT NULL AND p.job_unit <> 'unknown' AND p.holds_unit IS NOT TRUE
        THEN EXISTS (
          SELECT FROM public.job_progress w
          WHERE w.job_id = p.job_id AND w.attempt = p.job_attempt AND (w.processed_count > 0 OR w.total_count IS NOT NULL)
            AND headway.agrees(w.unit, p.job_unit)
            AND (p.job_place IS NULL OR coalesce(p.furthest_place <= p.job_place, true) AND w.stage = p.job_stage)
            AND w.worker_id <> ALL (p.worker_ids))
      END AS hold_unit OFFSET 0
    ) o
  ),
  -- A job has one unit, and counts of different units are never added up. A worker that names no unit counts in the job's. A
  -- different unit becomes the job's when no worker has counted in the present one. Until then, the job does not count the
  -- worker that reports it.
  united AS MATERIALIZED (
    SELECT p.*, u.next_unit, a.agrees,
      -- A total that the worker `default` names is the job's total, and not this worker's share of it.
      CASE WHEN NOT (p.is_default AND p.applies AND a.agrees) THEN p.named_total END AS total,
      CASE WHEN p.is_default AND p.applies AND a.agrees THEN p.named_total END AS given_total
    FROM unit_held p
    CROSS JOIN LATERAL (
      SELECT CASE
        WHEN p.claimed_unit IS NULL THEN p.job_unit
        WHEN p.job_unit = 'unknown' THEN p.claimed_unit
        WHEN p.is_unit_held THEN p.job_unit
        ELSE p.claimed_unit
      END AS next_unit OFFSET 0
    ) u
    CROSS JOIN LATERAL (SELECT headway.agrees(p.unit, u.next_unit) AS agrees OFFSET 0) a
  ),
  written AS (
    INSERT INTO public.job_progress (
      job_id, worker_id, attempt, processed_count, total_count, unit, progress_percent, stage, message, payload,
      throughput_per_second, eta_at, reported_at, late_since, heartbeat_at, created_at, advanced_at, heartbeats, advances,
      rate_since, rate_at, rate_reported_at, rate_units, rate_seconds, rate_error, pace_units, pace_seconds, pace_path, pace_step,
      longest_gap, second_gap, left_out, paused_seconds, after_pause, share_fell
    )
    SELECT
      s.job_id, s.worker_id, s.job_attempt, s.processed, s.total, s.unit, s.percent, s.stage, s.message, s.payload,
      s.throughput, s.eta_at, s.reported_at, s.late_since, at, s.created_at, s.advanced_at, s.heartbeats, s.advances,
      s.rate_since, s.rate_at, s.rate_reported_at, s.rate_units, s.rate_seconds, s.rate_error, s.pace_units, s.pace_seconds,
      s.pace_path, s.pace_step, s.longest_gap, s.second_gap, s.left_out, s.paused_seconds, s.after_pause, s.share_fell
    FROM united s
    ON CONFLICT (job_id, worker_id) DO UPDATE SET
      attempt = excluded.attempt, processed_count = excluded.processed_count, total_count = excluded.total_count,
      unit = excluded.unit, progress_percent = excluded.progress_percent, stage = excluded.stage, message = excluded.message,
      payload = excluded.payload, throughput_per_second = excluded.throughput_per_second, eta_at = excluded.eta_at,
      reported_at = excluded.reported_at, late_since = excluded.late_since, heartbeat_at = excluded.heartbeat_at, created_at = excluded.created_at,
      advanced_at = excluded.advanced_at, heartbeats = excluded.heartbeats, advances = excluded.advances,
      rate_since = excluded.rate_since, rate_at = excluded.rate_at, rate_reported_at = excluded.rate_reported_at,
      rate_units = excluded.rate_units, rate_seconds = excluded.rate_seconds, rate_error = excluded.rate_error,
      pace_units = excluded.pace_units, pace_seconds = excluded.pace_seconds, pace_path = excluded.pace_path,
      pace_step = excluded.pace_step, longest_gap = excluded.longest_gap, second_gap = excluded.second_gap,
      left_out = excluded.left_out, paused_seconds = excluded.paused_seconds, after_pause = excluded.after_pause, share_fell = excluded.share_fell
  ),
  reported AS MATERIALIZED (
    -- What this batch of heartbeats says about each job: the sums over its workers, and of single values the one that came
    -- last.
    SELECT
      s.job_id, min(s.job_attempt) AS attempt, array_agg(s.worker_id) AS worker_ids, array_agg(s.actor) AS actors,
      array_agg(s.i) AS items, array_agg(s.applies) AS applied,
      sum(s.processed) FILTER (WHERE s.counts AND s.agrees) AS processed,
      sum(s.total) FILTER (WHERE s.counts AND s.agrees) AS total,
      sum(s.percent) FILTER (WHERE s.counts) AS percents, count(s.percent) FILTER (WHERE s.counts) AS percent_count,
      sum(s.advances) FILTER (WHERE s.counts AND s.agrees) AS advances,
      avg(s.rate_error) FILTER (WHERE s.counts AND s.agrees) AS rate_error,
      avg(headway.pause_variance(s.paused_seconds, s.left_out, s.longest_gap, s.pace_seconds))
        FILTER (WHERE s.counts AND s.agrees) AS pause_variance,
      coalesce(bool_or(s.throughput IS NOT NULL) FILTER (WHERE s.counts AND s.agrees), false) AS states_rate,
      sum(l.rate) FILTER (WHERE s.counts AND s.agrees) AS throughput,
      max(headway.share_left(s.total, s.processed, s.share_fell, true, l.rate)) FILTER (WHERE s.counts AND s.agrees) AS longest,
      max(s.eta_at) FILTER (WHERE s.counts) AS eta_at,
      coalesce(bool_or(s.processed > s.old_processed) FILTER (WHERE s.counts AND NOT s.agrees), false) AS others_advance,
      bool_or(
        s.is_new OR s.processed <> s.old_processed OR s.total IS DISTINCT FROM s.old_total
        OR s.percent IS DISTINCT FROM s.old_percent OR s.stage IS DISTINCT FROM s.old_stage
        OR s.message IS DISTINCT FROM s.old_message OR s.payload IS DISTINCT FROM s.old_payload
        OR s.unit IS DISTINCT FROM s.old_unit
      ) AS workers_changed,
      max(s.given_total) FILTER (WHERE s.counts) AS own_total,
      coalesce(bool_or(s.clears_total AND s.is_default AND s.agrees), false) AS clears_total,
      min(s.next_unit) AS unit,
      bool_or(s.next_unit <> s.job_unit AND s.job_unit <> 'unknown') AS changes_unit,
      (array_agg(s.stage ORDER BY s.stage_place DESC NULLS LAST, s.i DESC) FILTER (WHERE s.sets_stage))[1] AS stage,
      (array_agg(s.actor ORDER BY s.stage_place DESC NULLS LAST, s.i DESC) FILTER (WHERE s.sets_stage))[1] AS stage_actor,
      coalesce(bool_or(s.sets_stage), false) AS sets_stage,
      min(s.job_stage) AS job_stage, min(s.job_place) AS job_place,
      greatest(min(s.job_place), min(s.furthest_place)) AS stage_place,
      (array_agg(s.message ORDER BY s.i DESC) FILTER (WHERE s.sets_message))[1] AS message,
      coalesce(bool_or(s.sets_message), false) AS sets_message,
      (array_agg(s.meta) FILTER (WHERE s.applies AND s.meta IS NOT NULL))[1] AS meta,
      (array_agg(s.due) FILTER (WHERE s.applies AND s.due IS NOT NULL))[1] AS due, coalesce(bool_or(s.clears_due), false) AS clears_due
    FROM united s
    CROSS JOIN LATERAL (
      SELECT coalesce(s.throughput, headway.worker_rate(s.rate_units, s.rate_seconds, s.pace_seconds, s.paused_seconds, s.advances,
        headway.seconds(s.rate_at, s.rate_since), headway.seconds(at, s.rate_at))) AS rate
      OFFSET 0
    ) l
    GROUP BY s.job_id
  ),
  rolled AS (
    -- The same sums together with the workers that are not in this batch. A correlated subquery, because the planner would
    -- compare every job of one intermediate result with every job of the other.
    SELECT r.*,
      headway.hold_count(coalesce(r.processed, 0) + coalesce(o.processed, 0)) AS all_processed,
      headway.hold_count(CASE WHEN r.total IS NULL THEN o.total ELSE r.total + coalesce(o.total, 0) END) AS shared_total,
      (coalesce(r.percents, 0) + coalesce(o.percents, 0))::float8 / nullif(r.percent_count + o.percent_count, 0) AS percent,
      CASE WHEN r.throughput IS NULL THEN o.throughput ELSE r.throughput + coalesce(o.throughput, 0) END AS all_throughput,
      coalesce(r.advances, 0) + coalesce(o.advances, 0) AS all_advances,
      coalesce((r.rate_error + o.rate_error) / 2, r.rate_error, o.rate_error) AS all_rate_error,
      coalesce((r.pause_variance + o.pause_variance) / 2, r.pause_variance, o.pause_variance) AS all_pause_variance,
      coalesce(r.advances, 0) + coalesce(o.advances, 0) >= 3
        -- A rate that a worker states itself counts at once.
        OR r.states_rate OR coalesce(o.states_rate, false) AS has_rate,
      r.states_rate OR coalesce(o.states_rate, false) AS any_states_rate,
      greatest(r.longest, o.longest) AS all_longest,
      greatest(r.eta_at, o.eta_at) AS last_eta_at
    FROM reported r
    CROSS JOIN LATERAL (
      SELECT
        sum(w.processed_count) FILTER (WHERE l.agrees) AS processed, sum(w.total_count) FILTER (WHERE l.agrees) AS total,
        sum(w.advances) FILTER (WHERE l.agrees) AS advances, avg(w.rate_error) FILTER (WHERE l.agrees) AS rate_error,
        avg(headway.pause_variance(w.paused_seconds, w.left_out, w.longest_gap, w.pace_seconds))
          FILTER (WHERE l.agrees) AS pause_variance,
        bool_or(w.throughput_per_second IS NOT NULL) FILTER (WHERE l.reports AND l.agrees) AS states_rate,
        sum(w.progress_percent) AS percents, count(w.progress_percent) AS percent_count,
        sum(l.rate) FILTER (WHERE l.reports AND l.agrees) AS throughput,
        max(headway.share_left(w.total_count, w.processed_count, w.share_fell, l.reports, l.rate)) FILTER (WHERE l.agrees)
          AS longest,
        max(w.eta_at) FILTER (WHERE l.reports) AS eta_at
      FROM public.job_progress w
      CROSS JOIN LATERAL (
        -- Apart, as in headway.flush_plain: the planner inlines share_left only where its arguments are columns.
        SELECT headway.worker_reports(at, w.heartbeat_at, w.created_at, w.heartbeats) AS reports,
          headway.agrees(w.unit, r.unit) AS agrees,
          coalesce(w.throughput_per_second, headway.worker_rate(w.rate_units, w.rate_seconds, w.pace_seconds, w.paused_seconds,
            w.advances, headway.seconds(w.rate_at, w.rate_since), headway.seconds(at, w.rate_at))) AS rate
        OFFSET 0
      ) l
      WHERE w.job_id = r.job_id AND w.attempt = r.attempt AND w.worker_id <> ALL (r.worker_ids)
        AND (r.job_place IS NULL OR w.stage = CASE WHEN r.sets_stage THEN r.stage ELSE r.job_stage END)
    ) o
  ),
  decided AS MATERIALIZED (
    -- What the job will be, without its estimate. The job's row is read once; columns named `was_` hold its old values.
    SELECT r.*, o.own, t.all_total, m.new_meta, l.new_lifecycle, p.stage_advances, f.fraction, (e.history).expected_seconds AS expected, (e.history).shape, (e.history).long_seconds,
      j.share_path, j.share_step, j.shape_odds, j.attempt AS job_attempt, j.advanced_at AS was_advanced_at,
      j.percent_at AS was_percent_at,
      CASE WHEN r.job_place IS NULL THEN headway.share_of(j.processed_count, j.total_count) END AS was_share,
      coalesce(j.started_at, at) AS started_at, j.progress_percent AS was_percent, j.total_count AS was_total,
      j.sampled_at AS was_sampled_at, j.sampled_percent AS was_sampled_percent,
      -- The weights of the declared stages: `before` is the part of the job that came before the current stage, `stage_weight`
      -- is the part that the current stage is.
      g.weights[1] AS before, g.weights[2] AS stage_weight,
      CASE WHEN r.all_processed > CASE WHEN r.changes_unit THEN 0 ELSE j.processed_count END OR r.others_advance
        OR p.stage_advances AND r.job_place > 0 THEN at
        ELSE j.advanced_at END AS advanced_at,
      r.workers_changed OR l.new_lifecycle IS NOT NULL
        OR t.all_total IS DISTINCT FROM j.total_count OR o.own IS DISTINCT FROM j.own_total_count
        OR r.unit <> j.unit OR coalesce(m.new_meta <> j.meta, false)
        OR (r.sets_message AND r.message IS DISTINCT FROM j.message)
        OR (r.sets_stage AND r.stage IS DISTINCT FROM j.stage) OR n.sets_due AS changed,
      n.sets_due
    FROM rolled r
    JOIN public.progress_jobs j ON j.id = r.job_id
    CROSS JOIN LATERAL (SELECT coalesce(r.stage_place > r.job_place, false) AS stage_advances) p
    CROSS JOIN LATERAL (
      -- A total belongs to the stage and the unit in which it was reported.
      SELECT CASE WHEN r.clears_total OR p.stage_advances OR r.changes_unit THEN r.own_total
        ELSE coalesce(r.own_total, j.own_total_count) END AS own
    ) o
    CROSS JOIN LATERAL (SELECT coalesce(o.own, r.shared_total) AS all_total) t
    CROSS JOIN LATERAL (SELECT j.meta || r.meta AS new_meta) m
    CROSS JOIN LATERAL (
      SELECT (r.due IS NOT NULL OR r.clears_due) AND ((r.due ->> 'finishBy')::timestamptz, (r.due ->> 'finishWithinSeconds')::integer)
        IS DISTINCT FROM (j.finish_by::timestamptz, j.finish_within_seconds) AS sets_due
    ) n
    CROSS JOIN LATERAL (SELECT CASE WHEN j.status = 'pending' THEN 'started'
      WHEN j.status = 'failed' OR j.liveness = 'stalled' THEN 'recovered' END AS new_lifecycle) l
    CROSS JOIN LATERAL (SELECT CASE WHEN r.job_place IS NOT NULL
      THEN headway.stage_fraction(r.all_processed, t.all_total, r.percent) END AS fraction) f
    -- The call stands in a CASE: as a function in FROM it would be called for jobs without stages, too.
    CROSS JOIN LATERAL (
      SELECT CASE WHEN r.job_place IS NOT NULL THEN headway.stage_weights(j.stages, r.stage_place) END AS weights OFFSET 0
    ) g
    CROSS JOIN LATERAL (SELECT CASE WHEN j.status = 'pending'
      THEN headway.history_of(j.tenant_id, j.job_type, j.parent_job_id IS NOT NULL)
      ELSE (j.expected_seconds, j.shape, j.long_seconds, NULL)::headway.type_history END AS history OFFSET 0) e
  ),
  measured AS MATERIALIZED (
    -- The percent to show, and the time left according to the rate alone.
    SELECT d.*, p.percent_now, p.done, p.by_percent,
      headway.rate_eta(
        k.rest,
        -- In a new stage, the pace of the stages before it says more than the first advances of the new one.
        CASE WHEN d.job_place IS NULL OR d.has_rate THEN k.rate END,
        coalesce(1 - d.before - d.stage_weight, 0), p.done,
        headway.seconds(at, d.started_at) - CASE WHEN p.by_percent THEN i.idle ELSE 0 END) AS rate_eta,
      coalesce(p.done, headway.share_of(d.all_processed, d.all_total)) AS share,
      headway.seconds(at, d.started_at) AS spent, i.idle, g.percent_at,
      -- When the share last grew.
      CASE WHEN p.by_percent THEN g.percent_at ELSE d.advanced_at END AS grown_at,
      CASE WHEN p.by_percent THEN d.was_percent_at ELSE d.was_advanced_at END AS was_grown_at,
      -- `unsampled` is the time since the last progress entry in the history, `sampled` the time that the job had run by then.
      headway.seconds(at, coalesce(d.was_sampled_at, d.started_at)) AS unsampled,
      headway.seconds(coalesce(d.was_sampled_at, d.started_at), d.started_at) AS sampled,
      d.all_total IS NULL OR NOT coalesce(d.advanced_at > coalesce(d.was_sampled_at, d.started_at), false) AS flat
    FROM decided d
    CROSS JOIN LATERAL (
      SELECT CASE WHEN d.all_total < d.all_processed THEN 0 ELSE d.all_total - d.all_processed END AS rest,
        headway.rate_by_shares(d.all_total - d.all_processed, d.shared_total, d.all_total, d.all_longest, d.all_throughput) AS rate
      OFFSET 0
    ) k
    CROSS JOIN LATERAL (
      SELECT CASE WHEN d.job_place IS NOT NULL THEN d.before + d.stage_weight * d.fraction
        WHEN d.all_total IS NULL THEN d.percent / 100 END AS done,
        d.job_place IS NULL AND d.all_total IS NULL AND d.percent > 0 AS by_percent
    ) q
    CROSS JOIN LATERAL (
      SELECT CASE WHEN q.done IS NULL THEN headway.percent(d.all_processed, d.all_total)
        ELSE headway.percent_of_fraction(q.done) END AS computed OFFSET 0
    ) c
    CROSS JOIN LATERAL (
      -- In a new unit the job begins at nothing.
      SELECT q.done, q.by_percent, headway.next_percent(
        CASE WHEN d.changes_unit AND d.job_place IS NULL THEN 0 ELSE d.was_percent END, c.computed,
        d.all_total IS NOT NULL AND NOT d.stage_advances) AS percent_now
    ) p
    CROSS JOIN LATERAL (
      SELECT CASE WHEN p.by_percent AND p.percent_now > coalesce(d.was_percent, 0) THEN at ELSE d.was_percent_at END AS percent_at
    ) g
    -- A whole percent is reported until the next one is reached. The time since then is expected, as it is between two advances.
    CROSS JOIN LATERAL (
      SELECT CASE WHEN p.by_percent
        THEN headway.expected_idle(headway.seconds(at, g.percent_at), headway.seconds(g.percent_at, d.started_at), p.percent_now)
        ELSE headway.expected_idle(headway.seconds(at, d.advanced_at), headway.seconds(d.advanced_at, d.started_at), d.all_advances)
        END AS idle
      OFFSET 0
    ) i
  ),
  -- A job with a history: its path of shares, and how well it follows the shape. A path begins at the share with which an attempt
  -- after the first begins.
  followed AS MATERIALIZED (
    SELECT m.*, coalesce((f.path).path, m.share_path, b.path) AS path_now, coalesce((f.path).step, m.share_step, 0) AS step_now,
      coalesce((f.path).odds, m.shape_odds, 1) AS odds_now
    FROM measured m
    CROSS JOIN LATERAL (SELECT ARRAY[CASE WHEN m.job_attempt > 1 THEN coalesce(m.share, 0) ELSE 0 END]::real[] AS path) b
    CROSS JOIN LATERAL (
      SELECT CASE WHEN m.shape IS NOT NULL AND m.share IS NOT NULL AND m.grown_at = at AND m.spent > 0
        AND m.spent >= coalesce(m.share_step, 0) * cardinality(coalesce(m.share_path, b.path))
      THEN headway.follow_shape(coalesce(m.share_path, b.path), coalesce(m.share_step, 0), m.shape,
        coalesce(headway.seconds(m.was_grown_at, m.started_at), 0), coalesce(m.was_share, m.was_percent / 100::float8),
        m.spent, m.share) END AS path
      OFFSET 0
    ) f
  ),
  estimated AS MATERIALIZED (
    SELECT m.*, h.weight,
      CASE WHEN m.last_eta_at IS NULL THEN b.eta - least(b.eta, m.idle)
        WHEN m.last_eta_at > at THEN headway.seconds(m.last_eta_at, at) ELSE 0 END AS eta,
      CASE WHEN m.last_eta_at IS NULL AND b.eta IS NOT NULL
        THEN headway.eta_spread(m.shape, m.share, h.weight, m.all_rate_error, m.all_pause_variance) END AS spread,
      m.new_lifecycle IS NULL AND NOT m.stage_advances
        AND headway.sample_is_due(m.unsampled, m.sampled, m.percent_now, coalesce(m.was_sampled_percent, 0), m.flat) AS samples
    FROM followed m
    CROSS JOIN LATERAL (
      SELECT headway.usual_time(m.shape, m.share, m.path_now[1]) AS usual, headway.at_share(m.shape, 0, m.path_now[1]) AS usual_begun,
        headway.at_share(m.shape, 21, m.share) AS trust OFFSET 0
    ) u
    CROSS JOIN LATERAL (
      -- A rate that a worker states itself counts alone.
      SELECT CASE WHEN NOT (m.any_states_rate AND m.rate_eta IS NOT NULL)
        THEN headway.history_eta(m.expected, u.usual, u.usual_begun, m.spent - m.idle) END AS from_history,
        m.odds_now * headway.duration_odds(m.expected, u.usual, u.usual_begun, m.spent - m.idle, m.share - m.path_now[1], m.shape[43])
          AS odds OFFSET 0
    ) l
    CROSS JOIN LATERAL (
      SELECT headway.history_weight(u.trust,
        -- What a percent says of the rate is the less certain the fewer percent there are: half of one, beside 15 % otherwise.
        l.odds * CASE WHEN m.by_percent THEN 1 + power(0.005 / m.share / 0.15, 2) ELSE 1 END, l.from_history,
        CASE WHEN m.has_rate OR m.done IS NOT NULL THEN m.rate_eta END) AS weight OFFSET 0
    ) h
    CROSS JOIN LATERAL (SELECT headway.blend_eta(l.from_history, m.rate_eta, h.weight) AS eta OFFSET 0) b
  ),
  updated AS (
    UPDATE public.progress_jobs j SET
      status = 'running',
      liveness = 'ok',
      started_at = d.started_at,
      heartbeat_at = at,
      finished_at = NULL,
      finished_xact = NULL,
      failure_reason = NULL,
      error_message = CASE WHEN j.status = 'failed' THEN NULL ELSE j.error_message END,
      -- A partition that recovers is asked to stop if its batch was asked to stop.
      cancel_requested_at = CASE WHEN j.status = 'failed'
        THEN (SELECT b.cancel_requested_at FROM public.progress_jobs b WHERE b.id = j.parent_job_id)
        ELSE j.cancel_requested_at END,
      processed_count = d.all_processed,
      total_count = d.all_total,
      own_total_count = d.own,
      progress_percent = d.percent_now,
      unit = d.unit,
      stage = CASE WHEN d.sets_stage THEN d.stage ELSE j.stage END,
      message = CASE WHEN d.sets_message THEN d.message ELSE j.message END,
      meta = coalesce(d.new_meta, j.meta),
      -- A new deadline is judged anew.
      finish_by = CASE WHEN d.sets_due THEN (d.due ->> 'finishBy')::timestamptz ELSE j.finish_by END,
      finish_within_seconds = CASE WHEN d.sets_due THEN (d.due ->> 'finishWithinSeconds')::integer ELSE j.finish_within_seconds END,
      deadline = CASE WHEN NOT d.sets_due THEN j.deadline END,
      doubted_since = CASE WHEN NOT d.sets_due THEN j.doubted_since END,
      calm_since = CASE WHEN NOT d.sets_due THEN j.calm_since END,
      throughput_per_second = d.all_throughput,
      -- Readers subtract the time since updated_at from the estimate. A heartbeat that changes nothing leaves updated_at as it
      -- is, so the time since then is added here.
      eta_seconds = headway.hold_seconds(ceil(d.eta)
        + CASE WHEN d.changed THEN 0 ELSE greatest(0, ceil(headway.seconds(at, j.updated_at))) END),
      eta_source = CASE WHEN d.eta IS NULL THEN NULL WHEN d.last_eta_at IS NOT NULL THEN 'worker'
        WHEN d.weight > 0.5 THEN 'history' ELSE 'rate' END,
      eta_spread = d.spread,
      expected_seconds = d.expected,
      shape = d.shape,
      long_seconds = d.long_seconds,
      share_path = CASE WHEN d.shape IS NOT NULL THEN d.path_now END,
      share_step = CASE WHEN d.shape IS NOT NULL THEN d.step_now END,
      shape_odds = CASE WHEN d.shape IS NOT NULL THEN d.odds_now END,
      advanced_at = d.advanced_at,
      percent_at = d.percent_at,
      sampled_at = CASE WHEN d.samples THEN at ELSE j.sampled_at END,
      sampled_percent = CASE WHEN d.samples THEN d.percent_now ELSE j.sampled_percent END,
      updated_at = CASE WHEN d.changed THEN at ELSE j.updated_at END,
      revision = j.revision + d.changed::integer,
      lifecycle = coalesce(d.new_lifecycle, j.lifecycle),
      lifecycle_revision = CASE WHEN d.new_lifecycle IS NOT NULL THEN j.revision + 1 ELSE j.lifecycle_revision END
    FROM estimated d
    WHERE j.id = d.job_id
    RETURNING d.items, j.id, j.status, j.cancel_requested_at IS NOT NULL AS cancel_requested, j.progress_percent,
      j.revision, d.applied, j.attempt, j.heartbeat_timeout_seconds, d.changed, d.new_lifecycle, d.worker_ids, d.actors,
      d.stage_advances, d.stage_actor, d.job_stage, d.samples, j.processed_count, j.total_count, j.throughput_per_second, d.eta,
      j.stage, j.advanced_at
  ),
  history AS (
    INSERT INTO public.job_events (job_id, type, at, actor, attempt, data)
    SELECT u.id, e.type, at, e.actor, u.attempt, e.data
    FROM updated u
    CROSS JOIN LATERAL (
      SELECT u.new_lifecycle, u.actors[1], jsonb_build_object('workerId', u.worker_ids[1])
      WHERE u.new_lifecycle IS NOT NULL
      UNION ALL
      SELECT 'stage_changed', u.stage_actor, jsonb_strip_nulls(jsonb_build_object(
        'stage', u.stage, 'previousStage', u.job_stage, 'progressPercent', u.progress_percent))
      WHERE u.stage_advances
      UNION ALL
      SELECT 'progress', NULL, headway.sample_document(u.progress_percent, u.processed_count, u.total_count,
        u.throughput_per_second, ceil(u.eta), u.stage, u.advanced_at)
      WHERE u.samples
    ) AS e (type, actor, data)
    WHERE u.new_lifecycle IS NOT NULL OR u.stage_advances OR u.samples
  )
  SELECT array_agg(a.item), NULL::text, u.status, u.cancel_requested, array_agg(u.progress_percent::integer),
    array_agg(u.revision), array_agg(a.applied), u.heartbeat_timeout_seconds, u.changed, u.new_lifecycle IS NOT NULL, NULL::json
  FROM updated u CROSS JOIN LATERAL unnest(u.items, u.applied) AS a (item, applied)
  GROUP BY u.status, u.cancel_requested, u.heartbeat_timeout_seconds, u.changed, u.new_lifecycle IS NOT NULL
  UNION ALL
  SELECT array_agg(h.i), h.code, h.job_status, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM judged h WHERE h.code IS NOT NULL GROUP BY h.code, h.job_status;
END
$$;

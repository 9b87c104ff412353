-- Writes plain heartbeats, which are nearly all heartbeats. A plain heartbeat comes from a worker that has reported before, is
-- the only one of its job in the batch, is about a running job without declared stages, and says how far the worker is and no
-- more. Answers as headway.flush does, for those that it wrote. It leaves every other heartbeat to headway.flush_any, which
-- would store the same for a plain one and costs twice as much (docs/decisions/0010-plain-heartbeats.md).
--
-- Each row is found once by its key and then updated by its ctid. The jobs are locked, so no row moves in between. There are
-- only two updates and one aggregate over them, because each further step of the plan costs time for every heartbeat.
CREATE FUNCTION headway.flush_plain(
  at timestamptz, job_ids uuid[], tenant_ids uuid[], worker_ids text[], attempts integer[], organization_bound boolean[],
  organization_ids uuid[], scope_job_ids uuid[], actors text[], processed_counts bigint[], increments bigint[],
  total_counts bigint[], messages text[], reported_ats timestamptz[]
) RETURNS SETOF headway.heartbeat_answers
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_memoize = off
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH stepped AS MATERIALIZED (
    SELECT
      x.i, j.place AS job_place, w.place AS worker_place,
      -- The worker's row.
      n.processed, s.share, s.fell, coalesce(x.message, w.message) AS worker_message, coalesce(x.reported_at, w.reported_at) AS reported_at,
      n.processed > w.processed_count AS advances_count, r.advances, n.moves, x.reported_at AS moved_at,
      r.rate_units, r.rate_seconds, r.rate_error, w.pace_units + n.added AS pace_units, g.pace_seconds, r.pace_path, r.pace_step,
      g.longest_gap, g.second_gap, g.left_out, g.paused_seconds, g.after_pause,
      -- The job's row.
      s.own, c.all_processed, c.all_total, x.message, c.throughput, c.percent_now, c.changed, c.advanced_at, e.eta, e.weight, e.spread,
      e.share_path, e.share_step, e.shape_odds,
      headway.sample_is_due(e.unsampled, e.sampled, c.percent_now, coalesce(j.sampled_percent, 0),
        c.all_total IS NULL OR NOT coalesce(c.advanced_at > coalesce(j.sampled_at, j.started_at), false)) AS samples
    FROM headway.plain_heartbeats(job_ids, tenant_ids, worker_ids, attempts, organization_bound, organization_ids,
      scope_job_ids, actors, processed_counts, increments, total_counts, messages, reported_ats) AS x
    CROSS JOIN LATERAL (
      SELECT j.ctid AS place, j.* FROM public.progress_jobs j
      WHERE j.id = x.job_id AND headway.sees(j, x.tenant_id, x.all_organizations, x.organization_id, x.scope_job_id) IS TRUE
        AND j.liveness = 'ok' AND j.stages IS NULL AND j.children IS NULL AND coalesce(x.attempt = j.attempt, true)
      OFFSET 0
    ) j
    CROSS JOIN LATERAL (
      SELECT w.ctid AS place, w.* FROM public.job_progress w
      WHERE w.job_id = x.job_id AND w.worker_id = x.worker_id AND w.attempt = j.attempt
        -- Workers that state a rate, an estimate or a percent themselves, and late reports, are rare: headway.flush_any writes
        -- them. So is a worker `default` that named its total when the job had another unit: it becomes the job's total now.
        AND (x.worker_id <> 'default' OR w.total_count IS NULL)
        AND w.throughput_per_second IS NULL AND w.eta_at IS NULL AND w.progress_percent IS NULL
        AND headway.agrees(w.unit, j.unit)
        AND coalesce(x.reported_at >= w.reported_at, true)
        AND (j.heartbeat_timeout_seconds = 0 OR w.heartbeat_at >= at - make_interval(secs => j.heartbeat_timeout_seconds))
      OFFSET 0
    ) w
    CROSS JOIN LATERAL (
      SELECT
        sum(o.processed_count) AS processed, sum(o.total_count) AS total, sum(o.advances) AS advances, avg(o.rate_error) AS rate_error,
        avg(headway.pause_variance(o.paused_seconds, o.left_out, o.longest_gap, o.pace_seconds)) AS pause_variance,
        count(o.progress_percent) AS percents,
        count(*) FILTER (WHERE o.eta_at IS NOT NULL OR o.throughput_per_second IS NOT NULL OR o.unit <> j.unit) AS rare,
        sum(o.rate) FILTER (WHERE o.reports) AS throughput,
        max(headway.share_left(o.total_count, o.processed_count, o.share_fell, o.reports, o.rate)) AS longest
      FROM (
        -- Apart: the planner inlines share_left only where the rate is a column.
        SELECT o.*, headway.worker_reports(at, o.heartbeat_at, o.created_at, o.heartbeats) AS reports,
          headway.worker_rate(o.rate_units, o.rate_seconds, o.pace_seconds, o.paused_seconds, o.advances,
            headway.seconds(o.rate_at, o.rate_since), headway.seconds(at, o.rate_at)) AS rate
        FROM public.job_progress o WHERE o.job_id = x.job_id AND o.worker_id <> x.worker_id AND o.attempt = j.attempt
        OFFSET 0
      ) o
    ) o
    CROSS JOIN LATERAL (
      SELECT p.*, p.processed <> w.processed_count AS moves,
        p.processed > w.processed_count AND w.rate_at < at AS is_sample,
        CASE WHEN p.processed > w.processed_count AND w.rate_at < at THEN p.processed - w.processed_count ELSE 0 END AS added,
        headway.advance_seconds(at, w.rate_at, x.reported_at, w.rate_reported_at) AS elapsed,
        greatest(0.001, headway.seconds(at, w.rate_since)) AS spent
      FROM (SELECT least(9007199254740991, coalesce(x.processed_count, w.processed_count) + coalesce(x.increment, 0)) AS processed) p
      OFFSET 0
    ) n
    -- The worker's pace, as headway.advance_pace says it; the path is followed further only where it grows.
    CROSS JOIN LATERAL (
      SELECT w.advances + n.is_sample::integer AS advances,
        CASE WHEN n.is_sample THEN l.longest_gap ELSE w.longest_gap END AS longest_gap,
        CASE WHEN n.is_sample THEN l.second_gap ELSE w.second_gap END AS second_gap,
        CASE WHEN n.is_sample THEN l.left_out ELSE w.left_out END AS left_out,
        CASE WHEN n.is_sample THEN w.paused_seconds + n.elapsed - c.counted + w.left_out - l.left_out ELSE w.paused_seconds END
          AS paused_seconds,
        CASE WHEN n.is_sample THEN l.is_long ELSE w.after_pause END AS after_pause,
        c.counted, w.pace_seconds + c.counted AS pace_seconds
      FROM (
        SELECT k.*, headway.left_out(k.longest_gap, headway.usual_gap(k.second_gap, n.spent, w.advances + 1),
          j.progress_percent) AS left_out, headway.is_long_gap(n.elapsed, w.pace_seconds, w.advances) AS is_long
        FROM (SELECT greatest(w.longest_gap, n.elapsed) AS longest_gap,
          greatest(w.second_gap, least(w.longest_gap, n.elapsed)) AS second_gap) k
      ) l
      CROSS JOIN LATERAL (
        SELECT CASE WHEN NOT n.is_sample THEN 0 WHEN l.is_long AND NOT w.after_pause
          THEN headway.time_at_work(n.elapsed, n.added, w.pace_seconds, w.pace_units, w.advances)
          ELSE n.elapsed END AS counted
      ) c
      OFFSET 0
    ) g
    CROSS JOIN LATERAL (
      SELECT g.advances, coalesce((f.pace).units, w.rate_units + n.added) AS rate_units,
        coalesce((f.pace).seconds, w.rate_seconds + g.counted) AS rate_seconds,
        CASE WHEN f.pace IS NULL THEN w.rate_error ELSE (f.pace).error END AS rate_error,
        coalesce((f.pace).path, w.pace_path) AS pace_path, coalesce((f.pace).step, w.pace_step) AS pace_step
      FROM (
        SELECT CASE WHEN n.is_sample AND g.pace_seconds >= w.pace_step * cardinality(w.pace_path) THEN
          headway.follow_pace(w.pace_path, w.pace_step, w.pace_seconds, w.pace_units, g.pace_seconds, w.pace_units + n.added, g.advances)
        END AS pace OFFSET 0
      ) f
      OFFSET 0
    ) r
    CROSS JOIN LATERAL (
      SELECT CASE WHEN x.worker_id = 'default' THEN NULL ELSE coalesce(x.total_count, w.total_count) END AS share,
        CASE WHEN x.worker_id = 'default' THEN coalesce(x.total_count, j.own_total_count) ELSE j.own_total_count END AS own,
        w.share_fell OR coalesce(x.total_count < w.total_count, false) AS fell
    ) s
    CROSS JOIN LATERAL (
      SELECT a.*,
        n.moves OR a.all_total IS DISTINCT FROM j.total_count OR s.own IS DISTINCT FROM j.own_total_count
          OR s.share IS DISTINCT FROM w.total_count OR coalesce(x.message <> w.message, x.message IS NOT NULL)
          OR coalesce(x.message <> j.message, x.message IS NOT NULL) AS changed,
        CASE WHEN a.all_processed > j.processed_count THEN at ELSE j.advanced_at END AS advanced_at,
        headway.next_percent(j.progress_percent, a.percent, true) AS percent_now,
        headway.rate_by_shares(a.all_total - a.all_processed, a.shared, a.all_total, a.longest, a.throughput) AS rate
      FROM (
        SELECT b.*, headway.percent(b.all_processed, b.all_total) AS percent
        FROM (
        SELECT CASE WHEN o.processed IS NULL THEN n.processed ELSE headway.hold_count(n.processed + o.processed) END
            AS all_processed,
          coalesce(s.own, u.shared) AS all_total, u.shared, t.throughput,
          greatest(o.longest, headway.share_left(s.share, n.processed, s.fell, true, t.own)) AS longest, r.advances + coalesce(o.advances, 0) AS all_advances,
          coalesce((r.rate_error + o.rate_error) / 2, r.rate_error, o.rate_error) AS rate_error,
          coalesce((t.variance + o.pause_variance) / 2, t.variance, o.pause_variance) AS pause_variance
        FROM (
          SELECT q.own, q.variance, CASE WHEN q.own IS NULL THEN o.throughput ELSE q.own + coalesce(o.throughput, 0) END AS throughput
          FROM (
            -- Computed once, and apart: the planner inlines share_left below only where the rate is a column.
            SELECT headway.worker_rate(r.rate_units, r.rate_seconds, g.pace_seconds, g.paused_seconds, r.advances,
              headway.seconds(w.rate_at, w.rate_since),
              CASE WHEN n.moves THEN 0 ELSE headway.seconds(at, w.rate_at) END) AS own,
              headway.pause_variance(g.paused_seconds, g.left_out, g.longest_gap, g.pace_seconds) AS variance
            OFFSET 0
          ) q
        ) t
        CROSS JOIN LATERAL (
          SELECT CASE WHEN o.total IS NULL THEN s.share ELSE headway.hold_count(coalesce(s.share, 0) + o.total) END AS shared
        ) u
        ) b
        OFFSET 0
      ) a
      OFFSET 0
    ) c
    CROSS JOIN LATERAL (
      SELECT g.*,
        CASE WHEN f.path IS NULL THEN j.share_path ELSE (f.path).path END AS share_path,
        CASE WHEN f.path IS NULL THEN j.share_step ELSE (f.path).step END AS share_step,
        CASE WHEN f.path IS NULL THEN j.shape_odds ELSE (f.path).odds END AS shape_odds
      FROM (
        SELECT headway.seconds(at, j.started_at) AS spent,
          headway.seconds(at, coalesce(j.sampled_at, j.started_at)) AS unsampled,
          headway.seconds(coalesce(j.sampled_at, j.started_at), j.started_at) AS sampled,
          headway.share_of(c.all_processed, c.all_total) AS share,
          headway.rate_eta(greatest(c.all_total - c.all_processed, CASE WHEN c.all_total IS NOT NULL THEN 0 END),
            c.rate, 0, NULL, NULL) AS measured,
          headway.expected_idle(headway.seconds(at, c.advanced_at), headway.seconds(c.advanced_at, j.started_at), c.all_advances)
            AS idle
        OFFSET 0
      ) g
      CROSS JOIN LATERAL (
        SELECT CASE WHEN j.shape IS NOT NULL AND g.share IS NOT NULL AND c.advanced_at = at AND g.spent > 0
          AND g.spent >= j.share_step * cardinality(j.share_path)
        THEN headway.follow_shape(j.share_path, j.share_step, j.shape,
          coalesce(headway.seconds(j.advanced_at, j.started_at), 0),
          coalesce(headway.share_of(j.processed_count, j.total_count), j.progress_percent / 100::float8), g.spent, g.share)
        END AS path
        OFFSET 0
      ) f
      OFFSET 0
    ) h
    CROSS JOIN LATERAL (
      SELECT h.unsampled, h.sampled, h.share_path, h.share_step, h.shape_odds, b.weight, b.eta - least(b.eta, h.idle) AS eta,
        CASE WHEN b.eta IS NOT NULL THEN headway.eta_spread(j.shape, h.share, b.weight, c.rate_error, c.pause_variance) END AS spread
      FROM (
        SELECT w.weight, headway.blend_eta(w.from_history, h.measured, w.weight) AS eta
        FROM (
          SELECT l.from_history,
            headway.history_weight(j.shape, h.share, l.odds, l.from_history,
              CASE WHEN c.all_advances >= 3 THEN h.measured END) AS weight
          FROM (
            SELECT headway.history_eta(j.expected_seconds, j.shape, h.share, coalesce(j.share_path[1], 0), h.spent - h.idle)
              AS from_history,
              -- Apart, because the planner does not inline history_weight with a long expression for the odds.
              coalesce(h.shape_odds, 1)
                * headway.duration_odds(j.expected_seconds, j.shape, h.share, coalesce(j.share_path[1], 0), h.spent - h.idle) AS odds
            OFFSET 0
          ) l
          OFFSET 0
        ) w
        OFFSET 0
      ) b
      OFFSET 0
    ) e
    WHERE o.rare = 0 AND (c.all_total IS NOT NULL OR o.percents = 0)
  ),
  written AS (
    UPDATE public.job_progress w SET
      processed_count = s.processed,
      total_count = s.share,
      share_fell = s.fell,
      message = s.worker_message,
      reported_at = s.reported_at,
      late_since = NULL,
      heartbeat_at = at,
      advanced_at = CASE WHEN s.advances_count THEN at ELSE w.advanced_at END,
      heartbeats = w.heartbeats + 1,
      advances = s.advances,
      rate_at = CASE WHEN s.moves THEN at ELSE w.rate_at END,
      -- A measurement that begins now begins at the worker's time as well.
      rate_reported_at = CASE WHEN s.moves OR w.rate_at = at THEN s.moved_at ELSE w.rate_reported_at END,
      rate_units = s.rate_units,
      rate_seconds = s.rate_seconds,
      rate_error = s.rate_error,
      pace_units = s.pace_units,
      pace_seconds = s.pace_seconds,
      pace_path = s.pace_path,
      pace_step = s.pace_step,
      longest_gap = s.longest_gap,
      second_gap = s.second_gap,
      left_out = s.left_out,
      paused_seconds = s.paused_seconds,
      after_pause = s.after_pause
    FROM stepped s WHERE w.ctid = s.worker_place
  ),
  updated AS (
    UPDATE public.progress_jobs j SET
      heartbeat_at = at,
      processed_count = s.all_processed,
      total_count = s.all_total,
      own_total_count = s.own,
      progress_percent = s.percent_now,
      message = coalesce(s.message, j.message),
      throughput_per_second = s.throughput,
      -- Readers subtract the time since updated_at from the estimate. A heartbeat that changes nothing leaves updated_at as it
      -- is, so the time since then is added here.
      eta_seconds = headway.hold_seconds(ceil(s.eta)
        + CASE WHEN s.changed THEN 0 ELSE greatest(0, ceil(headway.seconds(at, j.updated_at))) END),
      eta_spread = s.spread,
      share_path = s.share_path,
      share_step = s.share_step,
      shape_odds = s.shape_odds,
      eta_source = CASE WHEN s.eta IS NULL THEN NULL WHEN s.weight > 0.5 THEN 'history' ELSE 'rate' END,
      advanced_at = s.advanced_at,
      sampled_at = CASE WHEN s.samples THEN at ELSE j.sampled_at END,
      sampled_percent = CASE WHEN s.samples THEN s.percent_now ELSE j.sampled_percent END,
      updated_at = CASE WHEN s.changed THEN at ELSE j.updated_at END,
      revision = j.revision + s.changed::integer
    FROM stepped s WHERE j.ctid = s.job_place
    RETURNING s.i, j.id, j.attempt, j.progress_percent, j.processed_count, j.total_count, j.throughput_per_second, s.eta,
      j.stage, j.advanced_at, j.revision, j.heartbeat_timeout_seconds, j.cancel_requested_at IS NOT NULL AS cancel_requested,
      s.changed, s.samples
  ),
  history AS (
    INSERT INTO public.job_events (job_id, type, at, attempt, data)
    SELECT u.id, 'progress', at, u.attempt, headway.sample_document(u.progress_percent, u.processed_count, u.total_count,
      u.throughput_per_second, ceil(u.eta), u.stage, u.advanced_at)
    FROM updated u WHERE u.samples
  )
  SELECT array_agg(u.i), NULL::text, 'running'::text, u.cancel_requested, array_agg(u.progress_percent::integer),
    array_agg(u.revision), NULL::boolean[], u.heartbeat_timeout_seconds, u.changed, false, NULL::json
  FROM updated u GROUP BY u.cancel_requested, u.heartbeat_timeout_seconds, u.changed;
END
$$;

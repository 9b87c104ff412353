-- Writes plain heartbeats, which are nearly all heartbeats. A plain heartbeat comes from a worker that has reported before, is
-- the only one of its job in the batch, is about a running job without declared stages, and says how far the worker is and no
-- more. Answers as headway.flush does, for those that it wrote. It leaves every other heartbeat to headway.flush_any, which
-- would store the same for a plain one and costs twice as much (docs/decisions/0010-plain-heartbeats.md).
--
-- Each row is found once by its key and then updated by its ctid. The jobs are locked, so no row moves in between. The steps in
-- order: `stepped` reads the rows and computes the worker's next row and the sums over the job's workers, `written` stores the
-- worker's row and hands on what the job needs, the steps after it compute the job's estimate one from the other, and `updated`
-- stores the job's row.
--
-- Every flush prepares the whole plan anew, and pays for each expression and for each column of each step. So a step that
-- computes what the next one uses more than once is a subquery of its own (OFFSET 0): the planner copies the expression to each
-- use otherwise. It reads the step before it and no more, because a join by LATERAL would hand on all columns twice.
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
  WITH stepped AS (
    SELECT x.i, x.message, x.reported_at, j.place AS job_place, w.place AS worker_place,
      -- The worker's next row.
      w.processed, w.share, w.share_fell, w.advances, w.rate_units, w.rate_seconds, w.added, w.followed, w.pace_seconds, w.longest_gap,
      w.second_gap, w.left_out, w.paused_seconds, w.after_pause,
      -- All workers of the job.
      CASE WHEN o.processed IS NULL THEN w.processed ELSE headway.hold_count(w.processed + o.processed) END AS all_processed,
      CASE WHEN o.total IS NULL THEN w.share ELSE headway.hold_count(coalesce(w.share, 0) + o.total) END AS shared,
      w.advances + coalesce(o.advances, 0) AS all_advances,
      CASE WHEN w.rate IS NULL THEN o.throughput ELSE w.rate + coalesce(o.throughput, 0) END AS throughput,
      greatest(o.longest, headway.share_left(w.share, w.processed, w.share_fell, true, w.rate)) AS longest,
      coalesce((w.rate_error + o.rate_error) / 2, w.rate_error, o.rate_error) AS rate_error,
      coalesce((w.pause_variance + o.pause_variance) / 2, w.pause_variance, o.pause_variance) AS pause_variance,
      -- The job's row before this heartbeat, and its next total.
      j.own, w.changes OR j.own IS DISTINCT FROM j.own_total_count OR coalesce(x.message <> j.message, x.message IS NOT NULL)
        AS changes,
      j.processed_count, j.total_count, j.progress_percent, j.advanced_at, j.started_at, j.sampled_at, j.sampled_percent,
      j.expected_seconds, j.shape, j.share_path, j.share_step, j.shape_odds
    FROM headway.plain_heartbeats(job_ids, tenant_ids, worker_ids, attempts, organization_bound, organization_ids,
      scope_job_ids, actors, processed_counts, increments, total_counts, messages, reported_ats) AS x
    CROSS JOIN LATERAL (
      SELECT j.ctid AS place, j.attempt, j.unit, j.heartbeat_timeout_seconds, j.message, j.own_total_count,
        CASE WHEN x.worker_id = 'default' THEN coalesce(x.total_count, j.own_total_count) ELSE j.own_total_count END AS own,
        j.processed_count, j.total_count, j.progress_percent, j.advanced_at, j.started_at, j.sampled_at, j.sampled_percent,
        j.expected_seconds, j.shape, j.share_path, j.share_step, j.shape_odds
      FROM public.progress_jobs j
      WHERE j.id = x.job_id AND headway.sees(j, x.tenant_id, x.all_organizations, x.organization_id, x.scope_job_id) IS TRUE
        AND j.liveness = 'ok' AND j.stages IS NULL AND j.children IS NULL AND coalesce(x.attempt = j.attempt, true)
      OFFSET 0
    ) j
    CROSS JOIN LATERAL (
      WITH reported AS (
        SELECT w.ctid AS place, w.processed_count AS old_processed, w.total_count AS old_share, w.message AS old_message,
          least(9007199254740991, coalesce(x.processed_count, w.processed_count) + coalesce(x.increment, 0)) AS processed,
          CASE WHEN x.worker_id = 'default' THEN NULL ELSE coalesce(x.total_count, w.total_count) END AS share,
          w.share_fell OR coalesce(x.total_count < w.total_count, false) AS share_fell,
          greatest(0.001, headway.seconds(at, w.rate_since)) AS spent, headway.seconds(w.rate_at, w.rate_since) AS rate_spent,
          w.rate_at, w.rate_reported_at, w.advances AS old_advances, w.rate_units AS old_rate_units,
          w.rate_seconds AS old_rate_seconds, w.rate_error AS old_rate_error, w.pace_units AS old_pace_units,
          w.pace_seconds AS old_pace_seconds, w.pace_path, w.pace_step, w.longest_gap AS old_longest_gap,
          w.second_gap AS old_second_gap, w.left_out AS old_left_out, w.paused_seconds AS old_paused_seconds,
          w.after_pause AS old_after_pause
        FROM public.job_progress w
        WHERE w.job_id = x.job_id AND w.worker_id = x.worker_id AND w.attempt = j.attempt
          -- Workers that state a rate, an estimate or a percent themselves, and late reports, are rare: headway.flush_any writes
          -- them. So is a worker `default` that named its total when the job had another unit: it becomes the job's total now.
          AND (x.worker_id <> 'default' OR w.total_count IS NULL)
          AND w.throughput_per_second IS NULL AND w.eta_at IS NULL AND w.progress_percent IS NULL
          AND headway.agrees(w.unit, j.unit)
          AND coalesce(x.reported_at >= w.reported_at, true)
          AND (j.heartbeat_timeout_seconds = 0 OR w.heartbeat_at >= at - make_interval(secs => j.heartbeat_timeout_seconds))
        OFFSET 0
      ),
      -- The worker's pace, as headway.advance_pace says it. An advance that is no sample of the rate has no seconds and no units.
      advanced AS (
        SELECT r.*,
          CASE WHEN r.processed > r.old_processed AND r.rate_at < at THEN r.processed - r.old_processed ELSE 0 END AS added,
          CASE WHEN r.processed > r.old_processed AND r.rate_at < at
            THEN headway.advance_seconds(at, r.rate_at, x.reported_at, r.rate_reported_at) ELSE 0 END AS elapsed,
          CASE WHEN r.processed <> r.old_processed THEN 0 ELSE headway.seconds(at, r.rate_at) END AS idle,
          r.processed <> r.old_processed OR r.share IS DISTINCT FROM r.old_share
            OR coalesce(x.message <> r.old_message, x.message IS NOT NULL) AS changes
        FROM reported r OFFSET 0
      ),
      gapped AS (
        SELECT a.*, a.old_advances + (a.elapsed > 0)::integer AS advances,
          greatest(a.old_longest_gap, a.elapsed) AS longest_gap,
          greatest(a.old_second_gap, least(a.old_longest_gap, a.elapsed)) AS second_gap,
          headway.is_long_gap(a.elapsed, a.old_pace_seconds, a.old_advances) AS is_long
        FROM advanced a OFFSET 0
      ),
      worked AS (
        SELECT g.*,
          CASE WHEN g.elapsed > 0 THEN headway.left_out(g.longest_gap, headway.usual_gap(g.second_gap, g.spent, g.advances),
            j.progress_percent) ELSE g.old_left_out END AS left_out,
          CASE WHEN g.elapsed > 0 THEN g.is_long ELSE g.old_after_pause END AS after_pause,
          CASE WHEN g.is_long AND NOT g.old_after_pause
            THEN headway.time_at_work(g.elapsed, g.added, g.old_pace_seconds, g.old_pace_units, g.old_advances)
            ELSE g.elapsed END AS counted
        FROM gapped g OFFSET 0
      ),
      -- The path is followed further only where it grows.
      paced AS (
        SELECT w.*, w.old_pace_seconds + w.counted AS pace_seconds,
          CASE WHEN w.elapsed > 0 THEN w.old_paused_seconds + w.elapsed - w.counted + w.old_left_out - w.left_out
            ELSE w.old_paused_seconds END AS paused_seconds,
          CASE WHEN w.elapsed > 0 AND w.old_pace_seconds + w.counted >= w.pace_step * cardinality(w.pace_path)
            THEN headway.follow_pace(w.pace_path, w.pace_step, w.old_pace_seconds, w.old_pace_units, w.old_pace_seconds + w.counted,
              w.old_pace_units + w.added, w.advances) END AS followed
        FROM worked w OFFSET 0
      ),
      rated AS (
        SELECT p.*, coalesce((p.followed).units, p.old_rate_units + p.added) AS rate_units,
          coalesce((p.followed).seconds, p.old_rate_seconds + p.counted) AS rate_seconds,
          CASE WHEN p.followed IS NULL THEN p.old_rate_error ELSE (p.followed).error END AS rate_error
        FROM paced p OFFSET 0
      )
      SELECT r.*, headway.pause_variance(r.paused_seconds, r.left_out, r.longest_gap, r.pace_seconds) AS pause_variance,
        headway.worker_rate(r.rate_units, r.rate_seconds, r.pace_seconds, r.paused_seconds, r.advances, r.rate_spent, r.idle) AS rate
      FROM rated r OFFSET 0
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
        SELECT o.processed_count, o.total_count, o.share_fell, o.unit, o.progress_percent, o.eta_at, o.throughput_per_second,
          o.advances, o.rate_error, o.pace_seconds, o.longest_gap, o.left_out, o.paused_seconds,
          headway.worker_reports(at, o.heartbeat_at, o.created_at, o.heartbeats) AS reports,
          headway.worker_rate(o.rate_units, o.rate_seconds, o.pace_seconds, o.paused_seconds, o.advances,
            headway.seconds(o.rate_at, o.rate_since), headway.seconds(at, o.rate_at)) AS rate
        FROM public.job_progress o WHERE o.job_id = x.job_id AND o.worker_id <> x.worker_id AND o.attempt = j.attempt
        OFFSET 0
      ) o
    ) o
    -- A percent that workers report counts where no total is known.
    WHERE o.rare = 0 AND (o.percents = 0 OR j.own IS NOT NULL OR w.share IS NOT NULL OR o.total IS NOT NULL)
    OFFSET 0
  ),
  written AS (
    UPDATE public.job_progress w SET
      processed_count = s.processed,
      total_count = s.share,
      share_fell = s.share_fell,
      message = coalesce(s.message, w.message),
      reported_at = coalesce(s.reported_at, w.reported_at),
      late_since = NULL,
      heartbeat_at = at,
      advanced_at = CASE WHEN s.processed > w.processed_count THEN at ELSE w.advanced_at END,
      heartbeats = w.heartbeats + 1,
      advances = s.advances,
      rate_at = CASE WHEN s.processed <> w.processed_count THEN at ELSE w.rate_at END,
      -- A measurement that begins now begins at the worker's time as well.
      rate_reported_at = CASE WHEN s.processed <> w.processed_count OR w.rate_at = at THEN s.reported_at
        ELSE w.rate_reported_at END,
      rate_units = s.rate_units,
      rate_seconds = s.rate_seconds,
      rate_error = CASE WHEN s.followed IS NULL THEN w.rate_error ELSE (s.followed).error END,
      pace_units = w.pace_units + s.added,
      pace_seconds = s.pace_seconds,
      pace_path = coalesce((s.followed).path, w.pace_path),
      pace_step = coalesce((s.followed).step, w.pace_step),
      longest_gap = s.longest_gap,
      second_gap = s.second_gap,
      left_out = s.left_out,
      paused_seconds = s.paused_seconds,
      after_pause = s.after_pause
    FROM stepped s WHERE w.ctid = s.worker_place
    RETURNING s.i, s.job_place, s.message AS new_message, s.changes, s.own, coalesce(s.own, s.shared) AS all_total, s.shared,
      s.all_processed, s.all_advances, s.throughput, s.longest, s.rate_error AS all_rate_error, s.pause_variance,
      CASE WHEN s.all_processed > s.processed_count THEN at ELSE s.advanced_at END AS last_advance,
      s.processed_count AS was_processed, s.total_count AS was_total, s.progress_percent AS was_percent,
      s.advanced_at AS was_advanced_at, s.started_at, coalesce(s.sampled_at, s.started_at) AS noted_at,
      s.sampled_percent AS noted_percent, s.expected_seconds AS expected, s.shape, s.share_path, s.share_step, s.shape_odds
  ),
  counted AS (
    SELECT w.*, w.changes OR w.all_total IS DISTINCT FROM w.was_total AS changed,
      headway.next_percent(w.was_percent, headway.percent(w.all_processed, w.all_total), true) AS percent_now,
      headway.share_of(w.all_processed, w.all_total) AS share,
      headway.rate_by_shares(w.all_total - w.all_processed, w.shared, w.all_total, w.longest, w.throughput) AS rate,
      coalesce(w.share_path[1], 0) AS begun, headway.seconds(at, w.started_at) AS spent, headway.seconds(at, w.noted_at) AS unnoted,
      headway.expected_idle(headway.seconds(at, w.last_advance), headway.seconds(w.last_advance, w.started_at), w.all_advances)
        AS idle
    FROM written w OFFSET 0
  ),
  measured AS (
    SELECT c.*,
      headway.rate_eta(greatest(c.all_total - c.all_processed, CASE WHEN c.all_total IS NOT NULL THEN 0 END), c.rate, 0, NULL, NULL)
        AS measured,
      headway.usual_time(c.shape, c.share, c.begun) AS usual, headway.at_share(c.shape, 0, c.begun) AS usual_begun,
      headway.at_share(c.shape, 21, c.share) AS trust,
      headway.sample_is_due(c.unnoted, headway.seconds(c.noted_at, c.started_at), c.percent_now, coalesce(c.noted_percent, 0),
        c.all_total IS NULL OR NOT coalesce(c.last_advance > c.noted_at, false)) AS samples,
      CASE WHEN c.shape IS NOT NULL AND c.share IS NOT NULL AND c.last_advance = at AND c.spent > 0
        AND c.spent >= c.share_step * cardinality(c.share_path)
      THEN headway.follow_shape(c.share_path, c.share_step, c.shape,
        coalesce(headway.seconds(c.was_advanced_at, c.started_at), 0),
        coalesce(headway.share_of(c.was_processed, c.was_total), c.was_percent / 100::float8), c.spent, c.share) END AS followed
    FROM counted c OFFSET 0
  ),
  compared AS (
    SELECT m.*, headway.history_eta(m.expected, m.usual, m.usual_begun, m.spent - m.idle) AS from_history,
      coalesce((m.followed).odds, m.shape_odds, 1)
        * headway.duration_odds(m.expected, m.usual, m.usual_begun, m.spent - m.idle, m.share - m.begun, m.shape[43]) AS odds
    FROM measured m OFFSET 0
  ),
  weighed AS (
    SELECT c.*,
      headway.history_weight(c.trust, c.odds, c.from_history, CASE WHEN c.all_advances >= 3 THEN c.measured END) AS weight
    FROM compared c OFFSET 0
  ),
  blended AS (
    SELECT w.*, headway.blend_eta(w.from_history, w.measured, w.weight) AS blend FROM weighed w OFFSET 0
  ),
  estimated AS (
    SELECT b.i, b.job_place, b.new_message, b.changed, b.own, b.all_total, b.all_processed, b.throughput, b.all_rate_error,
      b.pause_variance, b.last_advance, b.percent_now, b.share, b.samples, b.followed, b.weight, b.blend - least(b.blend, b.idle) AS eta
    FROM blended b OFFSET 0
  ),
  updated AS (
    UPDATE public.progress_jobs j SET
      heartbeat_at = at,
      processed_count = s.all_processed,
      total_count = s.all_total,
      own_total_count = s.own,
      progress_percent = s.percent_now,
      message = coalesce(s.new_message, j.message),
      throughput_per_second = s.throughput,
      -- Readers subtract the time since updated_at from the estimate. A heartbeat that changes nothing leaves updated_at as it
      -- is, so the time since then is added here.
      eta_seconds = headway.hold_seconds(ceil(s.eta)
        + CASE WHEN s.changed THEN 0 ELSE greatest(0, ceil(headway.seconds(at, j.updated_at))) END),
      eta_spread = CASE WHEN s.eta IS NOT NULL
        THEN headway.eta_spread(j.shape, s.share, s.weight, s.all_rate_error, s.pause_variance) END,
      share_path = coalesce((s.followed).path, j.share_path),
      share_step = coalesce((s.followed).step, j.share_step),
      shape_odds = coalesce((s.followed).odds, j.shape_odds),
      eta_source = CASE WHEN s.eta IS NULL THEN NULL WHEN s.weight > 0.5 THEN 'history' ELSE 'rate' END,
      advanced_at = s.last_advance,
      sampled_at = CASE WHEN s.samples THEN at ELSE j.sampled_at END,
      sampled_percent = CASE WHEN s.samples THEN s.percent_now ELSE j.sampled_percent END,
      updated_at = CASE WHEN s.changed THEN at ELSE j.updated_at END,
      revision = j.revision + s.changed::integer
    FROM estimated s WHERE j.ctid = s.job_place
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

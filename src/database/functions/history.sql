-- What earlier runs say about a job: the history of its type. It has the median duration of the last completed jobs of the
-- tenant and type, and their shape: which share of its time a job has spent when a share of the work is done. A job gets the
-- history when it starts. Figures and reasons: docs/decisions/0005-rate-and-eta.md.
--
-- A shape has 63 numbers, three for each twentieth of the work, from 0 to 1. Numbers 1 to 21 are the share of the time, in
-- 1/10,000. Numbers 22 to 42 say how much the estimate from history counts beside the measured one, in 1/10,000. Numbers 43 to 63
-- say how far earlier runs were from the estimate that history would have given them: the standard deviation of the logarithm,
-- in 1/1,000.

-- A number of a shape at a share of the work, linear between two twentieths. `place` is 0, 21 or 42. Its expression is long, so
-- each number is looked up once and handed to the functions below.
CREATE FUNCTION headway.at_share(shape smallint[], place integer, share float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN shape IS NOT NULL
    THEN shape[place + 1 + least(19, floor(20 * share)::integer)] + (20 * share - least(19, floor(20 * share)))
      * (shape[place + 2 + least(19, floor(20 * share)::integer)] - shape[place + 1 + least(19, floor(20 * share)::integer)]) END
$$;

-- The part of its usual time, in 1/10,000, that a job has spent when this share of the work is done. Null where no shape or share
-- is known, or where nothing has been done yet. `begun` is the share with which this attempt began.
CREATE FUNCTION headway.usual_time(shape smallint[], share float8, begun float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN share > begun THEN headway.at_share(shape, 0, share) END
$$;

-- The seconds left by the history. `spent` is the time that the job has taken so far, `usual` the usual time for it
-- (headway.usual_time), and `usual_begun` the usual time for the share with which this attempt began. The job is as much slower or
-- faster than usual as it was so far; for that, it counts as if it had taken a tenth of the usual time before. Without `usual`
-- only the usual duration counts. Null when there is no history, or when that duration is over.
CREATE FUNCTION headway.history_eta(expected float8, usual float8, usual_begun float8, spent float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN usual IS NULL THEN CASE WHEN expected > spent THEN expected - spent END
    ELSE (1 - usual / 10000) * expected * (spent / expected + 0.1) / (greatest(0, usual - usual_begun) / 10000 + 0.1) END
$$;

-- The odds that a run is of the kind of the earlier ones, by how much slower or faster than usual it is (headway.history_eta). The
-- earlier runs differed by `deviation`, a standard deviation of the logarithm in 1/1,000: number 43 of the shape. Up to the square
-- root of two of these, the odds are 1. Beyond it they fall as a normal distribution does, and by e at most for each twentieth of
-- the work, because the estimate must not jump. `done` is the share of the work that this attempt has done.
CREATE FUNCTION headway.duration_odds(
  expected float8, usual float8, usual_begun float8, spent float8, done float8, deviation smallint
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN usual IS NULL OR spent <= 0 THEN 1 ELSE exp(-least(20 * done,
    greatest(0, power(1000 * ln((spent / expected + 0.1) / (greatest(0, usual - usual_begun) / 10000 + 0.1)) / deviation, 2)
      / 2 - 1))) END
$$;

-- How much the estimate from history counts, 0 to 1. `trust` is what the shape says of it at the job's share (headway.at_share).
-- `odds` says how well this run follows the shape (headway.follow_shape) and the usual duration (headway.duration_odds).
CREATE FUNCTION headway.history_weight(trust float8, odds float8, from_history float8, measured float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN from_history IS NULL THEN 0 WHEN measured IS NULL OR trust IS NULL THEN 1
    ELSE trust * odds / (trust * odds + 10000 - trust) END
$$;

-- The estimate from history and the measured one, blended by their logarithms, because both are wrong by a factor.
CREATE FUNCTION headway.blend_eta(from_history float8, measured float8, weight float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN weight >= 1 THEN from_history WHEN weight > 0
    THEN exp(weight * ln(from_history + 1) + (1 - weight) * ln(measured + 1)) - 1 ELSE measured END
$$;

-- How uncertain an estimate is: the standard deviation of the logarithm. The measured one is as uncertain as such rates were
-- (`rate_error`, a mean deviation), by as much as the work that is left may be unlike the work that is done, and by as much as the
-- pauses that are left may be unlike those that were (`pause_variance`, headway.pause_variance): the fewer are left, the more. A
-- variance `v` of the time itself is one of `ln(1 + v)` of its logarithm.
CREATE FUNCTION headway.eta_spread(shape smallint[], share float8, weight float8, rate_error float8, pause_variance float8)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT sqrt(power(weight * coalesce(headway.at_share(shape, 42, coalesce(share, 0)) / 1000, 0.6), 2)
    + power(1 - weight, 2) * (power(1.25 * coalesce(rate_error, 1), 2) + power(0.6 * (1 - coalesce(share, 0)), 2)
      + ln(1 + coalesce(pause_variance, 0) / greatest(0.01, 1 - coalesce(share, 0)))))
$$;

-- The range of an estimate, in seconds: the 10th and the 90th percentile of what may be left, 1.2816 standard deviations of the
-- logarithm away. Null where the estimate has no spread. Not limited to what JSON carries: each argument is used once, so that
-- Postgres puts the formula into the statement of the caller (headway.eta_low_seconds).
CREATE FUNCTION headway.eta_low(eta bigint, spread real) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT floor(eta * exp(-1.2816 * spread::float8))
$$;

CREATE FUNCTION headway.eta_high(eta bigint, spread real) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ceil(eta * exp(1.2816 * spread::float8))
$$;

-- How well a run follows the shape of earlier ones, as odds: e to the power of 8 times the difference of two errors. One is the
-- error of a rate in shares of the work, the other that of a rate in shares of the usual time. Both are the mean difference
-- between the logarithms of the rates before and after a moment: the half, and three quarters of the time so far. `path` has the
-- share of the work at even moments of the job's time, as headway.extend_path makes it. A share falls where a total grows.
CREATE FUNCTION headway.shape_odds(path real[], shape smallint[]) RETURNS real
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  steps CONSTANT integer := cardinality(path) - 1;
  before float8;
  after float8;
  moment float8;
  difference float8 := 0;
BEGIN
  IF cardinality(path) < 3 THEN
    RETURN 1;
  END IF;
  FOREACH moment IN ARRAY ARRAY[0.5, 0.75] LOOP
    before := headway.path_at(path, moment * steps);
    after := path[cardinality(path)];
    difference := difference + (1 - moment) / 0.75 * (
      least(3, abs(ln((greatest(0, before - path[1]) / moment + 1e-9) / (greatest(0, after - before) / (1 - moment) + 1e-9))))
      - least(3, abs(ln(
        (greatest(0, headway.at_share(shape, 0, before) - headway.at_share(shape, 0, path[1])) / 1e4 / moment + 1e-9)
        / (greatest(0, headway.at_share(shape, 0, after) - headway.at_share(shape, 0, before)) / 1e4 / (1 - moment) + 1e-9)))));
  END LOOP;
  RETURN exp(8 * difference);
END
$$;

-- The share of the work that is done, 0 to 1; null where no total is known.
CREATE FUNCTION headway.share_of(processed bigint, total bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN processed >= total THEN 1 WHEN total > 0 THEN processed::float8 / total END
$$;

-- The path of a job's share with an advance from `since` to `until` (seconds of its time), and the odds that follow.
CREATE FUNCTION headway.follow_shape(
  path real[], step float8, shape smallint[], since float8, share float8, until float8, until_share float8
) RETURNS headway.followed_shape LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  extended CONSTANT record := headway.extend_path(path, step, since, share, until, until_share);
BEGIN
  RETURN ROW(extended.path, extended.step, headway.shape_odds(extended.path, shape))::headway.followed_shape;
END
$$;

-- After how many seconds a job takes longer than usual: longer than 95 % of the earlier runs, and than 1.5 times their median. Null
-- with fewer than 5 earlier runs: one run more is longer than all of n runs by chance in 1 of n + 1 cases. Figures:
-- docs/decisions/0032-longer-than-usual.md.
CREATE FUNCTION headway.long_seconds(runs bigint, percentile_95 float8, median float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN runs >= 5 THEN greatest(percentile_95, 1.5 * median) END
$$;

-- Learns the history of a type from its last 20 completed jobs. Partitions are compared with partitions. When the clock was set
-- back, some jobs took less than 0 seconds. They are left out. An attempt after the first is left out as well, because it may
-- have begun in the middle. Answers nulls when no job has completed. The plan is made without the values of the arguments. If
-- the planner knew that it is looking for partitions, it would write the condition as `parent_job_id IS NOT NULL`, would not
-- find the index progress_jobs_durations by it, and would read all jobs of the type.
CREATE FUNCTION headway.learn(tenant_id uuid, job_type text, is_partition boolean) RETURNS headway.type_history
LANGUAGE sql STABLE PARALLEL SAFE SET plan_cache_mode = force_generic_plan SET jit = off AS $$
  WITH runs AS MATERIALIZED (
    SELECT j.id, j.attempt, j.started_at, j.finished_at, j.completed_seconds AS seconds, j.stages IS NULL AS counts_are_whole
    FROM public.progress_jobs j
    WHERE j.tenant_id = learn.tenant_id AND j.job_type = learn.job_type
      AND (j.parent_job_id IS NULL) = (NOT is_partition) AND j.completed_seconds > 0 AND j.attempt = 1
    ORDER BY j.finished_at DESC LIMIT 20
  ),
  usual AS MATERIALIZED (
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY r.seconds) AS expected, max(r.finished_at) AS newest,
      percentile_cont(0.95) WITHIN GROUP (ORDER BY r.seconds) AS long_seconds, count(*) AS runs
    FROM runs r
  ),
  -- The share of the work that was done at each moment of the history: what was done once stays done.
  points AS (
    SELECT p.id, p.moment, max(p.share) OVER (PARTITION BY p.id ORDER BY p.moment, p.share) AS share
    FROM (
      SELECT r.id, headway.seconds(e.at, r.started_at) / r.seconds AS moment,
        CASE WHEN r.counts_are_whole AND (e.data -> 'totalCount')::float8 > 0
          THEN least(1, coalesce((e.data -> 'processedCount')::float8, 0) / (e.data -> 'totalCount')::float8)
          ELSE coalesce((e.data -> 'progressPercent')::float8, 0) / 100 END AS share
      FROM runs r JOIN public.job_events e ON e.job_id = r.id AND e.type = 'progress' AND e.attempt = r.attempt
        AND e.at BETWEEN r.started_at AND r.finished_at
      UNION ALL SELECT r.id, 0, 0 FROM runs r
      UNION ALL SELECT r.id, 1, 1 FROM runs r
    ) p
  ),
  steps AS (
    SELECT p.id, p.moment, p.share, lead(p.moment) OVER run AS next_moment, lead(p.share) OVER run AS next_share
    FROM points p WINDOW run AS (PARTITION BY p.id ORDER BY p.moment, p.share)
  ),
  -- The share of its time that each run had spent at each twentieth.
  curves AS MATERIALIZED (
    SELECT s.id, k.k, s.moment + (s.next_moment - s.moment) * (k.k / 20.0 - s.share) / (s.next_share - s.share) AS spent
    FROM steps s JOIN generate_series(1, 19) AS k (k) ON k.k / 20.0 > s.share AND k.k / 20.0 <= s.next_share
    UNION ALL SELECT r.id, 0, 0 FROM runs r
  ),
  medians AS MATERIALIZED (
    SELECT c.k, percentile_cont(0.5) WITHIN GROUP (ORDER BY c.spent) AS spent FROM curves c GROUP BY c.k
  ),
  -- What the estimates at each twentieth would have been wrong by, as logarithms: the one from history, and the one from a plain
  -- rate. Times are in usual durations, and a time left is at least a thousandth.
  errors AS (
    SELECT c.k, sum(power(ln(t.left_then / greatest(0.001, (1 - m.spent) * (t.took * c.spent + 0.1) / (m.spent + 0.1))), 2))
        AS of_history,
      sum(power(ln(t.left_then / greatest(0.001, t.took * c.spent * (20 - c.k) / c.k)), 2)) FILTER (WHERE c.k > 0) AS of_rate
    FROM curves c
    JOIN medians m ON m.k = c.k
    JOIN runs r ON r.id = c.id
    CROSS JOIN usual u
    CROSS JOIN LATERAL (SELECT r.seconds / u.expected AS took) d
    CROSS JOIN LATERAL (SELECT d.took, greatest(0.001, d.took * (1 - c.spent)) AS left_then) t
    GROUP BY c.k
  ),
  -- A few runs do not tell how much runs differ: one more counts, which was wrong by a usual amount.
  spreads AS MATERIALIZED (
    SELECT e.k, (e.of_history + 0.0225) / (u.runs + 1) AS of_history, (e.of_rate + 0.0225) / (u.runs + 1) AS of_rate
    FROM errors e CROSS JOIN usual u
  ),
  numbers AS (
    SELECT k.k, round(10000 * CASE WHEN k.k = 20 THEN 1 ELSE m.spent END)::smallint AS spent,
      round(10000 * coalesce(s.of_rate / (s.of_rate + s.of_history), 1))::smallint AS weight,
      least(30000, round(1000 * sqrt(s.of_history)))::smallint AS spread
    FROM generate_series(0, 20) AS k (k)
    LEFT JOIN medians m ON m.k = k.k
    JOIN spreads s ON s.k = least(19, k.k)
  )
  SELECT u.expected, (SELECT array_agg(n.spent ORDER BY n.k) || array_agg(n.weight ORDER BY n.k) || array_agg(n.spread ORDER BY n.k)
    FROM numbers n WHERE u.runs > 0), headway.long_seconds(u.runs, u.long_seconds, u.expected), u.newest
  FROM usual u
$$;

-- The shape of a type that was not learned yet: even, and as good as a plain rate.
CREATE FUNCTION headway.even_shape() RETURNS smallint[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT array_agg((500 * k)::smallint ORDER BY k) || 10000::smallint || array_fill(5000::smallint, ARRAY[20])
    || array_fill(150::smallint, ARRAY[21])
  FROM generate_series(0, 20) AS k
$$;

-- The history of a type as it was learned last. Of a type that was not learned yet, only the durations are looked up: many jobs of
-- it may start at this moment, and to learn a type takes a hundred times as long.
CREATE FUNCTION headway.history_of(tenant_id uuid, job_type text, is_partition boolean) RETURNS headway.type_history
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET jit = off AS $$
#variable_conflict use_variable
DECLARE
  history headway.type_history;
BEGIN
  SELECT h.expected_seconds, h.shape, h.long_seconds, h.newest_at INTO history FROM public.type_histories h
  WHERE h.tenant_id = tenant_id AND h.job_type = job_type AND h.is_partition = is_partition;
  IF NOT FOUND THEN
    SELECT u.expected, CASE WHEN u.expected > 0 THEN headway.even_shape() END, headway.long_seconds(u.runs, u.long_seconds, u.expected), u.newest
    INTO history
    FROM (
      SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY r.seconds) AS expected,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY r.seconds) AS long_seconds, max(r.finished_at) AS newest,
        count(*) AS runs
      FROM (
        SELECT j.completed_seconds AS seconds, j.finished_at FROM public.progress_jobs j
        WHERE j.tenant_id = tenant_id AND j.job_type = job_type AND (j.parent_job_id IS NULL) = (NOT is_partition)
          AND j.completed_seconds > 0 AND j.attempt = 1
        ORDER BY j.finished_at DESC LIMIT 20
      ) r
    ) u;
  END IF;
  RETURN history;
END
$$;

-- Learns anew the types of which a job has completed since `since`, at most so many. Returns how many it has learned. Several
-- processes may call it at the same time.
CREATE FUNCTION headway.learn_recent(since timestamptz, most integer) RETURNS integer LANGUAGE sql SET jit = off AS $$
  WITH completed AS (
    SELECT j.tenant_id, j.job_type, j.parent_job_id IS NOT NULL AS is_partition, max(j.finished_at) AS newest_at
    FROM public.progress_jobs j
    WHERE j.finished_at >= learn_recent.since AND j.status = 'completed'
    GROUP BY j.tenant_id, j.job_type, j.parent_job_id IS NOT NULL
  ),
  changed AS (
    SELECT c.* FROM completed c
    LEFT JOIN public.type_histories h USING (tenant_id, job_type, is_partition)
    WHERE h.newest_at IS NULL OR c.newest_at > h.newest_at
    ORDER BY h.newest_at NULLS FIRST LIMIT most
  ),
  stored AS (
    INSERT INTO public.type_histories AS h (tenant_id, job_type, is_partition, expected_seconds, shape, long_seconds, newest_at)
    SELECT c.tenant_id, c.job_type, c.is_partition, l.expected_seconds, l.shape, l.long_seconds, c.newest_at
    FROM changed c CROSS JOIN LATERAL headway.learn(c.tenant_id, c.job_type, c.is_partition) AS l
    ORDER BY c.tenant_id, c.job_type, c.is_partition
    ON CONFLICT (tenant_id, job_type, is_partition) DO UPDATE SET
      expected_seconds = excluded.expected_seconds, shape = excluded.shape, long_seconds = excluded.long_seconds,
      newest_at = greatest(h.newest_at, excluded.newest_at)
    RETURNING 1
  )
  SELECT count(*)::integer FROM stored
$$;

-- Erases the history of each type of which no job has completed for so many days. The table has a row for each type, and no index
-- for this.
CREATE FUNCTION headway.erase_histories(days integer) RETURNS void LANGUAGE sql SET jit = off SET enable_seqscan = on AS $$
  DELETE FROM public.type_histories WHERE newest_at < now() - make_interval(days => erase_histories.days)
$$;

-- The arithmetic of progress: but for the clock, functions of their arguments alone. Small enough for the planner to
-- inline, so that a flush of a thousand reports pays for expressions, not for calls. Mind that least() and greatest() pass
-- over nulls: where unknown must stay unknown, CASE decides.

-- The time that writers go by: the database's, now and not at the transaction's start, in the milliseconds that JSON
-- carries. One function, so that a trace of hours can be replayed in seconds by a database with another one.
CREATE FUNCTION headway.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
  SELECT date_trunc('milliseconds', clock_timestamp())
$$;

-- Seconds from `since` to `until`. date_part gives a float; extract would give a numeric, which is several times slower.
CREATE FUNCTION headway.seconds(until timestamptz, since timestamptz) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT date_part('epoch', until - since)
$$;

-- 2^53-1, the largest integer that JSON carries exactly. Sums are held there.
CREATE FUNCTION headway.hold_count(n numeric) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN n > 9007199254740991 THEN 9007199254740991 ELSE n::bigint END
$$;

-- Percent of an unfinished job: floored, at most 99; null when no total is known. Multiplied before it is divided
-- (2^53 * 100 fits a bigint). A job with nothing to do (total 0) is as good as done.
CREATE FUNCTION headway.percent(processed bigint, total bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN total = 0 OR processed >= total THEN 99 ELSE (processed * 100 / total)::integer END
$$;

-- The percent shown next. It never moves back within an attempt, except when the known total grew: a bar that refuses to
-- fall then would lie. `reported` counts only while no total is known.
CREATE FUNCTION headway.next_percent(
  shown integer, processed bigint, old_total bigint, new_total bigint, reported float8
) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN new_total > old_total THEN headway.percent(processed, new_total)
    ELSE greatest(shown, CASE
      WHEN new_total IS NOT NULL THEN headway.percent(processed, new_total)
      WHEN reported >= 99 THEN 99
      ELSE floor(reported)::integer END)
  END
$$;

-- A worker's rate rests on two averages of its pace: the whole one, over all its time, and the recent one, over about the
-- last eighth of it (rate_whole and rate_recent of job_progress). Figures and reasons: docs/decisions/0005-rate-and-eta.md.

-- How far the recent average looks back, in seconds: long enough that a worker which advances once in ten minutes has as
-- steady a rate as one that advances a thousand times a second. `advances` includes the one that is being counted.
CREATE FUNCTION headway.rate_tau(spent float8, advances bigint) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT greatest(15, spent / 8, 8 * spent / nullif(advances, 0))
$$;

-- The time that an advance stands for. A stall ends in one advance, which must not outweigh what was learned before it.
CREATE FUNCTION headway.rate_elapsed(elapsed float8, spent float8, advances bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT least(elapsed, headway.rate_tau(spent, advances) / 2)
$$;

-- How much of the whole average an advance replaces: its part of the time.
CREATE FUNCTION headway.whole_alpha(elapsed float8, spent float8, advances bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN advances = 1 THEN 1 ELSE least(1, headway.rate_elapsed(elapsed, spent, advances) / spent) END
$$;

-- How much of the recent average an advance replaces: its part of the time looked back, which at first is all the time.
CREATE FUNCTION headway.recent_alpha(elapsed float8, spent float8, advances bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT greatest(
    headway.whole_alpha(elapsed, spent, advances),
    headway.rate_elapsed(elapsed, spent, advances)
      / (headway.rate_elapsed(elapsed, spent, advances) + headway.rate_tau(spent, advances))
  )
$$;

-- How far the rate follows the recent average, 0 to 1: the more, the further the two are apart, measured by what chance
-- would explain. That shrinks with the root of the number of advances, so it is their number times the difference squared.
CREATE FUNCTION headway.recent_trust(whole float8, recent float8, advances bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN whole = recent THEN 0
    ELSE least(1, advances * ((recent - whole) / (recent + whole)) * ((recent - whole) / (recent + whole))) END
$$;

-- A worker's rate in units per second: from the whole average towards the recent one as far as that is trusted. Once the
-- worker is idle for longer than it usually takes for an advance, the rate falls so that the time left grows evenly. Null
-- before the first advance.
CREATE FUNCTION headway.worker_rate(whole float8, recent float8, advances bigint, spent float8, idle float8)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN advances > 0 THEN
    (whole + headway.recent_trust(whole, recent, advances) * (recent - whole))
      / (1 + greatest(0, idle - spent / advances) / headway.rate_tau(spent, advances))
  END
$$;

-- Is the worker's last heartbeat recent enough for its rate to count: within 30 s or three times its own interval.
CREATE FUNCTION headway.worker_reports(at timestamptz, heartbeat_at timestamptz, created_at timestamptz, heartbeats bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT headway.seconds(at, heartbeat_at)
    <= greatest(30, 3 * headway.seconds(heartbeat_at, created_at) / nullif(heartbeats - 1, 0))
$$;

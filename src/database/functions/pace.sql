-- A worker's rate. It is measured from a path: how far the worker was at up to eight even moments of its time. From the path
-- follow four candidates, the mean rates over the whole time and over its last half, quarter and eighth. Each is tested by what
-- it would have predicted: its rate up to a moment in the past is compared with the rate from that moment on. Candidates that
-- would have been right count more. So a steady job has its average since the start, and a job whose speed has changed for good
-- soon has the new speed. Figures and reasons: docs/decisions/0005-rate-and-eta.md.
--
-- The path is over the time at work. A pause counts in it as little more than a mean gap, and the rest of the pause is added up apart: pauses are
-- few, so only their part of the whole time says how many are to come, while the pace between them is soon known.
--
-- Between two moments of the path, an advance only adds to the units and seconds that the rate is made of. The candidates are
-- tested when the path grows. The number of tests grows with the logarithm of the worker's time.

-- The usual longest time from one advance to the next, in seconds: the second longest one, or four times the mean one.
CREATE FUNCTION headway.usual_gap(second_gap float8, spent float8, advances bigint) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT greatest(second_gap, 4 * spent / advances)
$$;

-- Whether a gap between two advances is long: more than three mean gaps. `advances` and `seconds` are those before it, without
-- the pauses. Before the second advance nobody can tell.
CREATE FUNCTION headway.is_long_gap(elapsed float8, seconds float8, advances bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT advances >= 2 AND seconds > 0 AND elapsed * advances > 3 * seconds
$$;

-- The part of a long gap that the worker was at work: what its units take at the pace so far, and at least a mean gap. A worker
-- that only reported late has not paused.
CREATE FUNCTION headway.time_at_work(elapsed float8, units bigint, seconds float8, pace_units float8, advances bigint)
RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT least(elapsed, greatest(seconds / advances, units * seconds / nullif(pace_units, 0)))
$$;

-- How many seconds of the longest gap do not count for the rate. A pause that has come once is an exception, and what is beyond
-- the usual gap is left out. A pause that comes back counts, because then the second longest gap is as long. Early in a job (up
-- to 20 % of it, and in part up to 40 %) a pause counts at once: most of the work is still to come, with more such pauses.
CREATE FUNCTION headway.left_out(longest_gap float8, usual_gap float8, percent integer) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN longest_gap > usual_gap
    THEN (longest_gap - usual_gap) * least(1, greatest(0, (coalesce(percent, 100) - 20) / 20::float8)) ELSE 0 END
$$;

-- A worker's rate in units per second: that of its work, slowed by its pauses. `paused` seconds of pauses count for `pace_seconds`
-- of work. Once the worker has been idle for longer than it takes for an advance on average, that time counts as well, so that
-- the time left grows evenly. Null before the first advance.
CREATE FUNCTION headway.worker_rate(
  units float8, seconds float8, pace_seconds float8, paused float8, advances bigint, spent float8, idle float8
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN seconds > 0 THEN units / (seconds * (1 + paused / pace_seconds) + greatest(0, idle - spent / advances)) END
$$;

-- How uncertain a worker's pauses make the time that is left: its variance as a part of its square is this divided by the part of
-- the work that is left. Pauses that come by chance (a Poisson process) vary by their sum times the size of one: those so far, from
-- which the rest is estimated, and those of the rest. The size of one is taken as half the longest gap, because most pauses are
-- shorter than the longest. Null before the first advance.
CREATE FUNCTION headway.pause_variance(paused float8, left_out float8, longest_gap float8, pace_seconds float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (paused + left_out) * longest_gap / 2 / nullif(power(pace_seconds + paused + left_out, 2), 0)
$$;

-- The seconds that a worker still needs for its share of the work (its total), with `rate` units per second. Infinite where that
-- does not say when the work is done: it has counted without a share, has no rate, or no longer reports; and where workers take
-- over work of each other, which shows when a worker does more than its share or when a share becomes smaller (`fell`). Null for
-- a worker without a share that has counted nothing.
CREATE FUNCTION headway.share_left(total bigint, processed bigint, fell boolean, reports boolean, rate float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN total IS NULL THEN CASE WHEN processed > 0 THEN 'infinity'::float8 END
    WHEN fell OR processed > total THEN 'infinity'
    WHEN processed = total THEN 0
    -- A worker may report any rate from 0 on. By one that is nearly 0, the time would be no number.
    WHEN reports AND rate > 1e-9 THEN (total - processed) / rate
    ELSE 'infinity' END
$$;

-- The rate with which a job ends when all workers have done their shares: `longest` is the greatest headway.share_left of its
-- workers. The shares must make up the whole rest. Otherwise it is the sum of the workers' rates, and it is never more than that.
CREATE FUNCTION headway.rate_by_shares(rest bigint, shared bigint, total bigint, longest float8, rate float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN longest > 0 AND longest < 'infinity' AND rest > 0 AND shared >= total THEN least(rate, rest / longest) ELSE rate END
$$;

-- What a path had reached at a place: 0 is its first point, 1 its second one. The place lies before the last point.
CREATE FUNCTION headway.path_at(path real[], place float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT path[1 + floor(place)::integer] + (place - floor(place))
    * (path[2 + floor(place)::integer]::float8 - path[1 + floor(place)::integer])
$$;

-- The logarithm of the mean rate up to a place at which the path had reached `units`: over the last `part` of the time until
-- then. It is a rate per step. `least_rate` is added, because 0 has no logarithm.
CREATE FUNCTION headway.log_rate(path real[], place float8, units float8, part float8, least_rate float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ln((units - headway.path_at(path, place * (1 - part))) / (place * part) + least_rate)
$$;

-- How wrong that rate was for what came after the place: the difference from the logarithm of the actual rate, 3 at most.
CREATE FUNCTION headway.rate_error(
  path real[], place float8, units float8, part float8, least_rate float8, actual float8
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT least(3, abs(headway.log_rate(path, place, units, part, least_rate) - actual))
$$;

-- Adds to a path the even moments between `seconds` and `until_seconds`. When it has eight points, every second one is left out
-- and the step is doubled. A step is at least a second.
CREATE FUNCTION headway.extend_path(
  INOUT path real[], INOUT step float8, seconds float8, units float8, until_seconds float8, until_units float8
) LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  moment float8;
BEGIN
  IF step <= 0 THEN
    step := greatest(1, until_seconds);
  END IF;
  LOOP
    moment := step * cardinality(path);
    EXIT WHEN moment > until_seconds;
    IF cardinality(path) = 8 THEN
      path := ARRAY[path[1], path[3], path[5], path[7]];
      step := 2 * step;
    ELSE
      path := path || least(3e38, CASE WHEN until_seconds > seconds
        THEN units + (until_units - units) * greatest(0, moment - seconds) / (until_seconds - seconds) ELSE until_units END)::real;
    END IF;
  END LOOP;
END
$$;

-- The path with an advance that lasted from `seconds` to `until_seconds`, and the rate that follows from it. A candidate is
-- tested at the half, at three quarters and at seven eighths of the time. Where the tests do not decide, a
-- candidate that looks back further counts more. A candidate looks back for at least three mean gaps.
--
-- A short job grows its path with every other heartbeat, and each statement of this function takes longer than the arithmetic in
-- it. So there are few statements, time is counted in steps of the path, and nothing here starts a query.
CREATE FUNCTION headway.follow_pace(
  path real[], step float8, seconds float8, units float8, until_seconds float8, until_units float8, advances bigint
) RETURNS headway.pace LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  extended CONSTANT record := headway.extend_path(path, step, seconds, units, until_seconds, until_units);
  points CONSTANT real[] := extended.path;
  steps CONSTANT integer := cardinality(points) - 1;
  done CONSTANT float8 := points[steps + 1];
  least_rate CONSTANT float8 := 1e-12 * extended.step;
  -- How far candidates look back at least: in steps, and as a part of the time.
  least_steps CONSTANT float8 := 3 * steps::float8 / nullif(advances, 0);
  least_part float8;
  -- There is a test only where at least three advances came after its moment.
  tests CONSTANT integer := CASE WHEN advances >= 24 THEN 3 WHEN advances >= 12 THEN 2 WHEN advances >= 6 THEN 1 ELSE 0 END;
  place float8;
  reached float8;
  actual float8;
  error_1 float8 := 0;
  error_2 float8 := 0;
  error_3 float8 := 0;
  error_4 float8 := 0;
  least_error float8;
  weight_1 float8;
  weight_2 float8;
  weight_3 float8;
  weight_4 float8;
  weights float8;
  span float8;
  rate float8;
BEGIN
  IF steps < 1 THEN
    RETURN ROW(points, extended.step, until_units, until_seconds, NULL::real)::headway.pace;
  END IF;
  FOR t IN 1..tests LOOP
    place := steps - steps / (1 << t)::float8;
    reached := headway.path_at(points, place);
    actual := ln((done - reached) / (steps - place) + least_rate);
    least_part := least(1, least_steps / place);
    error_1 := error_1 + headway.rate_error(points, place, reached, 1, least_rate, actual) / tests;
    error_2 := error_2 + headway.rate_error(points, place, reached, greatest(0.5, least_part), least_rate, actual) / tests;
    error_3 := error_3 + headway.rate_error(points, place, reached, greatest(0.25, least_part), least_rate, actual) / tests;
    error_4 := error_4 + headway.rate_error(points, place, reached, greatest(0.125, least_part), least_rate, actual) / tests;
  END LOOP;
  least_error := least(error_1 + 0.02, error_2 + 0.04, error_3 + 0.06, error_4 + 0.08);
  weight_1 := exp(-32 * (error_1 + 0.02 - least_error));
  weight_2 := exp(-32 * (error_2 + 0.04 - least_error));
  weight_3 := exp(-32 * (error_3 + 0.06 - least_error));
  weight_4 := exp(-32 * (error_4 + 0.08 - least_error));
  weights := weight_1 + weight_2 + weight_3 + weight_4;
  least_part := least(1, least_steps / steps);
  span := steps * (weight_1 + weight_2 * greatest(0.5, least_part) + weight_3 * greatest(0.25, least_part)
    + weight_4 * greatest(0.125, least_part)) / weights;
  rate := exp((weight_1 * headway.log_rate(points, steps, done, 1, least_rate)
    + weight_2 * headway.log_rate(points, steps, done, greatest(0.5, least_part), least_rate)
    + weight_3 * headway.log_rate(points, steps, done, greatest(0.25, least_part), least_rate)
    + weight_4 * headway.log_rate(points, steps, done, greatest(0.125, least_part), least_rate)) / weights);
  -- What came after the last point of the path is added.
  RETURN ROW(points, extended.step, span * rate + until_units - done, (span - steps) * extended.step + until_seconds,
    CASE WHEN tests > 0 THEN (weight_1 * error_1 + weight_2 * error_2 + weight_3 * error_3 + weight_4 * error_4) / weights END
  )::headway.pace;
END
$$;

-- A worker's pace after an advance by `units` that took `elapsed` seconds. `spent` is the time since the measurement began, and
-- `advances` includes this one. headway.flush_plain does the same without this call.
CREATE FUNCTION headway.advance_pace(
  pace headway.worker_pace, units bigint, elapsed float8, spent float8, advances bigint, percent integer
) RETURNS headway.worker_pace LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  before CONSTANT headway.worker_pace := pace;
  is_long CONSTANT boolean := headway.is_long_gap(elapsed, pace.pace_seconds, advances - 1);
  -- Two long gaps without an advance between them are a slower pace.
  counted CONSTANT float8 := CASE WHEN is_long AND NOT pace.after_pause
    THEN headway.time_at_work(elapsed, units, pace.pace_seconds, pace.pace_units, advances - 1) ELSE elapsed END;
  followed headway.pace;
BEGIN
  pace.second_gap := greatest(pace.second_gap, least(pace.longest_gap, elapsed));
  pace.longest_gap := greatest(pace.longest_gap, elapsed);
  pace.left_out := headway.left_out(pace.longest_gap, headway.usual_gap(pace.second_gap, spent, advances), percent);
  pace.pace_units := pace.pace_units + units;
  pace.paused_seconds := pace.paused_seconds + elapsed - counted + before.left_out - pace.left_out;
  pace.after_pause := is_long;
  pace.pace_seconds := pace.pace_seconds + counted;
  IF pace.pace_seconds < pace.pace_step * cardinality(pace.pace_path) THEN
    pace.rate_units := pace.rate_units + units;
    pace.rate_seconds := pace.rate_seconds + counted;
    RETURN pace;
  END IF;
  followed := headway.follow_pace(pace.pace_path, pace.pace_step, before.pace_seconds, before.pace_units,
    pace.pace_seconds, pace.pace_units, advances);
  pace.rate_units := followed.units;
  pace.rate_seconds := followed.seconds;
  pace.rate_error := followed.error;
  pace.pace_path := followed.path;
  pace.pace_step := followed.step;
  RETURN pace;
END
$$;

-- The part of the time without an advance that the estimate expects anyway, in seconds: up to the mean time that an advance
-- takes. The time left falls by it, so that a worker with an item in ten minutes counts down between two items.
CREATE FUNCTION headway.expected_idle(idle float8, spent float8, advances numeric) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN advances > 0 AND idle > 0 THEN least(idle, spent / advances::float8) ELSE 0 END
$$;

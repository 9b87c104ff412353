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

-- The units that a path had reached at a moment. `step` is the time between two of its points.
CREATE FUNCTION headway.path_at(path real[], step float8, moment float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN moment <= 0 THEN path[1] WHEN moment >= step * (cardinality(path) - 1) THEN path[cardinality(path)]
    ELSE path[1 + floor(moment / step)::integer] + (moment / step - floor(moment / step))
      * (path[2 + floor(moment / step)::integer]::float8 - path[1 + floor(moment / step)::integer]) END
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
CREATE FUNCTION headway.follow_pace(
  path real[], step float8, seconds float8, units float8, until_seconds float8, until_units float8, advances bigint
) RETURNS headway.pace LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  result headway.pace;
  looks_back CONSTANT float8[] := '{1, 0.5, 0.25, 0.125}';
  tests CONSTANT float8[] := '{0.5, 0.25, 0.125}';
  errors float8[] := '{0, 0, 0, 0}';
  tested integer := 0;
  whole float8;
  done float8;
  moment float8;
  since float8;
  actual float8;
  least_error float8 := 'infinity';
  weight float8;
  weights float8 := 0;
  log_rate float8 := 0;
  span float8 := 0;
  error float8 := 0;
BEGIN
  SELECT e.path, e.step INTO result.path, result.step
  FROM headway.extend_path(path, step, seconds, units, until_seconds, until_units) e;
  whole := result.step * (cardinality(result.path) - 1);
  IF whole <= 0 THEN
    result.units := until_units;
    result.seconds := until_seconds;
    RETURN result;
  END IF;
  done := result.path[cardinality(result.path)];
  FOR t IN 1..3 LOOP
    CONTINUE WHEN advances * tests[t] < 3;
    moment := whole * (1 - tests[t]);
    since := headway.path_at(result.path, result.step, moment);
    actual := (done - since) / (whole - moment);
    tested := tested + 1;
    FOR c IN 1..4 LOOP
      span := least(moment, greatest(looks_back[c] * moment, 3 * whole / advances));
      errors[c] := errors[c] + least(3, abs(ln(
        ((since - headway.path_at(result.path, result.step, moment - span)) / span + 1e-12) / (actual + 1e-12))));
    END LOOP;
  END LOOP;
  FOR c IN 1..4 LOOP
    errors[c] := CASE WHEN tested > 0 THEN errors[c] / tested ELSE 0 END;
    least_error := least(least_error, errors[c] + 0.02 * c);
  END LOOP;
  result.seconds := 0;
  FOR c IN 1..4 LOOP
    weight := exp(-32 * (errors[c] + 0.02 * c - least_error));
    span := least(whole, greatest(looks_back[c] * whole, 3 * whole / advances));
    weights := weights + weight;
    log_rate := log_rate + weight
      * ln((done - headway.path_at(result.path, result.step, whole - span)) / span + 1e-12);
    result.seconds := result.seconds + weight * span;
    error := error + weight * errors[c];
  END LOOP;
  result.seconds := result.seconds / weights;
  result.units := result.seconds * exp(log_rate / weights);
  result.error := CASE WHEN tested > 0 THEN error / weights END;
  -- What came after the last point of the path.
  result.units := result.units + until_units - done;
  result.seconds := result.seconds + until_seconds - whole;
  RETURN result;
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

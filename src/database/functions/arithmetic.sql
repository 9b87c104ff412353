-- The arithmetic of progress. The functions depend on their arguments alone, except the clock. Most are
-- small enough for the planner to inline, so that a flush of a thousand reports computes expressions and makes no calls.
-- least() and greatest() ignore nulls: where an unknown value must stay unknown, CASE is used instead.

-- The time that writers use: the database's time at the moment of the call, not at the start of the transaction, in whole
-- milliseconds as in JSON. It is one function, so that a test database can replace it and replay a trace of hours in seconds.
CREATE FUNCTION headway.clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
  SELECT date_trunc('milliseconds', clock_timestamp())
$$;

-- Seconds from `since` to `until`. date_part gives a float; extract would give a numeric, which is several times slower.
CREATE FUNCTION headway.seconds(until timestamptz, since timestamptz) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT date_part('epoch', until - since)
$$;

-- Limits a sum to 2^53-1, the largest integer that JSON carries exactly.
CREATE FUNCTION headway.hold_count(n numeric) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN n > 9007199254740991 THEN 9007199254740991 ELSE n::bigint END
$$;

-- The same limit for whole seconds. It takes a float, because converting a float to numeric takes longer than the rest of a
-- heartbeat's arithmetic.
CREATE FUNCTION headway.hold_seconds(seconds float8) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN seconds >= 9007199254740991 THEN 9007199254740991 ELSE seconds::bigint END
$$;

-- The unit, or null where it is 'unknown'. 'unknown' agrees with every unit and replaces none.
CREATE FUNCTION headway.known_unit(unit text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT nullif(unit, 'unknown')
$$;

-- Whether a worker counts in the job's unit. A worker without a unit of its own does, whatever the job's unit is.
CREATE FUNCTION headway.agrees(worker_unit text, job_unit text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(worker_unit = job_unit, true)
$$;

-- Whether a document has at most so many bytes as JSON without blanks, which is how limits are stated and how JSON.stringify
-- writes. jsonb has a blank after each colon and each comma, at most a third of the text. These blanks are only counted where
-- they decide the result, in the text that is left when all strings are removed. jsonb writes out a number of more than 21
-- digits, and it counts with all its digits; JSON.stringify would write an exponent.
CREATE FUNCTION headway.json_fits(document jsonb, bytes integer) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN octet_length(t.text) <= bytes THEN true
    WHEN octet_length(t.text) > bytes + bytes / 2 THEN false
    ELSE octet_length(t.text) - (
      SELECT length(s.text) - length(replace(s.text, ' ', ''))
      FROM (SELECT regexp_replace(t.text, '"(?:[^"\\]|\\.)*"', '', 'g') AS text OFFSET 0) s
    ) <= bytes
  END
  FROM (SELECT document::text AS text OFFSET 0) t
$$;

-- Percent of an unfinished job: rounded down, at most 99; null when no total is known. It multiplies before it divides (2^53 *
-- 100 fits a bigint). A job with nothing to do (total 0) is at 99.
CREATE FUNCTION headway.percent(processed bigint, total bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN total = 0 OR processed >= total THEN 99 ELSE (processed * 100 / total)::integer END
$$;

-- A fraction (0 to 1) as percent of an unfinished job. 1e-9 is added against the rounding of floats: three stages of 0.1 are 30
-- %, not 29.
CREATE FUNCTION headway.percent_of_fraction(fraction float8) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN fraction >= 0.99 THEN 99 ELSE floor(100 * fraction + 1e-9)::integer END
$$;

-- The percent to show next. Within an attempt it falls only with `may_fall`. The callers set that when the counts behind it say
-- less (the total grew or became known, or a worker began again at a lower count) and when a partition began anew. The bar then
-- agrees with the counts. A percent that workers report never makes it fall.
CREATE FUNCTION headway.next_percent(shown integer, computed integer, may_fall boolean) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN may_fall THEN coalesce(computed, shown) ELSE greatest(shown, computed) END
$$;

-- The place of a stage among the declared ones, from 1; null when it is none of them.
CREATE FUNCTION headway.stage_place(stages jsonb, stage text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT s.place::integer FROM jsonb_array_elements(stages) WITH ORDINALITY AS s(stage, place)
  WHERE s.stage ->> 'name' = stage_place.stage
$$;

-- Two parts of 1: how much of a job the stages before `place` are, and how much the stage at `place` is.
CREATE FUNCTION headway.stage_weights(stages jsonb, place integer) RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY[
    coalesce(sum((s.stage -> 'weight')::float8) FILTER (WHERE s.place < stage_weights.place), 0),
    coalesce(sum((s.stage -> 'weight')::float8) FILTER (WHERE s.place = stage_weights.place), 0)]
  FROM jsonb_array_elements(stages) WITH ORDINALITY AS s(stage, place)
$$;

-- How much of a stage is done, 0 to 1. A stage with nothing to do counts as done, so that every job can reach its end.
-- `reported` is a percent that workers report, and it only counts while no total is known. Without either, the stage counts as
-- 0.
CREATE FUNCTION headway.stage_fraction(processed bigint, total bigint, reported float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN processed >= total THEN 1 WHEN total > 0 THEN processed::float8 / total
    ELSE coalesce(reported, 0) / 100 END
$$;

-- The seconds left. If there are a rate and a total, the current stage takes the rest divided by the rate. The stages after it
-- (`later`, a part of 1), and work without a total, take as long in proportion as the part that is done (`done`) took. Null
-- when neither can be computed.
CREATE FUNCTION headway.rate_eta(rest bigint, rate float8, later float8, done float8, spent float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    -- At a slower rate the estimate would say nothing, and the division could overflow.
    WHEN rate > 1e-9 AND rest IS NOT NULL AND later <= 0 THEN rest / rate
    WHEN done > 1e-9 AND rate > 1e-9 AND rest IS NOT NULL THEN rest / rate + later * spent / done
    WHEN done > 1e-9 AND spent > 0 THEN (1 - least(1, done)) * spent / done
  END
$$;

-- Whether it is time to note a job's progress in its history. It is time when the percent has grown, but not more often than
-- every 5 s. If the percent cannot grow, because there is no total or no work gets done (`flat`), it is time whenever the time
-- spent has grown by 5 %: a day without an advance is then visible in the history. The same holds when the percent has fallen.
-- Otherwise a job whose total grows with its count, so that its percent goes up and down, would be noted every 5 s for ever.
-- This makes at most about 100 entries for the percent, and 14 for each doubling of the time spent. `before` is the time spent
-- when the last entry was made, `since` the time since then.
CREATE FUNCTION headway.sample_is_due(since float8, before float8, percent integer, sampled_percent integer, flat boolean)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT since >= 5 AND (percent > sampled_percent OR (flat OR percent < sampled_percent) AND since >= 0.05 * before)
$$;

-- The seconds between two advances of a worker, at least a millisecond. The worker's clock is used where both reports carry its
-- time, because a report may be delayed on its way. If the two clocks differ by more than 10 s plus a tenth of the time, the
-- worker's clock was set between the reports, and the service's clock is used.
CREATE FUNCTION headway.advance_seconds(
  at timestamptz, rate_at timestamptz, reported_at timestamptz, rate_reported_at timestamptz
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT greatest(0.001, CASE
    WHEN abs(headway.seconds(reported_at, rate_reported_at) - headway.seconds(at, rate_at))
      <= 10 + headway.seconds(at, rate_at) / 10 THEN headway.seconds(reported_at, rate_reported_at)
    ELSE headway.seconds(at, rate_at) END)
$$;

-- Whether a report is late: older than the worker's newest one, by at most 5 minutes. A report that is older still shows that
-- the worker's clock was set back. The same follows when all of a worker's reports have been late for 10 s (`late_since` is
-- when the first of them came). STABLE, as the subtraction of an interval is: the planner would not inline an IMMUTABLE one.
CREATE FUNCTION headway.is_late(at timestamptz, reported_at timestamptz, newest_at timestamptz, late_since timestamptz)
RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT coalesce(reported_at < newest_at AND reported_at >= newest_at - interval '5 minutes', false)
    AND coalesce(late_since > at - interval '10 seconds', true)
$$;

-- Whether the worker's last heartbeat is recent enough for its rate to count: within 30 s, or three times the worker's own
-- interval.
CREATE FUNCTION headway.worker_reports(at timestamptz, heartbeat_at timestamptz, created_at timestamptz, heartbeats bigint)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT headway.seconds(at, heartbeat_at)
    <= greatest(30, 3 * headway.seconds(heartbeat_at, created_at) / nullif(heartbeats - 1, 0))
$$;

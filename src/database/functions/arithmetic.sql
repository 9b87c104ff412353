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

-- The same for seconds, whole ones: making a numeric of a float takes longer than all other arithmetic of a heartbeat.
CREATE FUNCTION headway.hold_seconds(seconds float8) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN seconds >= 9007199254740991 THEN 9007199254740991 ELSE seconds::bigint END
$$;

-- A unit that says something. 'unknown' does not: it agrees with all, and replaces none.
CREATE FUNCTION headway.known_unit(unit text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT nullif(unit, 'unknown')
$$;

-- Does a worker count in the job's unit? One without a unit of its own does, whatever the job's is.
CREATE FUNCTION headway.agrees(worker_unit text, job_unit text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(worker_unit = job_unit, true)
$$;

-- Is a document at most so many bytes as JSON without blanks, which is how limits are stated and how JSON.stringify writes it?
-- jsonb is written with a blank behind each colon and each comma, a third of the text at most: only where they decide are they
-- counted, in what is left when the strings are taken out. A number of more than 21 digits is written out, and counts as
-- that, where JSON.stringify would write an exponent.
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

-- Percent of an unfinished job: floored, at most 99; null when no total is known. Multiplied before it is divided
-- (2^53 * 100 fits a bigint). A job with nothing to do (total 0) is as good as done.
CREATE FUNCTION headway.percent(processed bigint, total bigint) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN total = 0 OR processed >= total THEN 99 ELSE (processed * 100 / total)::integer END
$$;

-- A fraction (0 to 1) as percent of an unfinished job. The little that is added makes up for the rounding of floats: three
-- stages of 0.1 are 30 %, not 29.
CREATE FUNCTION headway.percent_of_fraction(fraction float8) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN fraction >= 0.99 THEN 99 ELSE floor(100 * fraction + 1e-9)::integer END
$$;

-- The percent shown next. It moves back within an attempt only where it may: when the counts that it is made of say less (the
-- total grew or became known, a worker began again at a lower count), or a partition began anew. Bar and counts agree then.
-- A percent that workers report never moves it back.
CREATE FUNCTION headway.next_percent(shown integer, computed integer, may_fall boolean) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN may_fall THEN coalesce(computed, shown) ELSE greatest(shown, computed) END
$$;

-- Where a stage stands among the declared ones, from 1; null when it is none of them.
CREATE FUNCTION headway.stage_place(stages jsonb, stage text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT s.place::integer FROM jsonb_array_elements(stages) WITH ORDINALITY AS s(stage, place)
  WHERE s.stage ->> 'name' = stage_place.stage
$$;

-- How much of a job the stages before `place` are, and the stage itself: parts of 1.
CREATE FUNCTION headway.stage_weights(stages jsonb, place integer) RETURNS float8[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ARRAY[
    coalesce(sum((s.stage -> 'weight')::float8) FILTER (WHERE s.place < stage_weights.place), 0),
    coalesce(sum((s.stage -> 'weight')::float8) FILTER (WHERE s.place = stage_weights.place), 0)]
  FROM jsonb_array_elements(stages) WITH ORDINALITY AS s(stage, place)
$$;

-- How much of a stage is done, 0 to 1. An empty one counts as done, so that completion is always reachable. `reported` is
-- a percent, and counts only while no total is known; without either nothing is known to be done.
CREATE FUNCTION headway.stage_fraction(processed bigint, total bigint, reported float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN processed >= total THEN 1 WHEN total > 0 THEN processed::float8 / total
    ELSE coalesce(reported, 0) / 100 END
$$;

-- The seconds left. From the rate where there are a rate and a total; what comes after the current stage (`later`, a part
-- of 1), and work without a total, takes as long as the part that is done (`done`) took. Null when there is no basis.
CREATE FUNCTION headway.rate_eta(rest bigint, rate float8, later float8, done float8, spent float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    -- Slower than that, an estimate would be no information, and a tiny divisor an overflow.
    WHEN rate > 1e-9 AND rest IS NOT NULL AND later <= 0 THEN rest / rate
    WHEN done > 1e-9 AND rate > 1e-9 AND rest IS NOT NULL THEN rest / rate + later * spent / done
    WHEN done > 1e-9 AND spent > 0 THEN (1 - least(1, done)) * spent / done
  END
$$;

-- How much jobs of this kind that completed before say about this one, 0 to 1: everything before there is a rate of three
-- advances, then less as the job gets on, nothing from half of it, and less as it outlives what was expected: a job that
-- takes longer than usual is not usual. Figures: docs/decisions/0005-rate-and-eta.md.
CREATE FUNCTION headway.history_weight(expected float8, spent float8, fraction float8, has_rate boolean) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN expected > spent
    THEN CASE WHEN has_rate THEN greatest(0, 1 - 2 * fraction) * (1 - spent / expected) ELSE 1 END
    ELSE 0 END
$$;

-- The estimate from history and the measured one, blended by `weight` of the first.
CREATE FUNCTION headway.blend_eta(expected float8, spent float8, measured float8, weight float8) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN weight >= 1 THEN expected - spent WHEN weight > 0 THEN weight * (expected - spent) + (1 - weight) * measured
    ELSE measured END
$$;

-- Is it time to note the progress of a job in its history? When the percent has grown, but not more often than every 5 s.
-- While no percent can show it, because there is no total or nothing gets done (`flat`), whenever the time spent has grown
-- by 5 %: so a day that went by without an advance shows as well. No sooner when the percent has fallen, or a job whose total
-- grows with its count, up and down, would be noted every 5 s for ever. At most about 100 entries by percent, and 14 for each
-- doubling of the time by time. `before` is the time spent when the last entry was made, `since` the time since then.
CREATE FUNCTION headway.sample_is_due(since float8, before float8, percent integer, sampled_percent integer, flat boolean)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT since >= 5 AND (percent > sampled_percent OR (flat OR percent < sampled_percent) AND since >= 0.05 * before)
$$;

-- A worker's rate rests on two averages of its pace: the whole one, over all its time, and the recent one, over about the
-- last eighth of it (rate_whole and rate_recent of job_progress). Figures and reasons: docs/decisions/0005-rate-and-eta.md.

-- The time between two advances of a worker, in seconds, at least a millisecond. The worker's clock counts where both
-- reports carry it, because a report may be under way for a while. Where it differs from the service's clock by more than
-- 10 s and a tenth, it was set between the two, and the service's clock counts.
CREATE FUNCTION headway.advance_seconds(
  at timestamptz, rate_at timestamptz, reported_at timestamptz, rate_reported_at timestamptz
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT greatest(0.001, CASE
    WHEN abs(headway.seconds(reported_at, rate_reported_at) - headway.seconds(at, rate_at))
      <= 10 + headway.seconds(at, rate_at) / 10 THEN headway.seconds(reported_at, rate_reported_at)
    ELSE headway.seconds(at, rate_at) END)
$$;

-- Is a report late: older than the worker's newest one by at most 5 minutes. What is older still tells of a clock that was
-- set back, and so does a worker whose reports have all been late for 10 s (`late_since` is when the first of them came).
CREATE FUNCTION headway.is_late(at timestamptz, reported_at timestamptz, newest_at timestamptz, late_since timestamptz)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(reported_at < newest_at AND reported_at >= newest_at - interval '5 minutes', false)
    AND coalesce(late_since > at - interval '10 seconds', true)
$$;

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

-- What jobs of a type usually take, in seconds: the median of the last 50 of the tenant that completed; null when none did.
-- Read once, when a job starts. Partitions are compared with partitions.
-- A clock that was set back leaves jobs behind that took less than nothing: they say nothing.
-- Planned for any values: once the planner knows that it is looking for partitions it writes `parent_job_id IS NOT NULL`,
-- in which it does not recognise the index progress_jobs_durations any more, and reads all jobs of the type.
CREATE FUNCTION headway.expected_seconds(tenant_id uuid, job_type text, is_partition boolean) RETURNS float8
LANGUAGE sql STABLE PARALLEL SAFE SET plan_cache_mode = force_generic_plan SET jit = off AS $$
  SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY l.completed_seconds) FROM (
    SELECT j.completed_seconds FROM public.progress_jobs j
    WHERE j.tenant_id = expected_seconds.tenant_id AND j.job_type = expected_seconds.job_type
      AND (j.parent_job_id IS NULL) = (NOT is_partition) AND j.completed_seconds >= 0
    ORDER BY j.finished_at DESC LIMIT 50
  ) l
$$;

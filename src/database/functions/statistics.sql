-- Statistics of finished jobs. `headway.count_finished` counts jobs. `headway.roll_up_statistics` stores its counts for hours, days and
-- months that are over, and `headway.statistics_parts` answers a window from what is stored, and from the jobs where nothing is.
-- src/jobs/statistics/counts.ts adds the parts up. docs/decisions/0034-statistics.md says why.
--
-- The counts of a type are a JSON object; what is zero or null is left out:
--   completed, failed, cancelled   jobs
--   items, seconds, units          of completed jobs that counted something: their counts, their time, their known units (at most 2)
--   longest                        the longest duration of a completed job
--   values                         all durations in seconds, where they are few
--   buckets, counts                otherwise: numbers of buckets (headway.bucket_of), and how many durations are in each
--   late, latest, lateValues, lateBuckets, lateCounts   the same of the seconds after the deadline
--   stale, staleAgain              jobs with their first alarm in the period; for jobs with earlier alarms, when the last of these
--                                  was (milliseconds since 1970). Such a job counts unless that alarm is in the same window.
--   recovered, recoveredAgain      the same of alarms after which the job turned out to be alive

-- The bucket of a number of seconds. Bucket n > 0 ends at 0.001 * g^(n - 1), where g = 1.01 / 0.99, so that its middle differs from
-- no value in it by more than 1 % (DDSketch; Masson, Rim and Lee, VLDB 2019). Bucket 0 is 0. A duration is negative if the clock
-- was set back meanwhile.
CREATE FUNCTION headway.bucket_of(seconds float8) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(seconds) >= 0.0005
    THEN sign(seconds) * (1 + least(30000, greatest(0, ceil(ln(1000 * abs(seconds)) / ln(1.01::float8 / 0.99))))) ELSE 0 * seconds END::smallint
$$;

-- Counts what is stored for statistics, for these tenants and spans of time, by periods of a length `period` (hour, day, week or
-- month, in UTC), or in one if that is null.
-- `owns` says whose jobs to add up: those of all organizations (false), of each organization (true), or both. `wholes` says of which
-- types: each (false), all together (true), or both. Up to `most_values` durations are answered one by one.
--
-- With `merges`, it adds up the days that are stored, in place of jobs.
--
-- Each index is read alone (`progress_jobs_finished` and `progress_jobs_late` have every column that is needed), and alarms are few.
-- A token of one job is looked up by the job's id, which these indexes do not have. Each connection plans the statement once: to
-- plan it takes ten times as long as to count a hundred jobs. The tables are read in subqueries with OFFSET 0, once for each tenant
-- and span: the planner, which does not know how few these are, would otherwise read all jobs of the tenant and compare them.
-- Jobs are grouped in memory: with 4 MB, a week of ten thousand jobs a day goes to the disk and takes twice as long.
CREATE FUNCTION headway.count_finished(
  tenant_ids uuid[], since timestamptz[], until timestamptz[], period text, owns boolean[], wholes boolean[], most_values integer,
  merges boolean DEFAULT false, all_organizations boolean DEFAULT true, organization_id uuid DEFAULT NULL,
  scope_job_id uuid DEFAULT NULL, job_type text DEFAULT NULL
) RETURNS TABLE (
  tenant_id uuid, starts_at timestamptz, whose smallint, organization_id_or_nil uuid, jobs bigint, types json, total json
)
LANGUAGE plpgsql STABLE SET timezone = 'UTC' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET work_mem = '32MB'
AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH spans AS (SELECT s.since, s.until FROM unnest(count_finished.since, count_finished.until) AS s (since, until)),
  -- The job of a token that is limited to one.
  own AS (
    SELECT j.* FROM spans s JOIN public.progress_jobs j ON j.id = scope_job_id AND j.finished_at >= s.since AND j.finished_at < s.until
    WHERE j.parent_job_id IS NULL
      AND headway.sees(j, tenant_ids[1], all_organizations, count_finished.organization_id, scope_job_id)
      AND (count_finished.job_type IS NULL OR j.job_type = count_finished.job_type)
  ),
  ended AS (
    SELECT 'ended' AS kind, j.tenant_id, j.organization_id, j.job_type, headway.period_of(period, j.finished_at) AS starts_at,
      j.completed_seconds AS seconds, j.failure_reason IS NOT NULL AS failed, j.completed_count AS items, j.completed_unit AS known_unit,
      NULL::timestamptz AS previous, false AS recovered, NULL::timestamptz AS previous_recovered
    FROM unnest(tenant_ids) AS t (id) CROSS JOIN spans s
    CROSS JOIN LATERAL (
      SELECT j.tenant_id, j.organization_id, j.job_type, j.finished_at, j.completed_seconds, j.failure_reason, j.completed_count,
        j.completed_unit
      FROM public.progress_jobs j
      WHERE j.tenant_id = t.id AND j.finished_at >= s.since AND j.finished_at < s.until AND j.parent_job_id IS NULL
        AND headway.sees(j, t.id, all_organizations, count_finished.organization_id, NULL)
        AND (count_finished.job_type IS NULL OR j.job_type = count_finished.job_type)
      OFFSET 0
    ) j
    WHERE NOT merges AND scope_job_id IS NULL
    UNION ALL
    SELECT 'ended', j.tenant_id, j.organization_id, j.job_type, headway.period_of(period, j.finished_at),
      j.completed_seconds, j.failure_reason IS NOT NULL, j.completed_count, j.completed_unit,
      NULL::timestamptz, false, NULL::timestamptz
    FROM own j
  ),
  late AS (
    SELECT 'late', j.tenant_id, j.organization_id, j.job_type, headway.period_of(period, j.finished_at),
      j.late_seconds, false, NULL::bigint, NULL, NULL::timestamptz, false, NULL::timestamptz
    FROM unnest(tenant_ids) AS t (id) CROSS JOIN spans s
    CROSS JOIN LATERAL (
      SELECT j.tenant_id, j.organization_id, j.job_type, j.finished_at, j.late_seconds
      FROM public.progress_jobs j
      WHERE j.tenant_id = t.id AND j.finished_at >= s.since AND j.finished_at < s.until AND j.parent_job_id IS NULL AND j.late_seconds > 0
        AND headway.sees(j, t.id, all_organizations, count_finished.organization_id, NULL)
        AND (count_finished.job_type IS NULL OR j.job_type = count_finished.job_type)
      OFFSET 0
    ) j
    WHERE NOT merges AND scope_job_id IS NULL
    UNION ALL
    SELECT 'late', j.tenant_id, j.organization_id, j.job_type, headway.period_of(period, j.finished_at),
      j.late_seconds, false, NULL::bigint, NULL, NULL::timestamptz, false, NULL::timestamptz
    FROM own j WHERE j.late_seconds > 0
  ),
  -- The jobs that were ended for their silence, once in each part of a span that lies in one period.
  alarmed AS MATERIALIZED (
    SELECT a.job_id, a.starts_at, greatest(a.since, a.starts_at) AS since,
      CASE WHEN period IS NULL THEN a.until ELSE least(a.until, a.starts_at + ('1 ' || period)::interval) END AS until
    FROM (
      SELECT DISTINCT e.job_id, s.since, s.until, headway.period_of(period, e.at) AS starts_at
      FROM spans s
      CROSS JOIN LATERAL (
        SELECT e.job_id, e.at FROM public.job_events e
        WHERE e.type = 'failed' AND e.data ->> 'failureReason' = 'stale' AND e.at >= s.since AND e.at < s.until
        OFFSET 0
      ) e
      WHERE NOT merges
    ) a
  ),
  alarms AS (
    SELECT 'alarm', j.tenant_id, j.organization_id, j.job_type, a.starts_at, NULL::float8, false, NULL::bigint, NULL,
      h.previous, h.recovered, h.previous_recovered
    FROM alarmed a JOIN public.progress_jobs j ON j.id = a.job_id
    CROSS JOIN LATERAL (
      SELECT max(e.at) FILTER (WHERE e.at < a.since) AS previous,
        coalesce(bool_or(e.recovered) FILTER (WHERE e.at >= a.since AND e.at < a.until), false) AS recovered,
        max(e.at) FILTER (WHERE e.at < a.since AND e.recovered) AS previous_recovered
      FROM (
        SELECT e.at, EXISTS (SELECT FROM public.job_events l WHERE l.job_id = e.job_id AND l.id > e.id AND l.attempt = e.attempt
          AND l.type IN ('recovered', 'completed', 'failed', 'cancelled')) AS recovered
        FROM (SELECT * FROM public.job_events e WHERE e.job_id = a.job_id OFFSET 0) e
        WHERE e.type = 'failed' AND e.data ->> 'failureReason' = 'stale'
      ) e
    ) h
    WHERE j.tenant_id = ANY (tenant_ids)
      AND headway.sees(j, j.tenant_id, all_organizations, count_finished.organization_id, scope_job_id)
      AND (count_finished.job_type IS NULL OR j.job_type = count_finished.job_type)
  ),
  -- The days that are stored, each type of a day on its own, and all types together without a name.
  stored AS (
    SELECT r.tenant_id, headway.period_of(period, r.starts_at) AS starts_at, r.whose, r.organization_id, t.name, t.counts
    FROM unnest(tenant_ids) AS i (id) CROSS JOIN spans s
    CROSS JOIN LATERAL (
      SELECT * FROM public.statistics_rollups r
      WHERE r.tenant_id = i.id AND r.level = 'day' AND r.starts_at >= s.since AND r.starts_at < s.until
      OFFSET 0
    ) r
    CROSS JOIN LATERAL (SELECT e.key, e.value FROM json_each(r.types) e UNION ALL SELECT NULL, r.total) AS t (name, counts)
    WHERE merges
  ),
  grouped AS (
    SELECT e.tenant_id, e.starts_at,
      CASE WHEN NOT o.own THEN 0 WHEN e.organization_id IS NULL THEN 1 ELSE 2 END::smallint AS whose,
      coalesce(CASE WHEN o.own THEN e.organization_id END, '00000000-0000-0000-0000-000000000000') AS organization_id,
      CASE WHEN NOT w.whole THEN e.job_type COLLATE "C" END AS name,
      e.kind, headway.bucket_of(e.seconds) AS bucket, count(*) AS n,
      array_agg(e.seconds) FILTER (WHERE e.seconds IS NOT NULL) AS exact,
      count(*) FILTER (WHERE e.failed) AS failed,
      sum(e.items) AS items, sum(e.seconds) FILTER (WHERE e.items > 0) AS counting_seconds,
      min(e.known_unit COLLATE "C") FILTER (WHERE e.known_unit <> 'unknown') AS first_unit,
      max(e.known_unit COLLATE "C") FILTER (WHERE e.known_unit <> 'unknown') AS last_unit,
      max(e.seconds) AS longest,
      count(*) FILTER (WHERE e.kind = 'alarm' AND e.previous IS NULL) AS stale,
      string_agg(headway.ms(e.previous)::text, ',') AS stale_again,
      count(*) FILTER (WHERE e.recovered AND e.previous_recovered IS NULL) AS recovered,
      string_agg(headway.ms(e.previous_recovered)::text, ',') FILTER (WHERE e.recovered) AS recovered_again
    FROM (SELECT * FROM ended UNION ALL SELECT * FROM late UNION ALL SELECT * FROM alarms) e
    CROSS JOIN unnest(owns) AS o (own) CROSS JOIN unnest(wholes) AS w (whole)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    UNION ALL
    SELECT s.tenant_id, s.starts_at, s.whose, s.organization_id, s.name COLLATE "C", p.kind, p.bucket, sum(p.n),
      array_agg(p.exact::float8) FILTER (WHERE p.exact IS NOT NULL), sum(p.failed), sum(p.items), sum(p.counting_seconds), min(p.first_unit COLLATE "C"),
      max(p.last_unit COLLATE "C"), max(p.longest),
      sum(p.stale), string_agg(p.stale_again, ','), sum(p.recovered), string_agg(p.recovered_again, ',')
    FROM stored s CROSS JOIN LATERAL headway.pieces_of(s.counts, headway.ms(s.starts_at)) AS p
    GROUP BY 1, 2, 3, 4, 5, 6, 7
  ),
  counted AS (
    SELECT g.tenant_id, g.starts_at, g.whose, g.organization_id, g.name,
      sum(g.n) FILTER (WHERE g.kind = 'ended') AS jobs,
      json_strip_nulls(json_build_object(
        'completed', nullif(sum(g.n) FILTER (WHERE g.kind = 'ended' AND g.bucket IS NOT NULL), 0),
        'failed', nullif(sum(g.failed), 0),
        'cancelled', nullif(sum(g.n - g.failed) FILTER (WHERE g.kind = 'ended' AND g.bucket IS NULL), 0),
        'items', nullif(sum(g.items), 0), 'seconds', sum(g.counting_seconds),
        'units', CASE WHEN min(g.first_unit COLLATE "C") = max(g.last_unit COLLATE "C") THEN json_build_array(min(g.first_unit COLLATE "C"))
          WHEN min(g.first_unit COLLATE "C") IS NOT NULL
          THEN json_build_array(min(g.first_unit COLLATE "C"), max(g.last_unit COLLATE "C")) END,
        'longest', max(g.longest) FILTER (WHERE g.kind = 'ended'),
        'values', CASE WHEN sum(g.n) FILTER (WHERE g.kind = 'ended' AND g.bucket IS NOT NULL) <= most_values
          THEN headway.list(string_agg(array_to_string(g.exact, ','), ',') FILTER (WHERE g.kind = 'ended' AND g.n <= most_values)) END,
        'buckets', CASE WHEN sum(g.n) FILTER (WHERE g.kind = 'ended' AND g.bucket IS NOT NULL) > most_values
          THEN headway.list(string_agg(g.bucket::text, ',' ORDER BY g.bucket) FILTER (WHERE g.kind = 'ended')) END,
        'counts', CASE WHEN sum(g.n) FILTER (WHERE g.kind = 'ended' AND g.bucket IS NOT NULL) > most_values
          THEN headway.list(string_agg(CASE WHEN g.bucket IS NOT NULL THEN g.n END::text, ',' ORDER BY g.bucket)
            FILTER (WHERE g.kind = 'ended')) END,
        'late', sum(g.n) FILTER (WHERE g.kind = 'late'),
        'latest', max(g.longest) FILTER (WHERE g.kind = 'late'),
        'lateValues', CASE WHEN sum(g.n) FILTER (WHERE g.kind = 'late') <= most_values
          THEN headway.list(string_agg(array_to_string(g.exact, ','), ',') FILTER (WHERE g.kind = 'late' AND g.n <= most_values)) END,
        'lateBuckets', CASE WHEN sum(g.n) FILTER (WHERE g.kind = 'late') > most_values
          THEN headway.list(string_agg(g.bucket::text, ',' ORDER BY g.bucket) FILTER (WHERE g.kind = 'late')) END,
        'lateCounts', CASE WHEN sum(g.n) FILTER (WHERE g.kind = 'late') > most_values
          THEN headway.list(string_agg(g.n::text, ',' ORDER BY g.bucket) FILTER (WHERE g.kind = 'late')) END,
        'stale', nullif(sum(g.stale), 0), 'staleAgain', headway.list(string_agg(g.stale_again, ',')),
        'recovered', nullif(sum(g.recovered), 0), 'recoveredAgain', headway.list(string_agg(g.recovered_again, ',')))) AS counts
    FROM grouped g
    GROUP BY g.tenant_id, g.starts_at, g.whose, g.organization_id, g.name
  )
  SELECT c.tenant_id, c.starts_at, c.whose, c.organization_id, coalesce(max(c.jobs) FILTER (WHERE c.name IS NULL), 0)::bigint,
    coalesce(json_object_agg(c.name, c.counts) FILTER (WHERE c.name IS NOT NULL), '{}'),
    coalesce((json_agg(c.counts) FILTER (WHERE c.name IS NULL)) -> 0, '{}')
  FROM counted c GROUP BY c.tenant_id, c.starts_at, c.whose, c.organization_id;
END
$$;

-- The period of `unit` that a time lies in, by UTC: the callers set the time zone. Weeks begin on Monday.
CREATE FUNCTION headway.period_of(unit text, at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN unit IS NULL THEN '-infinity' ELSE date_trunc(unit, at) END
$$;

CREATE FUNCTION headway.ms(at timestamptz) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN isfinite(at) THEN round(1000 * date_part('epoch', at))::bigint END
$$;

-- A JSON list of numbers that are joined by commas; null for none.
CREATE FUNCTION headway.list(joined text) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT ('[' || joined || ']')::json
$$;

-- The counts of a type in a day, in the pieces that headway.count_finished adds up. Of the jobs that had an earlier alarm, those
-- are left out whose earlier alarm lies in the period that begins at `starts_ms`: they have been counted there.
CREATE FUNCTION headway.pieces_of(counts json, starts_ms bigint) RETURNS TABLE (
  kind text, bucket smallint, n numeric, exact text, failed numeric, items numeric, counting_seconds float8, first_unit text,
  last_unit text, longest float8, stale numeric, stale_again text, recovered numeric, recovered_again text
) LANGUAGE sql STABLE AS $$
  SELECT 'ended', NULL::smallint, coalesce((counts ->> 'failed')::numeric, 0) + coalesce((counts ->> 'cancelled')::numeric, 0), NULL,
    coalesce((counts ->> 'failed')::numeric, 0), (counts ->> 'items')::numeric, (counts ->> 'seconds')::float8,
    counts #>> '{units,0}', coalesce(counts #>> '{units,1}', counts #>> '{units,0}'), (counts ->> 'longest')::float8,
    0, NULL, 0, NULL
  UNION ALL
  SELECT l.kind, headway.bucket_of(v.seconds::float8), 1, v.seconds, 0, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL
  FROM (VALUES ('ended', counts -> 'values'), ('late', counts -> 'lateValues')) AS l (kind, list)
  CROSS JOIN json_array_elements_text(l.list) AS v (seconds)
  UNION ALL
  SELECT l.kind, b.bucket::smallint, b.n::numeric, NULL, 0, NULL, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL
  FROM (VALUES ('ended', counts -> 'buckets', counts -> 'counts'), ('late', counts -> 'lateBuckets', counts -> 'lateCounts'))
    AS l (kind, buckets, counts)
  CROSS JOIN ROWS FROM (json_array_elements_text(l.buckets), json_array_elements_text(l.counts)) AS b (bucket, n)
  UNION ALL
  SELECT 'late', headway.bucket_of((counts ->> 'latest')::float8), 0, NULL, 0, NULL, NULL, NULL, NULL, (counts ->> 'latest')::float8,
    0, NULL, 0, NULL
  WHERE counts -> 'late' IS NOT NULL
  UNION ALL
  SELECT 'alarm', NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, NULL,
    coalesce((counts ->> 'stale')::numeric, 0),
    (SELECT string_agg(a.ms, ',') FROM json_array_elements_text(counts -> 'staleAgain') AS a (ms) WHERE a.ms::bigint < starts_ms),
    coalesce((counts ->> 'recovered')::numeric, 0),
    (SELECT string_agg(a.ms, ',') FROM json_array_elements_text(counts -> 'recoveredAgain') AS a (ms) WHERE a.ms::bigint < starts_ms)
  WHERE counts -> 'stale' IS NOT NULL OR counts -> 'staleAgain' IS NOT NULL
$$;

-- The parts of statistics from `since` and before `until`, for a caller. With a `unit`, each part is the counts of all types (or of
-- `job_type`) in a period of the unit or in a part of one; otherwise the counts of each type in a part of the window.
--
-- Whole months, days and hours come from `statistics_rollups` where they are stored and have no mark. Everything else is counted from
-- the jobs: the present hour, the edges of the window, hours with few jobs, and what was not rolled up yet. So the counts are exact
-- at every moment. All of it is read in one snapshot, that of the calling statement, because the function is STABLE. A roll-up
-- that ends less than five minutes ago was made before the clock was set back, and is not read.
CREATE FUNCTION headway.statistics_parts(
  tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid, job_type text,
  since timestamptz, until timestamptz, unit text
) RETURNS TABLE (period timestamptz, types json, total json)
LANGUAGE plpgsql STABLE SET timezone = 'UTC' SET plan_cache_mode = force_generic_plan SET jit = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  tenant CONSTANT uuid := tenant_id;
  caller CONSTANT smallint := CASE WHEN all_organizations THEN 0 WHEN organization_id IS NULL THEN 1 ELSE 2 END;
  nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
  organization CONSTANT uuid := CASE WHEN all_organizations THEN nobody ELSE coalesce(organization_id, nobody) END;
  closed CONSTANT timestamptz := least(until, now() - interval '5 minutes');
  marked timestamptz[] := '{}';
  months timestamptz[] := '{}';
  days timestamptz[] := '{}';
  hours timestamptz[] := '{}';
  gaps_since timestamptz[];
  gaps_until timestamptz[];
BEGIN
  IF scope_job_id IS NULL THEN
    marked := ARRAY(
      SELECT DISTINCT m.hour FROM public.statistics_marks m
      WHERE m.tenant_id = tenant AND m.hour >= date_trunc('month', since) AND m.hour < until);
    IF unit IS NULL THEN
      months := ARRAY(
        SELECT p.at FROM generate_series(date_trunc('month', since), closed - interval '1 month', interval '1 month') AS p (at)
        WHERE p.at >= since AND p.at <> ALL (SELECT date_trunc('month', m.at) FROM unnest(marked) AS m (at))
          AND EXISTS (SELECT FROM public.statistics_rollups r
            WHERE r.tenant_id = tenant AND r.level = 'month' AND r.starts_at = p.at AND r.whose = 0 AND r.organization_id = nobody
            OFFSET 0));
    END IF;
    IF unit IS DISTINCT FROM 'hour' THEN
      days := ARRAY(
        SELECT p.at FROM generate_series(date_trunc('day', since), closed - interval '1 day', interval '1 day') AS p (at)
        WHERE p.at >= since AND date_trunc('month', p.at) <> ALL (months)
          AND p.at <> ALL (SELECT date_trunc('day', m.at) FROM unnest(marked) AS m (at))
          AND EXISTS (SELECT FROM public.statistics_rollups r
            WHERE r.tenant_id = tenant AND r.level = 'day' AND r.starts_at = p.at AND r.whose = 0 AND r.organization_id = nobody
            OFFSET 0));
    END IF;
    hours := ARRAY(
      SELECT p.at + h.n * interval '1 hour'
      FROM generate_series(date_trunc('day', since), closed, interval '1 day') AS p (at) CROSS JOIN generate_series(0, 23) AS h (n)
      WHERE date_trunc('month', p.at) <> ALL (months) AND p.at <> ALL (days)
        AND p.at + h.n * interval '1 hour' >= since AND p.at + (h.n + 1) * interval '1 hour' <= closed
        AND p.at + h.n * interval '1 hour' <> ALL (marked)
        AND EXISTS (SELECT FROM public.statistics_rollups r
          WHERE r.tenant_id = tenant AND r.level = 'hour' AND r.starts_at = p.at + h.n * interval '1 hour' AND r.whose = 0
            AND r.organization_id = nobody OFFSET 0));
  END IF;

  RETURN QUERY
  SELECT headway.period_of(unit, r.starts_at),
    CASE WHEN unit IS NOT NULL THEN '{}'::json WHEN job_type IS NULL THEN r.types
      ELSE json_strip_nulls(json_build_object(job_type, r.types -> job_type)) END,
    CASE WHEN unit IS NULL THEN '{}'::json WHEN job_type IS NULL THEN r.total ELSE coalesce(r.types -> job_type, '{}') END
  FROM (
    SELECT 'month' AS level, unnest(months) AS at UNION ALL SELECT 'day', unnest(days) UNION ALL SELECT 'hour', unnest(hours)
  ) p
  CROSS JOIN LATERAL (
    SELECT r.starts_at, r.types, r.total FROM public.statistics_rollups r
    WHERE r.tenant_id = tenant AND r.level = p.level AND r.starts_at = p.at AND r.whose = caller AND r.organization_id = organization
    OFFSET 0
  ) r;

  SELECT array_agg(g.since), array_agg(g.until) INTO gaps_since, gaps_until
  FROM (
    SELECT lag(p.until, 1, statistics_parts.since) OVER (ORDER BY p.since) AS since, p.since AS until
    FROM (
      SELECT m.at AS since, m.at + interval '1 month' AS until FROM unnest(months) AS m (at)
      UNION ALL SELECT d.at, d.at + interval '1 day' FROM unnest(days) AS d (at)
      UNION ALL SELECT h.at, h.at + interval '1 hour' FROM unnest(hours) AS h (at)
      UNION ALL SELECT statistics_parts.until, statistics_parts.until
    ) p
  ) g
  WHERE g.since < g.until;
  RETURN QUERY
  SELECT c.starts_at, c.types, c.total
  FROM headway.count_finished(ARRAY[tenant], gaps_since, gaps_until, unit, '{f}', ARRAY[unit IS NOT NULL], 1000, false,
    all_organizations, organization_id, scope_job_id, job_type) c;
END
$$;

-- The tenants that have finished jobs, found by one look into an index for each.
CREATE FUNCTION headway.tenants_with_finished_jobs() RETURNS uuid[] LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off AS $$
  WITH RECURSIVE tenants (id) AS (
    (SELECT j.tenant_id FROM public.progress_jobs j WHERE j.finished_at IS NOT NULL ORDER BY j.tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT j.tenant_id FROM public.progress_jobs j WHERE j.finished_at IS NOT NULL AND j.tenant_id > t.id
      ORDER BY j.tenant_id LIMIT 1)
    FROM tenants t WHERE t.id IS NOT NULL
  )
  SELECT coalesce(array_agg(t.id), '{}') FROM tenants t WHERE t.id IS NOT NULL
$$;

-- Stores the periods of `unit` in a span for these tenants anew. An hour is stored if the tenant has 50 jobs in it or more: to read
-- fewer jobs takes no longer than to read what would be stored.
CREATE FUNCTION headway.store_counts(tenant_ids uuid[], since timestamptz, until timestamptz, unit text) RETURNS void
LANGUAGE plpgsql SET timezone = 'UTC' SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $$
BEGIN
  DELETE FROM public.statistics_rollups r USING unnest(tenant_ids) AS t (id)
  WHERE r.tenant_id = t.id AND r.level = unit AND r.starts_at >= since AND r.starts_at < until;
  INSERT INTO public.statistics_rollups (tenant_id, level, starts_at, whose, organization_id, types, total)
  SELECT c.tenant_id, unit, c.starts_at, c.whose, c.organization_id_or_nil, c.types, c.total
  FROM (
    SELECT c.*, max(c.jobs) OVER (PARTITION BY c.tenant_id, c.starts_at) AS all_jobs
    FROM headway.count_finished(tenant_ids, ARRAY[since], ARRAY[until], unit, CASE WHEN unit = 'month' THEN '{}' ELSE '{f,t}' END::boolean[],
      '{f,t}', 30, unit = 'month') c
  ) c
  WHERE unit <> 'hour' OR c.all_jobs >= 50;
END
$$;

-- Stores a day of these tenants anew, with its hours where it has enough jobs.
CREATE FUNCTION headway.store_day(tenant_ids uuid[], day timestamptz) RETURNS void
LANGUAGE plpgsql SET timezone = 'UTC' SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off AS $$
DECLARE
  busy uuid[];
BEGIN
  PERFORM headway.store_counts(tenant_ids, day, day + interval '1 day', 'day');
  busy := ARRAY(
    SELECT t.id FROM unnest(tenant_ids) AS t (id) JOIN public.statistics_rollups r
      ON r.tenant_id = t.id AND r.level = 'day' AND r.starts_at = day AND r.whose = 0
    WHERE coalesce((r.total ->> 'completed')::bigint, 0) + coalesce((r.total ->> 'failed')::bigint, 0)
      + coalesce((r.total ->> 'cancelled')::bigint, 0) >= 50);
  DELETE FROM public.statistics_rollups r USING unnest(tenant_ids) AS t (id)
  WHERE r.tenant_id = t.id AND r.level = 'hour' AND r.starts_at >= day AND r.starts_at < day + interval '1 day';
  PERFORM headway.store_counts(busy, day, day + interval '1 day', 'hour');
END
$$;

-- Does one piece of work on the roll-ups, and answers which: `hour`, `day`, `marks`, `month`, `past`; null if there is none, or another process
-- does it. Every transaction that may have changed a job that finished before `closed_until`, and has not marked the hour, must be
-- over: the caller has waited for that (src/jobs/statistics/roll-up.ts).
--
-- In order: the days and hours that are over, then the hours whose marks have an id up to `marks_until` (null: none), then the months all of whose days are stored, then
-- the past, newest first, for a database whose jobs are older than its roll-ups. No other transaction waits for this one: it locks rows that nothing else writes.
CREATE FUNCTION headway.roll_up_statistics(closed_until timestamptz, marks_until bigint) RETURNS text
LANGUAGE plpgsql SET timezone = 'UTC' SET jit = off SET lock_timeout = '250ms' SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
  coverage public.statistics_coverage;
  today CONSTANT timestamptz := date_trunc('day', closed_until);
  day timestamptz;
  month timestamptz;
  tenants uuid[];
  hours timestamptz[];
  seen bigint[];
BEGIN
  -- Any constant that no other program uses. Each statement below begins after the last roll-up of another process was committed.
  IF NOT pg_try_advisory_xact_lock(5272015434) THEN
    RETURN NULL;
  END IF;
  SELECT * INTO coverage FROM public.statistics_coverage;
  IF NOT FOUND THEN
    INSERT INTO public.statistics_coverage (days_from, days_until, hours_until) VALUES (today, today, today) RETURNING * INTO coverage;
  ELSIF coverage.hours_until > now() THEN
    -- The clock was set back. Jobs may finish once more in hours that have been rolled up.
    DELETE FROM public.statistics_rollups r WHERE r.starts_at >= date_trunc('hour', closed_until)
      OR r.level = 'day' AND r.starts_at >= today OR r.level = 'month' AND r.starts_at + interval '1 month' > today;
    UPDATE public.statistics_coverage c SET hours_until = date_trunc('hour', closed_until), days_until = least(c.days_until, today),
      days_from = least(c.days_from, today)
    RETURNING * INTO coverage;
  END IF;

  IF coverage.days_until < today THEN
    day := coverage.days_until;
    PERFORM headway.store_day(headway.tenants_of(day), day);
    UPDATE public.statistics_coverage c SET days_until = day + interval '1 day', hours_until = greatest(c.hours_until, day + interval '1 day'),
      pending_months = c.pending_months || headway.months_within(date_trunc('month', day), day + interval '1 day', coverage.days_from);
    RETURN 'day';
  END IF;

  IF coverage.hours_until + interval '1 hour' <= closed_until THEN
    PERFORM headway.store_counts(headway.tenants_with_finished_jobs(), coverage.hours_until, coverage.hours_until + interval '1 hour', 'hour');
    UPDATE public.statistics_coverage c SET hours_until = c.hours_until + interval '1 hour';
    RETURN 'hour';
  END IF;

  IF marks_until IS NOT NULL THEN
    -- Before the jobs are read: a mark that is committed after this statement stays.
    SELECT date_trunc('day', m.hour) INTO day FROM public.statistics_marks m WHERE m.id <= marks_until ORDER BY m.id LIMIT 1;
    IF FOUND THEN
      SELECT array_agg(m.id), array_agg(DISTINCT m.tenant_id), array_agg(DISTINCT m.hour) INTO seen, tenants, hours
      FROM (SELECT * FROM public.statistics_marks m WHERE m.id <= marks_until ORDER BY m.id LIMIT 10000) m
      WHERE m.hour >= day AND m.hour < day + interval '1 day';
      IF day >= coverage.days_from AND day < coverage.days_until THEN
        PERFORM headway.store_day(tenants, day);
        DELETE FROM public.statistics_rollups r USING unnest(tenants) AS t (id)
        WHERE r.tenant_id = t.id AND r.level = 'month' AND r.starts_at = date_trunc('month', day);
        UPDATE public.statistics_coverage c
        SET pending_months = array_remove(c.pending_months, date_trunc('month', day))
          || headway.months_within(date_trunc('month', day), c.days_until, c.days_from);
      ELSIF day >= coverage.days_until THEN
        PERFORM headway.store_counts(tenants, h.at, h.at + interval '1 hour', 'hour')
        FROM unnest(hours) AS h (at) WHERE h.at < coverage.hours_until;
      END IF;
      DELETE FROM public.statistics_marks m WHERE m.id = ANY (seen);
      RETURN 'marks';
    END IF;
  END IF;

  IF coverage.pending_months <> '{}' THEN
    month := coverage.pending_months[1];
    -- Days of it are missing again if the clock was set back.
    IF headway.months_within(month, coverage.days_until, coverage.days_from) = '{}' OR headway.store_month(month) THEN
      UPDATE public.statistics_coverage c SET pending_months = array_remove(c.pending_months, month);
    END IF;
    RETURN 'month';
  END IF;

  -- The last day before the roll-ups that has a finished job or an alarm.
  day := date_trunc('day', greatest(
    (SELECT j.finished_at FROM public.progress_jobs j WHERE j.finished_at IS NOT NULL AND j.finished_at < coverage.days_from
      ORDER BY j.finished_at DESC NULLS LAST LIMIT 1),
    (SELECT e.at FROM public.job_events e WHERE e.type = 'failed' AND e.data ->> 'failureReason' = 'stale' AND e.at < coverage.days_from
      ORDER BY e.at DESC LIMIT 1)));
  IF day IS NULL THEN
    -- Nothing is older: the oldest month is whole.
    day := date_trunc('month', coverage.days_from);
    IF day = coverage.days_from OR day + interval '1 month' > coverage.days_until THEN
      RETURN NULL;
    END IF;
  ELSE
    PERFORM headway.store_day(headway.tenants_of(day), day);
  END IF;
  UPDATE public.statistics_coverage c SET days_from = day,
    pending_months = c.pending_months || headway.months_within(day, c.days_until, day, coverage.days_from);
  RETURN 'past';
END
$$;

-- The tenants of which a day may have something to count.
CREATE FUNCTION headway.tenants_of(day timestamptz) RETURNS uuid[] LANGUAGE sql STABLE SET timezone = 'UTC' SET jit = off SET enable_seqscan = off AS $$
  SELECT coalesce(array_agg(DISTINCT t.id), '{}') FROM (
    SELECT unnest(headway.tenants_with_finished_jobs()) AS id
    UNION ALL
    SELECT j.tenant_id FROM public.job_events e JOIN public.progress_jobs j ON j.id = e.job_id
    WHERE e.type = 'failed' AND e.data ->> 'failureReason' = 'stale' AND e.at >= tenants_of.day
      AND e.at < tenants_of.day + interval '1 day'
  ) t
$$;

CREATE FUNCTION headway.tenants_with_roll_ups() RETURNS uuid[] LANGUAGE sql STABLE SET jit = off SET enable_seqscan = off AS $$
  WITH RECURSIVE tenants (id) AS (
    (SELECT r.tenant_id FROM public.statistics_rollups r ORDER BY r.tenant_id LIMIT 1)
    UNION ALL
    SELECT (SELECT r.tenant_id FROM public.statistics_rollups r WHERE r.tenant_id > t.id ORDER BY r.tenant_id LIMIT 1)
    FROM tenants t WHERE t.id IS NOT NULL
  )
  SELECT coalesce(array_agg(t.id), '{}') FROM tenants t WHERE t.id IS NOT NULL
$$;

-- The months from that of `first` on, and before `last`, of which all days lie between `days_from` and `days_until`, newest first.
CREATE FUNCTION headway.months_within(first timestamptz, days_until timestamptz, days_from timestamptz, last timestamptz DEFAULT NULL)
RETURNS timestamptz[] LANGUAGE sql STABLE SET timezone = 'UTC' SET jit = off AS $$
  SELECT coalesce(array_agg(m.at ORDER BY m.at DESC), '{}')
  FROM generate_series(date_trunc('month', first), days_until - interval '1 month', interval '1 month') AS m (at)
  WHERE m.at >= days_from AND m.at < coalesce(last, first + interval '1 second')
$$;

-- Stores a month from its days, all of which must be stored, for those tenants that have none, and answers whether no tenant is
-- left. To add up the days of all tenants may take minutes, so it stops after the tenant with which it has worked for `most`. While
-- a tenant has a mark in the month, nobody would read it.
CREATE FUNCTION headway.store_month(month timestamptz, most interval DEFAULT '1 second') RETURNS boolean
LANGUAGE plpgsql SET timezone = 'UTC' SET jit = off SET enable_seqscan = off AS $$
DECLARE
  until CONSTANT timestamptz := month + interval '1 month';
  begun CONSTANT timestamptz := clock_timestamp();
  tenant uuid;
BEGIN
  FOREACH tenant IN ARRAY headway.tenants_with_roll_ups() LOOP
    CONTINUE WHEN EXISTS (SELECT FROM public.statistics_rollups r WHERE r.tenant_id = tenant AND r.level = 'month' AND r.starts_at = month)
      OR NOT EXISTS (SELECT FROM public.statistics_rollups r
        WHERE r.tenant_id = tenant AND r.level = 'day' AND r.starts_at >= month AND r.starts_at < until)
      OR EXISTS (SELECT FROM public.statistics_marks m WHERE m.tenant_id = tenant AND m.hour >= month AND m.hour < until);
    PERFORM headway.store_counts(ARRAY[tenant], month, until, 'month');
    IF clock_timestamp() >= begun + most THEN
      RETURN false;
    END IF;
  END LOOP;
  RETURN true;
END
$$;

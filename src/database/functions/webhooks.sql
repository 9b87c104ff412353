-- The outbox of webhooks: how messages are queued, and how deliveries are handed out and recorded.

-- The body of a message. `data` is the job as the live stream shows it, without null fields, with the whole result and the
-- job's `meta`. The creator of a job may put into `meta` which message or channel the job belongs to.
CREATE FUNCTION headway.webhook_body(type text, at timestamptz, j public.progress_jobs) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT row_to_json(b)::text FROM (SELECT
    type, headway.iso(at) AS timestamp,
    headway.live_fields(j)::jsonb || jsonb_build_object('meta', j.meta)
      || CASE WHEN j.result_summary IS NULL THEN '{}' ELSE jsonb_build_object('resultSummary', j.result_summary) END AS data
  ) b
$$;

-- Whether a time in the past lies ahead of the clock, because the clock was set back since then. Nothing waits until the clock
-- has reached that time again. One second is tolerated, because the clocks of a cluster's servers differ a little.
CREATE FUNCTION headway.is_ahead(happened_at timestamptz, at timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT happened_at > at + interval '1 second'
$$;

-- Until when a receiver gets no attempts; null if it gets them now.
CREATE FUNCTION headway.paused_until(w public.webhooks, at timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT w.paused_until WHERE w.paused_until > at AND NOT coalesce(headway.is_ahead(w.paused_at, at), false)
$$;

-- Whether a destination has one message for each job and attempt, which is edited in place (contract/destinations.ts).
CREATE FUNCTION headway.is_chat(kind text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT kind IN ('slack', 'discord', 'telegram', 'matrix')
$$;

-- Where a webhook's messages go, for comparing: attempts that used another destination do not count as its failures.
CREATE FUNCTION headway.destination_of(w public.webhooks) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(w.url, md5(w.settings::text || coalesce(w.sealed_settings, '')))
$$;

-- Whether a webhook is, or will be, told anything of a job. In PL/pgSQL, so that the planner does not make a part of other
-- statements of it.
CREATE FUNCTION headway.is_told_of(webhook_id uuid, job_id uuid) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN EXISTS (
      SELECT FROM public.webhook_deliveries d WHERE d.webhook_id = is_told_of.webhook_id AND d.job_id = is_told_of.job_id)
    OR EXISTS (
      SELECT FROM public.webhook_messages m
      WHERE m.job_id = is_told_of.job_id AND is_told_of.webhook_id = ANY (m.webhook_ids));
END
$$;

-- Whether a webhook wants messages about a job.
CREATE FUNCTION headway.wants_job(w public.webhooks, j public.progress_jobs) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT w.enabled AND headway.sees(j, w.tenant_id, w.organization_id IS NULL, w.organization_id, NULL)
    AND (NOT w.top_level OR j.parent_job_id IS NULL)
    AND coalesce(w.job_type = j.job_type, true)
$$;

-- Queues a message for each change that the statement has just written into the history, if any webhook wants it. It runs in
-- the transaction of the change, so that a change and its message are committed together or not at all. There is one row per
-- change, however many webhooks want it, because the transaction may be a flush of many tenants' heartbeats. A webhook with a
-- progress interval always gets the end of a job, and so does a chat that has a message about the job. The trigger runs once per statement, and most statements change no job's
-- status, such as nearly every flush of heartbeats. Then it must end at its first line. Tables are read by index in correlated
-- subqueries, for the reasons in flush_any.sql.
CREATE FUNCTION headway.queue_messages() RETURNS trigger LANGUAGE plpgsql SET jit = off AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM events) OR NOT EXISTS (SELECT FROM public.webhooks WHERE enabled) THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.webhook_messages (tenant_id, webhook_ids, job_id, type, revision, body)
  SELECT j.tenant_id, w.ids, e.job_id, m.type, j.revision, headway.webhook_body(m.type, e.at, (j.*)::public.progress_jobs)
  FROM events e
  CROSS JOIN LATERAL (SELECT 'progress.job.' || e.type AS type OFFSET 0) m
  CROSS JOIN LATERAL (SELECT * FROM public.progress_jobs j WHERE j.id = e.job_id OFFSET 0) j
  CROSS JOIN LATERAL (
    SELECT array_agg(w.id) AS ids FROM public.webhooks w
    WHERE w.tenant_id = j.tenant_id AND headway.wants_job(w, (j.*)::public.progress_jobs) AND (w.all_events OR e.type = ANY (w.events)
      OR e.type IN ('completed', 'failed', 'cancelled') AND (w.progress_interval_seconds IS NOT NULL
        OR headway.is_chat(w.kind) AND headway.is_told_of(w.id, e.job_id)))
    OFFSET 0
  ) w
  WHERE e.type NOT IN ('progress', 'stage_changed') AND w.ids IS NOT NULL
  ORDER BY e.id;
  RETURN NULL;
END
$$;

-- One trigger serves all versions of the service that run beside each other: that of the newest version.
CREATE OR REPLACE TRIGGER job_events_webhooks AFTER INSERT ON public.job_events
REFERENCING NEW TABLE AS events FOR EACH STATEMENT EXECUTE FUNCTION headway.queue_messages();

-- How many deliveries may still be queued for each of these webhooks. All waiting deliveries of a tenant are at most
-- `most_waiting`. Those of one webhook are at most what is left of that limit. So one webhook that is the only one may use
-- half, and each of k webhooks that fill theirs a part of k + 1 (Choudhury and Hahne, Dynamic Queue Length Thresholds for
-- Shared-Memory Packet Switches, 1998). A receiver that is away leaves room for the others.
CREATE FUNCTION headway.delivery_room(webhook_ids uuid[], most_waiting integer)
RETURNS TABLE (webhook_id uuid, tenant_id uuid, room bigint) LANGUAGE sql STABLE AS $$
  SELECT b.webhook_id, b.tenant_id, greatest(0, most_waiting - b.waiting - (
    SELECT sum(o.waiting) FROM public.webhook_backlogs o WHERE o.tenant_id = b.tenant_id))::bigint
  FROM public.webhook_backlogs b WHERE b.webhook_id = ANY (webhook_ids)
$$;

CREATE FUNCTION headway.count_waiting(webhook_id uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT count(*) FROM public.webhook_deliveries d WHERE d.webhook_id = count_waiting.webhook_id AND d.status = 'waiting'
$$;

-- Adds these webhooks to webhook_backlogs before deliveries are queued for them, at most `wanted` for each. Attempts do not
-- reduce the number there, because each would have to wait for the row. If the number leaves no room, the deliveries are
-- counted again. Counting takes longer the more there are, so it happens at most every two seconds.
CREATE FUNCTION headway.count_backlogs(webhook_ids uuid[], at timestamptz, wanted integer, most_waiting integer)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.webhook_backlogs (webhook_id, tenant_id, waiting, counted_at)
  SELECT w.id, w.tenant_id, headway.count_waiting(w.id), count_backlogs.at
  FROM public.webhooks w
  WHERE w.id = ANY (webhook_ids) AND NOT EXISTS (SELECT FROM public.webhook_backlogs b WHERE b.webhook_id = w.id)
  ON CONFLICT DO NOTHING;
  UPDATE public.webhook_backlogs b SET waiting = headway.count_waiting(b.webhook_id), counted_at = count_backlogs.at
  WHERE b.tenant_id = ANY (ARRAY(
      SELECT r.tenant_id FROM headway.delivery_room(webhook_ids, most_waiting) r WHERE r.room < wanted))
    AND b.counted_at NOT BETWEEN count_backlogs.at - interval '2 seconds' AND count_backlogs.at;
END
$$;

-- Makes deliveries of about `most` messages: one for each webhook that a message is for. Tenants with messages get equal
-- shares, in a random order, so a tenant with ten thousand messages delays the others by at most one call. Answers whether
-- there may be more messages, and how many deliveries were left out because too many wait (headway.delivery_room). If the
-- left-out message is about a job with a delivery that was not tried yet, it replaces that delivery's content, because
-- receivers go by the highest revision. A chat has one waiting delivery for each job and attempt: a further message takes the
-- place of the waiting one, and is due at once. Only one process runs this at a time, because two would mix up the order of a job's
-- messages. The caller waits for the other process, which may have begun too early to see the messages that it was called for.
CREATE FUNCTION headway.queue_deliveries(most integer, most_waiting integer, OUT more boolean, OUT dropped bigint)
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  at timestamptz(3);
  taken bigint[];
  receivers uuid[];
  left_out record;
BEGIN
  more := (SELECT m.id FROM public.webhook_messages m ORDER BY m.id LIMIT 1) IS NOT NULL;
  dropped := 0;
  IF NOT more THEN
    RETURN;
  END IF;
  -- Any constant that no other program uses.
  PERFORM pg_advisory_xact_lock(5272015424);
  at := headway.clock();
  -- Finds the tenants by stepping through the index, and skips all other messages of each tenant.
  WITH RECURSIVE senders AS (
    (SELECT m.tenant_id FROM public.webhook_messages m ORDER BY m.tenant_id, m.id LIMIT 1)
    UNION ALL
    SELECT (SELECT m.tenant_id FROM public.webhook_messages m WHERE m.tenant_id > s.tenant_id ORDER BY m.tenant_id, m.id LIMIT 1)
    FROM senders s WHERE s.tenant_id IS NOT NULL
  )
  SELECT array_agg(m.id) INTO taken
  FROM (
    SELECT s.tenant_id, greatest(1, most / count(*) OVER ()) AS share FROM senders s WHERE s.tenant_id IS NOT NULL
    ORDER BY random() LIMIT most
  ) s
  CROSS JOIN LATERAL (
    SELECT m.id FROM public.webhook_messages m WHERE m.tenant_id = s.tenant_id ORDER BY m.tenant_id, m.id LIMIT s.share
  ) m;
  receivers := ARRAY(SELECT DISTINCT unnest(m.webhook_ids) FROM public.webhook_messages m WHERE m.id = ANY (taken));
  PERFORM headway.count_backlogs(receivers, at, cardinality(taken), most_waiting);

  FOR left_out IN
    WITH messages AS (
      DELETE FROM public.webhook_messages m WHERE m.id = ANY (taken) RETURNING m.*
    ), wanted AS MATERIALIZED (
      -- A message for a webhook that has been deleted since is dropped.
      SELECT m.id, m.job_id, m.type, m.revision, m.body, m.created_at, w.id AS webhook_id,
        CASE WHEN headway.is_chat(w.kind) THEN (m.body::json #>> '{data,attempt}')::integer END AS job_attempt
      FROM messages m CROSS JOIN LATERAL unnest(m.webhook_ids) AS i (id) JOIN public.webhooks w ON w.id = i.id
    ), newest AS MATERIALIZED (
      SELECT DISTINCT ON (w.webhook_id, w.job_id, w.job_attempt) w.* FROM wanted w WHERE w.job_attempt IS NOT NULL
      ORDER BY w.webhook_id, w.job_id, w.job_attempt, w.id DESC
    ), replaced AS (
      UPDATE public.webhook_deliveries d SET
        type = n.type, revision = n.revision, body = n.body, due_at = least(d.due_at, at), expires_at = at + interval '3 days'
      FROM newest n
      WHERE d.id = (
          SELECT e.id FROM public.webhook_deliveries e
          WHERE e.webhook_id = n.webhook_id AND e.job_id = n.job_id AND e.status = 'waiting' AND e.claim IS NULL
            AND e.job_attempt = n.job_attempt
          ORDER BY e.webhook_id DESC, e.job_id DESC, e.id DESC LIMIT 1)
        AND d.finished_at IS NULL AND d.claim IS NULL
      RETURNING n.id, n.webhook_id
    ), fresh AS MATERIALIZED (
      SELECT f.*, row_number() OVER (PARTITION BY f.webhook_id ORDER BY f.id) AS place FROM (
        SELECT w.* FROM wanted w WHERE w.job_attempt IS NULL
        UNION ALL
        SELECT n.* FROM newest n
        WHERE NOT EXISTS (SELECT FROM replaced r WHERE r.id = n.id AND r.webhook_id = n.webhook_id)
      ) f
    ), room AS MATERIALIZED (
      SELECT * FROM headway.delivery_room(receivers, most_waiting)
    ), counted AS MATERIALIZED (
      SELECT w.webhook_id, r.room, least(r.room, count(*)) AS queued, greatest(0, count(*) - r.room) AS dropped
      FROM fresh w JOIN room r ON r.webhook_id = w.webhook_id GROUP BY w.webhook_id, r.room
    ), queued AS (
      INSERT INTO public.webhook_deliveries (webhook_id, job_id, job_attempt, type, revision, body, due_at, created_at, expires_at)
      SELECT w.webhook_id, w.job_id, w.job_attempt, w.type, w.revision, w.body, w.created_at, w.created_at, w.created_at + interval '3 days'
      FROM fresh w JOIN counted c ON c.webhook_id = w.webhook_id
      WHERE w.place <= c.queued ORDER BY w.id
    ), noted AS (
      UPDATE public.webhook_backlogs b SET waiting = b.waiting + c.queued FROM counted c WHERE b.webhook_id = c.webhook_id
    ), told AS (
      UPDATE public.webhooks w SET dropped_count = w.dropped_count + c.dropped, dropped_at = at
      FROM counted c WHERE w.id = c.webhook_id AND c.dropped > 0
    )
    SELECT w.webhook_id, w.job_id, w.type, w.revision, w.body
    FROM fresh w JOIN counted c ON c.webhook_id = w.webhook_id WHERE w.place > c.queued ORDER BY w.id
  LOOP
    dropped := dropped + 1;
    -- Each row is found by its key. With other conditions the planner would scan the whole table, because its statistics may be
    -- from a time when the table was empty.
    UPDATE public.webhook_deliveries d SET type = left_out.type, revision = left_out.revision, body = left_out.body
    WHERE d.id = (
        SELECT e.id FROM public.webhook_deliveries e
        WHERE e.webhook_id = left_out.webhook_id AND e.job_id = left_out.job_id AND e.status = 'waiting'
        ORDER BY e.webhook_id DESC, e.job_id DESC, e.id DESC LIMIT 1)
      AND d.finished_at IS NULL AND d.claim IS NULL AND d.attempts = 0;
  END LOOP;
  more := (SELECT m.id FROM public.webhook_messages m ORDER BY m.id LIMIT 1) IS NOT NULL;
END
$$;

-- Queues messages about the progress of running jobs for the webhooks that want them. Answers whether there may be anything to
-- send. There is at most one message about a job per `progress_interval_seconds`. At most one of them waits, and only the last
-- one is kept as record. Heartbeats do not take part: this compares the revision in a job's last message with the job's present
-- revision. One call queues about `most` messages at most, and begins with no further webhook after `patience_seconds`, because
-- a tenant may have many jobs and many webhooks. Tenants take turns. Of each tenant, the webhook comes first that was checked
-- longest ago; of these, the one that has waited longest. The remaining webhooks are checked in the next call.
CREATE FUNCTION headway.queue_progress(most integer, most_waiting integer, patience_seconds float8) RETURNS boolean
LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  at timestamptz(3) := headway.clock();
  w public.webhooks;
  rest integer := most;
  queued integer;
BEGIN
  IF NOT EXISTS (SELECT FROM public.webhooks w WHERE w.enabled) THEN
    -- Messages that were queued before the last webhook was disabled become deliveries, which are kept for that webhook.
    RETURN (SELECT m.id FROM public.webhook_messages m ORDER BY m.id LIMIT 1) IS NOT NULL;
  END IF;
  IF NOT EXISTS (SELECT FROM public.webhooks w WHERE headway.is_progress_due(w, at))
    -- Any constant that no other program uses. Without the lock two replicas would queue the same state twice.
    OR NOT pg_try_advisory_xact_lock(5272015423) THEN
    RETURN true;
  END IF;
  FOR w IN
    SELECT (t.w).* FROM (
      SELECT w, row_number() OVER (PARTITION BY w.tenant_id ORDER BY w.progress_checked_at NULLS FIRST, w.id) AS turn
      FROM public.webhooks w WHERE headway.is_progress_due(w, at)
    ) t ORDER BY t.turn, (t.w).progress_checked_at NULLS FIRST
  LOOP
    EXIT WHEN rest <= 0 OR clock_timestamp() > at + make_interval(secs => patience_seconds);
    queued := headway.queue_progress_of(w, at, rest, most_waiting);
    rest := rest - queued;
    -- A webhook that was only checked in part is due again at once, after those that were not checked.
    UPDATE public.webhooks u SET progress_checked_at = CASE WHEN rest <= 0
      THEN at - make_interval(secs => u.progress_interval_seconds / 4.0) ELSE at END WHERE u.id = w.id;
  END LOOP;
  RETURN true;
END
$$;

-- Queues messages about the progress of at most `most` jobs for one webhook, and answers how many. For a job with a delivery
-- that waits for a chat nothing is queued, because a chat is sent the newest state in any case.
CREATE FUNCTION headway.queue_progress_of(w public.webhooks, at timestamptz, most integer, most_waiting integer)
RETURNS integer LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  room bigint;
  queued integer;
BEGIN
  PERFORM headway.count_backlogs(ARRAY[w.id], at, most, most_waiting);
  room := (SELECT r.room FROM headway.delivery_room(ARRAY[w.id], most_waiting) r);
  -- A chat takes a message in some seconds. The end of a job must not wait behind the progress of a thousand others.
  IF headway.is_chat(w.kind) THEN
    room := least(room, greatest(0, 10 - headway.count_waiting(w.id)));
  END IF;
  -- Deletes waiting messages about progress that a later message about the same job has overtaken.
  DELETE FROM public.webhook_deliveries d
  WHERE d.webhook_id = w.id AND d.status = 'waiting' AND d.type = 'progress.job.updated' AND d.claim IS NULL
    AND EXISTS (
      SELECT FROM public.webhook_deliveries l WHERE l.webhook_id = d.webhook_id AND l.job_id = d.job_id AND l.id > d.id);

  -- Without a body: it is made of the newest state when the message is sent.
  WITH queued AS (
    INSERT INTO public.webhook_deliveries (webhook_id, job_id, job_attempt, type, revision, body, due_at, expires_at)
    SELECT w.id, j.id, CASE WHEN headway.is_chat(w.kind) THEN j.attempt END, 'progress.job.updated', j.revision, '', at, at + interval '3 days'
    FROM public.progress_jobs j
    LEFT JOIN LATERAL (
      SELECT d.revision, coalesce(d.attempted_at, d.created_at) AS told_at,
        d.status = 'waiting' AND d.claim IS NULL AND (d.type = 'progress.job.updated' OR headway.is_chat(w.kind)) AS waits
      FROM public.webhook_deliveries d WHERE d.webhook_id = w.id AND d.job_id = j.id
      -- In the order of the index: ordered by id alone, the planner would walk back through the messages of all jobs.
      ORDER BY d.webhook_id DESC, d.job_id DESC, d.id DESC LIMIT 1
    ) l ON true
    WHERE j.tenant_id = w.tenant_id AND j.finished_at IS NULL AND j.status = 'running' AND headway.wants_job(w, j)
      AND (l.revision IS NULL OR l.revision < j.revision AND NOT l.waits
        AND (l.told_at <= at - make_interval(secs => w.progress_interval_seconds) OR headway.is_ahead(l.told_at, at)))
      -- A change that is not a delivery yet must come before the progress that follows it.
      AND NOT EXISTS (SELECT FROM public.webhook_messages m WHERE m.job_id = j.id)
    -- Of the jobs that a chat has no room for, those come first that it was told of longest ago.
    ORDER BY CASE WHEN headway.is_chat(w.kind) THEN l.told_at END NULLS FIRST
    LIMIT least(most, room)
    RETURNING webhook_id, job_id
  ), superseded AS (
    DELETE FROM public.webhook_deliveries d USING queued q
    WHERE d.webhook_id = q.webhook_id AND d.job_id = q.job_id AND d.type = 'progress.job.updated' AND d.claim IS NULL
  )
  SELECT count(*) INTO queued FROM queued;
  UPDATE public.webhook_backlogs b SET waiting = b.waiting + queued WHERE b.webhook_id = w.id;
  RETURN queued;
END
$$;

-- Messages may be queued later than the interval says, by a quarter of it.
CREATE FUNCTION headway.is_progress_due(w public.webhooks, at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT w.enabled AND w.progress_interval_seconds IS NOT NULL
    AND coalesce(w.progress_checked_at <= at - make_interval(secs => w.progress_interval_seconds / 4.0)
      OR headway.is_ahead(w.progress_checked_at, at), true)
$$;

-- Adjusts deliveries that were queued or attempted before the clock was set back, so that they wait no longer than intended. A
-- delivery that was not tried yet becomes due at once. A retry, or the end of a lease, becomes due as long from now as it was
-- due from its attempt. An index on exactly this time finds them; usually there are none. One call adjusts a limited number,
-- and the next calls adjust the others.
CREATE FUNCTION headway.follow_clock(at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  UPDATE public.webhook_deliveries d SET
    due_at = CASE WHEN d.attempts = 0 THEN at ELSE at + (d.due_at - d.attempted_at) END,
    attempted_at = least(d.attempted_at, at),
    expires_at = least(d.expires_at, at + interval '3 days')
  WHERE d.id = ANY (ARRAY(
    SELECT a.id FROM public.webhook_deliveries a
    WHERE a.status = 'waiting'
      AND (CASE WHEN a.attempts = 0 THEN a.due_at ELSE a.attempted_at END) > follow_clock.at + interval '1 second'
    ORDER BY (CASE WHEN a.attempts = 0 THEN a.due_at ELSE a.attempted_at END), a.id LIMIT 2000 FOR UPDATE SKIP LOCKED));
END
$$;

-- Hands out deliveries that are due, for `lease_seconds`. After that time the process counts as dead. Each delivery is handed
-- to one process. Deliveries of one webhook and job are sent in order: none is handed out while an earlier one is in flight or
-- has not been tried yet. Of one webhook at most `per_webhook` deliveries are in flight, and only one while the webhook fails,
-- so that a receiver that is away does not delay the others. A chat gets one at a time, because platforms limit how often they
-- are called, and the pause after each attempt must count for the next one. A delivery to a chat has the newest state of its
-- attempt of the job.
--
-- The calling process has `places` free places. `tenant_places` are the places that each of `tenant_ids` uses already. The free
-- places are given one by one: the next one goes to the tenant that has the fewest, and within it to the webhook that has the
-- fewest. A tenant gets no place while it has as many as are free. So k tenants that want all places get a part of k + 1 each,
-- and there is always a place for another tenant (headway.delivery_room names the source). An attempt may take 15 seconds, and
-- is not aborted for another one.
--
-- The query steps from one webhook to the next in the index of waiting deliveries, and reads no more deliveries of each than it
-- may get. The cost of a claim grows with the webhooks that have waiting deliveries, and not with their number. The subqueries
-- are written in a way that the planner cannot turn into joins.
-- make no join of them.
CREATE FUNCTION headway.claim_deliveries(
  places integer, tenant_ids uuid[], tenant_places integer[], per_webhook integer, lease_seconds float8
) RETURNS TABLE (
  id bigint, claim uuid, message_id uuid, type text, body text, attempts integer, webhook_id uuid, tenant_id uuid, kind text,
  destination text, url text, settings jsonb, sealed_settings text, language text, secrets text[]
) LANGUAGE plpgsql
SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  at timestamptz(3) := headway.clock();
  receivers uuid[];
  shares integer[];
  reserved uuid[];
  busy uuid[] := '{}';
BEGIN
  PERFORM headway.follow_clock(at);
  WITH RECURSIVE queues AS (
    (
      SELECT d.webhook_id AS id, d.due_at FROM public.webhook_deliveries d WHERE d.status = 'waiting'
      ORDER BY d.webhook_id, d.due_at LIMIT 1
    )
    UNION ALL
    SELECT n.id, n.due_at FROM queues q CROSS JOIN LATERAL (
      SELECT d.webhook_id AS id, d.due_at FROM public.webhook_deliveries d WHERE d.status = 'waiting' AND d.webhook_id > q.id
      ORDER BY d.webhook_id, d.due_at LIMIT 1
    ) n
  ), ready AS MATERIALIZED (
    SELECT w.id, w.tenant_id, u.under_way, count(*) OVER (PARTITION BY w.tenant_id) AS webhook_count,
      least(places, CASE WHEN w.consecutive_failures > 0 OR headway.is_chat(w.kind) THEN 1 ELSE per_webhook END - u.under_way) AS room
    FROM queues q
    CROSS JOIN LATERAL (
      SELECT * FROM public.webhooks w WHERE w.id = q.id AND w.enabled AND headway.paused_until(w, at) IS NULL OFFSET 0
    ) w
    CROSS JOIN LATERAL (
      SELECT count(*) AS under_way FROM public.webhook_deliveries u
      WHERE u.webhook_id = w.id AND u.claim IS NOT NULL AND u.due_at > at
    ) u
    WHERE q.due_at <= at
  ), asked AS (
    SELECT r.id, r.tenant_id, row_number() OVER (PARTITION BY r.tenant_id ORDER BY r.under_way + d.place, random())
      + coalesce(tenant_places[array_position(tenant_ids, r.tenant_id)], 0) AS turn
    FROM ready r
    CROSS JOIN LATERAL (
      SELECT row_number() OVER () AS place FROM (
        SELECT FROM public.webhook_deliveries d WHERE d.webhook_id = r.id AND d.status = 'waiting' AND d.due_at <= at
        -- Where many webhooks are ready, none gets all that it could: it is enough to read twice its share of the places.
        ORDER BY d.due_at LIMIT greatest(0, least(r.room, ceil(2.0 * places / (r.webhook_count * (
          SELECT count(DISTINCT t.tenant_id) FROM ready t)))))
      ) d
    ) d
  ), given AS (
    SELECT a.id, count(*)::integer AS share
    FROM (SELECT a.*, row_number() OVER (ORDER BY a.turn, random()) AS place FROM asked a) a
    -- One more place for the tenant, of those that are still free.
    WHERE a.turn - 1 < places - (a.place - 1)
    GROUP BY a.id
  )
  SELECT array_agg(g.id), array_agg(g.share) INTO receivers, shares FROM given g;

  -- A chat is paused for as long as an attempt is in flight. Of two processes that claim at the same time, only one finds it
  -- without a pause, because the row is looked at again once it is locked.
  IF EXISTS (SELECT FROM public.webhooks w WHERE w.id = ANY (receivers) AND headway.is_chat(w.kind)) THEN
    WITH free AS (
      SELECT w.id FROM public.webhooks w
      WHERE w.id = ANY (receivers) AND headway.is_chat(w.kind) AND headway.paused_until(w, at) IS NULL
      ORDER BY w.id FOR UPDATE SKIP LOCKED
    ), reservation AS (
      UPDATE public.webhooks w SET paused_at = at, paused_until = at + make_interval(secs => lease_seconds)
      FROM free WHERE w.id = free.id RETURNING w.id
    )
    SELECT coalesce(array_agg(r.id), '{}') INTO reserved FROM reservation r;
    busy := ARRAY(
      SELECT w.id FROM public.webhooks w WHERE w.id = ANY (receivers) AND headway.is_chat(w.kind) AND w.id <> ALL (reserved));
  END IF;

  RETURN QUERY
  WITH due AS MATERIALIZED (
    SELECT d.id FROM unnest(receivers, shares) AS w (id, share)
    CROSS JOIN LATERAL (
      SELECT d.id FROM (
        -- One job may have thousands of deliveries, which wait for the first one.
        SELECT d.id, d.webhook_id, d.job_id, d.body FROM public.webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.status = 'waiting' AND d.due_at <= at ORDER BY d.due_at LIMIT 500
      ) f
      CROSS JOIN LATERAL (
        -- By its key, whatever the planner's statistics say: no index fits the condition on finished_at.
        SELECT d.id FROM public.webhook_deliveries d WHERE d.id = f.id AND d.finished_at IS NULL AND d.due_at <= at
        FOR UPDATE SKIP LOCKED
      ) d
      WHERE (f.body <> '' OR EXISTS (SELECT FROM public.progress_jobs j WHERE j.id = f.job_id))
        AND (
          SELECT true FROM public.webhook_deliveries e
          WHERE e.webhook_id = f.webhook_id AND e.job_id = f.job_id AND e.id < f.id AND e.status = 'waiting'
            AND (e.attempts = 0 OR e.claim IS NOT NULL)
          ORDER BY e.webhook_id, e.job_id, e.id LIMIT 1
        ) IS NULL
      LIMIT w.share
    ) d
    WHERE w.id <> ALL (busy)
  )
  UPDATE public.webhook_deliveries d SET
    claim = gen_random_uuid(), attempts = d.attempts + 1, attempted_at = at, due_at = at + make_interval(secs => lease_seconds),
    body = coalesce(n.body, d.body), revision = coalesce(n.revision, d.revision),
    job_attempt = CASE WHEN d.job_attempt IS NOT NULL THEN coalesce(n.attempt, d.job_attempt) END,
    -- With a new body it is a new message: a receiver may have accepted the last one although its answer was lost.
    message_id = CASE WHEN n.body IS NOT NULL AND d.body <> '' THEN gen_random_uuid() ELSE d.message_id END
  FROM due
  JOIN public.webhook_deliveries old ON old.id = due.id
  JOIN public.webhooks w ON w.id = old.webhook_id
  -- A message about progress has the job's present state, and so has every message to a chat while the attempt lasts.
  LEFT JOIN LATERAL (
    SELECT headway.webhook_body(old.type, at, j) AS body, j.revision, j.attempt FROM public.progress_jobs j
    WHERE j.id = old.job_id AND (old.type = 'progress.job.updated' OR old.job_attempt = j.attempt)
      AND (old.body = '' OR j.revision > old.revision)
  ) n ON true
  WHERE d.id = due.id
  RETURNING d.id, d.claim, d.message_id, d.type, d.body, d.attempts, w.id, w.tenant_id, w.kind,
    headway.destination_of(w), w.url, w.settings, w.sealed_settings, w.language,
    array_remove(ARRAY[w.secret, CASE WHEN w.previous_secret_until > at THEN w.previous_secret END], NULL);

  IF reserved <> '{}' THEN
    UPDATE public.webhooks w SET paused_until = NULL
    WHERE w.id = ANY (reserved) AND NOT EXISTS (
      SELECT FROM public.webhook_deliveries d WHERE d.webhook_id = w.id AND d.claim IS NOT NULL AND d.due_at > at);
  END IF;
END
$$;

-- Records the result of an attempt. `delivered`; `failed`: it is tried again after `delay_seconds`, unless it is too old;
-- `gone`: the webhook is disabled as well; `released`: as if the attempt had not been made; `held`: the same, but the platform
-- wants to be called less often. A delivered or held one leaves the receiver alone for `pause_seconds`. A failing receiver gets no attempts
-- for `pause_seconds`, and for a tenth of the time for which it has failed, at most five minutes. Otherwise all waiting
-- deliveries would be tried one after the other without end. If the attempt used an address that the webhook no longer has,
-- only the delivery is changed. Answers the delivery's status; no row when the claim has ended and another process has the
-- delivery.
CREATE FUNCTION headway.finish_delivery(
  id bigint, claim uuid, destination text, outcome text, response_status integer, error text, delay_seconds float8,
  pause_seconds float8
) RETURNS SETOF text LANGUAGE plpgsql SET jit = off AS $$
#variable_conflict use_column
DECLARE
  at timestamptz(3) := headway.clock();
  d public.webhook_deliveries;
BEGIN
  UPDATE public.webhook_deliveries d SET
    status = CASE WHEN outcome = 'delivered' THEN 'delivered'
      WHEN outcome = 'gone' OR outcome IN ('failed', 'held') AND at >= d.expires_at THEN 'dead' ELSE 'waiting' END,
    finished_at = CASE WHEN outcome IN ('delivered', 'gone') OR outcome IN ('failed', 'held') AND at >= d.expires_at THEN at END,
    claim = NULL,
    attempts = d.attempts - (outcome IN ('released', 'held'))::integer,
    due_at = CASE outcome WHEN 'failed' THEN least(at + make_interval(secs => delay_seconds), greatest(at, d.expires_at)) ELSE at END,
    response_status = finish_delivery.response_status,
    error = finish_delivery.error
  WHERE d.id = finish_delivery.id AND d.claim = finish_delivery.claim
  RETURNING d.* INTO d;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF outcome = 'delivered' THEN
    -- Not for every delivery, because every statement that queues messages reads the row.
    UPDATE public.webhooks w SET
      consecutive_failures = 0, failing_since = NULL, delivered_at = at, paused_at = at,
      paused_until = CASE WHEN pause_seconds > 0 THEN at + make_interval(secs => pause_seconds) END
    WHERE w.id = d.webhook_id AND headway.destination_of(w) = finish_delivery.destination
      AND (headway.is_chat(w.kind) OR w.consecutive_failures > 0 OR coalesce(w.delivered_at NOT BETWEEN at - interval '10 seconds' AND at, true));
  ELSIF outcome IN ('held', 'released') THEN
    -- The pause of a chat was that of the attempt in flight.
    UPDATE public.webhooks w SET paused_at = at, paused_until = at + make_interval(secs => pause_seconds)
    WHERE w.id = d.webhook_id AND headway.destination_of(w) = finish_delivery.destination AND headway.is_chat(w.kind);
  ELSIF outcome <> 'released' THEN
    UPDATE public.webhooks w SET
      consecutive_failures = w.consecutive_failures + 1,
      failing_since = coalesce(least(w.failing_since, at), at),
      paused_at = at,
      paused_until = greatest(CASE WHEN NOT headway.is_chat(w.kind) THEN headway.paused_until(w, at) END,
        at + make_interval(secs => pause_seconds),
        CASE WHEN w.failing_since IS NOT NULL THEN at + least((at - w.failing_since) / 10, interval '5 minutes') END),
      enabled = w.enabled AND outcome <> 'gone', gone = w.gone OR outcome = 'gone'
    WHERE w.id = d.webhook_id AND headway.destination_of(w) = finish_delivery.destination;
  END IF;
  -- A chat gets one message for each attempt of a job: the state that was queued meanwhile is the newer one, and goes on with the
  -- attempts of this one.
  IF d.job_attempt IS NOT NULL AND d.status = 'waiting' THEN
    UPDATE public.webhook_deliveries l SET
      attempts = d.attempts, attempted_at = d.attempted_at, due_at = greatest(l.due_at, d.due_at),
      response_status = d.response_status, error = d.error
    WHERE l.id = (
        SELECT e.id FROM public.webhook_deliveries e
        WHERE e.webhook_id = d.webhook_id AND e.job_id = d.job_id AND e.id > d.id AND e.status = 'waiting'
          AND e.job_attempt = d.job_attempt
        ORDER BY e.webhook_id, e.job_id, e.id LIMIT 1)
      AND l.finished_at IS NULL AND l.claim IS NULL;
    IF FOUND THEN
      DELETE FROM public.webhook_deliveries o WHERE o.id = d.id;
    END IF;
  END IF;
  RETURN NEXT d.status;
END
$$;

-- Ends deliveries that have waited too long, and erases records older than `record_days` and all deliveries of deleted webhooks.
-- Which chat message belongs to a job is forgotten `record_days` after its last edit, unless the job still runs.
-- Answers how many rows it changed; fewer than `batch` when nothing is left to do. A row that another session has locked is
-- skipped. If another session has locked a table, or the backlog of a deleted webhook, the statement fails (55P03) and nothing
-- is erased, as in headway.erase_expired.
CREATE FUNCTION headway.erase_deliveries(record_days integer, batch integer) RETURNS bigint LANGUAGE plpgsql
SET jit = off SET lock_timeout = '250ms' SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  at timestamptz(3) := headway.clock();
  ended bigint;
  erased bigint;
  orphaned bigint;
  forgotten bigint;
  deleted_webhook uuid;
BEGIN
  -- Deliveries of webhooks that are disabled or paused. All others become dead by their last attempt.
  UPDATE public.webhook_deliveries d SET
    status = 'dead', finished_at = at, claim = NULL,
    error = coalesce(d.error, 'Not tried for three days: the webhook was disabled, or failing')
  WHERE d.id IN (
    SELECT w.id FROM public.webhook_deliveries w
    WHERE w.status = 'waiting' AND w.expires_at < at - interval '1 hour' AND (w.claim IS NULL OR w.due_at < at)
    LIMIT batch FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS ended = ROW_COUNT;
  DELETE FROM public.webhook_deliveries d WHERE d.id IN (
    SELECT r.id FROM public.webhook_deliveries r WHERE r.finished_at < at - make_interval(days => record_days)
    ORDER BY r.finished_at LIMIT batch FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS erased = ROW_COUNT;
  -- Finds the webhooks by stepping through the index, and skips all other deliveries of each webhook.
  WITH RECURSIVE known AS (
    (SELECT d.webhook_id AS id FROM public.webhook_deliveries d ORDER BY d.webhook_id, d.id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.webhook_id FROM public.webhook_deliveries d WHERE d.webhook_id > known.id ORDER BY d.webhook_id, d.id LIMIT 1)
    FROM known WHERE known.id IS NOT NULL
  )
  SELECT known.id INTO deleted_webhook FROM known
  WHERE known.id IS NOT NULL AND NOT EXISTS (SELECT FROM public.webhooks w WHERE w.id = known.id) LIMIT 1;
  DELETE FROM public.webhook_deliveries d WHERE d.id IN (
    SELECT o.id FROM public.webhook_deliveries o WHERE o.webhook_id = deleted_webhook LIMIT batch FOR UPDATE SKIP LOCKED);
  GET DIAGNOSTICS orphaned = ROW_COUNT;
  DELETE FROM public.webhook_backlogs b USING (SELECT k.webhook_id FROM public.webhook_backlogs k ORDER BY k.webhook_id) k
  WHERE b.webhook_id = k.webhook_id AND NOT EXISTS (SELECT FROM public.webhooks w WHERE w.id = k.webhook_id)
    AND NOT EXISTS (SELECT FROM public.webhook_deliveries d WHERE d.webhook_id = k.webhook_id);
  DELETE FROM public.chat_messages c USING (
    SELECT k.webhook_id, k.job_id, k.job_attempt FROM public.chat_messages k
    WHERE k.updated_at < at - make_interval(days => record_days)
      AND NOT EXISTS (SELECT FROM public.progress_jobs j WHERE j.id = k.job_id AND j.finished_at IS NULL AND j.attempt = k.job_attempt)
    ORDER BY k.updated_at LIMIT batch FOR UPDATE SKIP LOCKED
  ) k
  WHERE c.webhook_id = k.webhook_id AND c.job_id = k.job_id AND c.job_attempt = k.job_attempt;
  GET DIAGNOSTICS forgotten = ROW_COUNT;
  -- There may be another deleted webhook.
  IF orphaned > 0 THEN
    orphaned := batch;
  END IF;
  RETURN greatest(ended, erased, orphaned, forgotten);
END
$$;

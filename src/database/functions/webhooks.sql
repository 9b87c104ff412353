-- The outbox of webhooks: what fills it, and how deliveries are handed out and recorded.

-- What a receiver gets. `data` is the document of the live stream, which leaves out what is null, and the job's `meta`: it
-- says which message or channel the job belongs to, where its creator put that there.
CREATE FUNCTION headway.webhook_body(type text, at timestamptz, j public.progress_jobs) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT row_to_json(b)::text FROM (SELECT
    type, headway.iso(at) AS timestamp,
    headway.live_document(j)::jsonb || jsonb_build_object('tenantId', j.tenant_id, 'meta', j.meta) AS data
  ) b
$$;

-- Whether a webhook wants to hear of a job at all.
CREATE FUNCTION headway.wants_job(w public.webhooks, j public.progress_jobs) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT w.enabled AND w.tenant_id = j.tenant_id AND (NOT w.top_level OR j.parent_job_id IS NULL)
    AND coalesce(w.job_type = j.job_type, true)
    AND (w.organization_id IS NULL OR w.organization_id IS NOT DISTINCT FROM j.organization_id)
$$;

-- Queues a message for what the statement has just written into the history, if any webhook wants to hear of it: in its
-- transaction, so that a change and its message are committed together or not at all, whoever makes it. One row a change,
-- however many webhooks there are: the transaction may be a flush of everyone's heartbeats. Whoever follows progress is told
-- how it ends.
-- It runs once a statement, also for one that changed no job's status, such as nearly every flush of heartbeats: then it
-- must end at its first line. Tables are reached by index in correlated subqueries, as in flush.sql and for its reasons.
CREATE FUNCTION headway.queue_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM events) OR NOT EXISTS (SELECT FROM public.webhooks WHERE enabled) THEN
    RETURN NULL;
  END IF;
  INSERT INTO public.webhook_messages (webhook_ids, job_id, type, revision, body)
  SELECT w.ids, e.job_id, m.type, j.revision, headway.webhook_body(m.type, e.at, (j.*)::public.progress_jobs)
  FROM events e
  CROSS JOIN LATERAL (SELECT 'progress.job.' || e.type AS type OFFSET 0) m
  CROSS JOIN LATERAL (SELECT * FROM public.progress_jobs j WHERE j.id = e.job_id OFFSET 0) j
  CROSS JOIN LATERAL (
    SELECT array_agg(w.id) AS ids FROM public.webhooks w
    WHERE w.tenant_id = j.tenant_id AND headway.wants_job(w, (j.*)::public.progress_jobs) AND (e.type = ANY (w.events)
      OR w.progress_interval_seconds IS NOT NULL AND e.type IN ('completed', 'failed', 'cancelled'))
    OFFSET 0
  ) w
  WHERE e.type NOT IN ('progress', 'stage_changed') AND w.ids IS NOT NULL
  ORDER BY e.id;
  RETURN NULL;
END
$$;

-- One for all versions that run beside each other: the newest.
CREATE OR REPLACE TRIGGER job_events_webhooks AFTER INSERT ON public.job_events
REFERENCING NEW TABLE AS events FOR EACH STATEMENT EXECUTE FUNCTION headway.queue_messages();

-- Makes a delivery of each message for each webhook that it is for, of at most `most` messages, and answers whether there may be
-- more. One process at a time: two would mix up the order of a job's messages. It waits for the other, which may have begun too
-- early to see what this one was called for.
CREATE FUNCTION headway.queue_deliveries(most integer) RETURNS boolean LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  taken integer;
BEGIN
  IF NOT EXISTS (SELECT FROM public.webhook_messages) THEN
    RETURN false;
  END IF;
  -- Any constant that no other program uses.
  PERFORM pg_advisory_xact_lock(5272015424);
  WITH messages AS (
    DELETE FROM public.webhook_messages WHERE id IN (SELECT id FROM public.webhook_messages ORDER BY id LIMIT most) RETURNING *
  ), queued AS (
    INSERT INTO public.webhook_deliveries (webhook_id, job_id, type, revision, body, due_at, created_at, expires_at)
    SELECT w.id, m.job_id, m.type, m.revision, m.body, m.created_at, m.created_at, m.created_at + interval '3 days'
    FROM messages m CROSS JOIN LATERAL unnest(m.webhook_ids) AS w (id)
    ORDER BY m.id
  )
  SELECT count(*) INTO taken FROM messages;
  RETURN taken = most;
END
$$;

-- Queues the progress of running jobs for the webhooks that asked for it, and answers whether there may be anything to send.
-- Of one job there is a message at most every `progress_interval_seconds`; at most one waits, and the last one alone is kept as
-- record. Far from heartbeats, by comparing revisions: what a job's last message told with what it is now. At most `most` in
-- a call.
CREATE FUNCTION headway.queue_progress(most integer) RETURNS boolean LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  looked_at uuid[];
  queued integer;
  at timestamptz(3) := headway.clock();
BEGIN
  IF NOT EXISTS (SELECT FROM public.webhooks WHERE enabled) THEN
    -- What was queued before the last one was disabled becomes deliveries, which are kept for it.
    RETURN EXISTS (SELECT FROM public.webhook_messages);
  END IF;
  IF NOT EXISTS (SELECT FROM public.webhooks w WHERE headway.is_progress_due(w, at))
    -- Any constant that no other program uses: two replicas would queue the same state twice.
    OR NOT pg_try_advisory_xact_lock(5272015423) THEN
    RETURN true;
  END IF;
  WITH checked AS (
    UPDATE public.webhooks w SET progress_checked_at = at WHERE headway.is_progress_due(w, at) RETURNING w.id
  ) SELECT array_agg(id) INTO looked_at FROM checked;

  -- What still waits because its receiver is away, and was overtaken by another change.
  DELETE FROM public.webhook_deliveries d
  WHERE d.webhook_id = ANY (looked_at) AND d.status = 'waiting' AND d.type = 'progress.job.updated' AND d.claim IS NULL
    AND EXISTS (
      SELECT FROM public.webhook_deliveries l WHERE l.webhook_id = d.webhook_id AND l.job_id = d.job_id AND l.id > d.id);

  -- Without a body: that is made when it is sent, of the newest state.
  WITH queued AS (
    INSERT INTO public.webhook_deliveries (webhook_id, job_id, type, revision, body, due_at, expires_at)
    SELECT w.id, j.id, 'progress.job.updated', j.revision, '', at, at + interval '3 days'
    FROM public.webhooks w
    CROSS JOIN LATERAL (
      SELECT j.id, j.revision FROM public.progress_jobs j
      WHERE j.tenant_id = w.tenant_id AND j.finished_at IS NULL AND j.status = 'running' AND headway.wants_job(w, j) OFFSET 0
    ) j
    LEFT JOIN LATERAL (
      SELECT d.revision, coalesce(d.attempted_at, d.created_at) AS told_at,
        d.status = 'waiting' AND d.type = 'progress.job.updated' AND d.claim IS NULL AS waits
      FROM public.webhook_deliveries d WHERE d.webhook_id = w.id AND d.job_id = j.id
      -- As the index has it: by id alone, the planner would walk back through the messages of all jobs.
      ORDER BY d.webhook_id DESC, d.job_id DESC, d.id DESC LIMIT 1
    ) l ON true
    WHERE w.id = ANY (looked_at) AND (l.revision IS NULL
      OR l.revision < j.revision AND NOT l.waits
        AND l.told_at <= at - make_interval(secs => w.progress_interval_seconds))
      -- A change that is no delivery yet would come behind its own progress.
      AND j.id NOT IN (SELECT job_id FROM public.webhook_messages)
    LIMIT most
    RETURNING webhook_id, job_id
  ), superseded AS (
    DELETE FROM public.webhook_deliveries d USING queued q
    WHERE d.webhook_id = q.webhook_id AND d.job_id = q.job_id AND d.type = 'progress.job.updated' AND d.claim IS NULL
  )
  SELECT count(*) INTO queued FROM queued;
  IF queued = most THEN
    -- There may be more: they come with the next call.
    UPDATE public.webhooks w SET progress_checked_at = NULL WHERE w.id = ANY (looked_at);
  END IF;
  RETURN true;
END
$$;

-- A quarter of the interval is how much later than it a message may be queued.
CREATE FUNCTION headway.is_progress_due(w public.webhooks, at timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT w.enabled AND w.progress_interval_seconds IS NOT NULL
    AND coalesce(w.progress_checked_at <= at - make_interval(secs => w.progress_interval_seconds / 4.0), true)
$$;

-- Hands out deliveries that are due, for `lease_seconds`: after that, their process is taken for dead. Each is handed to one
-- process. Of one webhook and job, none goes out while an earlier one is under way or has not been tried yet. Of one
-- webhook at most `per_webhook` are under way, and a single one while it fails, so that one receiver that is away does not
-- keep all others waiting. Walks each webhook's deliveries in the order in which they are due, and stops when it has enough:
-- the subqueries are written so that the planner can make no join of them, which would look at all that wait.
CREATE FUNCTION headway.claim_deliveries(most integer, per_webhook integer, lease_seconds float8)
RETURNS TABLE (
  id bigint, claim uuid, message_id uuid, body text, attempts integer, webhook_id uuid, url text, secrets text[]
) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
#variable_conflict use_column
DECLARE
  at timestamptz(3) := headway.clock();
BEGIN
  RETURN QUERY
  WITH due AS MATERIALIZED (
    SELECT d.id FROM (SELECT * FROM public.webhooks WHERE enabled AND coalesce(paused_until <= at, true) ORDER BY random()) w
    CROSS JOIN LATERAL (
      SELECT count(*) AS count FROM public.webhook_deliveries u
      WHERE u.webhook_id = w.id AND u.claim IS NOT NULL AND u.due_at > at
    ) under_way
    CROSS JOIN LATERAL (
      SELECT d.id FROM public.webhook_deliveries d
      WHERE d.webhook_id = w.id AND d.status = 'waiting' AND d.due_at <= at
        AND (d.body <> '' OR EXISTS (SELECT FROM public.progress_jobs j WHERE j.id = d.job_id))
        AND (
          SELECT true FROM public.webhook_deliveries e
          WHERE e.webhook_id = d.webhook_id AND e.job_id = d.job_id AND e.id < d.id AND e.status = 'waiting'
            AND (e.attempts = 0 OR e.claim IS NOT NULL)
          ORDER BY e.webhook_id, e.job_id, e.id LIMIT 1
        ) IS NULL
      ORDER BY d.due_at
      LIMIT greatest(0, CASE WHEN w.consecutive_failures > 0 THEN 1 ELSE per_webhook END - under_way.count)
      FOR UPDATE SKIP LOCKED
    ) d
    LIMIT most
  )
  UPDATE public.webhook_deliveries d SET
    claim = gen_random_uuid(), attempts = d.attempts + 1, attempted_at = at, due_at = at + make_interval(secs => lease_seconds),
    body = coalesce(n.body, d.body), revision = coalesce(n.revision, d.revision),
    -- With another body it is another message: a receiver may have taken the last one without being heard.
    message_id = CASE WHEN n.body IS NOT NULL AND d.body <> '' THEN gen_random_uuid() ELSE d.message_id END
  FROM due
  JOIN public.webhook_deliveries old ON old.id = due.id
  JOIN public.webhooks w ON w.id = old.webhook_id
  -- Progress is told as it is now.
  LEFT JOIN LATERAL (
    SELECT headway.webhook_body(old.type, at, j) AS body, j.revision FROM public.progress_jobs j
    WHERE j.id = old.job_id AND old.type = 'progress.job.updated' AND (old.body = '' OR j.revision > old.revision)
  ) n ON true
  WHERE d.id = due.id
  RETURNING d.id, d.claim, d.message_id, d.body, d.attempts, w.id, w.url,
    array_remove(ARRAY[w.secret, CASE WHEN w.previous_secret_until > at THEN w.previous_secret END], NULL);
END
$$;

-- Records what became of an attempt: `delivered`; `failed`, to be tried again after `delay_seconds` unless it is too old;
-- `gone`, which also disables the webhook; `released`, as if it had not been made. `pause_seconds` leaves the receiver alone; so
-- does a tenth of the time for which it has failed, at most five minutes, or all that wait would knock at its door one after
-- the other without end. Of an address that the webhook does not have any more, only the delivery learns.
-- Answers the delivery's status; none when the claim has run out and someone else has taken the delivery over.
CREATE FUNCTION headway.finish_delivery(
  id bigint, claim uuid, url text, outcome text, response_status integer, error text, delay_seconds float8,
  pause_seconds float8
) RETURNS SETOF text LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  at timestamptz(3) := headway.clock();
  d public.webhook_deliveries;
BEGIN
  UPDATE public.webhook_deliveries d SET
    status = CASE WHEN outcome = 'delivered' THEN 'delivered'
      WHEN outcome = 'gone' OR outcome = 'failed' AND at >= d.expires_at THEN 'dead' ELSE 'waiting' END,
    finished_at = CASE WHEN outcome IN ('delivered', 'gone') OR outcome = 'failed' AND at >= d.expires_at THEN at END,
    claim = NULL,
    attempts = d.attempts - (outcome = 'released')::integer,
    due_at = CASE outcome WHEN 'failed' THEN least(at + make_interval(secs => delay_seconds), greatest(at, d.expires_at)) ELSE at END,
    response_status = finish_delivery.response_status,
    error = finish_delivery.error
  WHERE d.id = finish_delivery.id AND d.claim = finish_delivery.claim
  RETURNING d.* INTO d;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  IF outcome = 'delivered' THEN
    -- Not for every message: the row is read by every statement that queues one.
    UPDATE public.webhooks w SET consecutive_failures = 0, failing_since = NULL, paused_until = NULL, delivered_at = at
    WHERE w.id = d.webhook_id AND w.url = finish_delivery.url
      AND (w.consecutive_failures > 0 OR coalesce(w.delivered_at < at - interval '10 seconds', true));
  ELSIF outcome <> 'released' THEN
    UPDATE public.webhooks w SET
      consecutive_failures = w.consecutive_failures + 1,
      failing_since = coalesce(w.failing_since, at),
      paused_until = greatest(w.paused_until, at + make_interval(secs => pause_seconds),
        CASE WHEN w.failing_since IS NOT NULL THEN at + least((at - w.failing_since) / 10, interval '5 minutes') END),
      enabled = w.enabled AND outcome <> 'gone', gone = w.gone OR outcome = 'gone'
    WHERE w.id = d.webhook_id AND w.url = finish_delivery.url;
  END IF;
  RETURN NEXT d.status;
END
$$;

-- Ends what has waited for too long, erases records of `record_days`, and what belongs to webhooks that were deleted. Answers
-- how many rows it changed: fewer than `batch` when nothing is left to do.
CREATE FUNCTION headway.erase_deliveries(record_days integer, batch integer) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  at timestamptz(3) := headway.clock();
  ended bigint;
  erased bigint;
  orphaned bigint;
  deleted_webhook uuid;
BEGIN
  -- Of webhooks that are disabled, or fail and are left alone: others die by their last attempt.
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
  -- From one webhook to the next in the index, past all that each has.
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
  -- There may be another one.
  IF orphaned > 0 THEN
    orphaned := batch;
  END IF;
  RETURN greatest(ended, erased, orphaned);
END
$$;

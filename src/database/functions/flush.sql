-- What became of heartbeats, by their places in the batch (`items`). Those that came to the same share a row, because rows
-- are what an answer costs; what differs between them is in arrays beside `items`. `code` is null or says why they were
-- refused. A row without items names in `others` the batches that changed with their partitions.
CREATE TYPE headway.heartbeat_answers AS (
  items integer[], code text, status text, cancel_requested boolean, progress_percents integer[], revisions bigint[],
  applied boolean[], heartbeat_timeout_seconds integer, changed boolean, lifecycle_changed boolean, others json
);

-- Writes a batch of heartbeats, at most one per job and worker, and answers each. `ids` are their jobs. `plain` are those
-- that flush_plain may take, `others` the rest; either may be null. `tenant_ids` are those of the heartbeats: other tenants'
-- jobs are not locked.
CREATE FUNCTION headway.flush(ids uuid[], plain json, others json, skip_locked boolean, tenant_ids uuid[] DEFAULT NULL)
RETURNS SETOF headway.heartbeat_answers
LANGUAGE plpgsql
SET lock_timeout = '250ms' SET enable_seqscan = off
AS $$
DECLARE
  held uuid[];
  batches uuid[];
  at timestamptz(3);
  answer headway.heartbeat_answers;
  done integer[] := '{}';
  rest json := others;
BEGIN
  IF skip_locked THEN
    -- Whoever writes the row of a worker holds its job first: a row that is locked under a free job is held by somebody from
    -- outside, and worth no wait. Each try may meet another one, and the reports of all other jobs wait behind it.
    PERFORM set_config('lock_timeout', '10ms', true);
  END IF;
  SELECT l.held, l.batches INTO held, batches FROM headway.lock_jobs(ids, skip_locked, tenant_ids) AS l;
  at := headway.clock();
  IF plain IS NOT NULL THEN
    -- Where some are locked by somebody else, each one must be looked up among those that are held: flush_any does.
    IF NOT skip_locked THEN
      FOR answer IN SELECT * FROM headway.flush_plain(plain, at) LOOP
        done := done || answer.items;
        RETURN NEXT answer;
      END LOOP;
    END IF;
    IF cardinality(done) < json_array_length(plain) THEN
      rest := (
        SELECT json_agg(p.report) FROM (
          SELECT p.report FROM json_array_elements(plain) AS p (report) WHERE (p.report ->> 'i')::integer <> ALL (done)
          UNION ALL
          SELECT o.report FROM json_array_elements(coalesce(others, '[]')) AS o (report)
        ) p
      );
    END IF;
  END IF;
  IF rest IS NOT NULL THEN
    RETURN QUERY SELECT * FROM headway.flush_any(rest, at, held, skip_locked);
  END IF;
  IF batches <> '{}' THEN
    -- Those of partitions that took a report: who is refused must not move a batch.
    batches := ARRAY(
      SELECT DISTINCT p.parent_job_id FROM progress_jobs p
      WHERE p.id = ANY (held) AND p.partition_count IS NOT NULL AND p.parent_job_id IS NOT NULL AND p.heartbeat_at = at);
    RETURN QUERY
    SELECT NULL::integer[], NULL::text, NULL::text, NULL::boolean, NULL::integer[], NULL::bigint[], NULL::boolean[],
      NULL::integer, NULL::boolean, NULL::boolean, json_agg(headway.change_document(r))
    FROM headway.roll_up(batches, at, 'heartbeat') AS r HAVING count(*) > 0;
  END IF;
END
$$;

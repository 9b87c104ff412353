-- Locks jobs in the one order that every writer follows: batches by id, then the others by id. Nothing else happens here:
-- sums are read by later statements, whose snapshot begins after the wait. A statement that locks and sums at once sums what
-- was there before it waited, and loses counts. FOR NO KEY UPDATE, because FOR UPDATE would also block the foreign-key
-- checks of the history.
-- A partition is held together with its batch, which is rolled up in the same transaction: two last partitions that finish
-- at once would otherwise each miss the other, and leave the batch running for ever.
-- Answers the ids it holds, and the batches that they are or belong to. With `skip_locked` what someone else holds is left
-- out, and with a batch all its partitions.
CREATE FUNCTION headway.lock_jobs(ids uuid[], skip_locked boolean, OUT held uuid[], OUT batches uuid[])
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
  -- From an index that holds nothing but batches and partitions: most jobs are none, and need not be looked at for this.
  batches := ARRAY(
    SELECT DISTINCT coalesce(parent_job_id, id) FROM progress_jobs WHERE id = ANY (ids) AND partition_count IS NOT NULL);
  IF skip_locked THEN
    IF batches <> '{}' THEN
      batches := ARRAY(SELECT id FROM progress_jobs WHERE id = ANY (batches) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    held := ARRAY(
      SELECT id FROM progress_jobs WHERE id = ANY (ids) AND (parent_job_id IS NULL OR parent_job_id = ANY (batches))
      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
  ELSE
    IF batches <> '{}' THEN
      batches := ARRAY(SELECT id FROM progress_jobs WHERE id = ANY (batches) ORDER BY id FOR NO KEY UPDATE);
    END IF;
    held := ARRAY(SELECT id FROM progress_jobs WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE);
  END IF;
END
$$;

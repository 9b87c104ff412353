-- Locks jobs in the one order that every writer follows: batches by id, then the others by id. Nothing else happens here:
-- sums are read by later statements, whose snapshot begins after the wait. A statement that locks and sums at once sums what
-- was there before it waited, and loses counts. FOR NO KEY UPDATE, because FOR UPDATE would also block the foreign-key
-- checks of the history.
-- A partition is held together with its batch, which is rolled up in the same transaction: two last partitions that finish
-- at once would otherwise each miss the other, and leave the batch running for ever.
-- Answers the ids it holds, and the batches that they are or belong to. With `skip_locked` what someone else holds is left
-- out, and with a batch all its partitions.
-- With `tenant_ids`, jobs of other tenants are not touched: the lock is a write, and who asks for a stranger's job could hold
-- it up, and would tell by the time it takes that it exists.
CREATE FUNCTION headway.lock_jobs(
  ids uuid[], skip_locked boolean, tenant_ids uuid[] DEFAULT NULL, OUT held uuid[], OUT batches uuid[]
)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
BEGIN
  -- From an index that holds nothing but batches and partitions: most jobs are none, and need not be looked at for this.
  batches := ARRAY(
    SELECT DISTINCT coalesce(parent_job_id, id) FROM public.progress_jobs WHERE id = ANY (ids) AND partition_count IS NOT NULL);
  IF skip_locked THEN
    IF batches <> '{}' THEN
      batches := ARRAY(
        SELECT id FROM public.progress_jobs WHERE id = ANY (batches) AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids))
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    held := ARRAY(
      SELECT id FROM public.progress_jobs WHERE id = ANY (ids) AND (parent_job_id IS NULL OR parent_job_id = ANY (batches))
        AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids))
      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
  ELSE
    IF batches <> '{}' THEN
      batches := ARRAY(
        SELECT id FROM public.progress_jobs WHERE id = ANY (batches) AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids))
        ORDER BY id FOR NO KEY UPDATE);
    END IF;
    held := ARRAY(
      SELECT id FROM public.progress_jobs WHERE id = ANY (ids) AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids))
      ORDER BY id FOR NO KEY UPDATE);
  END IF;
END
$$;

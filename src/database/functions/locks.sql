-- Locks jobs in the one order that every writer follows: first batches by id, then the other jobs by id. FOR NO KEY UPDATE,
-- because FOR UPDATE would also block the foreign-key checks of the history. This function only locks. Later statements read
-- and add up the rows, because their snapshots begin after the wait for the lock. A statement that locks and adds up at once
-- would use the rows as they were before it waited, and lose counts. A partition is locked together with its batch, which is
-- rolled up in the same transaction. Otherwise, if the last two partitions finished at the same time, neither transaction would
-- see the other's end, and the batch would stay running for ever. `held` are the ids that are locked now. `batches` are the
-- batches among them, and the batches that their partitions belong to. With `skip_locked`, jobs that another session holds are
-- left out; if that is a batch, its partitions are left out, too. With `tenant_ids`, jobs of other tenants are not touched. A
-- lock is a write: a caller that asks for another tenant's job could delay that job, and could tell from the time of the answer
-- that the job exists. IS TRUE: as for headway.sees (visibility.sql), rows are found by their ids alone.
CREATE FUNCTION headway.lock_jobs(
  ids uuid[], skip_locked boolean, tenant_ids uuid[] DEFAULT NULL, OUT held uuid[], OUT batches uuid[]
)
LANGUAGE plpgsql SET jit = off SET enable_seqscan = off AS $$
BEGIN
  -- This reads an index of batches and partitions only. Most jobs are neither, and their rows are not read here.
  batches := ARRAY(
    SELECT DISTINCT coalesce(parent_job_id, id) FROM public.progress_jobs WHERE id = ANY (ids) AND partition_count IS NOT NULL);
  IF skip_locked THEN
    IF batches <> '{}' THEN
      batches := ARRAY(
        SELECT id FROM public.progress_jobs WHERE id = ANY (batches) AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids)) IS TRUE
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    held := ARRAY(
      SELECT id FROM public.progress_jobs WHERE id = ANY (ids) AND (parent_job_id IS NULL OR parent_job_id = ANY (batches))
        AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids)) IS TRUE
      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
  ELSE
    IF batches <> '{}' THEN
      batches := ARRAY(
        SELECT id FROM public.progress_jobs WHERE id = ANY (batches) AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids)) IS TRUE
        ORDER BY id FOR NO KEY UPDATE);
    END IF;
    held := ARRAY(
      SELECT id FROM public.progress_jobs WHERE id = ANY (ids) AND (tenant_ids IS NULL OR tenant_id = ANY (tenant_ids)) IS TRUE
      ORDER BY id FOR NO KEY UPDATE);
  END IF;
END
$$;

import { check, sql } from './drizzle.ts'

/** What holds for each row of `progress_jobs`, whoever writes it. */
export const JOB_CHECKS = [
  check('progress_jobs_status', sql`status IN ('pending', 'running', 'completed', 'failed', 'cancelled')`),
  check('progress_jobs_unit', sql`length(unit) BETWEEN 1 AND 30`),
  check('progress_jobs_percent', sql`progress_percent BETWEEN 0 AND 100`),
  check('progress_jobs_percent_100_is_completed', sql`progress_percent < 100 OR status = 'completed'`),
  check(
    'progress_jobs_counts',
    sql`processed_count BETWEEN 0 AND 9007199254740991 AND total_count BETWEEN 0 AND 9007199254740991
        AND own_total_count BETWEEN 0 AND 9007199254740991 AND eta_seconds BETWEEN 0 AND 9007199254740991`,
  ),
  check('progress_jobs_throughput', sql`throughput_per_second >= 0 AND throughput_per_second < 'infinity'`),
  check('progress_jobs_eta_source', sql`eta_source IN ('rate', 'history', 'worker')`),
  check('progress_jobs_finished', sql`(finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))`),
  check('progress_jobs_started', sql`started_at IS NOT NULL OR status IN ('pending', 'cancelled', 'failed')`),
  check('progress_jobs_heartbeat', sql`heartbeat_at IS NOT NULL OR status <> 'running' OR children IS NOT NULL`),
  check('progress_jobs_liveness', sql`(liveness IS NOT NULL) = (status = 'running') AND liveness IN ('ok', 'stalled')`),
  check('progress_jobs_failure', sql`(failure_reason IS NOT NULL) = (status = 'failed')`),
  check('progress_jobs_failure_reason', sql`failure_reason IN ('worker', 'stale', 'partitions', 'never_started')`),
  check('progress_jobs_attempt', sql`attempt >= 1`),
  check(
    'progress_jobs_timeouts',
    sql`heartbeat_timeout_seconds BETWEEN 0 AND 86400 AND (pending_timeout_seconds IS NULL OR pending_timeout_seconds >= 1)`,
  ),
  check(
    'progress_jobs_partition_place',
    sql`(parent_job_id IS NULL) = (partition_index IS NULL) AND partition_index >= 0 AND (parent_job_id IS NULL OR children IS NULL)`,
  ),
  check(
    'progress_jobs_partition_count',
    sql`(partition_count IS NOT NULL) = (parent_job_id IS NOT NULL OR children IS NOT NULL)
        AND partition_count BETWEEN 1 AND 1000 AND partition_index < partition_count`,
  ),
  check('progress_jobs_sampled', sql`(sampled_at IS NULL) = (sampled_percent IS NULL)`),
  check('progress_jobs_expected', sql`expected_seconds >= 0 AND expected_seconds < 'infinity'`),
  check('progress_jobs_revision', sql`revision >= 1 AND lifecycle_revision BETWEEN 1 AND revision`),
  check(
    'progress_jobs_lifecycle',
    sql`lifecycle IN ('created', 'started', 'cancel_requested', 'cancelled', 'completed', 'failed', 'stalled', 'recovered', 'retried', 'at_risk', 'overdue')`,
  ),
  check(
    'progress_jobs_deadline',
    sql`deadline IN ('on_time', 'at_risk', 'overdue') AND (finish_by IS NULL OR finish_within_seconds IS NULL)
        AND (finish_within_seconds IS NULL OR finish_within_seconds >= 1)`,
  ),
  check('progress_jobs_idempotency_pair', sql`(idempotency_key IS NULL) = (idempotency_hash IS NULL)`),
]

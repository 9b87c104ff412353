// Years of finished jobs by SQL: 50 tenants, of which one has half of all jobs.
import pg from 'pg'

/** The tenant that has half of all jobs. */
export const LARGE_TENANT = '00000000-0000-0000-0000-000000000001'
/** One of the other 49. */
export const SMALL_TENANT = '00000000-0000-0000-0000-000000000007'
/** Few of the jobs of the large tenant are those of this organization. */
export const SMALL_ORGANIZATION = '00000000-0000-0000-0001-000000000099'
const ACTIVE = 5_000
const AT_ONCE = 100_000
const DAYS = 1_095

/**
 * Rows $1 to $2 of $3 in all, which finished within the last $4 days, oldest first. A hundred in a row are of one tenant: a batch, its 30 partitions, and 69 others. Of
 * the types, `import` has half, and `audit` three jobs in 10,000. 80 in a hundred jobs completed, 14 failed, 6 were cancelled.
 * `archive` was a common type of the first year, and failures of `import` ended with it.
 */
export const FINISHED = `
  INSERT INTO public.progress_jobs (id, tenant_id, organization_id, job_type, name, status, progress_percent, processed_count, total_count,
    own_total_count, unit, message, started_by_user_id, started_at, heartbeat_at, finished_at, created_at, updated_at, failure_reason,
    error_message, expected_seconds, long_seconds, finish_by, priority, heartbeat_timeout_seconds, parent_job_id, partition_index,
    partition_count, children, revision, lifecycle, lifecycle_revision)
  SELECT id,
    ('00000000-0000-0000-0000-' || lpad(tenant::text, 12, '0'))::uuid,
    CASE WHEN dice % 10 < 7 THEN ('00000000-0000-0000-0001-' || lpad(CASE WHEN dice % 5000 = 3 THEN 99 ELSE dice % 20 END::text, 12, '0'))::uuid END,
    job_type,
    initcap(job_type) || ' of ' || (ARRAY['products', 'orders', 'invoices', 'customers', 'prices', 'images', 'stock', 'returns'])[1 + dice / 7 % 8]
      || ' for ' || (ARRAY['Acme', 'Globex', 'Initech', 'Umbrella', 'Hooli', 'Vehement', 'Soylent'])[1 + dice / 11 % 7] || ' '
      || substr(md5((dice % 20000)::text), 1, 6) || ', ' || to_char(finished_at, 'YYYY-MM-DD')
      || CASE WHEN n % 200000 = 50 THEN ' zeppelin' ELSE '' END,
    outcome, CASE WHEN outcome = 'completed' THEN 100 ELSE dice % 99 END, 1000, 1000, 1000, 'rows', 'Row 1,000 of 1,000',
    CASE WHEN dice % 2 = 0 THEN 'nightly' WHEN dice % 3000 = 1 THEN 'anna' END,
    CASE WHEN outcome = 'cancelled' AND dice % 3 = 0 THEN NULL ELSE finished_at - seconds * interval '1 second' END,
    finished_at, finished_at, finished_at - (seconds + 5) * interval '1 second', finished_at,
    CASE WHEN outcome = 'failed' THEN CASE WHEN dice % 4 = 0 THEN 'stale' ELSE 'worker' END END,
    CASE WHEN outcome = 'failed' THEN 'The connection was refused by the warehouse.' END,
    300, CASE WHEN dice % 2 = 0 THEN 1500 END,
    CASE WHEN dice % 10 = 4 THEN finished_at + (dice % 50 - 10) * interval '1 second' END,
    CASE WHEN dice % 50 = 0 THEN dice % 7 - 3 ELSE 0 END, 60,
    CASE WHEN place BETWEEN 1 AND 30 THEN md5('job' || n - place)::uuid END, CASE WHEN place BETWEEN 1 AND 30 THEN place - 1 END,
    CASE WHEN place <= 30 THEN 30 END, CASE WHEN place = 0 THEN '{"total":30}'::jsonb END, 5, outcome, 5
  FROM (
    SELECT *, CASE WHEN job_type = 'import' AND dice % 100 >= 80 AND n > all_jobs / 3 THEN 'completed'
      WHEN dice % 100 < 80 THEN 'completed' WHEN dice % 100 < 94 THEN 'failed' ELSE 'cancelled' END AS outcome
    FROM (
      SELECT *, CASE WHEN n < all_jobs / 3 AND dice % 5 = 1 THEN 'archive' WHEN dice % 10000 < 3 THEN 'audit' WHEN dice % 2 = 0 THEN 'import'
        ELSE 'type-' || (dice / 13 % 30) END AS job_type
      FROM (
        SELECT n, n % 100 AS place, md5('job' || n)::uuid AS id, $3::integer AS all_jobs,
          CASE WHEN n / 100 % 2 = 0 THEN 1 ELSE 2 + n / 200 % 49 END AS tenant,
          abs(hashint4(n)) AS dice, 10 + abs(hashint4(n)) % 2000 AS seconds,
          date_trunc('milliseconds', now() - (($3::integer - n + 1)::float8 / $3::integer) * $4::integer * interval '1 day') AS finished_at
        FROM generate_series($1::integer, $2::integer) AS n
      ) AS drawn
    ) AS typed
  ) AS ended`

export const RUNNING = `
  INSERT INTO public.progress_jobs (tenant_id, job_type, name, status, liveness, started_at, heartbeat_at, created_at,
    heartbeat_timeout_seconds, priority, revision, lifecycle, lifecycle_revision)
  SELECT '${LARGE_TENANT}', CASE WHEN n % 2 = 0 THEN 'import' ELSE 'type-' || n % 30 END, 'Import of products for Acme, part ' || n,
    CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'running' END, CASE WHEN n % 10 <> 0 THEN 'ok' END,
    CASE WHEN n % 10 <> 0 THEN now() - n * interval '1 second' END, now(), now() - (n + 5) * interval '1 second', 60, n % 5, 2, 'created', 1
  FROM generate_series(1, ${ACTIVE}) AS n`

/** Fills a migrated database with `jobs` finished jobs. */
export const fill = async (url, jobs) => {
  const client = new pg.Client(url)
  await client.connect()
  try {
    // Without the triggers of foreign keys: the batches are there.
    await client.query("SET session_replication_role = 'replica'; SET synchronous_commit = 'off'")
    for (let from = 1; from <= jobs; from += AT_ONCE) {
      await client.query(FINISHED, [from, Math.min(jobs, from + AT_ONCE - 1), jobs, DAYS])
    }
    await client.query(RUNNING)
    await client.query('VACUUM ANALYZE public.progress_jobs')
  } finally {
    await client.end()
  }
}

import type { Service } from '../helpers/service.ts'

/** How many jobs of each type ended on each of the last days, and how they went: a week in which imports became slower. */
export const makeSampleWeek = (service: Service) =>
  service.database.pool.query(`
    INSERT INTO progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds, status, started_at, finished_at, created_at, updated_at,
      heartbeat_at, processed_count, unit, failure_reason, error_message, lifecycle)
    SELECT '00000000-0000-0000-0000-000000000000', type, initcap(type), 60, outcome, at - took * interval '1 second', at, at - interval '1 hour', at, at,
      rows, 'rows', CASE WHEN outcome = 'failed' THEN 'worker' END, CASE WHEN outcome = 'failed' THEN 'Disk full' END, outcome
    FROM (
      SELECT t.type, date_trunc('milliseconds', now() - day * interval '1 day' - n * interval '37 minutes') AS at, t.rows,
        t.took * (1 + (n * 7 % 10) / 10.0 + CASE WHEN t.type = 'import:products' THEN (7 - day) / 5.0 ELSE 0 END) AS took,
        CASE WHEN (n * 13 + day * 5) % 17 = 0 THEN 'failed' WHEN (n + day) % 23 = 0 THEN 'cancelled' ELSE 'completed' END AS outcome
      FROM generate_series(0, 7) AS day,
        (VALUES ('import:products', 90, 14, 5000), ('report:sales', 40, 9, 300), ('backup', 700, 3, 90000)) AS t (type, took, times, rows),
        generate_series(1, t.times - CASE WHEN day IN (2, 3) THEN t.times / 2 ELSE 0 END) AS n
    ) j`)

import type pg from 'pg'
import { FUNCTIONS } from './functions.ts'

/** The functions that workers with a database connection may call (functions/workers.sql). They are in the schema `headway`. */
export const WORKER_FUNCTIONS = ['update_job_progress', 'complete_job_progress', 'error_job_progress']

/**
 * Roles that do not own the functions, and that may create others in the same schemas. One of theirs could match a call better,
 * and would run with the owner's rights.
 */
const readIntruders = async (client: pg.Client): Promise<string[]> => {
  const { rows } = await client.query<{ intruder: string }>(
    `SELECT DISTINCT format('%s in %s', coalesce(r.rolname, 'PUBLIC'), n.nspname) AS intruder
     FROM pg_catalog.pg_namespace n
     CROSS JOIN LATERAL (
       SELECT n.nspowner AS role
       UNION ALL
       SELECT a.grantee FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE'
     ) c
     JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid AND p.proowner <> c.role
     LEFT JOIN pg_catalog.pg_roles r ON r.oid = c.role
     WHERE n.nspname IN ('headway', $1)
     ORDER BY 1`,
    [FUNCTIONS],
  )
  return rows.map(({ intruder }) => intruder)
}

/**
 * Lets members of the role `headway_worker`, and no other role, call the functions for workers. Roles belong to the whole
 * server: if this user may not create roles, an administrator creates the role, and the next start grants the rights. A start
 * also grants them after a restore that left grants out. Otherwise every role could call the functions, because that is
 * Postgres' default. Answers a warning if nothing was granted because it would not be safe.
 */
export const applyWorkerRole = async (client: pg.Client): Promise<string | null> => {
  await client.query(`
    DO $$ BEGIN
      IF to_regrole('headway_worker') IS NULL THEN
        CREATE ROLE headway_worker NOLOGIN;
      END IF;
    EXCEPTION
      -- The last two: somebody who migrates another database of the server has just made it.
      WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
    END $$`)
  const { rows } = await client.query("SELECT FROM pg_catalog.pg_roles WHERE rolname = 'headway_worker'")
  const roleExists = rows.length > 0
  const intruders = await readIntruders(client)
  // Another role than the one that migrates may run the service. The tables' own rights limit what callers of the functions can
  // do.
  await client.query(`GRANT USAGE ON SCHEMA headway, ${FUNCTIONS} TO PUBLIC`)
  for (const name of WORKER_FUNCTIONS) {
    await client.query(`REVOKE ALL ON FUNCTION headway.${name} FROM PUBLIC`)
    if (!roleExists) continue
    await client.query(
      intruders.length === 0
        ? `GRANT EXECUTE ON FUNCTION headway.${name} TO headway_worker`
        : `REVOKE ALL ON FUNCTION headway.${name} FROM headway_worker`,
    )
  }
  if (intruders.length === 0) return null
  return (
    `Members of headway_worker get no right to call the functions for workers: these run with their owner's rights, and other ` +
    `roles may create functions in the same schemas (${intruders.join(', ')}). Run REVOKE CREATE ON SCHEMA for them, and start again.`
  )
}

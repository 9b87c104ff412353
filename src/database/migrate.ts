import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { drizzle } from 'drizzle-orm/node-postgres'
import { migrate as applyMigrations } from 'drizzle-orm/node-postgres/migrator'
import pg from 'pg'
import { clientOptions } from './connection.ts'
import { HeadwayError } from '../errors.ts'
import { UnreachableError } from './failures.ts'
import { cancelOrphans } from './orphans.ts'

/** Any constant that no other program uses: the lock that replicas starting at once wait for, one after the other. */
const MIGRATION_LOCK = 5_272_015_421

const MIGRATIONS_FOLDER = fileURLToPath(new URL('../../drizzle', import.meta.url))
const FUNCTIONS_FOLDER = fileURLToPath(new URL('./functions/', import.meta.url))

/** The functions' text, and a hash of it by which a database knows whether it has them. */
const readFunctions = (): { text: string; version: string } => {
  const files = readdirSync(FUNCTIONS_FOLDER).filter(name => name.endsWith('.sql'))
  const text = files
    .sort()
    .map(name => readFileSync(FUNCTIONS_FOLDER + name, 'utf8'))
    .join('\n')
  return { text, version: createHash('sha256').update(text).digest('hex') }
}

/** What workers with a database connection may call (functions/workers.sql). */
const WORKER_FUNCTIONS = ['update_job_progress', 'complete_job_progress', 'error_job_progress']

/**
 * Lets members of the role `headway_worker` call the functions for workers. Roles belong to the whole server: where this
 * one may not create roles, an administrator does, and the next start grants the rest.
 */
const applyWorkerRole = async (client: pg.Client): Promise<void> => {
  await client.query(`
    DO $$ BEGIN
      IF to_regrole('headway_worker') IS NULL THEN
        CREATE ROLE headway_worker NOLOGIN;
      END IF;
    EXCEPTION
      -- The last two: somebody who migrates another database of the server has just made it.
      WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
    END $$`)
  await client.query(`
    DO $$ DECLARE f regproc; BEGIN
      IF to_regrole('headway_worker') IS NOT NULL THEN
        FOREACH f IN ARRAY ARRAY[${WORKER_FUNCTIONS.map(name => `'headway.${name}'`).join(', ')}]::regproc[] LOOP
          EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO headway_worker', f);
        END LOOP;
      END IF;
    END $$`)
}

/** All functions live in a schema of their own, which is made anew whenever their text has changed. */
const applyFunctions = async (client: pg.Client): Promise<void> => {
  const { text, version } = readFunctions()
  const { rows } = await client.query<{ version: string | null }>(
    "SELECT obj_description(to_regnamespace('headway'), 'pg_namespace') AS version",
  )
  if (rows[0]?.version === version) return
  await client.query('BEGIN')
  try {
    // Bodies name each other, whatever order the files come in.
    await client.query('SET LOCAL check_function_bodies = off')
    await client.query('DROP SCHEMA IF EXISTS headway CASCADE')
    await client.query('CREATE SCHEMA headway')
    // Whoever serves may be another role than who migrates. What the functions touch is guarded by the tables' own rights.
    await client.query('GRANT USAGE ON SCHEMA headway TO PUBLIC')
    await client.query(text)
    // They run with the rights of their owner.
    for (const name of WORKER_FUNCTIONS) await client.query(`REVOKE ALL ON FUNCTION headway.${name} FROM PUBLIC`)
    await client.query(`COMMENT ON SCHEMA headway IS '${version}'`)
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  }
}

/**
 * Brings the database at `url` to this version: tables by Drizzle's migrations, then the SQL functions. Any number of
 * replicas may call it at once. `url` must be a direct connection: a transaction pooler keeps no session lock. Raises
 * `UnreachableError` when there is no connection to be had.
 */
export const migrate = async (url: string): Promise<void> => {
  // Migrations name the schema public here and there: everything belongs into it, whatever the role's search_path says.
  const client = new pg.Client({ ...clientOptions(url), options: '-c search_path=public' })
  // The query in flight is rejected as well; without a listener the process would end here.
  client.on('error', () => undefined)
  await client.connect().catch((cause: unknown) => {
    throw new UnreachableError(cause)
  })
  try {
    const { rows } = await client.query<{ version: number }>(
      "SELECT current_setting('server_version_num')::integer AS version",
    )
    const version = rows[0]?.version ?? 0
    if (version < 140_000) {
      throw new HeadwayError(
        'database_unavailable',
        `Headway needs PostgreSQL 14 or later; this server is version ${Math.floor(version / 10_000)}.`,
      )
    }
    await cancelOrphans(client)
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK])
    await applyMigrations(drizzle(client), { migrationsFolder: MIGRATIONS_FOLDER })
    await applyFunctions(client)
    await applyWorkerRole(client)
  } finally {
    await client.end()
  }
}

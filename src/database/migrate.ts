import { fileURLToPath } from 'node:url'
import { readMigrationFiles, drizzle, migrate as applyMigrations } from './drizzle.ts'
import pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { clientOptions } from './connection.ts'
import { UnreachableError } from './failures.ts'
import { applyFunctions, refuseNewerFunctions } from './generations.ts'
import { cancelOrphans } from './orphans.ts'
import { applyWorkerRole } from './worker-role.ts'

/** Any constant that no other program uses: the lock that replicas starting at once wait for, one after the other. */
const MIGRATION_LOCK = 5_272_015_421

const MIGRATIONS_FOLDER = fileURLToPath(new URL('../../drizzle', import.meta.url))

const refuseOldServer = async (client: pg.Client): Promise<void> => {
  const { rows } = await client.query<{ version: number }>(
    "SELECT current_setting('server_version_num')::integer AS version",
  )
  const version = rows[0]?.version ?? 0
  if (version >= 140_000) return
  throw new HeadwayError(
    'database_unavailable',
    `Headway needs PostgreSQL 14 or later; this server is version ${Math.floor(version / 10_000)}.`,
  )
}

/** Raises `database_unavailable` where a later version has changed the tables. */
const refuseNewerTables = async (client: pg.Client): Promise<void> => {
  const { rows: known } = await client.query("SELECT WHERE to_regclass('drizzle.__drizzle_migrations') IS NOT NULL")
  if (known.length === 0) return
  const { rows } = await client.query<{ newest: number | null }>(
    'SELECT max(created_at) AS newest FROM drizzle.__drizzle_migrations',
  )
  const last = Math.max(...readMigrationFiles({ migrationsFolder: MIGRATIONS_FOLDER }).map(file => file.folderMillis))
  if ((rows[0]?.newest ?? 0) <= last) return
  throw new HeadwayError(
    'database_unavailable',
    'A newer Headway has been started on this database, and has changed its tables. Start that version, or a later one.',
  )
}

/**
 * Brings the database at `url` to this version: tables by Drizzle's migrations, then the SQL functions. Any number of
 * replicas may call it at once, also while those of the version before are at work. `url` must be a direct connection: a
 * transaction pooler keeps no session lock. Answers warnings for the operator. Raises `UnreachableError` when there is no
 * connection to be had, and `database_unavailable` where the server is too old or the database belongs to a newer version.
 */
export const migrate = async (url: string): Promise<string[]> => {
  const client = new pg.Client(clientOptions(url))
  // The query in flight is rejected as well; without a listener the process would end here.
  client.on('error', () => undefined)
  await client.connect().catch((cause: unknown) => {
    throw new UnreachableError(cause)
  })
  try {
    await refuseOldServer(client)
    // Built-in functions and operators alone may stand in constraints, defaults and indexes: where others may create some in
    // public, one of theirs could fit better. Migrations name the schema of each table.
    await client.query('SET search_path = pg_catalog')
    await cancelOrphans(client)
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK])
    await refuseNewerTables(client)
    await refuseNewerFunctions(client)
    await applyMigrations(drizzle(client), { migrationsFolder: MIGRATIONS_FOLDER })
    // Together, so that nobody finds the functions without the rights to call them. What fails leaves all as it was.
    await client.query('BEGIN')
    await applyFunctions(client)
    const warning = await applyWorkerRole(client)
    await client.query('COMMIT')
    return warning === null ? [] : [warning]
  } finally {
    await client.end()
  }
}

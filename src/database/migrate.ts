import { readMigrationFiles, drizzle, migrate as applyMigrations } from './drizzle.ts'
import pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { clientOptions } from './connection.ts'
import { UnreachableError } from './failures.ts'
import { applyFunctions, refuseNewerFunctions } from './generations.ts'
import { MIGRATIONS_FOLDER, missingMigrations, newestMigration, withMigrationsUpTo } from './migrations.ts'
import { cancelOrphans } from './orphans.ts'
import { applyWorkerRole } from './worker-role.ts'

/** Any constant that no other program uses: the lock by which replicas that start at the same time wait for each other. */
const MIGRATION_LOCK = 5_272_015_421

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

/** Raises `database_unavailable` if a later version has changed the tables. */
const refuseNewerTables = async (client: pg.Client): Promise<void> => {
  const last = Math.max(...readMigrationFiles({ migrationsFolder: MIGRATIONS_FOLDER }).map(file => file.folderMillis))
  if ((await newestMigration(client)) <= last) return
  throw new HeadwayError(
    'database_unavailable',
    'A newer Headway has been started on this database, and has changed its tables. Start that version, or a later one.',
  )
}

/**
 * Brings the database at `url` to this version: first the tables by Drizzle's migrations, then the SQL functions. Any number of
 * replicas may call it at the same time, also while replicas of the previous version run. `url` must be a direct connection,
 * because a transaction pooler keeps no session locks. Answers warnings for the operator. Raises `UnreachableError` when no
 * connection is available, and `database_unavailable` when the server is too old or a newer version has used the database.
 */
export const migrate = async (
  url: string,
  {
    onMigration = () => undefined,
    upTo,
  }: {
    /** Told of each migration before they are applied, all in one transaction. */
    onMigration?: (name: string) => void
    /** The last migration to apply, for rows of an older version. The functions, which need all tables, are then left out. */
    upTo?: string
  } = {},
): Promise<string[]> => {
  const client = new pg.Client(clientOptions(url))
  // The query in flight is rejected as well; without a listener the error would end the process.
  client.on('error', () => undefined)
  await client.connect().catch((cause: unknown) => {
    throw new UnreachableError(cause)
  })
  try {
    await refuseOldServer(client)
    // Constraints, defaults and indexes may only use built-in functions and operators. If others may create some in public, one
    // of theirs could match better. Migrations name the schema of each table.
    await client.query('SET search_path = pg_catalog')
    await cancelOrphans(client)
    await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK])
    await refuseNewerTables(client)
    await refuseNewerFunctions(client)
    if (upTo !== undefined) {
      await withMigrationsUpTo(upTo, folder => applyMigrations(drizzle(client), { migrationsFolder: folder }))
      return []
    }
    for (const name of await missingMigrations(client)) onMigration(name)
    await applyMigrations(drizzle(client), { migrationsFolder: MIGRATIONS_FOLDER })
    // In one transaction, so that the functions never exist without the rights to call them. If a statement fails, nothing is
    // changed.
    await client.query('BEGIN')
    await applyFunctions(client)
    const warning = await applyWorkerRole(client)
    await client.query('COMMIT')
    return warning === null ? [] : [warning]
  } finally {
    await client.end()
  }
}

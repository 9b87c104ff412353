import { drizzle, migrate as applyMigrations } from './drizzle.ts'
import pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { connectClient } from './client.ts'
import { clientOptions } from './connection.ts'
import { classifyFailure, sqlStateOf } from './failures.ts'
import { refuseOtherSchema, refuseOtherTables, refuseUnfitServer, UnfitDatabaseError } from './fitness.ts'
import { applyFunctions, refuseNewerFunctions } from './generations.ts'
import { MIGRATIONS_FOLDER, missingMigrations, readMigrationState, withMigrationsUpTo } from './migrations.ts'
import { cancelOrphans } from './orphans.ts'
import { refuseTransactionPooler } from './pooler.ts'
import { readMissingRights } from './rights.ts'
import { applyWorkerRole } from './worker-role.ts'

/** Any constant that no other program uses: the lock by which replicas that start at the same time wait for each other. */
const MIGRATION_LOCK = 5_272_015_421

/** SQLSTATE insufficient_privilege. */
const INSUFFICIENT_PRIVILEGE = '42501'

/** Less than a role's `statement_timeout` usually is. */
const LOCK_TIMEOUT_SECONDS = 5
/** How often a process that waits for another one's migration says so: each time that this many waits have ended. */
const TELL_EVERY_WAITS = 2

/**
 * Raises `database_unavailable` if a later version has changed the tables, and `UnfitDatabaseError` if the migrations are
 * those of another program.
 */
const refuseOtherMigrations = async (client: pg.Client): Promise<void> => {
  const { isNewer, isForeign } = await readMigrationState(client)
  if (isForeign) {
    throw new UnfitDatabaseError(
      'its table drizzle.__drizzle_migrations belongs to another program. Give Headway a database of its own',
    )
  }
  if (!isNewer) return
  throw new HeadwayError(
    'database_unavailable',
    'A newer Headway has been started on this database, and has changed its tables. Start that version, or a later one.',
  )
}

/**
 * Waits for other processes that bring the database up to date, however long they need: the server may still hold the lock for a
 * process that has lost its connection.
 */
const lockMigrations = async (client: pg.Client, onWait: (message: string) => void): Promise<void> => {
  await client.query(`SET lock_timeout = '${LOCK_TIMEOUT_SECONDS}s'`)
  for (let waits = 0; ; waits += 1) {
    try {
      await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK])
      break
    } catch (error) {
      if (classifyFailure(error) !== 'locked') throw error
      if (waits % TELL_EVERY_WAITS !== 0) continue
      const { rows } = await client.query<{ pid: number }>(
        `SELECT pid FROM pg_catalog.pg_locks
         WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = $1
           AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())`,
        [MIGRATION_LOCK],
      )
      onWait(
        'Another process brings the database up to date, and is waited for. ' +
          `If there is none, end its session: SELECT pg_terminate_backend(${rows[0]?.pid ?? 'pid'}).`,
      )
    }
  }
  await client.query('RESET lock_timeout')
}

interface MigrateOptions {
  /** Told of each migration before they are applied, all in one transaction. */
  onMigration?: (name: string) => void
  /** Told every 10 seconds what is waited for. */
  onWait?: (message: string) => void
  /** The last migration to apply, for rows of an older version. The functions, which need all tables, are then left out. */
  upTo?: string
}

/**
 * Brings the database at `url` to this version: first the tables by Drizzle's migrations, then the SQL functions. Any number of
 * replicas may call it at the same time, also while replicas of the previous version run. `url` must be a direct connection,
 * because a transaction pooler keeps no session locks. Answers warnings for the operator. Raises `UnreachableError` when no
 * connection is available, `MissingRightsError` when the role may not do it, `UnfitDatabaseError` when the server or
 * something in the database does not suit, and `database_unavailable` when a newer version has used the database.
 */
export const migrate = async (
  url: string,
  { onMigration = () => undefined, onWait = () => undefined, upTo }: MigrateOptions = {},
): Promise<string[]> => {
  const client = await connectClient(clientOptions(url))
  try {
    await refuseUnfitServer(client)
    await refuseTransactionPooler(client, url)
    // Constraints, defaults and indexes may only use built-in functions and operators. If others may create some in public, one
    // of theirs could match better. Migrations name the schema of each table.
    await client.query('SET search_path = pg_catalog')
    await cancelOrphans(client)
    await lockMigrations(client, onWait)
    await refuseOtherMigrations(client)
    await refuseNewerFunctions(client)
    if (upTo !== undefined) {
      await withMigrationsUpTo(upTo, folder => applyMigrations(drizzle(client), { migrationsFolder: folder }))
      return []
    }
    await refuseOtherSchema(client)
    for (const name of await missingMigrations(client)) onMigration(name)
    await applyMigrations(drizzle(client), { migrationsFolder: MIGRATIONS_FOLDER })
    await refuseOtherTables(client)
    // In one transaction, so that the functions never exist without the rights to call them. If a statement fails, nothing is
    // changed.
    await client.query('BEGIN')
    await applyFunctions(client)
    const warning = await applyWorkerRole(client)
    await client.query('COMMIT')
    return warning === null ? [] : [warning]
  } catch (error) {
    if (sqlStateOf(error) === INSUFFICIENT_PRIVILEGE) throw await readMissingRights(client, error)
    throw error
  } finally {
    await client.end()
  }
}

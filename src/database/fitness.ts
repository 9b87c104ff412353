import type pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { getTableName, is, PgTable } from './drizzle.ts'
import * as schema from './schema.ts'

/** The service cannot use this database as it is, and waiting would not help. `reason` says why, and what to do. */
export class UnfitDatabaseError extends HeadwayError {
  readonly reason: string
  constructor(reason: string) {
    super('database_unavailable', `Cannot use the database: ${reason}.`)
    this.reason = reason
  }
}

/** The oldest version that all statements run on. */
const OLDEST_VERSION = 14

/** The names of the service's tables, all in the schema `public`. */
export const TABLES: readonly string[] = Object.values(schema).flatMap(each =>
  is(each, PgTable) ? [getTableName(each)] : [],
)

/** Kinds of relations in `pg_class.relkind`, beside tables (https://www.postgresql.org/docs/current/catalog-pg-class.html). */
const KINDS: Readonly<Record<string, string>> = {
  v: 'a view',
  m: 'a materialized view',
  S: 'a sequence',
  i: 'an index',
  I: 'an index',
  c: 'a type',
  f: 'a foreign table',
  p: 'a partitioned table',
}

const refuseOldServer = async (client: pg.Client): Promise<void> => {
  const { rows } = await client.query<{ version: number }>(
    "SELECT current_setting('server_version_num')::integer AS version",
  )
  const version = Math.floor((rows[0]?.version ?? 0) / 10_000)
  if (version >= OLDEST_VERSION) return
  throw new UnfitDatabaseError(
    `the server is PostgreSQL ${version}, and Headway needs ${OLDEST_VERSION} or later. Upgrade the server`,
  )
}

/** With another encoding, texts of callers could not be stored, or would be stored without a check. */
const refuseOtherEncoding = async (client: pg.Client): Promise<void> => {
  const { rows } = await client.query<{ encoding: string; name: string }>(
    "SELECT current_setting('server_encoding') AS encoding, current_database() AS name",
  )
  const { encoding = 'UTF8', name = '' } = rows[0] ?? {}
  if (encoding === 'UTF8') return
  throw new UnfitDatabaseError(
    `the encoding of the database ${name} is ${encoding}, and Headway needs UTF8. Create a database with ` +
      "ENCODING 'UTF8' TEMPLATE template0",
  )
}

/** Raises `UnfitDatabaseError` if the server or the encoding of the database is not one that Headway can use. */
export const refuseUnfitServer = async (client: pg.Client): Promise<void> => {
  await refuseOldServer(client)
  await refuseOtherEncoding(client)
}

interface Relation {
  name: string
  kind: string
}

const readRelations = async (client: pg.Client): Promise<Relation[]> => {
  const { rows } = await client.query<Relation>(
    `SELECT relname AS name, relkind AS kind FROM pg_catalog.pg_class
     WHERE relnamespace = to_regnamespace('public') AND relname = ANY($1) ORDER BY relname`,
    [TABLES],
  )
  return rows
}

/**
 * Raises `UnfitDatabaseError` if the name of one of the service's tables belongs to something else, or if one of them is missing
 * although all migrations have been applied: the service would start, and then refuse some calls.
 */
export const refuseOtherTables = async (client: pg.Client): Promise<void> => {
  const found = await readRelations(client)
  const other = found.find(({ kind }) => kind !== 'r')
  if (other !== undefined) {
    throw new UnfitDatabaseError(
      `public.${other.name} is ${KINDS[other.kind] ?? 'no table'}, and Headway needs its own table under this name. Restore the ` +
        'table, or give Headway a database of its own',
    )
  }
  const missing = TABLES.filter(table => !found.some(({ name }) => name === table))
  if (missing.length === 0) return
  throw new UnfitDatabaseError(
    `the table public.${missing[0] ?? ''}, which an earlier start of Headway created, is missing. Restore the database, or give ` +
      'Headway an empty one',
  )
}

/**
 * Raises `UnfitDatabaseError` if the schema `headway` has tables, views or sequences. Headway creates none there, and drops this
 * schema with all that is in it when its functions change.
 */
export const refuseOtherSchema = async (client: pg.Client): Promise<void> => {
  const { rows } = await client.query<Relation>(
    `SELECT relname AS name, relkind AS kind FROM pg_catalog.pg_class
     WHERE relnamespace = to_regnamespace('headway') AND relkind <> 'c' ORDER BY relname LIMIT 1`,
  )
  const [other] = rows
  if (other === undefined) return
  throw new UnfitDatabaseError(
    `headway.${other.name} belongs to another program, and Headway needs the schema headway for itself. Give Headway a database ` +
      'of its own',
  )
}

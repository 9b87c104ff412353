import type pg from 'pg'
import { TABLES } from './fitness.ts'
import { FUNCTIONS } from './functions.ts'

/** The schema in which Drizzle records the migrations that were applied. */
const MIGRATIONS_SCHEMA = 'drizzle'

/** The role lacks rights to bring the database up to date. */
export class MissingRightsError extends Error {
  override readonly name = 'MissingRightsError'
  /** The statements that an administrator has to run in this database. */
  readonly statements: readonly string[]
  /** The superuser that owns what an earlier start has created; null if none does. */
  readonly superuser: string | null
  constructor({ statements, superuser }: { statements: string[]; superuser: string | null }, cause: unknown) {
    super('The role may not bring the database up to date', { cause })
    this.statements = statements
    this.superuser = superuser
  }
}

/**
 * Migrations create schemas and tables in `public`. `CREATE SCHEMA IF NOT EXISTS` needs the right to create schemas also if the
 * schema exists.
 */
const MISSING = `
  SELECT format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user) AS remedy
  WHERE NOT has_database_privilege(current_database(), 'CREATE')
  UNION ALL
  SELECT format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', nspname, current_user)
  FROM pg_catalog.pg_namespace
  WHERE nspname IN ('public', '${MIGRATIONS_SCHEMA}', 'headway', '${FUNCTIONS}')
    AND NOT (has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE'))`

/** Only the owner of a table may change it, and only the owner of a schema may drop it. */
const OWNERS = `
  SELECT DISTINCT r.rolname AS owner, r.rolsuper AS "isSuperuser", format('GRANT %I TO %I', r.rolname, current_user) AS remedy
  FROM (
    SELECT nspowner FROM pg_catalog.pg_namespace
    WHERE nspname = 'headway' OR nspname ~ '^headway_[0-9]{1,9}$'
    UNION ALL
    SELECT relowner FROM pg_catalog.pg_class
    WHERE relname = '__drizzle_migrations' AND relnamespace = to_regnamespace('${MIGRATIONS_SCHEMA}')
      OR relname = ANY($1) AND relnamespace = to_regnamespace('public')
  ) AS made (owner)
  JOIN pg_catalog.pg_roles r ON r.oid = made.owner
  WHERE NOT pg_has_role(made.owner, 'USAGE')`

interface Owner {
  owner: string
  isSuperuser: boolean
  remedy: string
}

/** The rights that the role of `client` lacks. The transaction of `client` has failed or is over. */
export const readMissingRights = async (client: pg.Client, cause: unknown): Promise<MissingRightsError> => {
  await client.query('ROLLBACK')
  const { rows: missing } = await client.query<{ remedy: string }>(MISSING)
  const { rows: owners } = await client.query<Owner>(OWNERS, [TABLES])
  const statements = [...missing, ...owners.filter(({ isSuperuser }) => !isSuperuser)].map(({ remedy }) => remedy)
  // No role should become a member of a superuser for this.
  const superuser = owners.find(({ isSuperuser }) => isSuperuser)?.owner ?? null
  return new MissingRightsError({ statements, superuser }, cause)
}

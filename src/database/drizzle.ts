// All that this service uses of Drizzle, loaded as CommonJS. Node looks up the type of every file of an ES module in the
// package.json that is nearest to it, and from 22 on keeps a copy of its exports for each of them: those of Drizzle are 180 KB long,
// and its 300 files cost 190 MB at a start. CommonJS files that end in .cjs are not looked up. The linter keeps other imports out:
// the same class in both forms would be two classes.
import { createRequire } from 'node:module'

const load = createRequire(import.meta.url)

export const { and, asc, count, desc, eq, getTableName, gte, inArray, is, isNotNull, isNull, lt, or, sql } = load(
  'drizzle-orm',
) as typeof import('drizzle-orm')

export const { DrizzleQueryError } = load('drizzle-orm/errors') as typeof import('drizzle-orm/errors')

export const {
  bigint,
  boolean,
  check,
  customType,
  doublePrecision,
  foreignKey,
  index,
  integer,
  json,
  jsonb,
  PgSchema,
  PgTable,
  // Only one of its overloads is deprecated.
  // eslint-disable-next-line @typescript-eslint/no-deprecated
  primaryKey,
  real,
  smallint,
  text,
  timestamp,
  uniqueIndex,
  uuid,
} = load('drizzle-orm/pg-core') as typeof import('drizzle-orm/pg-core')

export const { drizzle } = load('drizzle-orm/node-postgres') as typeof import('drizzle-orm/node-postgres')

export const { readMigrationFiles } = load('drizzle-orm/migrator') as typeof import('drizzle-orm/migrator')

export const { migrate } = load(
  'drizzle-orm/node-postgres/migrator',
) as typeof import('drizzle-orm/node-postgres/migrator')

import type pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { FUNCTIONS, GENERATION, readFunctions, schemaOf } from './functions.ts'
import { WORKER_FUNCTIONS } from './worker-role.ts'

/**
 * The beginning of the comment on a schema of functions; the hash of their text follows. It tells these schemas from others
 * with such a name.
 */
const MARK = 'Functions of Headway'

/** The generations of functions in the database, with their hashes. */
const readGenerations = async (client: pg.Client): Promise<Map<number, string>> => {
  const { rows } = await client.query<{ generation: number; hash: string }>(
    `SELECT substr(nspname, length('headway_') + 1)::integer AS generation, substr(comment, length($1) + 2) AS hash
     FROM pg_catalog.pg_namespace n CROSS JOIN LATERAL obj_description(n.oid, 'pg_namespace') AS comment
     WHERE nspname ~ '^headway_[0-9]{1,9}$' AND starts_with(comment, $1)`,
    [MARK],
  )
  return new Map(rows.map(({ generation, hash }) => [generation, hash]))
}

/**
 * Raises `database_unavailable` if a later version has created its functions: this version may not understand what that one
 * writes.
 */
export const refuseNewerFunctions = async (client: pg.Client): Promise<void> => {
  const newest = Math.max(...(await readGenerations(client)).keys())
  if (newest <= GENERATION) return
  throw new HeadwayError(
    'database_unavailable',
    `A newer Headway has been started on this database (functions of generation ${newest}; this version has ` +
      `${GENERATION}). Start that version, or a later one.`,
  )
}

/** The comment on the schema `headway`. It equals the comment on the schema of the functions to which its functions belong. */
const readFront = async (client: pg.Client): Promise<string | null> => {
  const { rows } = await client.query<{ comment: string | null }>(
    "SELECT obj_description(to_regnamespace('headway'), 'pg_namespace') AS comment",
  )
  return rows[0]?.comment ?? null
}

/** Moves the functions that workers call to the schema `headway`, so that their names do not change with the generation. */
const moveWorkerFunctions = async (client: pg.Client): Promise<void> => {
  await client.query('DROP SCHEMA IF EXISTS headway CASCADE')
  await client.query('CREATE SCHEMA headway')
  for (const name of WORKER_FUNCTIONS) await client.query(`ALTER FUNCTION ${FUNCTIONS}.${name} SET SCHEMA headway`)
}

/**
 * Creates the functions of this version in their own schema, unless they are there with the same text. The previous generation
 * stays, for replicas that have not been replaced yet; older ones are dropped. Call it in a transaction.
 */
export const applyFunctions = async (client: pg.Client): Promise<void> => {
  const { text, hash } = readFunctions()
  const comment = `${MARK} ${hash}`
  const generations = await readGenerations(client)
  // The front schema differs after an operator went back to an older version: that version dropped the newer functions, and the
  // trigger with them.
  if (generations.get(GENERATION) === hash && (await readFront(client)) === comment) return
  const previous = Math.max(...[...generations.keys()].filter(generation => generation < GENERATION))
  for (const generation of generations.keys()) {
    if (generation !== previous) await client.query(`DROP SCHEMA ${schemaOf(generation)} CASCADE`)
  }
  // Function bodies refer to functions that are created later.
  await client.query('SET LOCAL check_function_bodies = off')
  await client.query(`CREATE SCHEMA ${FUNCTIONS}`)
  await client.query(text)
  await moveWorkerFunctions(client)
  // Revoked whatever the default privileges are. worker-role.ts grants the rights that are needed.
  await client.query(`REVOKE ALL ON SCHEMA headway, ${FUNCTIONS} FROM PUBLIC`)
  for (const name of WORKER_FUNCTIONS) await client.query(`REVOKE ALL ON FUNCTION headway.${name} FROM PUBLIC`)
  for (const schema of [FUNCTIONS, 'headway']) await client.query(`COMMENT ON SCHEMA ${schema} IS '${comment}'`)
}

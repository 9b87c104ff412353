import type pg from 'pg'
import { HeadwayError } from '../contract/errors.ts'
import { FUNCTIONS, GENERATION, readFunctions, schemaOf } from './functions.ts'
import { WORKER_FUNCTIONS } from './worker-role.ts'

/** What the comment of a schema of functions begins with; the hash of their text follows. Other schemas may have such a name. */
const MARK = 'Functions of Headway'

/** The hashes of the generations of functions that a database has. */
const readGenerations = async (client: pg.Client): Promise<Map<number, string>> => {
  const { rows } = await client.query<{ generation: number; hash: string }>(
    `SELECT substr(nspname, length('headway_') + 1)::integer AS generation, substr(comment, length($1) + 2) AS hash
     FROM pg_catalog.pg_namespace n CROSS JOIN LATERAL obj_description(n.oid, 'pg_namespace') AS comment
     WHERE nspname ~ '^headway_[0-9]{1,9}$' AND starts_with(comment, $1)`,
    [MARK],
  )
  return new Map(rows.map(({ generation, hash }) => [generation, hash]))
}

/** Raises `database_unavailable` where a later version has made its functions: what it writes, this one may not understand. */
export const refuseNewerFunctions = async (client: pg.Client): Promise<void> => {
  const newest = Math.max(...(await readGenerations(client)).keys())
  if (newest <= GENERATION) return
  throw new HeadwayError(
    'database_unavailable',
    `A newer Headway has been started on this database (functions of generation ${newest}; this version has ` +
      `${GENERATION}). Start that version, or a later one.`,
  )
}

/** The comment of the schema that workers call: it is that of the functions which it leads to. */
const readFront = async (client: pg.Client): Promise<string | null> => {
  const { rows } = await client.query<{ comment: string | null }>(
    "SELECT obj_description(to_regnamespace('headway'), 'pg_namespace') AS comment",
  )
  return rows[0]?.comment ?? null
}

/** Those for workers stay where they are called, whatever the generation. Who uses SQL must not learn of it. */
const moveWorkerFunctions = async (client: pg.Client): Promise<void> => {
  await client.query('DROP SCHEMA IF EXISTS headway CASCADE')
  await client.query('CREATE SCHEMA headway')
  for (const name of WORKER_FUNCTIONS) await client.query(`ALTER FUNCTION ${FUNCTIONS}.${name} SET SCHEMA headway`)
}

/**
 * Makes the functions of this version in a schema of their own, unless it is there with the same text. The generation before
 * it stays, for replicas that have not been replaced yet; what is older goes. To be called in a
 * transaction.
 */
export const applyFunctions = async (client: pg.Client): Promise<void> => {
  const { text, hash } = readFunctions()
  const comment = `${MARK} ${hash}`
  const generations = await readGenerations(client)
  // Somebody who went back to this version has dropped the newer functions, and with them the trigger.
  if (generations.get(GENERATION) === hash && (await readFront(client)) === comment) return
  const previous = Math.max(...[...generations.keys()].filter(generation => generation < GENERATION))
  for (const generation of generations.keys()) {
    if (generation !== previous) await client.query(`DROP SCHEMA ${schemaOf(generation)} CASCADE`)
  }
  // Bodies name each other, whatever order the files come in.
  await client.query('SET LOCAL check_function_bodies = off')
  await client.query(`CREATE SCHEMA ${FUNCTIONS}`)
  await client.query(text)
  await moveWorkerFunctions(client)
  // Whatever default privileges say. What is granted to whom is in worker-role.ts.
  await client.query(`REVOKE ALL ON SCHEMA headway, ${FUNCTIONS} FROM PUBLIC`)
  for (const name of WORKER_FUNCTIONS) await client.query(`REVOKE ALL ON FUNCTION headway.${name} FROM PUBLIC`)
  for (const schema of [FUNCTIONS, 'headway']) await client.query(`COMMENT ON SCHEMA ${schema} IS '${comment}'`)
}

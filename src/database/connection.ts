import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres'
import pg from 'pg'
import { ConnectionLostError, spoilsConnection, UnreachableError } from './failures.ts'
import * as schema from './schema.ts'

export type Schema = typeof schema

export interface Database {
  pool: pg.Pool
  /** Ordinary queries. Hot ones go to the pool with a name, which costs a third. */
  drizzle: NodePgDatabase<Schema>
  /**
   * Runs a hot statement, prepared once per connection under its name where prepared statements are allowed. Raises `UnreachableError`
   * when there was no connection to send it on, `ConnectionLostError` when it broke.
   */
  query<Row extends object>(name: string | null, text: string, values: unknown[]): Promise<Row[]>
  close(): Promise<void>
}

export interface DatabaseOptions {
  url: string
  poolSize: number
  /** Off behind a transaction pooler: no named statements and no session settings then. */
  preparedStatements: boolean
  /** Called with errors of connections that belong to no query. */
  onConnectionError: (error: Error) => void
}

/** No statement of the service takes longer. Behind a transaction pooler, set it for the role instead. */
const STATEMENT_TIMEOUT_MS = 10_000
const CONNECT_TIMEOUT_MS = 5_000

// A bigint beyond 2^53-1 cannot be stored (CHECKs), so a number carries every one of them.
const types = new pg.TypeOverrides()
types.setTypeParser(pg.types.builtins.INT8, Number)
// The answers of a flush are arrays of a thousand. Those of the driver come as texts, or one character at a time.
const INT4_ARRAY = 1007
const INT8_ARRAY = 1016
const parseIntegers = (text: string): unknown => JSON.parse(`[${text.slice(1, -1)}]`)
types.setTypeParser(INT4_ARRAY, parseIntegers)
types.setTypeParser(INT8_ARRAY, parseIntegers)

export const clientOptions = (url: string): pg.ClientConfig => ({
  connectionString: url,
  application_name: 'headway',
  connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  keepAlive: true,
  types,
})

/**
 * Statements name the schemas of tables and functions of Headway. So the session need search no schema in which others may
 * create functions and operators, of which one could fit a call better than the built-in one. Behind a transaction pooler,
 * set it for the role instead. The pool waits for it, which its types do not say.
 */
const searchBuiltIns = ((client: pg.ClientBase) => client.query('SET search_path = pg_catalog')) as NonNullable<
  pg.PoolConfig['onConnect']
>

/** A pool on `url`. Connects when the first query comes. */
export const openDatabase = ({ url, poolSize, preparedStatements, onConnectionError }: DatabaseOptions): Database => {
  const pool = new pg.Pool({
    ...clientOptions(url),
    max: poolSize,
    idleTimeoutMillis: 30_000,
    // A server that stops answering without closing (a black-holed network) must not hold a query for ever.
    query_timeout: STATEMENT_TIMEOUT_MS + 2_000,
    ...(preparedStatements && { statement_timeout: STATEMENT_TIMEOUT_MS, onConnect: searchBuiltIns }),
  })
  // Heard at each client, idle or not: one that breaks in use fails its query and says so besides, and unheard, that would
  // end the process. The pool repeats what idle ones say.
  pool.on('error', () => undefined)
  pool.on('connect', client => client.on('error', onConnectionError))
  return {
    pool,
    drizzle: drizzle(pool, { schema }),
    async query<Row extends object>(name: string | null, text: string, values: unknown[]): Promise<Row[]> {
      const client = await pool.connect().catch((cause: unknown) => {
        throw new UnreachableError(cause)
      })
      let broken = false
      try {
        const result = await client.query<Row & pg.QueryResultRow>(
          preparedStatements && name !== null ? { name, text, values } : { text, values },
        )
        return result.rows
      } catch (cause) {
        const error = cause instanceof pg.DatabaseError ? cause : new ConnectionLostError(cause)
        broken = spoilsConnection(error)
        throw error
      } finally {
        client.release(broken)
      }
    },
    close: () => pool.end(),
  }
}

import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import { drizzle } from './drizzle.ts'
import pg from 'pg'
import { retryConflicts } from './conflicts.ts'
import * as schema from './schema.ts'
import { prepareSession } from './session.ts'
import { createSessions, type Sessions } from './sessions.ts'
import { withVerifiedTls } from './tls.ts'

export type Schema = typeof schema

export interface Database {
  /**
   * Ordinary queries, one statement each. Hot statements use `query`, because a prepared statement saves a third of the time.
   */
  drizzle: Omit<NodePgDatabase<Schema>, 'transaction'>
  /**
   * Runs a hot statement. It is prepared once per connection under its name, if prepared statements are allowed. Raises
   * `UnreachableError` when no connection was available, `ConnectionLostError` when the connection broke or did not answer in
   * time.
   */
  query<Row extends object>(name: string | null, text: string, values: unknown[]): Promise<Row[]>
  /** Runs several statements in one transaction, and repeats all of `work` after a conflict with another transaction. */
  transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>
  connections(): Connections
  /** From now on, no caller waits longer than this, callers of statements in flight included. */
  hurry(answerWithinMs: number): void
  /** Cancels statements in flight, and closes all connections. */
  close(): Promise<void>
}

export type Transaction = Parameters<Parameters<NodePgDatabase<Schema>['transaction']>[0]>[0]

export interface Connections {
  idle: number
  /** Connections in use, and connections that were given up but that the server has not ended. */
  busy: number
  max: number
  /** Statements that wait for a connection. */
  waiting: number
}

export interface DatabaseOptions {
  url: string
  poolSize: number
  /** Off behind a transaction pooler: there are then no named statements and no session settings. */
  preparedStatements: boolean
  /** Called with errors of connections that belong to no query. */
  onConnectionError: (error: Error) => void
  /** How long a statement may take. After that its caller is answered, even if the database is silent. */
  answerWithinMs?: number
}

/** No statement of the service takes longer. Behind a transaction pooler, set it for the role instead. */
const STATEMENT_TIMEOUT_MS = 10_000
const CONNECT_TIMEOUT_MS = 5_000

// A bigint beyond 2^53-1 cannot be stored (CHECKs), so every one fits a number.
const types = new pg.TypeOverrides()
types.setTypeParser(pg.types.builtins.INT8, Number)
// The answers of a flush contain arrays of a thousand numbers. The driver would parse them as texts, or character by character.
const INT4_ARRAY = 1007
const INT8_ARRAY = 1016
const parseIntegers = (text: string): unknown => JSON.parse(`[${text.slice(1, -1)}]`)
types.setTypeParser(INT4_ARRAY, parseIntegers)
types.setTypeParser(INT8_ARRAY, parseIntegers)

export const clientOptions = (url: string): pg.ClientConfig => ({
  connectionString: withVerifiedTls(url),
  application_name: 'headway',
  connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  keepAlive: true,
  types,
})

/** Options of a session that the service has for itself. A pooler may refuse them when it connects. */
export const sessionOptions = (url: string): pg.ClientConfig => ({
  ...clientOptions(url),
  statement_timeout: STATEMENT_TIMEOUT_MS,
})

/** Outside of transactions, Drizzle only calls `query` of its client. */
const drizzleClient = (sessions: Sessions) =>
  ({
    query: (config: pg.QueryConfig, values: unknown[]) =>
      retryConflicts(() => sessions.use(client => client.query(config, values))),
  }) as unknown as pg.Client

/**
 * Opens a pool on `url`. It connects when the first query comes. Each statement is a transaction of its own, and is repeated
 * after a conflict with another one (conflicts.ts).
 */
export const openDatabase = (options: DatabaseOptions): Database => {
  const { url, poolSize, preparedStatements, onConnectionError } = options
  const sessions = createSessions({
    config: {
      ...(preparedStatements ? { ...sessionOptions(url), onConnect: prepareSession } : clientOptions(url)),
      idleTimeoutMillis: 30_000,
    },
    size: poolSize,
    direct: preparedStatements,
    // A server may stop answering without closing the connection (a black-holed network), or may wait at the end of a
    // transaction, where its own time limits do not apply. A caller must not wait for it for ever.
    answerWithinMs: options.answerWithinMs ?? STATEMENT_TIMEOUT_MS + 2_000,
    connectWithinMs: CONNECT_TIMEOUT_MS,
    onConnectionError,
  })
  return {
    drizzle: drizzle(drizzleClient(sessions), { schema }),
    async query<Row extends object>(name: string | null, text: string, values: unknown[]): Promise<Row[]> {
      const statement = preparedStatements && name !== null ? { name, text, values } : { text, values }
      const { rows } = await retryConflicts(() =>
        sessions.use(client => client.query<Row & pg.QueryResultRow>(statement)),
      )
      return rows
    },
    transaction: work => retryConflicts(() => sessions.use(client => drizzle(client, { schema }).transaction(work))),
    connections: () => ({
      idle: sessions.pool.idleCount,
      busy: sessions.busy,
      max: poolSize,
      waiting: sessions.waiting,
    }),
    hurry: answerWithinMs => sessions.hurry(answerWithinMs),
    close: () => sessions.close(),
  }
}

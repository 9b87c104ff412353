import type { NodePgDatabase } from 'drizzle-orm/node-postgres'
import { drizzle } from './drizzle.ts'
import pg from 'pg'
import { retryConflicts } from './conflicts.ts'
import * as schema from './schema.ts'
import { prepareSession } from './session.ts'
import { createSessions, type Sessions } from './sessions.ts'

export type Schema = typeof schema

export interface Database {
  /** Ordinary queries, one statement each. Hot ones go through `query`, where a name saves a third. */
  drizzle: Omit<NodePgDatabase<Schema>, 'transaction'>
  /**
   * Runs a hot statement, prepared once per connection under its name where prepared statements are allowed. Raises `UnreachableError`
   * when there was no connection to send it on, `ConnectionLostError` when it broke or was not answered in time.
   */
  query<Row extends object>(name: string | null, text: string, values: unknown[]): Promise<Row[]>
  /** Runs several statements in one transaction, and all of `work` again after a conflict with another one. */
  transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>
  connections(): Connections
  /** From now on, statements under way included, callers wait no longer than this. */
  hurry(answerWithinMs: number): void
  /** Cancels what is under way, and lets go of the server. */
  close(): Promise<void>
}

export type Transaction = Parameters<Parameters<NodePgDatabase<Schema>['transaction']>[0]>[0]

export interface Connections {
  idle: number
  /** In use, those included that nobody uses and the server has not let go. */
  busy: number
  max: number
  /** Statements that wait for one. */
  waiting: number
}

export interface DatabaseOptions {
  url: string
  poolSize: number
  /** Off behind a transaction pooler: no named statements and no session settings then. */
  preparedStatements: boolean
  /** Called with errors of connections that belong to no query. */
  onConnectionError: (error: Error) => void
  /** How long a statement may take before its caller is answered all the same. */
  answerWithinMs?: number
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

/** Drizzle asks its client for nothing but `query`, outside of transactions. */
const drizzleClient = (sessions: Sessions) =>
  ({
    query: (config: pg.QueryConfig, values: unknown[]) =>
      retryConflicts(() => sessions.use(client => client.query(config, values))),
  }) as unknown as pg.Client

/**
 * A pool on `url`. Connects when the first query comes. Each statement is a transaction of its own, and is tried again after a
 * conflict with another one (conflicts.ts).
 */
export const openDatabase = (options: DatabaseOptions): Database => {
  const { url, poolSize, preparedStatements, onConnectionError } = options
  const sessions = createSessions({
    config: {
      ...clientOptions(url),
      idleTimeoutMillis: 30_000,
      ...(preparedStatements && { statement_timeout: STATEMENT_TIMEOUT_MS, onConnect: prepareSession }),
    },
    size: poolSize,
    direct: preparedStatements,
    // A server that stops answering without closing (a black-holed network), or waits at the end of a transaction, where no
    // time limit of its own counts, must not hold a caller for ever.
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

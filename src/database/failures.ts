import { DrizzleQueryError } from './drizzle.ts'
import pg from 'pg'

/** No connection could be had: the statement was never sent. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
  constructor(cause: unknown) {
    super('No connection to the database', { cause })
  }
}

/**
 * What a database error means for the caller. Decided by SQLSTATE
 * (https://www.postgresql.org/docs/current/errcodes-appendix.html), never by message text; an error that is not the
 * server's own comes from the connection.
 *
 * - `unreachable`: no connection; nothing was sent.
 * - `connection`: lost, refused, shutting down. Whether the statement was carried out is unknown.
 * - `conflict`: 40001 serialization_failure, 40P01 deadlock_detected. Nothing was done; try again.
 * - `locked`: 55P03 lock_not_available. Nothing was done.
 * - `data`: class 22 (data), 23 (integrity), 54 (limits). The input itself is at fault.
 * - `defect`: class 42 (syntax, missing objects or rights), 3F (missing schema), 0A (not supported), and what is no error of
 *   the database at all. A bug of ours, or somebody took away what this version needs. Nothing was done.
 * - `server`: everything else (disk full, statement timeout, out of memory). Nothing was done.
 */
export type FailureKind = 'unreachable' | 'connection' | 'conflict' | 'locked' | 'data' | 'defect' | 'server'

const CONNECTION_STATES = new Set([
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '57P05', // idle_session_timeout
])

/** The connection broke, or did not answer in time, while a statement was under way: it may have been carried out. */
export class ConnectionLostError extends Error {
  override readonly name = 'ConnectionLostError'
  /** Resolves when the server has let the connection go, until which it counts as one. */
  readonly letGo: Promise<void>
  constructor(cause: unknown, letGo = Promise.resolve()) {
    super('The connection to the database was lost', { cause })
    this.letGo = letGo
  }
}

/** Of ours, or of a query that Drizzle ran and pg could not. */
const isConnectionError = (error: unknown): boolean =>
  error instanceof ConnectionLostError || error instanceof DrizzleQueryError

const SPOILING_STATES = new Set([
  '25006', // read_only_sql_transaction: after a failover, on what is a standby now
  '0A000', // feature_not_supported: "cached plan must not change result type", after an upgrade
])

/** The session itself is at fault: the next statement on it would fare no better. */
export const spoilsConnection = (error: unknown): boolean =>
  classifyFailure(error) === 'connection' || SPOILING_STATES.has(sqlStateOf(error) ?? '')

/** An error, what caused it, what caused that. Of a chain that bites its tail, each once. */
export const causesOf = (error: unknown): Error[] => {
  const chain: Error[] = []
  for (let current = error; current instanceof Error && !chain.includes(current); current = current.cause) {
    chain.push(current)
  }
  return chain
}

/** Resolves when the server has let go what the failed statement held; null when nothing was left. */
export const letGoOf = (error: unknown): Promise<void> | null =>
  causesOf(error).find(each => each instanceof ConnectionLostError)?.letGo ?? null

export const sqlStateOf = (error: unknown): string | null =>
  causesOf(error).find(each => each instanceof pg.DatabaseError)?.code ?? null

export const classifyFailure = (error: unknown): FailureKind => {
  if (error instanceof UnreachableError) return 'unreachable'
  const state = sqlStateOf(error)
  if (state === null) return isConnectionError(error) ? 'connection' : 'defect'
  if (state.startsWith('08') || CONNECTION_STATES.has(state)) return 'connection'
  if (state === '40001' || state === '40P01') return 'conflict'
  if (state === '55P03') return 'locked'
  if (state.startsWith('22') || state.startsWith('23') || state.startsWith('54')) return 'data'
  if (state.startsWith('42') || state.startsWith('3F') || state.startsWith('0A')) return 'defect'
  return 'server'
}

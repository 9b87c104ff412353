import { DrizzleQueryError } from './drizzle.ts'
import pg from 'pg'

/** No connection was available: the statement was never sent. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError'
  /** The server has answered, in a way that no later try changes. */
  readonly isFinal: boolean
  constructor(cause: unknown, { isFinal = false } = {}) {
    super('No connection to the database', { cause })
    this.isFinal = isFinal
  }
}

/**
 * What a database error means for the caller. SQLSTATEs decide it
 * (https://www.postgresql.org/docs/current/errcodes-appendix.html), never message texts. An error without a SQLSTATE comes from
 * the connection.
 *
 * - `unreachable`: no connection; nothing was sent.
 * - `connection`: lost, refused, shutting down. Whether the statement was carried out is unknown.
 * - `conflict`: 40001 serialization_failure, 40P01 deadlock_detected. Nothing was done; try again.
 * - `locked`: 55P03 lock_not_available. Nothing was done.
 * - `data`: class 22 (data), 23 (integrity), 54 (limits). The input itself is at fault.
 * - `defect`: class 42 (syntax, missing objects or rights), 3F (missing schema), 0A (not supported), and errors that do not come
 *   from the database at all. The service has a bug, or the database lacks what this version needs. Nothing was done.
 * - `server`: everything else (disk full, statement timeout, out of memory). Nothing was done.
 */
export type FailureKind = 'unreachable' | 'connection' | 'conflict' | 'locked' | 'data' | 'defect' | 'server'

const CONNECTION_STATES = new Set([
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '57P05', // idle_session_timeout
])

/** The connection broke or did not answer in time while a statement was in flight. The statement may have been carried out. */
export class ConnectionLostError extends Error {
  override readonly name = 'ConnectionLostError'
  /** Resolves when the server has ended its side of the connection. Until then the connection counts as one of the pool's. */
  readonly letGo: Promise<void>
  constructor(cause: unknown, letGo = Promise.resolve()) {
    super('The connection to the database was lost', { cause })
    this.letGo = letGo
  }
}

/** Whether the error comes from a connection: one of this file, or of a Drizzle query that pg could not send. */
const isConnectionError = (error: unknown): boolean =>
  error instanceof ConnectionLostError || error instanceof DrizzleQueryError

const SPOILING_STATES = new Set([
  '25006', // read_only_sql_transaction: after a failover, the server is a standby now
  '0A000', // feature_not_supported: "cached plan must not change result type", after an upgrade
])

/** Whether the session itself is at fault, so that the next statement on it would fail as well. */
export const spoilsConnection = (error: unknown): boolean =>
  classifyFailure(error) === 'connection' || SPOILING_STATES.has(sqlStateOf(error) ?? '')

/** An error and its causes, outermost first. Each error comes once, even if the chain of causes is circular. */
export const causesOf = (error: unknown): Error[] => {
  const chain: Error[] = []
  for (let current = error; current instanceof Error && !chain.includes(current); current = current.cause) {
    chain.push(current)
  }
  return chain
}

/** Resolves when the server has ended what the failed statement was doing; null when there was nothing to end. */
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

import { randomInt } from 'node:crypto'
import type pg from 'pg'
import { connectClient } from './client.ts'
import { clientOptions, sessionOptions } from './connection.ts'
import { sqlStateOf } from './failures.ts'
import { UnfitDatabaseError } from './fitness.ts'

/**
 * What a connection reaches: the server itself, a pooler that keeps a server's session for it, or a pooler that gives it another
 * session for each transaction.
 */
export type Route = 'direct' | 'session' | 'transaction'

/** A pooler that chooses among idle sessions at random may give the same one twice. */
const ATTEMPTS = 5

const readBackend = async (client: pg.Client): Promise<number> => {
  const { rows } = await client.query<{ pid: number }>('SELECT pg_catalog.pg_backend_pid() AS pid')
  return rows[0]?.pid ?? 0
}

/** The process that cancels the client's statements: that of its session if nothing is in between, else one of a pooler's making. */
const cancelTarget = (client: pg.Client): number | null => (client as unknown as { processID: number | null }).processID

/**
 * Finds out what `client`, which is connected to `url` and in no transaction, reaches. A session belongs to one connection. So it
 * is a pooler in transaction mode that lets a second connection have the session of the first, or moves the first to another one.
 */
export const routeOf = async (client: pg.Client, url: string): Promise<Route> => {
  const first = await readBackend(client)
  if (first === cancelTarget(client)) return 'direct'
  const second = await connectClient(clientOptions(url))
  try {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      await second.query('BEGIN')
      const isShared = (await readBackend(second)) === first
      // Not asked while the second one holds a session: the pooler may have no other.
      await second.query('COMMIT')
      if (isShared || (await readBackend(client)) !== first) return 'transaction'
    }
    return 'session'
  } finally {
    await second.end()
  }
}

/** Raises `UnfitDatabaseError` if `client` reaches `url` through a pooler that would lose its locks and its LISTEN. */
export const refuseTransactionPooler = async (client: pg.Client, url: string): Promise<void> => {
  if ((await routeOf(client, url)) !== 'transaction') return
  throw new UnfitDatabaseError(
    'the connection goes through a pooler in transaction mode, which keeps neither locks nor LISTEN. Set DATABASE_LISTEN_URL to ' +
      'the address of the server itself, and DATABASE_PREPARED_STATEMENTS=false for the pooler in DATABASE_URL',
  )
}

/** The pooler, or the server, must accept what each session of the service sets when it begins. */
const trySession = async (url: string): Promise<void> => {
  const session = await connectClient(sessionOptions(url)).catch((error: unknown) => {
    if (sqlStateOf(error) === null) throw error
    const message = error instanceof Error && error.cause instanceof Error ? error.cause.message : ''
    throw new UnfitDatabaseError(
      `the pooler refuses the settings of a session (${message}). Set DATABASE_PREPARED_STATEMENTS=false`,
    )
  })
  await session.end()
}

/** A session lock in one database is seen in this database only. */
const isSameDatabase = async (one: pg.Client, other: pg.Client): Promise<boolean> => {
  const key = randomInt(2 ** 47)
  await one.query('SELECT pg_catalog.pg_advisory_lock($1)', [key])
  const { rows } = await other.query<{ free: boolean }>('SELECT pg_catalog.pg_try_advisory_xact_lock($1) AS free', [
    key,
  ])
  await one.query('SELECT pg_catalog.pg_advisory_unlock($1)', [key])
  return rows[0]?.free === false
}

export interface PoolRoute {
  /** The address of the service's pools. */
  url: string
  /** The address that migrations and LISTEN use. */
  listenUrl: string
  preparedStatements: boolean
}

/**
 * Raises `UnfitDatabaseError` if the pools would not work, or only in part: with prepared statements and settings of sessions
 * through a pooler in transaction mode, or on another database than the one that was migrated. Raises `UnreachableError` if there
 * is no connection.
 */
export const refuseUnfitPool = async ({ url, listenUrl, preparedStatements }: PoolRoute): Promise<void> => {
  const client = await connectClient(clientOptions(url))
  try {
    const route = await routeOf(client, url)
    if (preparedStatements && route === 'transaction') {
      throw new UnfitDatabaseError(
        'the connection goes through a pooler in transaction mode, where prepared statements and settings of a session belong to whoever comes ' +
          'next. Set DATABASE_PREPARED_STATEMENTS=false',
      )
    }
    if (preparedStatements && route === 'session') await trySession(url)
    if (listenUrl === url) return
    const listener = await connectClient(clientOptions(listenUrl))
    try {
      if (await isSameDatabase(listener, client)) return
    } finally {
      await listener.end()
    }
    throw new UnfitDatabaseError(
      'DATABASE_URL and DATABASE_LISTEN_URL lead to two databases. Set DATABASE_LISTEN_URL to a direct connection to the same one',
    )
  } finally {
    await client.end()
  }
}

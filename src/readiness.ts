import { answersWithin } from './answers-within.ts'
import type { Database } from './database/connection.ts'
import { classifyFailure } from './database/failures.ts'
import { TABLES } from './database/fitness.ts'
import { FUNCTIONS } from './database/functions.ts'
import type { Unreadiness } from './http/routes/health.ts'

/** Orchestrators do not wait longer for the answer of a readiness probe. */
const READY_WITHIN_MS = 1_500

/**
 * Uses a function of this version, reads a table, and names all others, so that names, rights and the connection are tested. The
 * table that is read is the smallest one: others may have many dead rows before the first live one. The right to read a table is
 * checked also where nothing is read.
 */
const STATEMENT = `SELECT ${FUNCTIONS}.clock(), EXISTS (SELECT FROM public.service_processes),
  ${TABLES.map(table => `EXISTS (SELECT FROM public.${table} WHERE false)`).join(', ')},
  current_setting('transaction_read_only')::boolean AS "isReadOnly"`

/** The server of this connection became a standby, or its disk is so full that it was made read-only. */
class ReadOnlyError extends Error {}

const read = async (database: Database): Promise<void> => {
  const [row] = await database.query<{ isReadOnly: boolean }>(null, STATEMENT, [])
  if (row?.isReadOnly) throw new ReadOnlyError('The database is read-only')
}

export interface ReadinessOptions {
  /** Every pool that the service works with. Each has its own connections, and may have other rights. */
  databases: Database[]
  /** Whether the database refuses the statement that writes heartbeats (intake.ts). */
  isFlushRefused: () => boolean
}

/** Why the process should get no traffic; null when it should. */
export const createReadiness =
  ({ databases, isFlushRefused }: ReadinessOptions) =>
  async (): Promise<Unreadiness | null> => {
    if (isFlushRefused()) return 'heartbeats'
    const refusals: Unreadiness[] = []
    const readings = databases.map(database =>
      read(database).catch((error: unknown) => {
        if (error instanceof ReadOnlyError) refusals.push('read_only')
        else if (classifyFailure(error) === 'defect') refusals.push('statements')
        throw error
      }),
    )
    if (await answersWithin(READY_WITHIN_MS, Promise.all(readings))) return null
    return refusals[0] ?? 'database'
  }

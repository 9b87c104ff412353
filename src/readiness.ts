import { answersWithin } from './answers-within.ts'
import type { Database } from './database/connection.ts'
import { classifyFailure } from './database/failures.ts'
import { FUNCTIONS } from './database/functions.ts'
import type { Unreadiness } from './http/routes/health.ts'

/** Orchestrators do not wait longer for the answer of a readiness probe. */
const READY_WITHIN_MS = 1_500

/**
 * Uses a function and a table of this version, so that names, rights and the connection are tested. The table is the smallest
 * one.
 */
const STATEMENT = `SELECT ${FUNCTIONS}.clock() FROM public.service_processes LIMIT 1`

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
    const refusals: unknown[] = []
    const readings = databases.map(database =>
      database.query(null, STATEMENT, []).catch((error: unknown) => {
        if (classifyFailure(error) === 'defect') refusals.push(error)
        throw error
      }),
    )
    if (await answersWithin(READY_WITHIN_MS, Promise.all(readings))) return null
    return refusals.length > 0 ? 'statements' : 'database'
  }

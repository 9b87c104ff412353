import type { Logger } from 'pino'
import type { Database } from '../database/connection.ts'
import type { JobChange } from '../contract/change.ts'

/** Rows taken in one statement. */
const MOST = 500

/** The shortest time between two looks of a process, however many workers end their jobs in SQL. */
const GAP_MS = 1_000

interface UntoldRow {
  tenant_id: string
  job_id: string
  job_type: string
  revision: number
  event: string | null
}

export interface UntoldChanges {
  /** Looks soon for changes that no process has announced. Never raises: if a look fails, the next one finds the changes. */
  look(): void
  /** Resolves when no look is in progress, and none will begin. */
  close(): Promise<void>
}

export interface UntoldChangesOptions {
  database: Database
  /** Called with each change, in one process of all, for the log and the metrics. */
  onChanges: (changes: readonly JobChange[]) => void
  log: Pick<Logger, 'warn'>
}

/**
 * Finds the lifecycle changes that workers make in SQL, so that they are logged and counted once. Every process is notified of
 * such a change, and the one that first takes its row of `untold_changes` logs and counts it. If that process crashes before it
 * does, the change is not logged, as when a process crashes after a commit of its own.
 */
export const createUntoldChanges = ({ database, onChanges, log }: UntoldChangesOptions): UntoldChanges => {
  let wanted = false
  let closed = false
  let looking: Promise<void> | null = null
  let timer: NodeJS.Timeout | null = null

  const takeAll = async (): Promise<void> => {
    for (let more = true; more;) {
      const rows = await database.query<UntoldRow>(
        'headway_take_untold',
        `DELETE FROM public.untold_changes WHERE id = ANY (ARRAY(
           SELECT u.id FROM public.untold_changes u ORDER BY u.id LIMIT ${MOST} FOR UPDATE SKIP LOCKED))
         RETURNING tenant_id, job_id, job_type, revision, event`,
        [],
      )
      if (rows.length > 0) onChanges(rows.map(toChange))
      more = rows.length === MOST && !closed
    }
  }

  const run = async (): Promise<void> => {
    wanted = false
    try {
      await takeAll()
    } catch (error) {
      log.warn({ err: error }, 'changes that workers made in SQL cannot be read; the next sweep looks again')
    }
  }

  const look = (): void => {
    wanted = true
    if (closed || looking || timer) return
    looking = run().finally(() => {
      looking = null
      if (closed) return
      timer = setTimeout(() => {
        timer = null
        if (wanted) look()
      }, GAP_MS).unref()
    })
  }

  return {
    look,
    async close() {
      closed = true
      if (timer) clearTimeout(timer)
      await looking
    },
  }
}

const toChange = ({ tenant_id, job_id, job_type, revision, event }: UntoldRow): JobChange => ({
  tenantId: tenant_id,
  jobId: job_id,
  jobType: job_type,
  revision,
  lifecycle: true,
  event,
  isUntold: true,
})

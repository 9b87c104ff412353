import type { Logger } from 'pino'
import type { Database } from '../database/connection.ts'
import type { JobChange } from '../contract/change.ts'

/** Taken in one statement. */
const MOST = 500

/** However many workers end their jobs in SQL, a process looks no more often. */
const GAP_MS = 1_000

interface UntoldRow {
  tenant_id: string
  job_id: string
  job_type: string
  revision: number
  event: string | null
}

export interface UntoldChanges {
  /** Looks soon for changes that no process has told. Never raises: what a look does not find, the next one does. */
  look(): void
  /** Resolves when no look is under way, and none will be. */
  close(): Promise<void>
}

export interface UntoldChangesOptions {
  database: Database
  /** Told of each change by one process of all, for the log and the metrics. */
  onChanges: (changes: readonly JobChange[]) => void
  log: Pick<Logger, 'warn'>
}

/**
 * Tells of the lifecycle changes that workers make in SQL. Every process hears of them and none has made them, so whoever takes
 * a row of `untold_changes` first tells of it. A process that crashes meanwhile takes the change along, as one that crashes
 * after a commit of its own does.
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

import type { JobChange } from '../contract/change.ts'

interface ChangeLog {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
}

/**
 * Logs each lifecycle change: at info when a job has failed or stalled and for all changes that the sweeper makes, otherwise at
 * debug. For a heartbeat it is only known that it started or recovered its job. Names and messages are not logged.
 */
export const logChanges = (log: ChangeLog, changes: readonly JobChange[]): void => {
  for (const { lifecycle, jobId, jobType, tenantId, revision, event, isSwept, isUntold } of changes) {
    if (!lifecycle) continue
    const level = event === 'failed' || event === 'stalled' || isSwept ? 'info' : 'debug'
    const fields = {
      jobId,
      jobType,
      tenantId,
      revision,
      event: event ?? undefined,
      ...(isSwept && { by: 'sweeper' }),
      ...(isUntold && { by: 'sql' }),
    }
    log[level](fields, `job ${event ? event.replace('_', ' ') : 'started or recovered'}`)
  }
}

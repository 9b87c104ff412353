import type pg from 'pg'

/** A living process cancels what has not been answered for less than half of it. */
const ORPHAN_AFTER_SECONDS = 30

/**
 * Cancels statements of processes that have died while their backends waited for a synchronous standby: such a backend does not
 * look at its socket, so that a service that is restarted again and again would leave one after the other. What they wrote is
 * committed already, and nobody was told so.
 */
export const cancelOrphans = async (client: pg.Client, olderThanSeconds = ORPHAN_AFTER_SECONDS): Promise<void> => {
  await client.query(
    `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user AND application_name = current_setting('application_name')
       AND pid <> pg_backend_pid() AND wait_event = 'SyncRep' AND clock_timestamp() - query_start > make_interval(secs => $1)`,
    [olderThanSeconds],
  )
}

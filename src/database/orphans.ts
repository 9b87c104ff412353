import type pg from 'pg'

/** A live process cancels its own unanswered statements after less than half of this time. */
const ORPHAN_AFTER_SECONDS = 30

/**
 * Cancels statements of dead processes whose backends wait for a synchronous standby. Such a backend does not look at its
 * socket, so a service that is restarted again and again would leave more and more of them. Their changes are committed
 * already, and no caller was told so.
 */
export const cancelOrphans = async (client: pg.Client, olderThanSeconds = ORPHAN_AFTER_SECONDS): Promise<void> => {
  await client.query(
    `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND usename = current_user AND application_name = current_setting('application_name')
       AND pid <> pg_backend_pid() AND wait_event = 'SyncRep' AND clock_timestamp() - query_start > make_interval(secs => $1)`,
    [olderThanSeconds],
  )
}

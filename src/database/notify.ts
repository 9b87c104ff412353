import type { Database } from './connection.ts'

/** Sends payloads to all who listen on a channel, in one statement of its own. */
export type Notify = (payloads: readonly string[]) => Promise<void>

/** It does not wait for the disk: a hint that a crash loses is found by reconcile. */
export const createNotify =
  (database: Database, channel: string): Notify =>
  async payloads => {
    await database.query(
      'headway_notify',
      "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, payload) FROM unnest($2::text[]) AS payload",
      [channel, payloads],
    )
  }

import { OPEN_IDENTITY, scopeOf } from '../../../dist/jobs/identity.js'

export const SCOPE = scopeOf(OPEN_IDENTITY)

/** A report as the intake hands it to the database, for which nobody waits. */
export const entryOf = heartbeat => ({
  scope: SCOPE,
  heartbeat: { workerId: 'default', ...heartbeat },
  keepHigher: false,
  waiters: [],
  buffered: false,
  since: 0,
  bytes: 0,
})

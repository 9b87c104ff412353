import type { Entry } from '../../src/jobs/heartbeats/queue.ts'
import type { Heartbeat } from '../../src/contract/heartbeat.ts'
import { OPEN_IDENTITY, scopeOf } from '../../src/jobs/identity.ts'

/** A report as the intake hands it to the database, for which nobody waits. */
export const entryOf = (heartbeat: Partial<Heartbeat> & { jobId: string }, over: Partial<Entry> = {}): Entry => ({
  scope: scopeOf(OPEN_IDENTITY),
  heartbeat: { workerId: 'default', ...heartbeat },
  keepHigher: false,
  waiters: [],
  buffered: false,
  since: 0,
  bytes: 0,
  isUnproven: false,
  ...over,
})

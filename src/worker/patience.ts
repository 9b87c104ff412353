import { TRY_TIMEOUT_MS } from '../node-client/client.ts'

/** Even the end of the shortest work is tried a second time. */
const SHORTEST_MS = 1_000
/** A restart of the service, with the migrations of a new version, takes less. */
const LONGEST_MS = 30_000
/** The wait is at most this part of the time that the work has taken. */
const SHARE = 0.1

/** The least time for a service that is available but slow: as long as one answer may take. */
export const SLOW_MS = TRY_TIMEOUT_MS

/**
 * How long (ms) the end of work waits for a service that is away, after `workedMs` of work: a tenth of that, at least 1 s and
 * at most 30 s. Jobs of a second that run every minute must not pile up during an outage. The end of an import of three hours
 * must reach the service even if that restarts meanwhile. When the end of a short job is lost, the job is soon done again.
 */
export const patienceAfter = (workedMs: number): number => Math.min(Math.max(SHORTEST_MS, workedMs * SHARE), LONGEST_MS)

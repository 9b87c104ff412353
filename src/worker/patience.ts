import { TRY_TIMEOUT_MS } from '../node-client/client.ts'

/** The end of even the shortest work is worth a second try. */
const SHORTEST_MS = 1_000
/** A restart of the service, with the migrations of a new version, takes less. */
const LONGEST_MS = 30_000
/** So much of the time that the work has taken may be added to it. */
const SHARE = 0.1

/** The least that a service is given which is there and only slow: as long as one of its answers may take. */
export const SLOW_MS = TRY_TIMEOUT_MS

/**
 * How long (ms) the end of work waits for a service that is away, when the work has lasted `workedMs`: a tenth of that, at least
 * 1 s and at most 30 s. A job of a second that runs every minute must not pile up behind an outage, and the end of an import of
 * three hours must reach the service through a restart of it. What is lost with the end of a short job is soon done again.
 */
export const patienceAfter = (workedMs: number): number => Math.min(Math.max(SHORTEST_MS, workedMs * SHARE), LONGEST_MS)

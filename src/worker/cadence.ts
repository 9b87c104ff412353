/** A bar should move about once a second, and not more often. */
const SMOOTH_MS = 1_000
/** When the service asks for fewer heartbeats, reports become fewer in proportion. */
const REPORTS_PER_HEARTBEAT = 5
/** Used until an answer names another interval. */
const DEFAULT_HEARTBEAT_MS = 5_000
const SLOWEST_HEARTBEAT_MS = 60_000

/** How often a worker reports, as the service asks for. */
export class Cadence {
  #reportMs = SMOOTH_MS
  #heartbeatMs = DEFAULT_HEARTBEAT_MS

  /** Milliseconds from one report to the next, which has something new to say or is a mere heartbeat. */
  waitMs(hasNews: boolean): number {
    return hasNews ? this.#reportMs : this.#heartbeatMs
  }

  /** Takes the interval that an answer names. What is no interval changes nothing. */
  follow(heartbeatIntervalMs: unknown): void {
    if (typeof heartbeatIntervalMs !== 'number' || !(heartbeatIntervalMs > 0)) return
    this.#heartbeatMs = Math.min(heartbeatIntervalMs, SLOWEST_HEARTBEAT_MS)
    this.#reportMs = Math.min(this.#heartbeatMs, Math.max(SMOOTH_MS, this.#heartbeatMs / REPORTS_PER_HEARTBEAT))
  }
}

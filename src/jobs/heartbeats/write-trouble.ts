import type { Logger } from 'pino'
import { classifyFailure, sqlStateOf } from '../../database/failures.ts'

const FIRST_BACKOFF_MS = 50
const LONGEST_BACKOFF_MS = 1_000
/** How often the log repeats that heartbeats cannot be written. */
const REMINDER_MS = 60_000

/** Knows whether the database writes heartbeats, logs when that changes, and says how long to wait after a failure. */
export class WriteTrouble {
  readonly #log: Logger
  #backoffMs = 0
  #failedMs = 0
  #toldMs = -Infinity
  #refused = false

  constructor(log: Logger) {
    this.#log = log
  }

  /**
   * Whether the last write failed because the database does not have the statement, tables or rights of this version (`defect`
   * in failures.ts).
   */
  get isRefused(): boolean {
    return this.#refused
  }

  /** Notes that a write failed while `pending` entries wait. */
  failed(cause: unknown, pending: number): void {
    this.#failedMs = performance.now()
    const refused = sqlStateOf(cause) !== null && classifyFailure(cause) === 'defect'
    const isNews = this.#backoffMs === 0 || refused !== this.#refused
    this.#refused = refused
    if (!isNews && this.#failedMs - this.#toldMs < REMINDER_MS) return
    this.#toldMs = this.#failedMs
    this.#log.error(
      { err: cause, pending },
      refused
        ? 'the database refuses to write heartbeats, they wait in memory: functions, tables or rights of this version are missing'
        : 'cannot write heartbeats, they wait in memory',
    )
  }

  /** How long to wait, in milliseconds: twice as long after each failure, up to a second, less a random part of up to half. */
  nextRestMs(): number {
    this.#backoffMs = Math.min(LONGEST_BACKOFF_MS, Math.max(FIRST_BACKOFF_MS, this.#backoffMs * 2))
    return this.#backoffMs * (0.5 + Math.random() / 2)
  }

  /**
   * Notes that a write that began at `begunMs` succeeded. If it began before the last failure, it says nothing about the time
   * after that.
   */
  succeeded(begunMs: number, pending: number): void {
    if (this.#backoffMs === 0 || begunMs < this.#failedMs) return
    this.#backoffMs = 0
    this.#refused = false
    this.#log.info({ pending }, 'heartbeats are written again')
  }
}

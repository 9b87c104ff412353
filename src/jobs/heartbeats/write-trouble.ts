import type { Logger } from 'pino'
import { classifyFailure, sqlStateOf } from '../../database/failures.ts'

const FIRST_BACKOFF_MS = 50
const LONGEST_BACKOFF_MS = 1_000
/** How often the log repeats that nothing can be written. */
const REMINDER_MS = 60_000

/** Knows whether the database takes what is written, tells the log of it, and says how long to rest after a failure. */
export class WriteTrouble {
  readonly #log: Logger
  #backoffMs = 0
  #failedMs = 0
  #toldMs = -Infinity
  #refused = false

  constructor(log: Logger) {
    this.#log = log
  }

  /** The last write failed because the database knows this version's statement, tables or rights no more (`defect` in failures.ts). */
  get isRefused(): boolean {
    return this.#refused
  }

  /** A write failed while `pending` entries wait. */
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

  /** How long to rest, in milliseconds: twice as long each time, up to a second, and up to half less, by chance. */
  nextRestMs(): number {
    this.#backoffMs = Math.min(LONGEST_BACKOFF_MS, Math.max(FIRST_BACKOFF_MS, this.#backoffMs * 2))
    return this.#backoffMs * (0.5 + Math.random() / 2)
  }

  /** A write that began at `begunMs` went well. One that began before the last failure tells nothing of the time after it. */
  succeeded(begunMs: number, pending: number): void {
    if (this.#backoffMs === 0 || begunMs < this.#failedMs) return
    this.#backoffMs = 0
    this.#refused = false
    this.#log.info({ pending }, 'heartbeats are written again')
  }
}

import type { ConnectionState } from './types.ts'

/** Whether what is shown is as of now. */
export const isArriving = (connection: ConnectionState): boolean => connection === 'live' || connection === 'polling'

/**
 * The time that what is shown is of. It stands still while nothing arrives: without the connection nobody knows whether a job
 * gets on, and a time left that counts down all the same would be made up.
 */
export class ShownClock {
  /** When something could last arrive; null: not yet. */
  #lastMs: number | null = null

  get lastMs(): number | null {
    return this.#lastMs
  }

  read(connection: ConnectionState, nowMs: number): number {
    if (isArriving(connection)) this.#lastMs = nowMs
    return this.#lastMs ?? nowMs
  }
}

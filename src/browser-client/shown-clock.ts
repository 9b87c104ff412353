import type { ConnectionState } from './types.ts'

/** Whether the shown jobs are up to date. */
export const isArriving = (connection: ConnectionState): boolean => connection === 'live' || connection === 'polling'

/**
 * The time at which the shown jobs were up to date. It stops while the connection is lost, because the page then does not know
 * whether a job advances, and a time left that counts down would be invented.
 */
export class ShownClock {
  /** The last time at which the connection worked; null: it has not worked yet. */
  #lastMs: number | null = null

  get lastMs(): number | null {
    return this.#lastMs
  }

  read(connection: ConnectionState, nowMs: number): number {
    if (isArriving(connection)) this.#lastMs = nowMs
    return this.#lastMs ?? nowMs
  }
}

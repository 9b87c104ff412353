import { HeadwayError } from '../contract/errors.ts'
import { NoTurnError, Turns } from '../turns/turns.ts'

/** Snapshots of one tenant that are read, or wait to be made of what was read: each may hold megabytes. */
const AT_ONCE = 16
const PATIENCE_MS = 30_000

/** Limits how many snapshots of a tenant are under way. */
export class SnapshotTurns {
  readonly #turns = new Turns({
    size: Infinity,
    perTenantAlone: AT_ONCE,
    perTenant: AT_ONCE,
    maxWaitingPerCaller: Infinity,
    patienceMs: PATIENCE_MS,
  })

  /** Reads and makes a snapshot when there is room for it. Raises what that raises, or `overloaded`. */
  async run<T>(tenantId: string, read: () => Promise<T>): Promise<T> {
    const end = await this.#turns.take({ tenantId, caller: null }).catch((error: unknown) => {
      throw error instanceof NoTurnError
        ? new HeadwayError('overloaded', 'Too many streams of your tenant begin at this time: try again later.', {
            retryAfterSeconds: 5,
          })
        : error
    })
    try {
      return await read()
    } finally {
      end()
    }
  }
}

/** The error for a reader that has left before it got its snapshot: nobody hears it. */
export const readerLeft = () => new HeadwayError('too_many_streams', 'The reader has left.')

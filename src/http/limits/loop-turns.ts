import { NoTurnError, Turns, type Party } from '../../turns/turns.ts'
import { HeadwayError } from '../../contract/errors.ts'
import { Pieces } from '../../turns/pieces.ts'
import { Recent } from '../../turns/recent.ts'

/**
 * While other tenants call, the loop rests from large requests for four times as long as the last piece took: all large
 * requests together take a fifth of the loop's time.
 */
const REST = 4

/**
 * While other tenants call, at most 32 MB of bodies a second are read. To read them takes little time, but they become garbage,
 * and each collection stops the process for 10 to 25 ms (decision 29).
 */
const BYTES_PER_MS = 32 * 1024

/** Longer than a request may take. */
const PATIENCE_MS = 60_000

/** A shorter list is processed at once, because that takes less time than waiting. */
const SHORT_LIST = 50

/** What the piece of work that runs has cost beside its time. */
export interface Turn {
  /** Bytes of bodies that it has read. */
  bytesRead: number
}

/**
 * Shares the event loop among callers whose requests need much of it. Only one piece of work runs at a time. Tenants take
 * turns, and within a tenant its identities take turns. Between two pieces the loop serves other requests, so a small request
 * waits for one piece at most, however many large ones there are. While other tenants call (`saw`), a rest follows each piece;
 * a tenant that calls alone loses no time.
 */
export class LoopTurns {
  readonly #callers = new Recent()
  readonly #turns = new Turns({
    size: 1,
    perTenantAlone: 1,
    perTenant: 1,
    maxWaitingPerCaller: Infinity,
    patienceMs: PATIENCE_MS,
  })

  /** Notes that a tenant has called, with any request. */
  saw(tenantId: string): void {
    this.#callers.add(tenantId, performance.now())
  }

  /** Runs `work` when it is the party's turn. Raises what `work` raises, or `overloaded`. */
  async run<T>(party: Party, work: (turn: Turn) => T | Promise<T>): Promise<T> {
    const end = await this.#turns.take(party).catch((error: unknown) => {
      throw error instanceof NoTurnError
        ? new HeadwayError('overloaded', 'This process has too much to do at the moment: try again later.', {
            retryAfterSeconds: 2,
          })
        : error
    })
    const turn: Turn = { bytesRead: 0 }
    const begunAt = performance.now()
    try {
      return await work(turn)
    } finally {
      const endedAt = performance.now()
      if (this.#callers.isAlone(party.tenantId)) setImmediate(end)
      else setTimeout(end, Math.max(REST * (endedAt - begunAt), turn.bytesRead / BYTES_PER_MS))
    }
  }

  /** `items.map(each)`, in pieces of as many items as a turn has time for. */
  async map<In, Out>(party: Party, items: readonly In[], each: (item: In, index: number) => Out): Promise<Out[]> {
    if (items.length <= SHORT_LIST) return items.map(each)
    const results: Out[] = []
    const goOn = () => {
      const piece = new Pieces()
      for (const item of items.slice(results.length)) {
        results.push(each(item, results.length))
        if (piece.isOver()) return
      }
    }
    while (results.length < items.length) await this.run(party, goOn)
    return results
  }
}

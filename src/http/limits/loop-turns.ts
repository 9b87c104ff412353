import { NoTurnError, Turns, type Party } from '../../turns/turns.ts'
import { HeadwayError } from '../../contract/errors.ts'
import { Recent } from '../../turns/recent.ts'

/** The event loop serves many others in the meantime: what takes longer is cut into pieces of so many milliseconds. */
const PIECE_MS = 4

/** Where other tenants call, the loop is free for twice as long as a piece took: all large requests together take a third of it. */
const REST = 2

/** Longer than a request may take. */
const PATIENCE_MS = 60_000

/** Shorter lists are gone through at once: that takes less than waiting would. */
const SHORT_LIST = 50

/**
 * Shares the event loop among those who give it much to do: one piece of work at a time, a tenant's after another's, and among
 * those of a tenant an identity's after another's. Between two pieces the loop serves whatever else has come, so that a small
 * request waits for one piece at most, however many large ones there are. While other tenants call (`saw`), a piece is followed
 * by a rest; who is alone loses nothing.
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

  /** A tenant has called, for whatever. */
  saw(tenantId: string): void {
    this.#callers.add(tenantId, performance.now())
  }

  /** Runs `work` when it is the party's turn. Raises what it raises, and `overloaded`. */
  async run<T>(party: Party, work: () => T): Promise<T> {
    const end = await this.#turns.take(party).catch((error: unknown) => {
      throw error instanceof NoTurnError
        ? new HeadwayError('overloaded', 'This process has too much to do at the moment: try again later.', {
            retryAfterSeconds: 2,
          })
        : error
    })
    const begunAt = performance.now()
    try {
      return work()
    } finally {
      const endedAt = performance.now()
      if (this.#callers.isAlone(party.tenantId)) setImmediate(end)
      else setTimeout(end, REST * (endedAt - begunAt))
    }
  }

  /** `items.map(each)`, as many items in a turn as it has time for. */
  async map<In, Out>(party: Party, items: readonly In[], each: (item: In, index: number) => Out): Promise<Out[]> {
    if (items.length <= SHORT_LIST) return items.map(each)
    const results: Out[] = []
    const goOn = () => {
      const until = performance.now() + PIECE_MS
      for (const item of items.slice(results.length)) {
        results.push(each(item, results.length))
        if (performance.now() >= until) return
      }
    }
    while (results.length < items.length) await this.run(party, goOn)
    return results
  }
}

import { NoTurnError, Turns, type Party } from './turns.ts'
import { HeadwayError } from '../contract/errors.ts'
import { Pieces } from './pieces.ts'
import { Recent } from './recent.ts'

/**
 * While other tenants call, the loop rests from large requests for four times as long as the last piece took: all large
 * requests together take a fifth of the loop's time.
 */
const REST = 4

/**
 * While other tenants call, at most 32 MB a second are read from bodies and written to streams. That takes little time, but what
 * was read or written becomes garbage, and each collection stops the process for 10 to 25 ms (decision 29).
 */
const BYTES_PER_MS = 32 * 1024

/** Longer than a request may take. */
const PATIENCE_MS = 60_000

/** A shorter list is processed at once, because that takes less time than waiting. */
const SHORT_LIST = 50

/** What the piece of work that runs has cost beside its time. */
export interface Turn {
  /** Bytes that it has read or written. */
  bytes: number
}

type Work<T> = (turn: Turn) => T | Promise<T>

/**
 * Shares the event loop among callers whose requests need much of it. Only one piece of work runs at a time. Tenants take
 * turns, and within a tenant its identities take turns. Between two pieces the loop serves other requests, so a small request
 * waits for one piece at most, however many large ones there are. While other tenants call (`saw`), a rest follows each piece;
 * a tenant that calls alone loses no time.
 */
export class LoopTurns {
  readonly #callers = new Recent()
  readonly #turns: Turns

  /** `patienceMs`: how long work waits for a turn. */
  constructor({ patienceMs = PATIENCE_MS } = {}) {
    this.#turns = new Turns({
      size: 1,
      perTenantAlone: 1,
      perTenant: 1,
      maxWaitingPerCaller: Infinity,
      patienceMs,
    })
  }

  /** Notes that a tenant has called, with any request. */
  saw(tenantId: string): void {
    this.#callers.add(tenantId, performance.now())
  }

  /** Runs `work` when it is the party's turn. Raises what `work` raises, or `overloaded`. */
  async run<T>(party: Party, work: Work<T>): Promise<T> {
    const end = await this.#turns.take(party).catch((error: unknown) => {
      throw error instanceof NoTurnError
        ? new HeadwayError('overloaded', 'This process has too much to do at the moment: try again later.', {
            retryAfterSeconds: 2,
          })
        : error
    })
    return this.#run(party, work, end)
  }

  /** The same for work that nobody could ask for again: it waits for its turn for as long as it takes. */
  async runPatiently<T>(party: Party, work: Work<T>): Promise<T> {
    for (;;) {
      try {
        return await this.#run(party, work, await this.#turns.take(party))
      } catch (error) {
        if (!(error instanceof NoTurnError)) throw error
      }
    }
  }

  async #run<T>({ tenantId }: Party, work: Work<T>, end: () => void): Promise<T> {
    const turn: Turn = { bytes: 0 }
    const begunAt = performance.now()
    try {
      return await work(turn)
    } finally {
      const endedAt = performance.now()
      if (this.#callers.isAlone(tenantId)) setImmediate(end)
      else setTimeout(end, Math.max(REST * (endedAt - begunAt), turn.bytes / BYTES_PER_MS))
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

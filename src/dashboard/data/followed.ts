import type { ReactiveController, ReactiveControllerHost } from 'lit'
import { headway, isConnected } from '../feed.ts'
import { Reading } from './reading.ts'
import type { Problem } from './reading.ts'

/**
 * Data about ended jobs that an element reads, by a query that may change. It is read again when the query changes, when a job
 * ends or begins again, and when the connection is back, as long as the element is shown.
 */
export class Followed<Query, Value> implements ReactiveController {
  readonly #read: (query: Query, signal: AbortSignal) => Promise<Value>
  readonly #restMs: number
  #key: string | null = null
  #reading: Reading<Value> | null = null
  /** The result of the previous query. */
  #former: Value | null = null
  #stops: (() => void)[] = []

  constructor(
    host: ReactiveControllerHost,
    read: (query: Query, signal: AbortSignal) => Promise<Value>,
    restMs: number,
  ) {
    this.#read = read
    this.#restMs = restMs
    host.addController(this)
  }

  /** Sets the query. */
  ask(query: Query): void {
    const key = JSON.stringify(query)
    if (key === this.#key) return
    this.#key = key
    this.#former = this.value
    this.#reading?.stop()
    this.#reading = new Reading(signal => this.#read(query, signal), this.#restMs)
    this.#reading.refresh()
  }

  /** Asks nothing any more, until the next `ask`. */
  rest(): void {
    this.#reading?.stop()
    this.#reading = null
    this.#key = null
    this.#former = null
  }

  readonly refresh = (): void => {
    this.#reading?.refresh()
  }

  /** The result. Until the first answer to a new query, it is the previous query's result; null if the new query failed. */
  get value(): Value | null {
    const reading = this.#reading
    if (reading === null) return null
    return reading.isLoading ? this.#former : reading.value
  }

  /** Whether `value` belongs to the previous query. */
  get isOld(): boolean {
    return this.#reading?.isLoading ?? true
  }

  get problem(): Problem | null {
    return this.#reading?.problem ?? null
  }

  hostConnected(): void {
    let wasConnected = isConnected()
    this.#stops = [
      headway.on('finished', this.refresh),
      headway.on('retried', this.refresh),
      headway.on('recovered', this.refresh),
      headway.subscribe(() => {
        const isBack = isConnected() && !wasConnected
        wasConnected = isConnected()
        if (isBack) this.refresh()
      }),
    ]
  }

  hostDisconnected(): void {
    for (const stop of this.#stops) stop()
    this.#reading?.stop()
  }
}

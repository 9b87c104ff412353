import type { ReactiveController, ReactiveControllerHost } from 'lit'
import { headway } from '../feed.ts'
import { Reading } from './reading.ts'
import type { Problem } from './reading.ts'

const isConnected = (): boolean => headway.connection === 'live' || headway.connection === 'polling'

/**
 * What an element reads of jobs that have ended, by a query that may change: asked for anew when it does, when a job ends or
 * begins again, and when the connection is back; for as long as the element is shown.
 */
export class Followed<Query, Value> implements ReactiveController {
  readonly #read: (query: Query, signal: AbortSignal) => Promise<Value>
  readonly #restMs: number
  #key: string | null = null
  #reading: Reading<Value> | null = null
  /** What the query before found. */
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

  /** Sees to it that this is what is read. */
  ask(query: Query): void {
    const key = JSON.stringify(query)
    if (key === this.#key) return
    this.#key = key
    this.#former = this.value
    this.#reading?.stop()
    this.#reading = new Reading(signal => this.#read(query, signal), this.#restMs)
    this.#reading.refresh()
  }

  readonly refresh = (): void => {
    this.#reading?.refresh()
  }

  /** Until the first answer to a new query, what the one before found; null also where the new one could not be read. */
  get value(): Value | null {
    const reading = this.#reading
    if (reading === null) return null
    return reading.isLoading ? this.#former : reading.value
  }

  /** Whether `value` is not what was asked for. */
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

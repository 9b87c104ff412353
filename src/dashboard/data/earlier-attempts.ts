import { headway } from '../feed.ts'
import type { Part } from './batch-picture.ts'
import { attemptsBefore } from './batch-timeline.ts'
import type { Attempt } from './batch-timeline.ts'
import { Reading } from './reading.ts'

const EVENTS_PAGE = 1_000
const REST_MS = 1_000

/** The earlier attempts of partitions, read from their histories for those that somebody looks at. */
export class EarlierAttempts {
  readonly #readings = new Map<string, { attempt: number; reading: Reading<Attempt[]> }>()

  /** Those of a partition; empty until they have been read. */
  of({ id, attempt }: Part['job']): readonly Attempt[] {
    if (attempt === 1) return []
    let known = this.#readings.get(id)
    if (known?.attempt !== attempt) {
      known?.reading.stop()
      const type = ['started', 'failed', 'cancelled', 'completed'] as const
      const reading = new Reading(async signal => {
        const { items } = await headway.api.events(id, { type, pageSize: EVENTS_PAGE }, { signal })
        return attemptsBefore(attempt, items)
      }, REST_MS)
      known = { attempt, reading }
      this.#readings.set(id, known)
      reading.refresh()
    }
    return known.reading.value ?? []
  }

  close(): void {
    for (const { reading } of this.#readings.values()) reading.stop()
    this.#readings.clear()
  }
}

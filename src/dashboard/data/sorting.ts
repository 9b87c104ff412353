import type { LiveJob } from '../../contract/live-job.ts'
import { isAdvancing, secondsLeft } from '../../browser-client/condition.ts'

export const SORTS = ['newest', 'oldest', 'name', 'done', 'left', 'speed'] as const
export type Sort = (typeof SORTS)[number]

/** How long an order is kept. Rows that change their places with every report cannot be read. */
const REST_MS = 5_000

const LAST = Number.MAX_VALUE

/** The value to sort by, smallest first; null comes last. */
const VALUES: Partial<Record<Sort, (job: LiveJob, nowMs: number) => number | null>> = {
  done: job => (job.status === 'running' ? -job.progressPercent : null),
  left: secondsLeft,
  speed: (job, nowMs) =>
    job.throughputPerSecond !== null && isAdvancing(job, nowMs) ? -job.throughputPerSecond : null,
}

const sorted = (jobs: readonly LiveJob[], sort: Sort, nowMs: number): LiveJob[] => {
  if (sort === 'oldest') return jobs.toReversed()
  if (sort === 'name') return jobs.toSorted((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }))
  const valueOf = VALUES[sort]
  if (valueOf === undefined) return [...jobs]
  const values = new Map(jobs.map(job => [job.id, valueOf(job, nowMs) ?? LAST]))
  return jobs.toSorted((a, b) => (values.get(a.id) ?? LAST) - (values.get(b.id) ?? LAST))
}

/** Sorts jobs, which come newest first, and keeps the order for a few seconds while their values change. */
export class Sorting {
  #sort: Sort = 'newest'
  #atMs = -Infinity
  #places: ReadonlyMap<string, number> = new Map()

  apply(jobs: readonly LiveJob[], sort: Sort, nowMs: number): readonly LiveJob[] {
    if (sort === 'newest') return jobs
    if (sort !== this.#sort || this.#places.size === 0 || nowMs - this.#atMs >= REST_MS) {
      const inOrder = sorted(jobs, sort, nowMs)
      this.#sort = sort
      this.#atMs = nowMs
      this.#places = new Map(inOrder.map(({ id }, place) => [id, place]))
      return inOrder
    }
    const placeOf = ({ id }: LiveJob) => this.#places.get(id) ?? LAST
    return jobs.toSorted((a, b) => placeOf(a) - placeOf(b))
  }
}

import type { LiveJob } from '../../contract/live-job.ts'
import { isAdvancing, secondsLeft } from '../../browser-client/condition.ts'
import { troubleOfActive } from './attention.ts'
import { HeldOrder } from './held-order.ts'

export const SORTS = ['newest', 'oldest', 'trouble', 'name', 'done', 'left', 'speed'] as const
export type Sort = (typeof SORTS)[number]

const LAST = Number.MAX_VALUE

/** Part 9 comes before Part 10. */
export const byName = new Intl.Collator(undefined, { numeric: true }).compare

/** The value to sort by, smallest first; null comes last. */
const VALUES: Partial<Record<Sort, (job: LiveJob, nowMs: number) => number | null>> = {
  trouble: troubleOfActive,
  done: job => (job.status === 'running' ? -job.progressPercent : null),
  left: secondsLeft,
  speed: (job, nowMs) =>
    job.throughputPerSecond !== null && isAdvancing(job, nowMs) ? -job.throughputPerSecond : null,
}

const sorted = (jobs: readonly LiveJob[], sort: Sort, nowMs: number): LiveJob[] => {
  if (sort === 'oldest') return jobs.toReversed()
  if (sort === 'name') return jobs.toSorted((a, b) => byName(a.name, b.name))
  const valueOf = VALUES[sort]
  if (valueOf === undefined) return [...jobs]
  const values = new Map(jobs.map(job => [job.id, valueOf(job, nowMs) ?? LAST]))
  return jobs.toSorted((a, b) => (values.get(a.id) ?? LAST) - (values.get(b.id) ?? LAST))
}

/** Sorts jobs, which come newest first, and keeps the order for a few seconds while their values change. */
export class Sorting {
  readonly #order = new HeldOrder<LiveJob>(({ id }) => id)

  apply(jobs: readonly LiveJob[], sort: Sort, nowMs: number): readonly LiveJob[] {
    return sort === 'newest' ? jobs : this.#order.apply(jobs, sort, all => sorted(all, sort, nowMs), nowMs)
  }
}

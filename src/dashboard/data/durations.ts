import type { TypeStatistics } from '../../contract/statistics.ts'

/** The value at a share of sorted values, interpolated between neighbours; null if there are none. */
export const quantile = (sorted: readonly number[], share: number): number | null => {
  const place = (sorted.length - 1) * share
  const [low, high] = [sorted[Math.floor(place)], sorted[Math.ceil(place)]]
  return low === undefined || high === undefined ? null : low + (high - low) * (place - Math.floor(place))
}

/** The median, and between which values the middle half lies; null if there is no value. */
export const bandOf = (values: readonly number[]): { low: number; median: number; high: number } | null => {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, median, high] = [0.25, 0.5, 0.75].map(share => quantile(sorted, share))
  return low == null || median == null || high == null ? null : { low, median, high }
}

/** Fewer completed jobs in a period say nothing of the type: one slow job would make it slower. */
export const LEAST_COMPLETED = 5
/** A smaller growth of the median is no news. */
const SLOWER_FACTOR = 1.2
/** Neither is one of less than a second. */
const SLOWER_SECONDS = 1

/** Whether a median has grown by so much that it is news, in seconds. */
export const isSlower = (after: number, before: number): boolean =>
  after >= SLOWER_FACTOR * before && after - before >= SLOWER_SECONDS

export interface Change {
  /** By which share the median has grown: 0.2 is a fifth longer. */
  share: number
  isSlower: boolean
}

/** How the median of a type changed since the period before; null if too few jobs completed in one of both. */
export const changeOf = (now: TypeStatistics, before: TypeStatistics | undefined): Change | null => {
  const [after, former] = [now.durationSeconds.p50, before?.durationSeconds.p50 ?? null]
  if (before === undefined || after === null || former === null || former <= 0) return null
  if (Math.min(now.completed, before.completed) < LEAST_COMPLETED) return null
  return { share: after / former - 1, isSlower: isSlower(after, former) }
}

/** Types that got slower come first, the one that got slowest before all; then those with most jobs. */
export const slowerFirst = <Type extends { change: Change | null; jobs: number; jobType: string }>(
  types: readonly Type[],
): Type[] => {
  const slowness = ({ change }: Type) => (change?.isSlower ? change.share : 0)
  return types.toSorted((a, b) => slowness(b) - slowness(a) || b.jobs - a.jobs || (a.jobType < b.jobType ? -1 : 1))
}

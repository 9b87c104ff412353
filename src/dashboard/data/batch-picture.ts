import type { Children } from '../../contract/job.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { conditionOf, secondsLeft } from '../../browser-client/condition.ts'
import type { Condition } from '../../browser-client/condition.ts'
import { isFinished } from '../../contract/states.ts'
import { isTroubling, troubleOf } from './attention.ts'
import { spreadOf, upperFence } from './spread.ts'
import { byName } from './sorting.ts'

/** A partition as the picture of its batch shows it. */
export interface Part {
  job: LiveJob
  condition: Condition
  /** It takes, or took, unusually long among the partitions of its batch. */
  isSlow: boolean
  /** From its start to its end; of a running one until now. null: it has not begun. */
  seconds: number | null
  /** null: not known. */
  secondsLeft: number | null
}

export const PART_SORTS = ['trouble', 'index', 'name', 'done', 'left', 'took'] as const
export type PartSort = (typeof PART_SORTS)[number]

const troubleOfPart = ({ condition, isSlow, job }: Part): number =>
  isSlow && !isFinished(job) ? troubleOf(condition, 'slow') : troubleOf(condition)

/** Whether somebody should look at the partition: it failed, is stalled, does not advance, or is slow. */
export const needsALook = (part: Part): boolean => isTroubling(troubleOfPart(part))

const secondsOf = ({ startedAt, finishedAt }: LiveJob, nowMs: number): number | null => {
  if (startedAt === null) return null
  const end = finishedAt === null ? nowMs : Date.parse(finishedAt)
  return Math.max(0, (end - Date.parse(startedAt)) / 1000)
}

/** How long a partition takes from start to end: as it took, or as it will take at least. null: nothing can be said. */
const expectedSeconds = (part: Omit<Part, 'isSlow'>): number | null => {
  if (part.seconds === null || part.job.status === 'cancelled' || part.job.status === 'failed') return null
  return part.seconds + (part.secondsLeft ?? 0)
}

/**
 * The partitions with what the picture needs. One is slow if it is an outlier among the durations of its batch, where those
 * that run count as long as they are expected to take.
 */
export const partsOf = (jobs: readonly LiveJob[], nowMs: number): Part[] => {
  const parts = jobs.map(job => ({
    job,
    condition: conditionOf(job, nowMs),
    isSlow: false,
    seconds: secondsOf(job, nowMs),
    secondsLeft: secondsLeft(job, nowMs),
  }))
  // Without an estimate, only the time so far is known, which would make the others look slow.
  const known = parts.filter(({ job, secondsLeft: left }) => job.status === 'completed' || left !== null)
  const spread = spreadOf(known.flatMap(part => expectedSeconds(part) ?? []))
  if (spread === null) return parts
  const fence = upperFence(spread)
  return parts.map(part => ({ ...part, isSlow: (expectedSeconds(part) ?? 0) > fence }))
}

/** The conditions of partitions, as the bar shows them: what is done, what runs, what went wrong, what is to come. */
export const PART_CONDITIONS = [
  'completed',
  'running',
  'cancelling',
  'not_advancing',
  'stalled',
  'failed',
  'cancelled',
  'pending',
] as const satisfies readonly Condition[]
export type PartCondition = (typeof PART_CONDITIONS)[number]

/** In what trouble a partition is, the worst first. */
export const PART_TROUBLES = ['failed', 'stalled', 'not_advancing', 'slow'] as const
const NO_TROUBLES = ['running', 'cancelling', 'pending', 'completed', 'cancelled'] as const

/** Which partitions of a batch to show: those that need to be looked at, slow ones, or those of one condition. */
export const PART_FILTERS = ['attention', ...PART_TROUBLES, ...NO_TROUBLES] as const
/** '': all partitions. */
export type PartFilter = (typeof PART_FILTERS)[number] | ''

/** Each partition has one condition. A slow one has a condition as well. */
export const fits = (part: Part, filter: PartFilter): boolean => {
  if (filter === 'attention') return needsALook(part)
  if (filter === 'slow') return part.isSlow
  return filter === '' || part.condition === filter
}

/** How many partitions fit each filter. Until they have been read, only what the batch counts is known. */
export const countsOf = (children: Children, parts: readonly Part[]): Readonly<Record<PartFilter, number>> => {
  const counts = { '': children.total } as Record<PartFilter, number>
  for (const filter of PART_FILTERS) counts[filter] = parts.filter(part => fits(part, filter)).length
  if (parts.length > 0) return counts
  const { pending, running, stalled, completed, failed, cancelled } = children
  return { ...counts, pending, running: Math.max(0, running - stalled), stalled, completed, failed, cancelled }
}

const LAST = Number.MAX_VALUE
const byIndex = (a: Part, b: Part): number => (a.job.partitionIndex ?? 0) - (b.job.partitionIndex ?? 0)

/** The value to sort by, smallest first; null comes last. */
const VALUES: Readonly<Record<Exclude<PartSort, 'name'>, (part: Part) => number | null>> = {
  trouble: troubleOfPart,
  index: () => 0,
  done: ({ job }) => (job.status === 'pending' ? null : job.progressPercent),
  left: ({ secondsLeft: left }) => (left === null ? null : -left),
  took: ({ seconds }) => (seconds === null ? null : -seconds),
}

/** Sorts partitions; those with the same value by their index. */
export const sortParts = (parts: readonly Part[], sort: PartSort): Part[] => {
  if (sort === 'name') return parts.toSorted((a, b) => byName(a.job.name, b.job.name) || byIndex(a, b))
  const valueOf = VALUES[sort]
  const values = new Map(parts.map(part => [part, valueOf(part) ?? LAST]))
  return parts.toSorted((a, b) => (values.get(a) ?? LAST) - (values.get(b) ?? LAST) || byIndex(a, b))
}

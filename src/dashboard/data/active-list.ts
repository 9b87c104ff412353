import type { ListedJob } from '../../contract/job.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { latenessOf } from '../../contract/deadline.ts'
import { isFinished } from '../../contract/states.ts'
import { wantsAttention } from './attention.ts'
import type { Partitions } from './partitions.ts'

export const ACTIVE_STATUSES = ['attention', 'running', 'pending', 'at_risk', 'overdue', 'unusual'] as const
export type ActiveStatus = (typeof ACTIVE_STATUSES)[number]
/** Most of the time, no job is in one of these. */
export const RARE_STATUSES: ReadonlySet<ActiveStatus> = new Set(['at_risk', 'overdue', 'unusual'])

export interface ActiveFilter {
  jobType: string
  status: ActiveStatus | null
  text: string
}

/** One line of the list. A partition that has not been read yet has no job. */
export interface Row {
  key: string
  job: LiveJob | ListedJob | null
  /** For a batch: whether its partitions are shown below it. */
  isOpen: boolean
  /** For a partition: its place among those of its batch. */
  partition: { of: Partitions; index: number } | null
}

export interface ActiveList {
  rows: Row[]
  /** Number of jobs that are shown, without their partitions. */
  shown: number
  /** Jobs that match type and text, by status. A job that needs attention, is late or takes longer than usual counts for each. */
  counts: Record<ActiveStatus | 'all', number>
  types: string[]
}

const statusesOf = (job: LiveJob, nowMs: number): ActiveStatus[] => {
  const statuses: ActiveStatus[] = [job.status === 'running' ? 'running' : 'pending']
  const lateness = latenessOf(job)
  if (wantsAttention(job, nowMs)) statuses.push('attention')
  if (lateness !== null) statuses.push(lateness)
  if (job.unusual) statuses.push('unusual')
  return statuses
}

const holds = (job: LiveJob, needle: string): boolean =>
  needle === '' ||
  [job.name, job.jobType, job.message, job.id, job.errorMessage, ...(job.children?.errors ?? [])].some(field =>
    field?.toLowerCase().includes(needle),
  )

const partitionRows = (of: Partitions): Row[] =>
  Array.from({ length: of.count }, (_, index) => ({
    key: `${of.batchId}/${index}`,
    job: of.at(index),
    isOpen: false,
    partition: { of, index },
  }))

/** The lines to show. `open` are the batches that are unfolded. */
export const listActive = (
  jobs: readonly LiveJob[],
  { jobType, status, text }: ActiveFilter,
  open: ReadonlyMap<string, Partitions>,
  nowMs: number,
): ActiveList => {
  const rows: Row[] = []
  const counts = { all: 0, running: 0, pending: 0, attention: 0, at_risk: 0, overdue: 0, unusual: 0 }
  const types = new Set<string>()
  let shown = 0
  const needle = text.trim().toLowerCase()
  for (const job of jobs) {
    if (isFinished(job)) continue
    types.add(job.jobType)
    if ((jobType !== '' && job.jobType !== jobType) || !holds(job, needle)) continue
    const statuses = statusesOf(job, nowMs)
    counts.all += 1
    for (const each of statuses) counts[each] += 1
    if (status !== null && !statuses.includes(status)) continue
    const partitions = job.children === null ? undefined : open.get(job.id)
    shown += 1
    rows.push({ key: job.id, job, isOpen: partitions !== undefined, partition: null })
    if (partitions) rows.push(...partitionRows(partitions))
  }
  return { rows, shown, counts, types: [...types].sort() }
}

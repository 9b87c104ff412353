import type { JobWithWorkers, WorkerDocument } from '../../contract/job.ts'
import { isFinished } from '../../contract/states.ts'
import { patienceMs, patienceOfJob } from '../../browser-client/condition.ts'
import { lowerFence, spreadOf, upperFence } from './spread.ts'
import type { Spread } from './spread.ts'

/**
 * How a worker does: it is silent, as the service judges, has never advanced, has not advanced for long, is much slower than the
 * others, works, or is done with its share.
 */
export type WorkerState = 'silent' | 'idle' | 'stuck' | 'slow' | 'working' | 'done'

/** The states in which somebody should look at a worker, the worst first. */
export const WORKER_TROUBLES = ['silent', 'idle', 'stuck', 'slow'] as const satisfies readonly WorkerState[]

/** Which workers to show: those that need to be looked at, or those in one state. */
export const WORKER_FILTERS = ['attention', ...WORKER_TROUBLES, 'working', 'done'] as const
/** '': all workers. */
export type WorkerFilter = (typeof WORKER_FILTERS)[number] | ''

const PLACES: Readonly<Record<WorkerState, number>> = { silent: 0, idle: 1, stuck: 2, slow: 3, working: 4, done: 5 }

export interface Member {
  worker: WorkerDocument
  state: WorkerState
  /** Of its share; null: it has named none. */
  percent: number | null
}

export const isInTrouble = (state: WorkerState): boolean => (WORKER_TROUBLES as readonly WorkerState[]).includes(state)

export const fitsWorker = ({ state }: Member, filter: WorkerFilter): boolean =>
  filter === '' || (filter === 'attention' ? isInTrouble(state) : state === filter)

/** The workers of the present attempt: those that need to be looked at come first. */
export interface Crew {
  members: readonly Member[]
  counts: Readonly<Record<WorkerState, number>>
  /** Of the workers that count in the job's unit and report a speed; null: fewer than five do. */
  speeds: Spread | null
}

export const percentOf = ({ processedCount, totalCount, progressPercent }: WorkerDocument): number | null =>
  totalCount === null || totalCount === 0
    ? progressPercent
    : Math.min(100, Math.floor((100 * processedCount) / totalCount))

/** Whether any worker counts: of a crew that only says that it is alive, none is stuck. */
const counts = ({ processedCount, progressPercent, advancedAt }: WorkerDocument): boolean =>
  processedCount > 0 || (progressPercent ?? 0) > 0 || advancedAt !== null

/** For how long a worker has not advanced. */
const pauseMs = ({ advancedAt, createdAt }: WorkerDocument, nowMs: number): number =>
  nowMs - Date.parse(advancedAt ?? createdAt)

/** For how long a worker may not advance, if each of its items is a step. */
const patienceOf = ({ advancedAt, createdAt, processedCount, progressPercent }: WorkerDocument): number =>
  patienceMs(
    advancedAt === null ? 0 : Date.parse(advancedAt) - Date.parse(createdAt),
    processedCount > 0 ? processedCount : (progressPercent ?? 0),
  )

interface Measure {
  crewCounts: boolean
  slowBelow: number | null
  /**
   * Where all report many items at once, each is seen to pause: only one that pauses longer than the others is stuck. Fewer than
   * five are measured by the job, whose steps are those of each in turn.
   */
  usualPauseMs: number
}

const stateOf = (
  worker: WorkerDocument,
  { crewCounts, slowBelow, usualPauseMs }: Measure,
  nowMs: number,
): WorkerState => {
  // A worker that has done its share need not report any more.
  if (percentOf(worker) === 100) return 'done'
  if (worker.liveness === 'stalled') return 'silent'
  const isStuck = crewCounts && pauseMs(worker, nowMs) > Math.max(patienceOf(worker), usualPauseMs)
  if (isStuck) return counts(worker) ? 'stuck' : 'idle'
  const { throughputPerSecond: speed } = worker
  return slowBelow !== null && speed !== null && speed < slowBelow ? 'slow' : 'working'
}

export const crewOf = (job: JobWithWorkers, nowMs: number): Crew => {
  const present = job.workers.filter(({ attempt }) => attempt === job.attempt)
  const speedOf = ({ unit, throughputPerSecond }: WorkerDocument) =>
    unit === null || unit === job.unit ? throughputPerSecond : null
  const speeds = spreadOf(present.flatMap(worker => (percentOf(worker) === 100 ? [] : (speedOf(worker) ?? []))))
  const pauses = spreadOf(present.map(worker => pauseMs(worker, nowMs)))
  const measure = {
    crewCounts: present.some(counts),
    slowBelow: speeds && lowerFence(speeds),
    usualPauseMs: pauses === null ? present.length * patienceOfJob(job) : upperFence(pauses),
  }
  const members = present.map(worker => ({
    worker,
    percent: percentOf(worker),
    state: isFinished(job) ? 'done' : stateOf(worker, measure, nowMs),
  }))
  const found = { silent: 0, idle: 0, stuck: 0, slow: 0, working: 0, done: 0 }
  for (const { state } of members) found[state] += 1
  return { members: members.sort((a, b) => PLACES[a.state] - PLACES[b.state]), counts: found, speeds }
}

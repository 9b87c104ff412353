import type { ListedJob } from '../../contract/job.ts'
import { bandOf } from './durations.ts'

export interface RunDot {
  job: ListedJob
  seconds: number
  /** From 0 for the first end to 1 for the last one. */
  x: number
  /** From 0 for no time to 1 for the longest run. */
  y: number
}

export interface Runs {
  /** The oldest first. */
  dots: RunDot[]
  /** Seconds at `y` 1. */
  mostSeconds: number
  /** The median of completed runs and their middle half, in seconds; null: none has completed. */
  band: { low: number; median: number; high: number } | null
  completed: number
  failed: number
  cancelled: number
}

/** The runs of a type, as a drawing needs them. Jobs that never started have no duration, and are only counted. */
export const runDots = (jobs: readonly ListedJob[], roundUp: (seconds: number) => number): Runs => {
  const timed = jobs.flatMap(job => {
    if (job.startedAt === null || job.finishedAt === null) return []
    const endMs = Date.parse(job.finishedAt)
    return [{ job, endMs, seconds: Math.max(0, endMs - Date.parse(job.startedAt)) / 1000 }]
  })
  const inOrder = timed.toSorted((a, b) => a.endMs - b.endMs)
  const [firstMs, lastMs] = [inOrder[0]?.endMs ?? 0, inOrder.at(-1)?.endMs ?? 0]
  const mostSeconds = roundUp(Math.max(0, ...inOrder.map(({ seconds }) => seconds)))
  const count = (status: string) => jobs.filter(job => job.status === status).length
  return {
    dots: inOrder.map(({ job, endMs, seconds }) => ({
      ...{ job, seconds },
      // Runs that all ended at once stand in the middle.
      x: lastMs === firstMs ? 0.5 : (endMs - firstMs) / (lastMs - firstMs),
      y: mostSeconds === 0 ? 0 : seconds / mostSeconds,
    })),
    mostSeconds,
    band: bandOf(inOrder.filter(({ job }) => job.status === 'completed').map(({ seconds }) => seconds)),
    completed: count('completed'),
    failed: count('failed'),
    cancelled: count('cancelled'),
  }
}

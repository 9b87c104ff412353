import type { JobEvent, JobWithWorkers, ListedJob } from '../../contract/job.ts'
import { headway } from '../feed.ts'
import { Curve } from './curve.ts'
import type { Point } from './curve.ts'
import { CHANGES, MILESTONES, readAll } from './job-details.ts'
import { Reading } from './reading.ts'
import { stageSeconds } from './stage-times.ts'

const REST_MS = 60_000

export interface EarlierRun {
  job: ListedJob
  /** From its start to its end. */
  points: readonly Point[]
  /** How long each of its stages took, in seconds. */
  stageSeconds: ReadonlyMap<string, number>
}

/**
 * The last run of the type that completed before a job began, to compare the job with. Null: there is none, or the job is a
 * partition, of which the neighbours are no earlier runs.
 */
export class EarlierRunReading {
  readonly #reading: Reading<EarlierRun | null>

  constructor({ id, jobType, startedAt, createdAt, parentJobId }: JobWithWorkers) {
    this.#reading = new Reading(async signal => {
      if (parentJobId !== null) return null
      const { items } = await headway.api.list(
        {
          ...{ jobType, status: 'completed', topLevel: true, sort: '-finishedAt', pageSize: 2 },
          completedBefore: startedAt ?? createdAt,
        },
        { signal },
      )
      const job = items.find(each => each.id !== id)
      if (job === undefined) return null
      const events = await readAll(job.id, [...new Set([...MILESTONES, ...CHANGES])], signal)
      return { job, points: pointsOf(events), stageSeconds: stageSeconds(events, Date.parse(job.updatedAt)) }
    }, REST_MS)
    this.#reading.refresh()
  }

  get value(): EarlierRun | null {
    return this.#reading.value
  }

  stop(): void {
    this.#reading.stop()
  }
}

const pointsOf = (events: readonly JobEvent[]): readonly Point[] => {
  const curve = new Curve()
  const begin = events.findLastIndex(({ type }) => type === 'started' || type === 'retried')
  curve.load(events.slice(Math.max(0, begin)))
  return curve.points
}

/** The points of an earlier run as if it had begun at `startMs`. */
export const movedTo = (startMs: number, points: readonly Point[]): Point[] => {
  const firstMs = points[0]?.atMs ?? 0
  return points.map(point => ({ ...point, atMs: startMs + point.atMs - firstMs }))
}

import type { JobEvent } from '../../contract/job.ts'
import type { LiveJob } from '../../contract/live-job.ts'

/** How far a job was at one time. */
export interface Point {
  atMs: number
  progressPercent: number
  processedCount: number
  throughputPerSecond: number | null
}

/** More than a screen has columns. When there are more, every second point is dropped. */
const MOST_POINTS = 3_000

const numberOr = <Other>(value: unknown, other: Other): number | Other => (typeof value === 'number' ? value : other)

/** The curve of a job: first from its history, then from the stream. */
export class Curve {
  #points: Point[] = []

  get points(): readonly Point[] {
    return this.#points
  }

  /** Takes the history; points that the stream has added since then stay. */
  load(events: readonly JobEvent[]): void {
    const past: Point[] = []
    for (const { type, at, data } of events) {
      const atMs = Date.parse(at)
      const last = past.at(-1)
      if (type === 'started' || type === 'retried') {
        past.push({ atMs, progressPercent: 0, processedCount: 0, throughputPerSecond: null })
      } else if (last !== undefined && typeof data['progressPercent'] === 'number' && type !== 'stage_changed') {
        past.push({
          atMs,
          progressPercent: data['progressPercent'],
          processedCount: numberOr(data['processedCount'], last.processedCount),
          throughputPerSecond: numberOr(data['throughputPerSecond'], null),
        })
      }
    }
    const end = past.at(-1)
    const isNew = ({ atMs, processedCount, progressPercent }: Point) =>
      end === undefined ||
      atMs > end.atMs ||
      // A job's first report also starts it, so both points have the same time.
      (atMs === end.atMs && (processedCount > end.processedCount || progressPercent > end.progressPercent))
    this.#points = [...past, ...this.#points.filter(isNew)]
  }

  /** Adds the present state of the job. */
  add(job: Pick<LiveJob, 'status' | 'updatedAt' | 'progressPercent' | 'processedCount' | 'throughputPerSecond'>): void {
    if (job.status === 'pending') return
    const atMs = Date.parse(job.updatedAt)
    const last = this.#points.at(-1)
    if (last !== undefined && atMs <= last.atMs) return
    const { progressPercent, processedCount, throughputPerSecond } = job
    this.#points.push({ atMs, progressPercent, processedCount, throughputPerSecond })
    if (this.#points.length > MOST_POINTS) {
      this.#points = this.#points.filter((_, index) => index % 2 === 0 || index === this.#points.length - 1)
    }
  }
}

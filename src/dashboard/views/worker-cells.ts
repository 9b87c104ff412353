import type { JobWithWorkers } from '../../contract/job.ts'
import { isFinished } from '../../contract/states.ts'
import { fitsWorker } from '../data/crew.ts'
import type { Member, WorkerFilter, WorkerState } from '../data/crew.ts'
import { isolated, percent, text } from '../words.ts'
import type { Cell, CellLook } from './cell-grid.ts'

/** Workers look like jobs in the same trouble. */
const CONDITIONS = {
  silent: 'stalled',
  idle: 'not_advancing',
  stuck: 'not_advancing',
  slow: 'running',
  working: 'running',
  done: 'completed',
} as const satisfies Record<WorkerState, string>

/** How a worker is drawn. When its job has ended, all look like the job. */
export const lookOf = (state: WorkerState, job: Pick<JobWithWorkers, 'status'>): CellLook => ({
  condition: isFinished(job) ? job.status : CONDITIONS[state],
  isSlow: state === 'slow',
})

const labelOf = ({ worker, state, percent: share }: Member): string => {
  const parts = [isolated(worker.workerId), text(`picture.worker.${state}`)]
  if (share !== null) parts.push(percent(share))
  return parts.join(', ')
}

/**
 * The cells of workers, by name, so that a cell keeps its place whatever happens to its worker. One that has not changed is the
 * same object as before, so that it is not rendered again.
 */
export class WorkerCells {
  #known = new Map<string, { state: WorkerState; cell: Cell }>()

  of(members: readonly Member[], job: JobWithWorkers, filter: WorkerFilter): Cell[] {
    const present = new Map<string, { state: WorkerState; cell: Cell }>()
    const byName = members.toSorted((a, b) =>
      a.worker.workerId.localeCompare(b.worker.workerId, 'en', { numeric: true }),
    )
    const cells = byName.map(member => {
      const { worker, state, percent: share } = member
      const look = lookOf(state, job)
      const done = share ?? (look.condition === 'completed' ? 100 : 0)
      const isFaded = !fitsWorker(member, filter)
      const before = this.#known.get(worker.workerId)
      const isSame =
        before?.state === state &&
        before.cell.condition === look.condition &&
        before.cell.percent === done &&
        before.cell.isFaded === isFaded
      const cell = isSame
        ? before.cell
        : { key: worker.workerId, href: null, label: labelOf(member), ...look, percent: done, isFaded }
      present.set(cell.key, { state, cell })
      return cell
    })
    this.#known = present
    return cells
  }
}

import { fits } from '../data/batch-picture.ts'
import type { Part, PartFilter } from '../data/batch-picture.ts'
import { ADDRESS } from '../router.ts'
import { isolated, percent, text } from '../words.ts'
import type { Cell } from './cell-grid.ts'

const labelOf = ({ job, condition, isSlow }: Part): string => {
  const parts = [isolated(job.name), text(`condition.${condition}`), percent(job.progressPercent)]
  if (isSlow) parts.push(text('picture.slow'))
  return parts.join(', ')
}

/** The cells of partitions. One that has not changed is the same object as before, so that it is not rendered again. */
export class PartCells {
  #known = new Map<string, { part: Part; cell: Cell }>()

  of(parts: readonly Part[], filter: PartFilter): Cell[] {
    const present = new Map<string, { part: Part; cell: Cell }>()
    const cells = parts.map(part => {
      const { job, condition, isSlow } = part
      const isFaded = !fits(part, filter)
      const before = this.#known.get(job.id)
      const isSame =
        before?.part.job === job &&
        before.part.condition === condition &&
        before.part.isSlow === isSlow &&
        before.cell.isFaded === isFaded
      const cell = isSame
        ? before.cell
        : {
            key: job.id,
            href: ADDRESS.job(job.id),
            label: labelOf(part),
            condition,
            percent: job.progressPercent,
            isSlow,
            isFaded,
          }
      present.set(job.id, { part, cell })
      return cell
    })
    this.#known = present
    return cells
  }
}

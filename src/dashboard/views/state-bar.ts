import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { Children } from '../../contract/job.ts'
import { countsOf, fits, needsALook, PART_CONDITIONS, PART_FILTERS, PART_TROUBLES } from '../data/batch-picture.ts'
import type { Part, PartCondition, PartFilter } from '../data/batch-picture.ts'
import { number, text } from '../words.ts'
import { cellChoices } from './cell-choices.ts'
import type { CellFilter } from './cell-filter.ts'
import type { CellLook } from './cell-grid.ts'

type Counts = ReturnType<typeof countsOf>
type PartsBy = CellFilter<(typeof PART_FILTERS)[number]>

const labelOf = (filter: PartFilter): string => {
  if (filter === '') return text('jobs.status.all')
  if (filter === 'attention') return text('jobs.status.attention')
  return text(filter === 'slow' ? 'picture.slow' : `condition.${filter}`)
}

const TROUBLES: readonly PartFilter[] = ['attention', ...PART_TROUBLES]

const isCondition = (filter: PartFilter): filter is PartCondition =>
  (PART_CONDITIONS as readonly string[]).includes(filter)

/**
 * A bar of all conditions, as wide as each is common. A click on a stretch filters by it. The buttons below do the same, and
 * are those for the keyboard and for screen readers: a stretch may be two pixels wide.
 */
const stateBar = (counts: Counts, by: PartsBy, chosen: PartFilter): TemplateResult =>
  html`<div class="outcomes tall" aria-hidden="true">
    ${repeat(
      PART_CONDITIONS.filter(condition => counts[condition] > 0),
      condition => condition,
      condition =>
        html`<button
          type="button"
          tabindex="-1"
          data-outcome=${condition}
          ?data-faded=${isCondition(chosen) && chosen !== condition}
          title=${`${labelOf(condition)}: ${number(counts[condition])}`}
          .style=${`flex-grow: ${counts[condition]}`}
          @click=${() => by.choose(chosen === condition ? '' : condition)}
        ></button>`,
    )}
  </div>`

const lookOf = (filter: PartFilter): CellLook | null => {
  if (filter === 'slow') return { condition: 'running', isSlow: true }
  return isCondition(filter) ? { condition: filter, isSlow: false } : null
}

/** The conditions of the partitions of a batch: drawn, counted, and to choose from. */
export const partitionStates = (
  children: Children,
  parts: readonly Part[],
  by: PartsBy,
  chosen: PartFilter,
): TemplateResult => {
  const { total, pending, running, completed, failed, cancelled } = children
  const unmade = total - pending - running - completed - failed - cancelled
  const counts = countsOf(children, parts)
  const choices = (['', ...PART_FILTERS] as const).map(filter => ({
    filter,
    label: labelOf(filter),
    count: counts[filter],
    look: lookOf(filter),
    calls: TROUBLES.includes(filter) && parts.some(part => fits(part, filter) && needsALook(part)),
  }))
  return html`${stateBar(counts, by, chosen)} ${cellChoices({ label: text('partitions.status'), choices, by, chosen })}
  ${unmade > 0 ? html`<p class="muted">${text('partitions.unmade', { count: unmade })}</p>` : nothing}
  ${parts.length > 0 && counts[chosen] === 0 ? html`<p class="muted">${text('partitions.none')}</p>` : nothing}`
}

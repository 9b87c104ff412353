import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { Children } from '../../contract/job.ts'
import { countsOf, fits, needsALook, PART_CONDITIONS, PART_FILTERS, PART_TROUBLES } from '../data/batch-picture.ts'
import type { Part, PartCondition, PartFilter } from '../data/batch-picture.ts'
import { navigate, withQuery } from '../router.ts'
import { number, text } from '../words.ts'

type Counts = ReturnType<typeof countsOf>

const choose = (filter: PartFilter): void => navigate(withQuery({ partitions: filter }), { replace: true })

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
const stateBar = (counts: Counts, chosen: PartFilter): TemplateResult =>
  html`<div class="outcomes tall" aria-hidden="true">
    ${PART_CONDITIONS.filter(condition => counts[condition] > 0).map(
      condition =>
        html`<button
          type="button"
          tabindex="-1"
          data-outcome=${condition}
          ?data-faded=${isCondition(chosen) && chosen !== condition}
          title=${`${labelOf(condition)}: ${number(counts[condition])}`}
          .style=${`flex-grow: ${counts[condition]}`}
          @click=${() => choose(chosen === condition ? '' : condition)}
        ></button>`,
    )}
  </div>`

/** Only what fits some partition, and the chosen one. */
const choices = (counts: Counts, parts: readonly Part[], chosen: PartFilter): TemplateResult => {
  const choice = (filter: PartFilter) =>
    html`<button
      type="button"
      class="choice"
      aria-pressed=${filter === chosen}
      ?data-calls=${TROUBLES.includes(filter) && parts.some(part => fits(part, filter) && needsALook(part))}
      @click=${() => choose(filter)}
    >
      ${labelOf(filter)} <span class="number">${number(counts[filter])}</span>
    </button>`
  return html`<div class="choices" role="group" aria-label=${text('partitions.status')}>
    ${choice('')} ${PART_FILTERS.filter(filter => counts[filter] > 0 || filter === chosen).map(choice)}
  </div>`
}

/** The conditions of the partitions of a batch: drawn, counted, and to choose from. */
export const partitionStates = (children: Children, parts: readonly Part[], chosen: PartFilter): TemplateResult => {
  const { total, pending, running, completed, failed, cancelled } = children
  const unmade = total - pending - running - completed - failed - cancelled
  const counts = countsOf(children, parts)
  return html`${stateBar(counts, chosen)} ${choices(counts, parts, chosen)}
  ${unmade > 0 ? html`<p class="muted">${text('partitions.unmade', { count: unmade })}</p>` : nothing}
  ${
    chosen !== '' && parts.length > 0 && counts[chosen] === 0
      ? html`<p class="muted">${text('partitions.none')}</p>`
      : nothing
  }`
}

import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { Children } from '../../contract/job.ts'
import { fits, needsALook } from '../data/batch-picture.ts'
import type { Part, PartFilter } from '../data/batch-picture.ts'
import { PARTITION_STATES } from '../data/partition-states.ts'
import type { PartitionState } from '../data/partition-states.ts'
import { navigate, withQuery } from '../router.ts'
import { number, text } from '../words.ts'

/** The order of the states in the bar: what is done, what runs, what went wrong, what is to come. */
const STRETCHES = ['completed', 'running', 'stalled', 'failed', 'cancelled', 'pending'] as const

const choose = (filter: PartFilter): void => navigate(withQuery({ partitions: filter }), { replace: true })

const labelOf = (state: PartitionState): string =>
  text(state === 'stalled' ? 'condition.stalled' : `jobs.status.${state}`)

/** How many partitions each stretch of the bar stands for: stalled ones are not among those that run. */
const shownOf = (children: Children, state: PartitionState): number =>
  state === 'running' ? Math.max(0, children.running - children.stalled) : children[state]

/**
 * A bar of all states, as wide as each is common. A click on a stretch filters by it. The buttons below do the same, and are
 * those for the keyboard and for screen readers: a stretch may be two pixels wide.
 */
const stateBar = (children: Children, chosen: PartFilter): TemplateResult =>
  html`<div class="outcomes tall" aria-hidden="true">
    ${STRETCHES.map(state => {
      const count = shownOf(children, state)
      return count === 0
        ? nothing
        : html`<button
            type="button"
            tabindex="-1"
            data-outcome=${state}
            ?data-faded=${chosen !== '' && chosen !== 'attention' && chosen !== state}
            title=${`${labelOf(state)}: ${number(count)}`}
            .style=${`flex-grow: ${count}`}
            @click=${() => choose(chosen === state ? '' : state)}
          ></button>`
    })}
  </div>`

/** Only states that some partition has, and the chosen one. */
const choices = (children: Children, parts: readonly Part[], chosen: PartFilter): TemplateResult => {
  const attention = parts.filter(needsALook).length
  const choice = (filter: PartFilter, label: string, count: number, calls: boolean) =>
    html`<button
      type="button"
      class="choice"
      data-state=${filter}
      aria-pressed=${filter === chosen}
      ?data-calls=${calls && count > 0}
      @click=${() => choose(filter)}
    >
      ${label} <span class="number">${number(count)}</span>
    </button>`
  return html`<div class="choices" role="group" aria-label=${text('partitions.status')}>
    ${choice('', text('jobs.status.all'), children.total, false)}
    ${
      attention > 0 || chosen === 'attention'
        ? choice('attention', text('jobs.status.attention'), attention, true)
        : nothing
    }
    ${PARTITION_STATES.filter(state => children[state] > 0 || state === chosen).map(state =>
      choice(state, labelOf(state), children[state], state === 'stalled' || state === 'failed'),
    )}
  </div>`
}

/** The states of the partitions of a batch: drawn, said, and to choose from. */
export const partitionStates = (children: Children, parts: readonly Part[], chosen: PartFilter): TemplateResult => {
  const { total, pending, running, completed, failed, cancelled } = children
  const unmade = total - pending - running - completed - failed - cancelled
  return html`${stateBar(children, chosen)}
    <p class="muted">
      ${text('partitions.summary', { completed, running, pending, failed, cancelled })}${
        unmade > 0 ? html` · ${text('partitions.unmade', { count: unmade })}` : nothing
      }
    </p>
    ${choices(children, parts, chosen)}
    ${
      chosen !== '' && parts.length > 0 && !parts.some(part => fits(part, chosen))
        ? html`<p class="muted">${text('partitions.none')}</p>`
        : nothing
    }`
}

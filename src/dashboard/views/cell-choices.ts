import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import { number } from '../words.ts'
import type { CellFilter } from './cell-filter.ts'
import { sampleCell } from './cell-grid.ts'
import type { CellLook } from './cell-grid.ts'

interface Choice<Filter> {
  filter: Filter
  label: string
  count: number
  /** null: cells of several looks. */
  look: CellLook | null
  /** Somebody should look at some of them. */
  calls: boolean
}

interface Choices<Filter extends string> {
  label: string
  choices: readonly Choice<Filter | ''>[]
  by: CellFilter<Filter>
  chosen: Filter | ''
}

/**
 * The choices beside a picture of cells. They are its legend as well: each shows the cells that it stands for. Only what some
 * cell is can be chosen; what is chosen, stays.
 */
export const cellChoices = <Filter extends string>({ label, choices, by, chosen }: Choices<Filter>): TemplateResult =>
  html`<div class="choices cell-choices" role="group" aria-label=${label}>
    ${repeat(
      choices.filter(({ filter, count }) => filter === '' || count > 0 || filter === chosen),
      ({ filter }) => filter,
      ({ filter, label: name, count, look, calls }) =>
        html`<button
          type="button"
          class="choice"
          aria-pressed=${filter === chosen}
          ?data-calls=${calls && count > 0}
          @click=${() => by.choose(filter)}
        >
          ${look === null ? nothing : sampleCell(look)} ${name} <span class="number">${number(count)}</span>
        </button>`,
    )}
  </div>`

import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import * as icons from './icons.ts'

/** The heading of a column. `sort` is called when it is chosen; absent: the list cannot be sorted by it. */
export const sortHeading = ({
  name,
  label,
  sort,
  direction,
}: {
  name: string
  label: string
  sort?: () => void
  direction: 'ascending' | 'descending' | null
}): TemplateResult =>
  html`<div class=${`cell ${name}`} role="columnheader" aria-sort=${direction ?? (sort ? 'none' : nothing)}>
    ${
      sort === undefined
        ? label
        : html`<button type="button" class="sorts" data-direction=${direction ?? nothing} @click=${sort}>
            ${label}${icons.sorted}
          </button>`
    }
  </div>`

import { html } from 'lit'
import type { TemplateResult } from 'lit'

export interface Column {
  head: string
  /** A figure is written at the right. */
  isFigure?: boolean
}

type Cell = TemplateResult | string

/**
 * A table of which the first column names the rows. On a narrow page a row is a card, and each cell names its column. The roles are
 * said, because browsers take them from a table that is drawn as blocks.
 */
export const plainTable = (
  label: string,
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
): TemplateResult => {
  const classOf = ({ isFigure = false }: Column) => (isFigure ? 'figure' : '')
  return html`<div class="scroller" tabindex="0" role="region" aria-label=${label}>
    <table class="plain" role="table">
      <thead role="rowgroup">
        <tr role="row">
          ${columns.map(
            column => html`<th role="columnheader" scope="col" class=${classOf(column)}>${column.head}</th>`,
          )}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${rows.map(
          cells =>
            html`<tr role="row">
              ${columns.map((column, n) =>
                n === 0
                  ? html`<th role="rowheader" scope="row">${cells[0]}</th>`
                  : html`<td role="cell" class=${classOf(column)} data-label=${column.head}>${cells[n]}</td>`,
              )}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}

import { html } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import { guard } from 'lit/directives/guard.js'
import { repeat } from 'lit/directives/repeat.js'
import type { Condition } from '../../browser-client/condition.ts'
import { text } from '../words.ts'
import { PageElement } from './element.ts'

/** What the shape and colour of a cell tell. */
export interface CellLook {
  condition: Condition
  isSlow: boolean
}

/** One cell of a picture. The object is the same until the cell changes. */
export interface Cell extends CellLook {
  key: string
  /** Where it leads; null: `onChoose` is called. */
  href: string | null
  /** Its name and state, for screen readers. */
  label: string
  percent: number
  /** It does not fit the filter. */
  isFaded: boolean
}

/** With more cells they are smaller, so that a thousand fit on a screen. */
const SIZES = [
  { most: 60, name: 'large' },
  { most: 250, name: 'medium' },
  { most: Infinity, name: 'small' },
] as const

/** Percents differ by a tenth: so the look of a cell changes ten times, however often its job reports. */
const STEP = 10

/** A cell as a sample, half done: it tells what such cells mean. */
export const sampleCell = ({ condition, isSlow }: CellLook): TemplateResult =>
  html`<span
    class="cell-mark"
    data-condition=${condition}
    data-step="5"
    ?data-slow=${isSlow}
    aria-hidden="true"
  ></span>`

const columnsOf = (grid: Element): number => getComputedStyle(grid).gridTemplateColumns.split(' ').length

/**
 * A picture of many jobs or workers, one cell each. Shape and colour tell the state, the filling tells the percent. The cell
 * under the pointer or with the focus is named below the picture. Tab leads to one cell, and arrow keys to the others.
 */
export class CellGrid extends PageElement {
  static override properties: PropertyDeclarations = {
    cells: { attribute: false },
    label: { attribute: false },
    describe: { attribute: false },
    currentKey: { state: true },
    lookedAt: { state: true },
  }

  declare cells: readonly Cell[]
  declare label: string
  /** A line about the cell that is looked at. */
  declare describe: (key: string) => TemplateResult | string
  declare onChoose: ((key: string) => void) | undefined
  /** The cell to which Tab leads. */
  declare private currentKey: string | null
  declare private lookedAt: string | null

  constructor() {
    super()
    this.cells = []
    this.currentKey = null
    this.lookedAt = null
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('cells')) return
    const isThere = (key: string | null) => this.cells.some(cell => cell.key === key)
    if (!isThere(this.currentKey)) this.currentKey = this.cells[0]?.key ?? null
    if (this.lookedAt !== null && !isThere(this.lookedAt)) this.lookedAt = null
  }

  readonly #look = (event: Event): void => {
    const cell = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-cell]') : null
    const key = cell?.dataset['cell'] ?? null
    if (key === null) return
    this.lookedAt = key
    if (event.type === 'focusin') this.currentKey = key
  }

  readonly #leave = (): void => {
    // What has the focus stays named.
    this.lookedAt = this.contains(document.activeElement) ? this.currentKey : null
  }

  readonly #pressed = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return
    const grid = event.currentTarget as Element
    const at = this.cells.findIndex(({ key }) => key === this.currentKey)
    const last = this.cells.length - 1
    const columns = columnsOf(grid)
    const forward = getComputedStyle(grid).direction === 'rtl' ? -1 : 1
    const to = {
      ArrowRight: at + forward,
      ArrowLeft: at - forward,
      ArrowDown: at + columns,
      ArrowUp: at - columns,
      Home: 0,
      End: last,
    }[event.key]
    if (to === undefined) return
    event.preventDefault()
    const next = this.cells[to]
    if (next === undefined) return
    this.currentKey = next.key
    void this.updateComplete.then(() => {
      this.querySelector<HTMLElement>(`[data-cell="${CSS.escape(next.key)}"]`)?.focus()
    })
  }

  readonly #chosen = (event: Event): void => {
    const cell = event.target instanceof Element ? event.target.closest<HTMLElement>('button[data-cell]') : null
    const key = cell?.dataset['cell']
    if (key !== undefined) this.onChoose?.(key)
  }

  protected override render(): TemplateResult {
    const { cells, lookedAt } = this
    const size = SIZES.find(({ most }) => cells.length <= most)?.name
    return html`<div
        class="cells"
        role="group"
        aria-label=${this.label}
        data-size=${size}
        @keydown=${this.#pressed}
        @click=${this.#chosen}
        @pointerover=${this.#look}
        @pointerleave=${this.#leave}
        @focusin=${this.#look}
        @focusout=${this.#leave}
      >
        ${repeat(
          cells,
          ({ key }) => key,
          cell => guard([cell, cell.key === this.currentKey], () => this.#cell(cell)),
        )}
      </div>
      <p class="cell-named" ?data-hint=${lookedAt === null} aria-hidden="true">
        ${lookedAt === null ? text('picture.hint') : this.describe(lookedAt)}
      </p>`
  }

  #cell({ key, href, label, condition, percent, isSlow, isFaded }: Cell): TemplateResult {
    const step = Math.floor(percent / STEP)
    const tabIndex = key === this.currentKey ? 0 : -1
    return href === null
      ? html`<button
          type="button"
          class="cell-mark"
          data-cell=${key}
          data-condition=${condition}
          data-step=${step}
          ?data-slow=${isSlow}
          ?data-faded=${isFaded}
          aria-label=${label}
          tabindex=${tabIndex}
        ></button>`
      : html`<a
          class="cell-mark"
          href=${href}
          data-cell=${key}
          data-condition=${condition}
          data-step=${step}
          ?data-slow=${isSlow}
          ?data-faded=${isFaded}
          aria-label=${label}
          tabindex=${tabIndex}
        ></a>`
  }
}

customElements.define('cell-grid', CellGrid)

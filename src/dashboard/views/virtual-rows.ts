import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import { measures, redraw } from '../feed.ts'
import { text } from '../words.ts'
import { PageElement } from './element.ts'
import { Printing } from './printing.ts'

/** More rows would fill a hundred pages. */
const MOST_PRINTED = 2_500

/** Rows above and below the visible ones that are rendered, so that fast scrolling does not show gaps. */
const SPARE = 6

export interface VirtualRow {
  key: string
}

/**
 * The rows of a long table. Only those near the window are in the document, so a thousand rows cost as much as twenty. All rows
 * have the height `--row-height`, so the place of a row is known without measuring. The row with the focus stays, wherever the
 * page is scrolled to. In print, all rows that have been read are shown, and the number of the others.
 */
export class VirtualRows extends PageElement {
  static override properties: PropertyDeclarations = { rows: { attribute: false }, rowHeight: { attribute: false } }

  declare rows: readonly VirtualRow[]
  declare rowHeight: number
  /** Renders the content of a row; `index` is the row's place among all. */
  declare renderRow: (row: never, index: number) => TemplateResult
  /** Whether a row has been read; all have if absent. */
  declare isRead: ((row: never) => boolean) | undefined
  /** Called with the visible rows after each rendering. */
  declare onLook: ((first: number, last: number) => void) | undefined

  #focusedKey: string | null = null
  /** Null until it has been measured: the first picture has no spare rows, and is there sooner. */
  #top: number | null = null
  readonly #printing = new Printing(this, () => {
    this.requestUpdate()
    this.performUpdate()
  })

  constructor() {
    super()
    this.rows = []
    this.rowHeight = 60
  }

  override connectedCallback(): void {
    super.connectedCallback()
    measures.add(this.#measure)
    addEventListener('scroll', this.#moved, { passive: true })
    addEventListener('resize', this.#moved)
    this.addEventListener('focusin', this.#focused)
    this.addEventListener('focusout', this.#blurred)
    this.addEventListener('keydown', this.#pressed)
    // In the frame after the first picture.
    requestAnimationFrame(redraw)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    measures.delete(this.#measure)
    removeEventListener('scroll', this.#moved)
    removeEventListener('resize', this.#moved)
  }

  readonly #moved = (): void => {
    redraw()
  }

  readonly #focused = (event: FocusEvent): void => {
    const row = event.target instanceof Element ? event.target.closest<HTMLElement>('[data-key]') : null
    this.#focusedKey = row?.dataset['key'] ?? null
  }

  readonly #blurred = (event: FocusEvent): void => {
    if (!(event.relatedTarget instanceof Node && this.contains(event.relatedTarget))) this.#focusedKey = null
  }

  readonly #pressed = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return
    if (this.#focusedKey !== null && this.move(step)) event.preventDefault()
  }

  /**
   * Moves the focus by so many rows, from the first visible row if no row has it. Answers false where there is no further row.
   */
  move(step: number): boolean {
    const at = this.rows.findIndex(({ key }) => key === this.#focusedKey)
    const next = this.rows[at === -1 ? this.#firstVisible : at + step]
    if (next === undefined) return false
    this.#focusedKey = next.key
    this.requestUpdate()
    void this.updateComplete.then(() => {
      const row = this.querySelector<HTMLElement>(`[data-key="${CSS.escape(next.key)}"]`)
      row?.scrollIntoView({ block: 'nearest' })
      row?.querySelector<HTMLElement>('a, button:not(.fold)')?.focus({ preventScroll: true })
    })
    return true
  }

  get #firstVisible(): number {
    return Math.max(0, Math.ceil(-(this.#top ?? 0) / this.rowHeight))
  }

  readonly #measure = (): void => {
    const { top } = this.getBoundingClientRect()
    if (top !== this.#top) this.requestUpdate()
    this.#top = top
  }

  /** The first row to render, and the first row after it that is not rendered. */
  get #range(): [first: number, end: number] {
    if (this.#printing.isOnPaper) return [0, Math.min(this.rows.length, MOST_PRINTED)]
    const spare = this.#top === null ? 0 : SPARE
    const top = this.#top ?? 0
    const first = Math.max(0, Math.floor(-top / this.rowHeight) - spare)
    const end = Math.min(this.rows.length, Math.ceil((innerHeight - top) / this.rowHeight) + spare)
    return [Math.min(first, this.rows.length), Math.max(first, end)]
  }

  protected override updated(): void {
    const [first, end] = this.#range
    this.onLook?.(first, Math.max(first, end - 1))
  }

  protected override render(): TemplateResult {
    const { rows, rowHeight } = this
    const [first, end] = this.#range
    const inRange = rows.slice(first, end).map((row, offset) => ({ row, index: first + offset }))
    // Printing does not wait: rows that are requested now are only in the next print.
    const shown = this.#printing.isOnPaper ? inRange.filter(({ row }) => this.isRead?.(row as never) ?? true) : inRange
    const missing = this.#printing.isOnPaper ? rows.length - shown.length : 0
    const focused = this.#focusedKey === null ? -1 : rows.findIndex(({ key }) => key === this.#focusedKey)
    const focusedRow = rows[focused]
    if (focusedRow !== undefined && (focused < first || focused >= end)) shown.push({ row: focusedRow, index: focused })
    return html`<div class="rows" role="rowgroup" .style=${`height: ${rows.length * rowHeight}px`}>
      ${
        shown.length === 0
          ? nothing
          : repeat(
              shown,
              ({ row }) => row.key,
              ({ row, index }) =>
                html`<div
                  class="row"
                  role="row"
                  data-key=${row.key}
                  aria-rowindex=${index + 2}
                  .style=${`transform: translateY(${index * rowHeight}px)`}
                >
                  ${this.renderRow(row as never, index)}
                </div>`,
            )
      }
      ${missing === 0 ? nothing : html`<div class="muted unprinted" role="row"><span role="cell">${text('paper.missing', { count: missing })}</span></div>`}
    </div>`
  }
}

customElements.define('virtual-rows', VirtualRows)

import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../contract/job.ts'
import { AllPartitions } from '../data/all-partitions.ts'
import { fits, PART_FILTERS, PART_SORTS, partsOf, sortParts } from '../data/batch-picture.ts'
import type { Part, PartFilter, PartSort } from '../data/batch-picture.ts'
import { laneOf, timeSpanOf } from '../data/batch-timeline.ts'
import type { TimeSpan } from '../data/batch-timeline.ts'
import { EarlierAttempts } from '../data/earlier-attempts.ts'
import { HeldOrder } from '../data/held-order.ts'
import { navigate, withQuery } from '../router.ts'
import { number, percent, duration, text } from '../words.ts'
import { activeRow } from './active-row.ts'
import { CellFilter } from './cell-filter.ts'
import './cell-grid.ts'
import { PageElement } from './element.ts'
import { inOneLine, leftText } from './figures.ts'
import { PartCells } from './part-cells.ts'
import { laneTimes, partLane } from './part-lane.ts'
import { failure, loading } from './placeholders.ts'
import { sortHeading } from './sort-heading.ts'
import { partitionStates } from './state-bar.ts'
import './virtual-rows.ts'

const ROW_HEIGHT = { list: { wide: 60, narrow: 122 }, timeline: { wide: 32, narrow: 58 } }
const NARROW = matchMedia('(max-width: 820px)')

type View = keyof typeof ROW_HEIGHT

const TABLE_CLASS: Readonly<Record<View, string>> = { list: 'partition-table', timeline: 'timeline-table' }

interface PartRow {
  key: string
  part: Part
}

/** The partitions of a batch, on the batch's page: as a picture, and as a list or a timeline. */
class JobPartitions extends PageElement {
  static override properties: PropertyDeclarations = {
    batch: { attribute: false },
    nowMs: { attribute: false },
    query: { attribute: false },
  }

  declare batch: JobWithWorkers
  declare nowMs: number
  declare query: URLSearchParams
  #partitions: AllPartitions | null = null
  readonly #attempts = new EarlierAttempts()
  readonly #cells = new PartCells()
  readonly #order = new HeldOrder<Part>(({ job }) => job.id)
  readonly #shown = new CellFilter('partitions', PART_FILTERS)

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#partitions?.close()
    this.#attempts.close()
  }

  protected override willUpdate(): void {
    if (this.#partitions?.batchId === this.batch.id) this.#partitions.follow(this.batch)
    else {
      this.#partitions?.close()
      this.#attempts.close()
      this.#partitions = new AllPartitions(this.batch)
    }
  }

  protected override updated(changed: PropertyValues): void {
    if (!changed.has('query')) return
    // Those that were asked for stand directly below the picture, and the curves below them.
    this.toggleAttribute('data-filtered', this.#filter !== '')
    this.#shown.leadTo(this, this.#filter)
  }

  get #filter(): PartFilter {
    return this.#shown.of(this.query)
  }

  get #sort(): PartSort {
    return PART_SORTS.find(each => each === this.query.get('order')) ?? 'trouble'
  }

  get #view(): View {
    return this.query.get('show') === 'timeline' ? 'timeline' : 'list'
  }

  protected override render(): TemplateResult | typeof nothing {
    const partitions = this.#partitions
    const { children } = this.batch
    if (partitions === null || children === null) return nothing
    const { nowMs } = this
    const parts = partsOf(partitions.list, nowMs)
    return html`<section class="card" aria-labelledby="partitions-title">
        <h2 id="partitions-title">${text('partitions.title')} <span class="number">${number(children.total)}</span></h2>
        ${
          parts.length < 2
            ? nothing
            : html`<cell-grid
                .cells=${this.#cells.of(parts, this.#filter)}
                .label=${text('picture.grid')}
                .describe=${(id: string) => this.#named(parts, id)}
              ></cell-grid>`
        }
        ${partitionStates(children, parts, this.#shown, this.#filter)}
      </section>
      <div class="card parts">${this.#controls()} ${this.#content(partitions, parts)}</div>`
  }

  /** The cell that is looked at, in one line. */
  #named(parts: readonly Part[], id: string): TemplateResult | string {
    const part = parts.find(({ job }) => job.id === id)
    if (part === undefined) return ''
    const { job, condition, isSlow, seconds } = part
    const left = leftText(job, this.nowMs)
    return inOneLine([
      job.name,
      text(`condition.${condition}`),
      percent(job.progressPercent),
      isSlow ? text('picture.slow') : null,
      seconds === null ? null : duration(seconds),
      left === '' ? null : text('picture.left', { time: left }),
      job.errorMessage ?? job.message,
    ])
  }

  #controls(): TemplateResult {
    const view = this.#view
    const link = (to: View, label: string) =>
      html`<a
        href=${withQuery({ show: to === 'list' ? null : to })}
        data-stay
        aria-current=${to === view ? 'true' : nothing}
        >${label}</a
      >`
    return html`<div class="part-controls">
      <nav class="tabs" aria-label=${text('picture.views')}>
        ${link('list', text('picture.list'))} ${link('timeline', text('picture.timeline'))}
      </nav>
      <label class="field sort">
        <span class="vh">${text('jobs.sort')}</span>
        <select
          name="order"
          .value=${this.#sort}
          @change=${(event: Event) => this.#sortBy((event.target as HTMLSelectElement).value as PartSort)}
        >
          ${PART_SORTS.map(
            each =>
              html`<option value=${each} ?selected=${each === this.#sort}>${text(`picture.sort.${each}`)}</option>`,
          )}
        </select>
      </label>
    </div>`
  }

  #sortBy(sort: PartSort): void {
    navigate(withQuery({ order: sort === 'trouble' ? '' : sort }), { replace: true })
  }

  #content(partitions: AllPartitions, parts: readonly Part[]): TemplateResult {
    const { problem, isLoading } = partitions
    if (isLoading) return loading(text('job.partitions.loading'))
    if (problem !== null && parts.length === 0)
      return failure(text('picture.failed'), problem, () => partitions.refresh())
    const filter = this.#filter
    const sort = this.#sort
    const ordered = this.#order.apply(parts, sort, all => sortParts(all, sort), this.nowMs)
    const rows = ordered.filter(part => fits(part, filter)).map(part => ({ key: part.job.id, part }))
    return this.#view === 'list' ? this.#list(rows) : this.#timeline(rows, parts)
  }

  #list(rows: readonly PartRow[]): TemplateResult {
    const context = { nowMs: this.nowMs, toggle: () => undefined }
    const heading = (name: string, label: string, sort: PartSort | null = null) =>
      sortHeading({
        name,
        label,
        ...(sort !== null && { sort: () => this.#sortBy(this.#sort === sort ? 'trouble' : sort) }),
        direction: sort === this.#sort ? (sort === 'left' ? 'descending' : 'ascending') : null,
      })
    const headings = html`<div class="line" role="row" aria-rowindex="1">
      ${heading('job', text('partitions.name'), 'name')} ${heading('progress', text('column.progress'), 'done')}
      ${heading('count', text('column.count'))} ${heading('speed', text('column.speed'))}
      ${heading('left', text('column.left'), 'left')}
      <div class="cell actions" role="columnheader"><span class="vh">${text('column.actions')}</span></div>
    </div>`
    return this.#table('list', headings, rows, ({ part }) =>
      activeRow({ job: part.job, isOpen: false, partition: 'known', isSlow: part.isSlow }, context),
    )
  }

  #timeline(rows: readonly PartRow[], parts: readonly Part[]): TemplateResult {
    const { nowMs } = this
    const span: TimeSpan = timeSpanOf(parts, this.batch.startedAt, nowMs)
    const headings = html`<div class="line lane" role="row" aria-rowindex="1">
      <div class="cell job" role="columnheader">${text('partitions.name')}</div>
      ${laneTimes(span)}
      <div class="cell took" role="columnheader">${text('column.duration')}</div>
    </div>`
    return this.#table('timeline', headings, rows, ({ part }) =>
      partLane(part, laneOf(part, this.#attempts.of(part.job), span, nowMs), nowMs),
    )
  }

  #table(
    view: View,
    headings: TemplateResult,
    rows: readonly PartRow[],
    renderRow: (row: PartRow) => TemplateResult,
  ): TemplateResult {
    return html`<div
      class="table ${TABLE_CLASS[view]}"
      role="table"
      aria-labelledby="partitions-title"
      aria-rowcount=${rows.length + 1}
    >
      <div class="heading" role="rowgroup">${headings}</div>
      <virtual-rows
        .rows=${rows}
        .rowHeight=${NARROW.matches ? ROW_HEIGHT[view].narrow : ROW_HEIGHT[view].wide}
        .renderRow=${renderRow}
      ></virtual-rows>
    </div>`
  }
}

customElements.define('job-partitions', JobPartitions)

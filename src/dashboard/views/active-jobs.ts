import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import type { LiveJob } from '../../contract/live-job.ts'
import { isFinished } from '../../contract/states.ts'
import { ACTIVE_STATUSES, listActive, RARE_STATUSES } from '../data/active-list.ts'
import type { ActiveFilter, ActiveList, ActiveStatus, Row } from '../data/active-list.ts'
import { Reading } from '../data/reading.ts'
import { SORTS, Sorting } from '../data/sorting.ts'
import type { Sort } from '../data/sorting.ts'
import { Partitions } from '../data/partitions.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { number, text } from '../words.ts'
import { activeRow } from './active-row.ts'
import { PageElement } from './element.ts'
import { Found } from './found.ts'
import { empty, firstJobHint, loading } from './placeholders.ts'
import { sortHeading } from './sort-heading.ts'
import { filters, sortBy } from './toolbar.ts'
import './virtual-rows.ts'

const NARROW = matchMedia('(max-width: 820px)')
/** The shortest time between two reads of the total, while jobs come and go. */
const TOTAL_REST_MS = 5_000
/** The service counts no further than this. */
const COUNTED = 10_000
const ROW_HEIGHT = { wide: 60, narrow: 122 }

const statusOf = (query: URLSearchParams): ActiveStatus | null =>
  ACTIVE_STATUSES.find(status => status === query.get('status')) ?? null

const SORTED: Partial<Record<Sort, { column: string; direction: 'ascending' | 'descending' }>> = {
  name: { column: 'job', direction: 'ascending' },
  done: { column: 'progress', direction: 'descending' },
  left: { column: 'left', direction: 'ascending' },
  speed: { column: 'speed', direction: 'descending' },
}

const sortOf = (query: URLSearchParams): Sort => SORTS.find(sort => sort === query.get('sort')) ?? 'newest'

/** A second click on a heading goes back to the newest first. */
const columns = (sort: Sort): TemplateResult => {
  const sorted = SORTED[sort]
  const heading = (name: string, label: string) => {
    const by = SORTS.find(each => SORTED[each]?.column === name)
    return sortHeading({
      name,
      label,
      ...(by !== undefined && { sort: () => sortBy(by === sort ? 'newest' : by) }),
      direction: sorted?.column === name ? sorted.direction : null,
    })
  }
  return html`<div class="heading" role="rowgroup">
    <div class="line" role="row" aria-rowindex="1">
      ${heading('job', text('column.job'))} ${heading('progress', text('column.progress'))}
      ${heading('count', text('column.count'))} ${heading('speed', text('column.speed'))}
      ${heading('left', text('column.left'))} ${heading('workers', text('column.workers'))}
      <div class="cell actions" role="columnheader"><span class="vh">${text('column.actions')}</span></div>
    </div>
  </div>`
}

/** The active jobs, live. */
class ActiveJobs extends PageElement {
  static override properties: PropertyDeclarations = { query: { attribute: false } }

  declare query: URLSearchParams
  readonly #open = new Map<string, Partitions>()
  readonly #sorting = new Sorting()
  readonly #found = new Found()
  #rows: readonly Row[] = []
  #total: Reading<number> | null = null
  #countedFor = -1

  constructor() {
    super()
    new Live(this)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    NARROW.addEventListener('change', this.#resized)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    NARROW.removeEventListener('change', this.#resized)
    for (const partitions of this.#open.values()) partitions.close()
    this.#open.clear()
    this.#total?.stop()
    this.#total = null
    this.#countedFor = -1
  }

  readonly #resized = (): void => {
    this.requestUpdate()
  }

  readonly #toggle = (job: LiveJob): void => {
    const partitions = this.#open.get(job.id)
    if (partitions) {
      partitions.close()
      this.#open.delete(job.id)
    } else this.#open.set(job.id, new Partitions(job))
    this.requestUpdate()
  }

  readonly #look = (first: number, last: number): void => {
    const inView = this.#rows.slice(first, last + 1)
    for (const partitions of this.#open.values()) {
      const seen = inView.flatMap(({ partition }) => (partition?.of === partitions ? [partition.index] : []))
      const [from] = seen
      if (from !== undefined) partitions.look(from, seen.at(-1) ?? from)
    }
  }

  /** Updates the partitions of unfolded batches. Batches that have left the list are folded. */
  #followOpen(): void {
    for (const [id, partitions] of this.#open) {
      const job = headway.job(id)
      if (job !== undefined && !isFinished(job)) partitions.follow(job)
      else {
        partitions.close()
        this.#open.delete(id)
      }
    }
  }

  protected override render(): TemplateResult {
    const { jobs, loaded, truncated } = headway.state()
    const nowMs = shownNow()
    const { query } = this
    const filter: ActiveFilter = {
      jobType: query.get('type') ?? '',
      status: statusOf(query),
      text: query.get('q') ?? '',
    }
    this.#followOpen()
    const active = jobs.filter(job => !isFinished(job))
    const sort = sortOf(query)
    const list = listActive(this.#sorting.apply(active, sort, nowMs), filter, this.#open, nowMs)
    this.#rows = list.rows
    const found = loaded ? text('jobs.shown', { count: list.shown }) : null
    return html`${this.#toolbar(list, filter, sort)} ${this.#found.render(JSON.stringify(filter), found)}
    ${truncated ? this.#truncated(active.length, filter) : nothing}
    ${loaded ? this.#content(list, filter, sort, nowMs) : loading(text('jobs.loading'))}`
  }

  /** A note that the page does not have all jobs. Others can only be found by asking the service, by type and name. */
  #truncated(count: number, { jobType, text: needle }: ActiveFilter): TemplateResult | typeof nothing {
    // The stream adds the other jobs when they change. Only the service knows how many there are.
    this.#total ??= new Reading(
      async signal => (await headway.api.list({ topLevel: true, pageSize: 1 }, { signal })).total ?? 0,
      TOTAL_REST_MS,
    )
    if (count !== this.#countedFor) this.#total.refresh()
    this.#countedFor = count
    const total = this.#total.value
    if (total === null || count >= total) return nothing
    const filters = { status: 'active', ...(jobType !== '' && { type: jobType }), ...(needle !== '' && { q: needle }) }
    return html`<p class="notice">
      ${text(total >= COUNTED ? 'jobs.truncated.many' : 'jobs.truncated', { count, total })}
      <a href=${ADDRESS.history(filters)}>${text('jobs.truncated.all')}</a>
    </p>`
  }

  #toolbar({ types, counts }: ActiveList, { status }: ActiveFilter, sort: Sort): TemplateResult {
    // Until the first snapshot the counts are not known.
    const counted = (count: number) => (headway.state().loaded ? { count } : {})
    return filters({
      view: 'active',
      query: this.query,
      searchLabel: text('jobs.search'),
      types,
      sort,
      status: status ?? '',
      statuses: [
        { value: '', label: text('jobs.status.all'), ...counted(counts.all) },
        // There is a choice for what is rare only while there is such a job.
        ...ACTIVE_STATUSES.filter(value => !RARE_STATUSES.has(value) || counts[value] > 0 || status === value).map(
          value => ({
            value,
            label: text(`jobs.status.${value}`),
            ...counted(counts[value]),
          }),
        ),
      ],
    })
  }

  #content({ rows }: ActiveList, filter: ActiveFilter, sort: Sort, nowMs: number): TemplateResult {
    if (rows.length === 0) {
      const isFiltered = filter.jobType !== '' || filter.text !== '' || filter.status !== null
      return isFiltered
        ? empty(
            text('jobs.empty.filtered'),
            html`<div class="buttons">
              <a class="button" href=${ADDRESS.jobs}>${text('jobs.clear')}</a>
              ${
                filter.text === ''
                  ? nothing
                  : html`<a class="button" href=${ADDRESS.history({ q: filter.text })}>${text('hands.finished')}</a>`
              }
            </div>`,
          )
        : empty(text('jobs.empty'), firstJobHint())
    }
    const context = { nowMs, toggle: this.#toggle }
    return html`<div
      class="table active-table"
      role="table"
      aria-label=${text('jobs.table')}
      aria-rowcount=${rows.length + 1}
      data-rows=${number(rows.length)}
    >
      ${columns(sort)}
      <virtual-rows
        .rows=${rows}
        .isRead=${({ job }: Row) => job !== null}
        .rowHeight=${NARROW.matches ? ROW_HEIGHT.narrow : ROW_HEIGHT.wide}
        .renderRow=${(row: Row) => activeRow(row, context)}
        .onLook=${this.#look}
      ></virtual-rows>
    </div>`
  }
}

customElements.define('active-jobs', ActiveJobs)

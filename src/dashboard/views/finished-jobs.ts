import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { JobPage, ListedJob } from '../../contract/job.ts'
import type { FailureGroup } from '../data/failure-groups.ts'
import { readFailures } from '../data/failures.ts'
import { Followed } from '../data/followed.ts'
import { HISTORY_STATUSES, historyQuery, isGrouped, MORE_FILTERS, soughtId, statusOf } from '../data/history-query.ts'
import { problemOf } from '../data/reading.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS, withQuery } from '../router.ts'
import { text } from '../words.ts'
import './bulk-actions.ts'
import { PageElement } from './element.ts'
import { failureList, groupsOf } from './failure-list.ts'
import { Found } from './found.ts'
import { historyFilters } from './history-filters.ts'
import { historyRows } from './history-rows.ts'
import type { Choice } from './history-rows.ts'
import { empty, failure, loading } from './placeholders.ts'
import { filters } from './toolbar.ts'

const PAGE_SIZE = 50
const REST_MS = 1_000
const DAY_MS = 86_400_000
const TYPES_DAYS = 365
/**
 * The shortest time between two reads of the types: counting a year of jobs takes the service a while, and new types are rare.
 */
const TYPES_REST_MS = 60_000

const LABELS: Readonly<Record<string, () => string>> = {
  finished: () => text('jobs.status.finished'),
  completed: () => text('jobs.status.completed'),
  failed: () => text('jobs.status.failed'),
  cancelled: () => text('jobs.status.cancelled'),
  overdue: () => text('jobs.status.late'),
  unusual: () => text('jobs.status.unusual'),
  active: () => text('jobs.active'),
}

interface Total {
  count: number
  isExact: boolean
}

const foundText = ({ count, isExact }: Total): string => text(isExact ? 'jobs.found' : 'jobs.found.many', { count })

const onePage = (items: ListedJob[]): JobPage => ({
  ...{ items, page: 1, pageSize: PAGE_SIZE, total: items.length, totalIsExact: true, next: null },
})

/** The page of one job that is searched by its id; it has no job if there is none. */
const readOne = async (id: string, signal: AbortSignal): Promise<JobPage> => {
  try {
    return onePage([await headway.api.job(id, { signal })])
  } catch (error) {
    if (problemOf(error).status === 404) return onePage([])
    throw error
  }
}

interface Shown {
  page: JobPage
  /** The failures of the page by what went wrong, if they are grouped. */
  groups: readonly FailureGroup[] | null
  /** Whether there are more failures than were grouped. */
  isCut: boolean
}

/** Reads what the address asks for. Times that are given as a span begin when it is read. */
const readPage = async (address: string, signal: AbortSignal): Promise<Shown> => {
  const query = new URLSearchParams(address)
  const id = soughtId(query)
  if (id !== null) return { page: await readOne(id, signal), groups: null, isCut: false }
  const wanted = historyQuery(query, headway.now())
  if (isGrouped(query)) {
    const { jobs, isCut } = await readFailures(wanted, signal)
    return { page: onePage(jobs), groups: groupsOf(jobs), isCut }
  }
  const cursor = query.get('cursor') ?? ''
  const at = cursor === '' ? { page: pageOf(query) } : { cursor }
  const page = await headway.api.list({ ...wanted, ...at, pageSize: PAGE_SIZE }, { signal })
  return { page, groups: null, isCut: false }
}

const pageOf = (query: URLSearchParams): number => {
  const page = Number(query.get('page') ?? 1)
  return Number.isInteger(page) && page > 0 ? page : 1
}

/** All jobs that are kept, page by page, the last to finish first; or the failed ones by what went wrong. */
class FinishedJobs extends PageElement {
  static override properties: PropertyDeclarations = { query: { attribute: false } }

  declare query: URLSearchParams
  readonly #reading = new Followed(this, readPage, REST_MS)
  /** All types of finished jobs, as far back as statistics go. */
  readonly #statistics = new Followed(
    this,
    (days: number, signal) => {
      const since = new Date(headway.now() - days * DAY_MS).toISOString()
      return headway.api.stats({ since }, { signal })
    },
    TYPES_REST_MS,
  )
  readonly #found = new Found()
  /** The total of the list with the present filters. Only its first page, or one by number, tells it. */
  #total: { of: string; total: Total } | null = null
  /** The cursors of the pages that were shown with the present filters, by number. */
  #cursors: { of: string; byPage: Map<number, string> } = { of: '', byPage: new Map() }
  /** The jobs that were chosen with the present filters, on all pages. */
  #chosen: { of: string; jobs: Map<string, ListedJob> } = { of: '', jobs: new Map() }
  #types: readonly string[] = []
  #unsubscribe: () => void = () => undefined

  constructor() {
    super()
    new Live(this)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    this.#unsubscribe = headway.subscribe(() => {
      if (statusOf(this.query) === 'active') this.#reading.refresh()
    })
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#unsubscribe()
  }

  /** The filters in the address, without the page. */
  get #filters(): string {
    const filters = new URLSearchParams(this.query)
    filters.delete('page')
    filters.delete('cursor')
    return filters.toString()
  }

  /** The filters in the address, for a list that is not grouped. */
  get #listed(): string {
    const filters = new URLSearchParams(this.#filters)
    for (const name of ['view', 'grouped']) filters.delete(name)
    return filters.toString()
  }

  /** The total of the present list, where it is known. */
  #totalOf({ total, totalIsExact }: JobPage): Total | null {
    const of = this.#filters
    if (total !== null) this.#total = { of, total: { count: total, isExact: totalIsExact } }
    return this.#total?.of === of ? this.#total.total : null
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('query')) return
    this.#statistics.ask(TYPES_DAYS)
    const cursor = this.query.get('cursor') ?? ''
    if (this.#cursors.of !== this.#filters) this.#cursors = { of: this.#filters, byPage: new Map() }
    if (this.#chosen.of !== this.#filters) this.#chosen = { of: this.#filters, jobs: new Map() }
    if (cursor !== '') this.#cursors.byPage.set(pageOf(this.query), cursor)
    this.#reading.ask(this.query.toString())
  }

  readonly #choice: Choice = {
    has: ({ id }) => this.#chosen.jobs.has(id),
    set: (jobs, isChosen) => {
      for (const job of jobs) {
        if (isChosen) this.#chosen.jobs.set(job.id, job)
        else this.#chosen.jobs.delete(job.id)
      }
      this.requestUpdate()
    },
  }

  /** Jobs for which an action did not work stay chosen, so that it can be tried again. */
  readonly #done = (left: readonly ListedJob[]): void => {
    this.#chosen.jobs = new Map(left.map(job => [job.id, job]))
    this.#reading.refresh()
    this.requestUpdate()
  }

  protected override render(): TemplateResult {
    const page = this.#reading.value?.page ?? null
    const total = this.#reading.isOld || page === null ? null : this.#totalOf(page)
    // A chosen job is shown as it is now.
    for (const job of page?.items ?? []) if (this.#chosen.jobs.has(job.id)) this.#chosen.jobs.set(job.id, job)
    // Types of jobs that have started lately and not finished are known from the stream.
    const types = new Set([
      ...this.#types,
      ...(this.#statistics.value?.types ?? []).map(({ jobType }) => jobType),
      ...[...(page?.items ?? []), ...headway.jobs()].map(({ jobType }) => jobType),
    ])
    this.#types = [...types].sort()
    return html`${filters({
        view: 'history',
        query: this.query,
        searchLabel: text('filters.search'),
        types: this.#types,
        status: isGrouped(this.query) ? 'failed' : statusOf(this.query),
        statuses: Object.keys(HISTORY_STATUSES).map(value => ({ value, label: LABELS[value]?.() ?? value })),
      })}
      ${historyFilters(this.query, isGrouped(this.query))}
      ${this.#found.render(this.query.toString(), total && foundText(total))}
      <bulk-actions .jobs=${[...this.#chosen.jobs.values()]} .onDone=${this.#done}></bulk-actions>
      ${this.#content()}`
  }

  #content(): TemplateResult {
    const { value, problem, isOld, refresh } = this.#reading
    if (value === null) {
      return problem === null ? loading(text('jobs.loading')) : failure(text('jobs.failed'), problem, refresh)
    }
    const { page, groups, isCut } = value
    const { items } = page
    if (items.length === 0) return this.#empty(page)
    const nowMs = shownNow()
    if (groups !== null) return failureList(groups, { nowMs, isCut, filters: this.#listed })
    return html`${historyRows(items, { nowMs, isOld, choice: this.#choice })} ${this.#pager(page)}`
  }

  #empty(page: JobPage): TemplateResult {
    const names = ['type', 'q', 'status', 'page', 'cursor', 'grouped', ...MORE_FILTERS]
    if (!names.some(name => this.query.has(name))) {
      return empty(text('jobs.empty.history'), html`<p>${text('jobs.empty.history.hint')}</p>`)
    }
    // A search of errors looks at some thousand failed jobs for each page.
    const title = page.next === null ? text('jobs.empty.filtered') : text('filters.further')
    const clear = html`<a class="button" href=${ADDRESS.history()}>${text('jobs.clear')}</a>`
    return html`${empty(title, clear)} ${page.next === null ? nothing : this.#pager(page)}`
  }

  #pager(shown: JobPage): TemplateResult {
    const page = pageOf(this.query)
    const total = this.#totalOf(shown)
    const link = (to: number, cursor: string | null, label: string) =>
      html`<a class="button" href=${withQuery({ page: to === 1 ? null : String(to), cursor: to === 1 ? null : cursor })}
        >${label}</a
      >`
    const noLink = (label: string) => html`<span class="button" aria-disabled="true">${label}</span>`
    const [previous, next] = [text('jobs.page.previous'), text('jobs.page.next')]
    const pages = total?.isExact ? Math.ceil(total.count / PAGE_SIZE) : 0
    return html`<nav class="pager" aria-label=${text('jobs.page.label')}>
      <span class="muted">${total === null ? '' : foundText(total)}</span>
      ${
        page === 1 && shown.next === null
          ? nothing
          : html`${page === 1 ? noLink(previous) : link(page - 1, this.#cursors.byPage.get(page - 1) ?? null, previous)}
              <span>${pages < page ? text('jobs.page.open', { page }) : text('jobs.page', { page, pages })}</span>
              ${shown.next === null ? noLink(next) : link(page + 1, shown.next, next)}`
      }
    </nav>`
  }
}

customElements.define('finished-jobs', FinishedJobs)

import { FINISHED_STATUSES, type JobStatus } from '../../contract/states.ts'
import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { ListQuery } from '../../browser-client/index.ts'
import type { ListedJob } from '../../contract/job.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import { Followed } from '../data/followed.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS, withQuery } from '../router.ts'
import { moment, percent, preciseDuration, text } from '../words.ts'
import { PageElement } from './element.ts'
import { countCell, elapsedSeconds, failureText, inOneLine, unusualText } from './figures.ts'
import { Found } from './found.ts'
import * as icons from './icons.ts'
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
/** The service counts no further than this. */
const COUNTED = 10_000

const CHOICES: Readonly<Record<string, readonly JobStatus[]>> = {
  finished: FINISHED_STATUSES,
  completed: ['completed'],
  failed: ['failed'],
  cancelled: ['cancelled'],
  active: ['running', 'pending'],
}

const LABELS = {
  finished: () => text('jobs.status.finished'),
  completed: () => text('jobs.status.completed'),
  failed: () => text('jobs.status.failed'),
  cancelled: () => text('jobs.status.cancelled'),
  active: () => text('jobs.active'),
}

const foundText = (total: number): string =>
  total >= COUNTED ? text('jobs.found.many', { count: COUNTED }) : text('jobs.found', { count: total })

/** All jobs that are kept, page by page, the last to finish first. */
class FinishedJobs extends PageElement {
  static override properties: PropertyDeclarations = { query: { attribute: false } }

  declare query: URLSearchParams
  readonly #reading = new Followed(this, (query: ListQuery, signal) => headway.api.list(query, { signal }), REST_MS)
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
  #types: readonly string[] = []
  #unsubscribe: () => void = () => undefined

  constructor() {
    super()
    new Live(this)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    this.#unsubscribe = headway.subscribe(() => {
      if (this.#status === 'active') this.#reading.refresh()
    })
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#unsubscribe()
  }

  get #status(): string {
    const status = this.query.get('status') ?? ''
    return status in CHOICES ? status : 'finished'
  }

  get #page(): number {
    const page = Number(this.query.get('page') ?? 1)
    return Number.isInteger(page) && page > 0 ? page : 1
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('query')) return
    this.#statistics.ask(TYPES_DAYS)
    const jobType = this.query.get('type') ?? ''
    const search = this.query.get('q') ?? ''
    this.#reading.ask({
      status: CHOICES[this.#status] ?? [],
      topLevel: true,
      sort: this.#status === 'active' ? '-createdAt' : '-finishedAt',
      page: this.#page,
      pageSize: PAGE_SIZE,
      ...(jobType !== '' && { jobType }),
      ...(search !== '' && { search }),
    })
  }

  protected override render(): TemplateResult {
    const { value } = this.#reading
    // Types of jobs that have started lately and not finished are known from the stream.
    const types = new Set([
      ...this.#types,
      ...(this.#statistics.value?.types ?? []).map(({ jobType }) => jobType),
      ...[...(value?.items ?? []), ...headway.jobs()].map(({ jobType }) => jobType),
    ])
    this.#types = [...types].sort()
    return html`${filters({
      view: 'history',
      query: this.query,
      searchLabel: text('jobs.search.name'),
      types: this.#types,
      status: this.#status,
      statuses: Object.entries(LABELS).map(([name, label]) => ({ value: name, label: label() })),
    })}
    ${this.#found.render(this.query.toString(), this.#reading.isOld || value === null ? null : foundText(value.total))}
    ${this.#content()}`
  }

  #content(): TemplateResult {
    const { value, problem, isOld, refresh } = this.#reading
    if (value === null) {
      return problem === null ? loading(text('jobs.loading')) : failure(text('jobs.failed'), problem, refresh)
    }
    const { items, total } = value
    if (items.length === 0) {
      const isFiltered = ['type', 'q', 'status', 'page'].some(name => this.query.has(name))
      return isFiltered
        ? empty(
            text('jobs.empty.filtered'),
            html`<a class="button" href=${ADDRESS.history()}>${text('jobs.clear')}</a>`,
          )
        : empty(text('jobs.empty.history'), html`<p>${text('jobs.empty.history.hint')}</p>`)
    }
    const nowMs = shownNow()
    return html`<div class="table history-table" role="table" aria-label=${text('jobs.history')} aria-busy=${isOld}>
        <div class="heading" role="rowgroup">
          <div class="line" role="row">
            <div class="cell job" role="columnheader">${text('column.job')}</div>
            <div class="cell result" role="columnheader">${text('column.result')}</div>
            <div class="cell count" role="columnheader">${text('column.count')}</div>
            <div class="cell took" role="columnheader">${text('column.duration')}</div>
            <div class="cell finished" role="columnheader">${text('column.finished')}</div>
          </div>
        </div>
        <div role="rowgroup">${items.map(job => this.#row(job, nowMs))}</div>
      </div>
      ${this.#pager(total)}`
  }

  #row(job: ListedJob, nowMs: number): TemplateResult {
    const seconds = elapsedSeconds(job, nowMs)
    const condition = conditionOf(job, nowMs)
    const late = job.deadline === 'overdue' ? ` · ${text('deadline.overdue')}` : ''
    const outcome = `${job.status === 'completed' ? '' : ` · ${percent(job.progressPercent)}`}${late}`
    return html`<div class="line" role="row">
      <div class="cell job" role="cell">
        ${icons.conditionIcon(condition)}
        <div class="names">
          <span class="title"><a href=${ADDRESS.job(job.id)} title=${job.name} dir="auto">${job.name}</a></span>
          <span class="subtitle">${inOneLine([job.jobType, unusualText(job), failureText(job) || job.message])}</span>
        </div>
      </div>
      <div class="cell result" role="cell">${text(`condition.${condition}`)}${outcome}</div>
      <div class="cell count" role="cell">${countCell(job)}</div>
      <div class="cell took" role="cell">${seconds === null ? '' : preciseDuration(seconds)}</div>
      <div class="cell finished" role="cell">
        ${job.finishedAt === null ? '' : moment(Date.parse(job.finishedAt), nowMs)}
      </div>
    </div>`
  }

  #pager(total: number): TemplateResult {
    const pages = Math.max(1, Math.ceil(total / PAGE_SIZE))
    const page = this.#page
    const link = (to: number, label: string) =>
      to < 1 || to > pages
        ? html`<span class="button" aria-disabled="true">${label}</span>`
        : html`<a class="button" href=${withQuery({ page: to === 1 ? null : String(to) })}>${label}</a>`
    return html`<nav class="pager" aria-label=${text('jobs.page.label')}>
      <span class="muted">${foundText(total)}</span>
      ${
        pages === 1
          ? nothing
          : html`${link(page - 1, text('jobs.page.previous'))}
              <span>${text('jobs.page', { page, pages })}</span>
              ${link(page + 1, text('jobs.page.next'))}`
      }
    </nav>`
  }
}

customElements.define('finished-jobs', FinishedJobs)

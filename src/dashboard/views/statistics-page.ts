import { FINISHED_STATUSES } from '../../contract/states.ts'
import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { TypeStatistics } from '../../contract/statistics.ts'
import { changeOf, slowerFirst } from '../data/durations.ts'
import type { Change } from '../data/durations.ts'
import { Followed } from '../data/followed.ts'
import { readCompared, spanOf } from '../data/spans.ts'
import { Live } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { number, duration, share, signedShare, text } from '../words.ts'
import { PageElement } from './element.ts'
import { speedText } from './figures.ts'
import { empty, failure, loading } from './placeholders.ts'
import { spanChoice } from './span-choice.ts'
import './statistics-chart.ts'

/** While jobs end all the time, the page is drawn again this often. */
const REST_MS = 10_000

type ComparedType = TypeStatistics & { jobs: number; change: Change | null }

const sum = (types: readonly TypeStatistics[], outcome: (typeof FINISHED_STATUSES)[number]): number =>
  types.reduce((total, type) => total + type[outcome], 0)

const widthOf = (jobs: number, most: number): string => `width: ${(100 * jobs) / most}%`

/** By how much the jobs of a type ended late: by 3 min, or median 3 min, at most 12 min. '' if none did. */
const lateText = ({ late, lateSeconds: { p50, max } }: TypeStatistics): string => {
  if (p50 === null || max === null) return ''
  return late === 1
    ? text('statistics.late.by', { time: duration(max) })
    : text('statistics.late.range', { median: duration(p50), most: duration(max) })
}

/** A cell of a type. null: there is no such figure, and a narrow page leaves the cell out. */
const figure = (
  label: string,
  value: TemplateResult | string | null,
  { isBad = false, more = null }: { isBad?: boolean; more?: TemplateResult | null } = {},
): TemplateResult =>
  html`<td role="cell" class="figure" data-label=${label} ?data-none=${value === null} ?data-bad=${isBad}>
    ${value ?? '–'} ${more ?? nothing}
  </td>`

/** The results of jobs by type; those that got slower since the period before come first, then those with most jobs. */
class StatisticsPage extends PageElement {
  static override properties: PropertyDeclarations = { query: { attribute: false } }

  declare query: URLSearchParams
  readonly #reading = new Followed(this, readCompared, REST_MS)

  constructor() {
    super()
    new Live(this)
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (changed.has('query')) this.#reading.ask(spanOf(this.query))
  }

  protected override render(): TemplateResult {
    return html`<div class="page-head">
        <div>
          <h1>${text('statistics.title')}</h1>
          <p class="muted">${text('statistics.lead')}</p>
        </div>
        ${spanChoice(spanOf(this.query))}
      </div>
      ${this.#content()}`
  }

  #content(): TemplateResult {
    const { value, problem, isOld, refresh } = this.#reading
    if (value === null) {
      return problem === null
        ? loading(text('statistics.loading'))
        : failure(text('statistics.failed'), problem, refresh)
    }
    const all = value.present.types
    if (all.length === 0) return empty(text('statistics.empty'), html`<p>${text('statistics.empty.hint')}</p>`)
    const jobsOf = (type: TypeStatistics) => FINISHED_STATUSES.reduce((total, outcome) => total + type[outcome], 0)
    const types = slowerFirst(
      all.map(type => ({ ...type, jobs: jobsOf(type), change: changeOf(type, value.before.get(type.jobType)) })),
    )
    const most = Math.max(1, ...types.map(jobsOf))
    return html`${this.#totals(types)}
      <statistics-chart .series=${value.present.series ?? []} .bucket=${value.bucket}></statistics-chart>
      <div class="scroller" tabindex="0" role="region" aria-label=${text('statistics.title')} aria-busy=${isOld}>
        <table class="plain statistics" role="table">
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">${text('jobs.type')}</th>
              <th role="columnheader" scope="col">${text('statistics.outcomes')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.jobs')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.failureRate')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.median')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.p95')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.max')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.speed')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.late')}</th>
              <th role="columnheader" scope="col" class="figure">${text('statistics.stale')}</th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            ${types.map(type => this.#row(type, most))}
          </tbody>
        </table>
      </div>
      <p class="muted legend">
        ${FINISHED_STATUSES.map(
          outcome =>
            html`<span><span class="swatch" data-outcome=${outcome}></span>${text(`condition.${outcome}`)}</span>`,
        )}
        ${
          types.some(({ late }) => late > 0)
            ? html`<span><span class="swatch" data-outcome="late"></span>${text('statistics.late')}</span>`
            : nothing
        }
        <span>${text('statistics.durations')}</span>
      </p>`
  }

  #totals(types: readonly TypeStatistics[]): TemplateResult {
    const completed = sum(types, 'completed')
    const failed = sum(types, 'failed')
    const cancelled = sum(types, 'cancelled')
    const ended = completed + failed
    const late = types.reduce((total, type) => total + type.late, 0)
    const fact = (label: string, value: string) =>
      html`<div>
        <dt>${label}</dt>
        <dd>${value}</dd>
      </div>`
    return html`<dl class="facts-row">
      ${fact(text('statistics.jobs'), number(completed + failed + cancelled))}
      ${fact(text('condition.completed'), number(completed))} ${fact(text('condition.failed'), number(failed))}
      ${fact(text('condition.cancelled'), number(cancelled))}
      ${fact(text('statistics.failureRate'), ended === 0 ? '–' : share(failed / ended))}
      ${fact(text('statistics.late'), number(late))} ${fact(text('statistics.types'), number(types.length))}
    </dl>`
  }

  #row(type: ComparedType, most: number): TemplateResult {
    const { completed, failed, cancelled, failureRate, durationSeconds, itemsPerSecond, unit, stale, recovered } = type
    const { late, jobs, change } = type
    const time = (seconds: number | null) => (seconds === null ? null : duration(seconds))
    return html`<tr role="row">
      <th role="rowheader" scope="row">
        <a href=${ADDRESS.type(type.jobType, this.query.get('span'))} dir="auto">${type.jobType}</a>
        ${change?.isSlower ? html`<span class="badge" data-condition="at_risk">${text('statistics.slower')}</span>` : nothing}
      </th>
      <td role="cell">
        <div
          class="outcomes"
          role="img"
          aria-label=${text('statistics.outcomes.label', { completed, failed, cancelled, late })}
        >
          ${FINISHED_STATUSES.map(outcome =>
            type[outcome] === 0
              ? nothing
              : html`<span data-outcome=${outcome} .style=${widthOf(type[outcome], most)}></span>`,
          )}
        </div>
        ${
          late === 0
            ? nothing
            : html`<div class="outcomes below" aria-hidden="true">
                <span data-outcome="late" .style=${widthOf(late, most)}></span>
              </div>`
        }
      </td>
      ${figure(text('statistics.jobs'), number(jobs))}
      ${figure(text('statistics.failureRate'), failureRate === null ? null : share(failureRate), {
        isBad: (failureRate ?? 0) >= 0.1,
      })}
      ${figure(text('statistics.median'), time(durationSeconds.p50), {
        isBad: change?.isSlower ?? false,
        more:
          change &&
          html`<small class="change" title=${text('statistics.change.hint')}>${signedShare(change.share)}</small>`,
      })}
      ${figure(text('statistics.p95'), time(durationSeconds.p95))}
      ${figure(text('statistics.max'), time(durationSeconds.max))}
      ${figure(text('statistics.speed'), itemsPerSecond === null ? null : speedText(itemsPerSecond, unit ?? 'unknown'))}
      ${figure(
        text('statistics.late'),
        late === 0
          ? null
          : html`<a href=${ADDRESS.history({ type: type.jobType, status: 'overdue' })}>${number(late)}</a>`,
        { more: late === 0 ? null : html`<small>${lateText(type)}</small>` },
      )}
      ${figure(text('statistics.stale'), stale === 0 ? null : number(stale), {
        more: recovered === 0 ? null : html`<small>${text('statistics.recovered', { count: recovered })}</small>`,
      })}
    </tr>`
  }
}

customElements.define('statistics-page', StatisticsPage)

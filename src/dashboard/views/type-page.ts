import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { JobPage } from '../../contract/job.ts'
import { FINISHED_STATUSES, isFinished } from '../../contract/states.ts'
import { Followed } from '../data/followed.ts'
import { runDots } from '../data/run-dots.ts'
import type { Runs } from '../data/run-dots.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { number, preciseDuration, rough, share, text } from '../words.ts'
import { PageElement } from './element.ts'
import { empty, failure, loading } from './placeholders.ts'
import { roundUpTime } from './statistics-chart.ts'
import { agoTag, momentTag } from './times.ts'
import './type-runs.ts'

const SHOWN_RUNS = 50
const REST_MS = 2_000

/** The last runs of one type of jobs: how long they took, and how they ended. */
class TypePage extends PageElement {
  static override properties: PropertyDeclarations = { jobType: { attribute: false } }

  declare jobType: string
  readonly #reading = new Followed(
    this,
    (jobType: string, signal): Promise<JobPage> =>
      headway.api.list(
        { jobType, status: FINISHED_STATUSES, topLevel: true, sort: '-finishedAt', pageSize: SHOWN_RUNS },
        { signal },
      ),
    REST_MS,
  )

  constructor() {
    super()
    new Live(this)
  }

  protected override willUpdate(changed: PropertyValues): void {
    // The service refuses a type without a name.
    if (changed.has('jobType') && this.jobType !== '') this.#reading.ask(this.jobType)
  }

  protected override render(): TemplateResult {
    const { jobType } = this
    const active = headway.jobs().filter(job => job.jobType === jobType && !isFinished(job)).length
    return html`<nav class="crumbs" aria-label=${text('page.back')}>
        <a href=${ADDRESS.statistics}>${text('nav.statistics')}</a>
      </nav>
      <div class="page-head">
        <div class="headline">
          <h1 tabindex="-1" dir="auto">${jobType}</h1>
          <p class="subline">
            <a href=${ADDRESS.history({ type: jobType })}>${text('type.history')}</a>
            ${active === 0 ? nothing : html`<a href=${ADDRESS.active({ type: jobType })}>${text('type.active', { count: active })}</a>`}
          </p>
        </div>
      </div>
      ${this.#content()}`
  }

  #content(): TemplateResult {
    const { value, problem, isOld, refresh } = this.#reading
    if (this.jobType === '') return empty(text('type.empty'))
    if (value === null || isOld) {
      return problem === null ? loading(text('jobs.loading')) : failure(text('jobs.failed'), problem, refresh)
    }
    if (value.items.length === 0) return empty(text('type.empty'))
    const runs = runDots(value.items, roundUpTime)
    return html`${this.#facts(value, runs)} <type-runs .runs=${runs}></type-runs> ${this.#table(value)}`
  }

  #facts({ items }: JobPage, { band, completed, failed }: Runs): TemplateResult {
    const fact = (label: string, value: TemplateResult | string) =>
      html`<div>
        <dt>${label}</dt>
        <dd>${value}</dd>
      </div>`
    const ended = completed + failed
    return html`<dl class="facts-row">
      ${fact(text('type.runs'), number(items.length))}
      ${fact(text('statistics.failureRate'), ended === 0 ? '–' : share(failed / ended))}
      ${fact(text('statistics.median'), band === null ? '–' : preciseDuration(band.median))}
      ${
        band === null
          ? nothing
          : fact(text('type.half'), text('type.between', { low: rough(band.low), high: rough(band.high, Math.ceil) }))
      }
      ${fact(text('type.last'), agoTag(items[0]?.finishedAt ?? null, shownNow()))}
    </dl>`
  }

  #table({ items }: JobPage): TemplateResult {
    const nowMs = shownNow()
    const seconds = (from: string | null, to: string | null) =>
      from === null || to === null ? '–' : preciseDuration((Date.parse(to) - Date.parse(from)) / 1000)
    return html`<section class="card">
      <details>
        <summary>${text('statistics.chart.table')}</summary>
        <div class="scroller" tabindex="0" role="region" aria-label=${text('type.runs')}>
          <table class="plain">
            <thead>
              <tr>
                <th scope="col">${text('column.job')}</th>
                <th scope="col">${text('column.result')}</th>
                <th scope="col" class="figure">${text('column.duration')}</th>
                <th scope="col" class="figure">${text('column.finished')}</th>
              </tr>
            </thead>
            <tbody>
              ${items.map(
                ({ id, name, status, startedAt, finishedAt }) =>
                  html`<tr>
                    <th scope="row"><a href=${ADDRESS.job(id)} dir="auto">${name}</a></th>
                    <td>${text(`condition.${status}`)}</td>
                    <td class="figure">${seconds(startedAt, finishedAt)}</td>
                    <td class="figure">${momentTag(finishedAt, nowMs)}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </details>
    </section>`
  }
}

customElements.define('type-page', TypePage)

import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { JobPage } from '../../contract/job.ts'
import { FINISHED_STATUSES, isFinished } from '../../contract/states.ts'
import { changeOf } from '../data/durations.ts'
import { Followed } from '../data/followed.ts'
import { runDots } from '../data/run-dots.ts'
import type { Runs } from '../data/run-dots.ts'
import { slowerSince } from '../data/slower-since.ts'
import { readComparedType, spanOf } from '../data/spans.ts'
import type { Span } from '../data/spans.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { duration, number, share, signedShare, text } from '../words.ts'
import { PageElement } from './element.ts'
import { empty, failure, loading } from './placeholders.ts'
import { fullPeriod } from './periods.ts'
import { plainTable } from './plain-table.ts'
import { spanChoice } from './span-choice.ts'
import './statistics-chart.ts'
import { roundUpTime } from './statistics-chart.ts'
import { agoTag, momentTag } from './times.ts'
import './type-runs.ts'

const SHOWN_RUNS = 50
const REST_MS = 2_000
/** Statistics of two spans are more work for the service than a page of jobs. */
const STATISTICS_REST_MS = 10_000

interface Asked {
  jobType: string
  span: Span
}

/** The last runs of one type of jobs: how long they took, how they ended, and whether and since when the type is slower. */
class TypePage extends PageElement {
  static override properties: PropertyDeclarations = { jobType: { attribute: false }, query: { attribute: false } }

  declare jobType: string
  declare query: URLSearchParams
  readonly #reading = new Followed(
    this,
    (jobType: string, signal): Promise<JobPage> =>
      headway.api.list(
        { jobType, status: FINISHED_STATUSES, topLevel: true, sort: '-finishedAt', pageSize: SHOWN_RUNS },
        { signal },
      ),
    REST_MS,
  )
  readonly #statistics = new Followed(
    this,
    async ({ jobType, span }: Asked, signal) => {
      const found = await readComparedType(span, signal, jobType)
      const { now, before, series } = found
      return { ...found, jobType, span, change: now ? changeOf(now, before) : null, slower: slowerSince(series) }
    },
    STATISTICS_REST_MS,
  )

  constructor() {
    super()
    new Live(this)
  }

  protected override willUpdate(changed: PropertyValues): void {
    // The service refuses a type without a name.
    if (this.jobType === '') return
    if (changed.has('jobType')) this.#reading.ask(this.jobType)
    this.#statistics.ask({ jobType: this.jobType, span: spanOf(this.query) })
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
        ${spanChoice(spanOf(this.query))}
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
    return html`${this.#facts(value, runs)} ${this.#overTime()}
      <type-runs .runs=${runs}></type-runs> ${this.#table(value)}`
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
      ${fact(text('statistics.median'), band === null ? '–' : duration(band.median))}
      ${
        band === null
          ? nothing
          : fact(text('type.half'), text('type.between', { low: duration(band.low), high: duration(band.high) }))
      }
      ${fact(text('type.last'), agoTag(items[0]?.finishedAt ?? null, shownNow()))}
    </dl>`
  }

  /** How the type went over time, and what of it is news. */
  #overTime(): TemplateResult | typeof nothing {
    const { value, problem, refresh } = this.#statistics
    if (value === null) return problem === null ? nothing : failure(text('statistics.failed'), problem, refresh)
    const { now, change, series, bucket, slower, span } = value
    // Those of another type, until the answer is there.
    if (value.jobType !== this.jobType) return nothing
    return html`${
        slower === null
          ? nothing
          : html`<p class="news">
              <span class="badge" data-condition="at_risk">${text('statistics.slower')}</span>
              ${text('type.since', {
                when: fullPeriod(slower.start, bucket),
                before: duration(slower.beforeSeconds),
                since: duration(slower.sinceSeconds),
              })}
            </p>`
      }
      ${
        change === null || now?.durationSeconds.p50 == null
          ? nothing
          : html`<p class="news">
              ${change.isSlower && slower === null ? html`<span class="badge" data-condition="at_risk">${text('statistics.slower')}</span>` : nothing}
              ${text('type.change', {
                span: text(`statistics.span.${span}`),
                median: duration(now.durationSeconds.p50),
                change: signedShare(change.share),
              })}
            </p>`
      } <statistics-chart .series=${series} .bucket=${bucket} .mark=${slower?.start}></statistics-chart>`
  }

  #table({ items }: JobPage): TemplateResult {
    const nowMs = shownNow()
    const seconds = (from: string | null, to: string | null) =>
      from === null || to === null ? '–' : duration((Date.parse(to) - Date.parse(from)) / 1000)
    return html`<section class="card">
      <details>
        <summary>${text('statistics.chart.table')}</summary>
        ${plainTable(
          text('type.runs'),
          [
            { head: text('column.job') },
            { head: text('column.result') },
            { head: text('column.duration'), isFigure: true },
            { head: text('column.finished'), isFigure: true },
          ],
          items.map(({ id, name, status, startedAt, finishedAt }) => [
            html`<a href=${ADDRESS.job(id)} dir="auto">${name}</a>`,
            text(`condition.${status}`),
            seconds(startedAt, finishedAt),
            momentTag(finishedAt, nowMs),
          ]),
        )}
      </details>
    </section>`
  }
}

customElements.define('type-page', TypePage)

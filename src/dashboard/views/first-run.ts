import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import type { ListQuery } from '../../browser-client/index.ts'
import type { JobPage } from '../../contract/job.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { FINISHED_STATUSES, isFinished } from '../../contract/states.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import { Reading } from '../data/reading.ts'
import { stepsDone, TOUR_STEPS, TOUR_WAYS, tourCode } from '../data/tour.ts'
import type { TourStep, TourWay } from '../data/tour.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { ROOT } from '../root.ts'
import { mayDo, readToken } from '../session.ts'
import { isolated, percent, text } from '../words.ts'
import { bar } from './bar.ts'
import { PageElement } from './element.ts'
import { conditionText } from './figures.ts'
import * as icons from './icons.ts'
import { copy } from './copying.ts'

const ANY_FINISHED: ListQuery = { status: FINISHED_STATUSES, pageSize: 1 }
const REST_MS = 1_000

/**
 * A tour for a service that has no job yet: how to create one, to report and to complete it, with the address and the token of this
 * page filled in. The job appears beside it as the reader types. It stays until the reader closes it or leaves the page.
 */
class FirstRun extends PageElement {
  static override properties: PropertyDeclarations = { way: { state: true } }

  declare private way: TourWay
  /** Finished jobs, as long as it is not known whether there is one. */
  #finished: Reading<JobPage> | null = null
  /** null: it is not known yet whether the service has a job. */
  #isFirst: boolean | null = null
  #job: LiveJob | null = null
  #unsubscribe: () => void = () => undefined

  constructor() {
    super()
    this.way = 'curl'
    new Live(this)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    // The list forgets a job when it has finished.
    this.#unsubscribe = headway.on('finished', job => {
      if (job.id === this.#job?.id) this.#job = job
    })
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#unsubscribe()
    this.#finished?.stop()
    this.#finished = null
    this.#isFirst = null
    this.#job = null
  }

  /** It is a first run if the service has no job when the page opens, neither an active nor a finished one. */
  #judge(): void {
    if (this.#isFirst !== null || !headway.state().loaded) return
    if (headway.jobs().length > 0) {
      this.#isFirst = false
      return
    }
    if (this.#finished === null) {
      this.#finished = new Reading(signal => headway.api.list(ANY_FINISHED, { signal }), REST_MS)
      this.#finished.refresh()
    }
    const { value } = this.#finished
    if (value !== null) this.#isFirst = value.items.length === 0
  }

  protected override willUpdate(): void {
    this.#judge()
    if (this.#isFirst !== true) return
    const [newest] = headway.jobs()
    const shown = this.#job === null ? undefined : headway.job(this.#job.id)
    // One job is followed to its end, and then the next one that is created.
    const isOver = this.#job === null || isFinished(this.#job)
    if (isOver && newest !== undefined && newest.id !== this.#job?.id) this.#job = newest
    else if (shown !== undefined) this.#job = shown
  }

  readonly #close = (): void => {
    this.#isFirst = false
    this.requestUpdate()
  }

  #tab(way: TourWay): TemplateResult {
    return html`<button
      type="button"
      role="tab"
      id=${`tour-${way}`}
      aria-controls="tour-steps"
      aria-selected=${way === this.way}
      tabindex=${way === this.way ? 0 : -1}
      @click=${() => (this.way = way)}
    >
      ${text(`tour.way.${way}`)}
    </button>`
  }

  /** Arrows go from tab to tab, as in every list of tabs (WAI-ARIA). */
  readonly #pressed = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (step === undefined) return
    event.preventDefault()
    const count = TOUR_WAYS.length
    this.way = TOUR_WAYS[(TOUR_WAYS.indexOf(this.way) + step + count) % count] ?? 'curl'
    void this.updateComplete.then(() => this.querySelector<HTMLElement>(`#tour-${this.way}`)?.focus())
  }

  #step(step: TourStep, code: string, isDone: boolean): TemplateResult {
    const hint = this.way === 'command' ? (`tour.${step}.command` as const) : (`tour.${step}.hint` as const)
    return html`<li ?data-done=${isDone}>
      <h3>
        ${isDone ? html`${icons.conditionIcon('completed')} <span class="vh">${text('tour.done')}</span>` : nothing}
        ${text(`tour.${step}`)}
      </h3>
      <p>${text(hint)}</p>
      <div class="with-copy">
        <pre class="code" tabindex="0"><code>${code}</code></pre>
        <button
          type="button"
          class="button"
          aria-label=${text('tour.copy', { step: text(`tour.${step}`) })}
          @click=${() => void copy(code)}
        >
          ${text('action.copy')}
        </button>
      </div>
    </li>`
  }

  #beside(job: LiveJob | null): TemplateResult {
    const nowMs = shownNow()
    return html`<div class="tour-job">
      <h3>${text('tour.job')}</h3>
      ${
        job === null
          ? html`<p class="muted">${text('tour.waiting')}</p>`
          : html`<p>
                ${icons.conditionIcon(conditionOf(job, nowMs))}
                <a href=${ADDRESS.job(job.id)} dir="auto">${job.name}</a>
                <span class="muted">${conditionText(conditionOf(job, nowMs), job, nowMs)}</span>
              </p>
              <div class="with-percent">
                ${bar({
                  ...{ name: job.name, progressPercent: job.progressPercent },
                  condition: conditionOf(job, nowMs),
                  isUnknown: job.status === 'running' && job.totalCount === null && job.progressPercent === 0,
                })}
                <span class="percent" aria-hidden="true">${percent(job.progressPercent)}</span>
              </div>
              ${job.message === null ? nothing : html`<p class="muted" dir="auto">${job.message}</p>`}
              ${isFinished(job) ? html`<p>${text('tour.end', { name: isolated(job.name) })}</p>` : nothing}`
      }
    </div>`
  }

  protected override render(): TemplateResult | typeof nothing {
    if (this.#isFirst !== true) return nothing
    const code = tourCode(this.way, { url: ROOT.href, token: readToken(), jobId: this.#job?.id ?? null })
    const done = stepsDone(this.#job)
    return html`<section class="card tour" aria-labelledby="tour-title">
      <h2 id="tour-title">${text('tour.title')}</h2>
      ${mayDo('create') ? nothing : html`<p class="notice">${text('tour.forbidden')}</p>`}
      <div class="tabs" role="tablist" aria-label=${text('tour.ways')} @keydown=${this.#pressed}>
        ${TOUR_WAYS.map(way => this.#tab(way))}
      </div>
      <div class="tour-columns">
        <div id="tour-steps" role="tabpanel" aria-labelledby=${`tour-${this.way}`}>
          <ol>
            ${TOUR_STEPS.map((step, index) => this.#step(step, code[index] ?? '', done.has(step)))}
          </ol>
        </div>
        ${this.#beside(this.#job)}
      </div>
      <p>
        <a href=${ADDRESS.documentation}>${text('tour.more')}</a>
        <button type="button" class="link" @click=${this.#close}>${text('tour.close')}</button>
      </p>
    </section>`
  }
}

customElements.define('first-run', FirstRun)

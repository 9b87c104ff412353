import { html } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobDocument, Page } from '../../client/index.ts'
import { Reading } from '../data/reading.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { duration, text } from '../words.ts'
import { PageElement } from './element.ts'
import { agoText, elapsedSeconds } from './figures.ts'
import * as icons from './icons.ts'

const SHOWN = 12
const REST_MS = 1_000

/** The jobs that finished last, beside those that are active. */
class RecentJobs extends PageElement {
  readonly #reading = new Reading<Page<JobDocument>>(
    signal =>
      headway.api.list(
        { status: ['completed', 'failed', 'cancelled'], topLevel: true, sort: '-finishedAt', pageSize: SHOWN },
        { signal },
      ),
    REST_MS,
  )
  #unsubscribe: (() => void)[] = []
  #wasLive = false

  constructor() {
    super()
    new Live(this)
  }

  override connectedCallback(): void {
    super.connectedCallback()
    const refresh = () => this.#reading.refresh()
    this.#unsubscribe = [
      headway.on('finished', refresh),
      headway.on('retried', refresh),
      headway.on('recovered', refresh),
      headway.subscribe(() => {
        const isLive = headway.connection === 'live' || headway.connection === 'polling'
        if (isLive && !this.#wasLive) refresh()
        this.#wasLive = isLive
      }),
    ]
    this.#wasLive = headway.connection === 'live'
    refresh()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    for (const stop of this.#unsubscribe) stop()
    this.#reading.stop()
  }

  protected override render(): TemplateResult {
    const jobs = this.#reading.value?.items ?? []
    const nowMs = shownNow()
    return html`<aside class="recent" aria-labelledby="recent-title">
      <h2 id="recent-title">${text('jobs.recent')}</h2>
      ${
        jobs.length === 0
          ? html`<p class="muted">${this.#reading.isLoading ? '' : text('jobs.empty.recent')}</p>`
          : html`<ul>
              ${jobs.map(job => this.#item(job, nowMs))}
            </ul>`
      }
      <p><a href=${ADDRESS.history()}>${text('jobs.recent.all')}</a></p>
    </aside>`
  }

  #item(job: JobDocument, nowMs: number): TemplateResult {
    const seconds = elapsedSeconds(job, nowMs)
    const about = job.status === 'failed' && job.errorMessage !== null ? job.errorMessage : job.jobType
    const facts = seconds === null ? [about] : [duration(seconds), about]
    return html`<li>
      ${icons.conditionIcon(job.status)}
      <div class="names">
        <a href=${ADDRESS.job(job.id)}>${job.name}</a>
        <span class="vh">${text(`condition.${job.status}`)}</span>
        <span class="subtitle">${facts.join(' · ')}</span>
      </div>
      <span class="ago">${agoText(job.finishedAt, nowMs)}</span>
    </li>`
  }
}

customElements.define('recent-jobs', RecentJobs)

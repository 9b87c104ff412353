import { FINISHED_STATUSES } from '../../contract/states.ts'
import { html } from 'lit'
import type { TemplateResult } from 'lit'
import type { ListQuery } from '../../browser-client/index.ts'
import type { ListedJob } from '../../contract/job.ts'
import { Followed } from '../data/followed.ts'
import { headway, Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { duration, text } from '../words.ts'
import { PageElement } from './element.ts'
import { elapsedSeconds, failureText, inOneLine, unusualText } from './figures.ts'
import * as icons from './icons.ts'
import { problemText } from './problem-text.ts'
import { agoTag } from './times.ts'

const QUERY: ListQuery = {
  status: FINISHED_STATUSES,
  topLevel: true,
  sort: '-finishedAt',
  pageSize: 12,
}
const REST_MS = 1_000

/** The jobs that finished last, beside the active ones. */
class RecentJobs extends PageElement {
  readonly #reading = new Followed(this, (query: ListQuery, signal) => headway.api.list(query, { signal }), REST_MS)

  constructor() {
    super()
    new Live(this)
    this.#reading.ask(QUERY)
  }

  protected override render(): TemplateResult {
    const { value, problem } = this.#reading
    const jobs = value?.items ?? []
    const unread = problem === null ? '' : problemText(problem)
    const nowMs = shownNow()
    return html`<aside class="recent" aria-labelledby="recent-title">
      <h2 id="recent-title">${text('jobs.recent')}</h2>
      ${
        jobs.length === 0
          ? html`<p class="muted">${value === null ? unread : text('jobs.empty.recent')}</p>`
          : html`<ul>
              ${jobs.map(job => this.#item(job, nowMs))}
            </ul>`
      }
      <p><a href=${ADDRESS.history()}>${text('jobs.recent.all')}</a></p>
    </aside>`
  }

  #item(job: ListedJob, nowMs: number): TemplateResult {
    const seconds = elapsedSeconds(job, nowMs)
    const about = (job.status === 'failed' && failureText(job)) || job.jobType
    const facts = seconds === null ? [about] : [duration(seconds), unusualText(job), about]
    return html`<li>
      ${icons.conditionIcon(job.status)}
      <div class="names">
        <a href=${ADDRESS.job(job.id)} title=${job.name} dir="auto">${job.name}</a>
        <span class="vh">${text(`condition.${job.status}`)}</span>
        <span class="facts">
          <span class="subtitle">${inOneLine(facts)}</span>
          <span class="ago">${agoTag(job.finishedAt, nowMs)}</span>
        </span>
      </div>
    </li>`
  }
}

customElements.define('recent-jobs', RecentJobs)

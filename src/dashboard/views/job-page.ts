import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../contract/job.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import { isFinished } from '../../contract/states.ts'
import { EarlierRunReading } from '../data/earlier-run.ts'
import type { EarlierRun } from '../data/earlier-run.ts'
import { isOnlyAlive } from '../data/heartbeats.ts'
import { JobDetails } from '../data/job-details.ts'
import { stageSeconds } from '../data/stage-times.ts'
import { Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { tabFace } from '../tab-face.ts'
import { text } from '../words.ts'
import { bell } from './bell.ts'
import { actionsOf, confirmAction } from './dialogs.ts'
import { PageElement } from './element.ts'
import { conditionText, errorLine, failureText, latenessBadge, ownReason } from './figures.ts'
import * as icons from './icons.ts'
import { heartbeatStrip } from './heartbeat-strip.ts'
import './job-curves.ts'
import { allowedText, detailsList } from './job-facts.ts'
import { timeline } from './job-history.ts'
import { overview } from './job-overview.ts'
import './job-partitions.ts'
import { stages } from './job-stages.ts'
import './job-workers.ts'
import { jsonCard } from './json-card.ts'
import { failure, loading } from './placeholders.ts'

const NOT_FOUND = [400, 404]

/** The page of one job. */
class JobPage extends PageElement {
  static override properties: PropertyDeclarations = { jobId: { attribute: false }, query: { attribute: false } }

  declare jobId: string
  declare query: URLSearchParams
  #details: JobDetails | null = null
  /** What the job is compared with. Another attempt begins later, and is compared anew. */
  #earlier: { of: string; reading: EarlierRunReading } | null = null

  constructor() {
    super()
    new Live(this)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#details?.close()
    this.#earlier?.reading.stop()
    this.#earlier = null
  }

  #earlierRun(job: JobWithWorkers): EarlierRun | null {
    const of = `${job.id} ${job.startedAt}`
    if (this.#earlier?.of !== of) {
      this.#earlier?.reading.stop()
      this.#earlier = { of, reading: new EarlierRunReading(job) }
    }
    return this.#earlier.reading.value
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('jobId')) return
    this.#details?.close()
    tabFace.showPage(text('nav.jobs'))
    this.#details = new JobDetails(this.jobId)
  }

  protected override updated(): void {
    const { job = null, problem = null } = this.#details ?? {}
    if (problem !== null && NOT_FOUND.includes(problem.status)) tabFace.showPage(text('job.missing'))
    else if (job) tabFace.showJob(job)
  }

  protected override render(): TemplateResult {
    const details = this.#details
    const job = details?.job ?? null
    const problem = details?.problem ?? null
    // A job that was erased meanwhile is no longer shown.
    if (details !== null && job !== null && problem?.status !== 404) return this.#page(details, job)
    if (problem === null || problem.code === 'unauthenticated') return loading(text('job.loading'))
    if (!NOT_FOUND.includes(problem.status)) {
      return failure(text('job.unreadable'), problem, () => details?.refresh())
    }
    return html`<div class="empty">
      <h1 class="empty-title">${text('job.missing')}</h1>
      <p>${text('job.missing.hint')}</p>
      <a class="button" href=${ADDRESS.jobs}>${text('page.back')}</a>
    </div>`
  }

  #page(details: JobDetails, job: JobWithWorkers): TemplateResult {
    const nowMs = shownNow()
    const earlier = this.#earlierRun(job)
    const stageTimes = {
      own: stageSeconds(details.changes ?? [], isFinished(job) ? Date.parse(job.updatedAt) : nowMs),
      earlier: earlier?.stageSeconds ?? new Map<string, number>(),
    }
    return html`
      ${this.#head(job, nowMs)} ${overview(job, nowMs)} ${this.#error(job)} ${this.#failedPartitions(job)}
      <div class="job-columns">
        <div class="main-column">
          ${stages(job, stageTimes)}
          ${
            isOnlyAlive(job, details.curve.points)
              ? heartbeatStrip(job, details.heartbeats.times, nowMs)
              : html`<job-curves
                  .points=${details.curve.points}
                  .job=${job}
                  .changes=${details.changes ?? []}
                  .earlier=${earlier}
                ></job-curves>`
          }
          ${
            job.children === null
              ? html`<job-workers .job=${job} .nowMs=${nowMs} .query=${this.query}></job-workers>`
              : html`<job-partitions .batch=${job} .nowMs=${nowMs} .query=${this.query}></job-partitions>`
          }
        </div>
        <div class="side-column">
          ${jsonCard(text('result.title'), job.resultSummary)}
          ${timeline(details.changes, nowMs, job.children !== null)} ${detailsList(job, nowMs)}
          ${jsonCard(text('meta.title'), job.meta)}
        </div>
      </div>
    `
  }

  #head(job: JobWithWorkers, nowMs: number): TemplateResult {
    const condition = conditionOf(job, nowMs)
    const kind = job.children === null ? '' : ` · ${text('job.batch')}`
    return html`<nav class="crumbs" aria-label=${text('page.back')}>
        <a href=${ADDRESS.jobs}>${text('nav.jobs')}</a>
        ${
          job.parentJobId === null
            ? nothing
            : html`<span aria-hidden="true">/</span>
                <a href=${ADDRESS.job(job.parentJobId)}>${text('job.partitionOf')}</a>`
        }
      </nav>
      <div class="page-head">
        <div class="headline">
          <h1 tabindex="-1" dir="auto">${job.name}</h1>
          <p class="subline">
            <span class="badge large" data-condition=${condition}>
              ${icons.conditionIcon(condition)} ${conditionText(condition, job, nowMs)}
            </span>
            ${
              condition !== 'cancelling' && job.cancelRequestedAt !== null && !isFinished(job)
                ? html`<span class="badge large" data-condition="cancelling">
                    ${icons.conditionIcon('cancelling')} ${text('condition.cancelling')}
                  </span>`
                : nothing
            }
            ${latenessBadge(job, 'large')}
            <span class="muted"
              ><a href=${ADDRESS.type(job.jobType)}><bdi>${job.jobType}</bdi></a
              >${kind}</span
            >
            ${
              job.attempt > 1
                ? html`<span class="muted">${text('job.attempt', { attempt: job.attempt })}</span>`
                : nothing
            }
          </p>
          ${job.description === null ? nothing : html`<p class="muted" dir="auto">${job.description}</p>`}
        </div>
        <div class="buttons">
          ${bell(job, { labelled: true })}
          ${actionsOf(job).map(
            action =>
              html`<button
                type="button"
                class=${`button ${action === 'cancel' ? 'danger-outline' : 'primary'}`}
                @click=${() => confirmAction(action, job)}
              >
                ${action === 'cancel' ? icons.stop : icons.again} ${text(`action.${action}`)}
              </button>`,
          )}
        </div>
      </div>`
  }

  #error(job: JobWithWorkers): TemplateResult | typeof nothing {
    const { errorMessage, errorStack, failureReason } = job
    // The failures of a batch are shown with its partitions.
    if (job.children !== null || (job.status !== 'failed' && errorMessage === null)) return nothing
    const said = allowedText(job) ?? errorMessage
    return html`<section class="card error" aria-labelledby="error-title">
      <h2 id="error-title">
        ${icons.conditionIcon('failed')}
        ${failureReason === null ? text('error.title') : text(`reason.${failureReason}`)}
      </h2>
      ${said === null ? nothing : html`<p dir="auto">${said}</p>`}
      ${
        errorStack === null
          ? nothing
          : html`<details open>
              <summary>${text('error.stack')}</summary>
              <pre class="code" tabindex="0">${errorStack}</pre>
            </details>`
      }
    </section>`
  }

  /** The failed partitions of a batch: the first errors, and a link to all. */
  #failedPartitions(job: JobWithWorkers): TemplateResult | typeof nothing {
    const { children } = job
    if (children === null || children.failed === 0) return nothing
    return html`<section class="card error" aria-labelledby="error-title">
      <h2 id="error-title">${icons.conditionIcon('failed')} ${failureText(job)}</h2>
      <ul class="errors">
        ${children.errors.map((error, index) => {
          const { name = '', failureReason = null } = children.failures[index] ?? {}
          const own = ownReason(failureReason)
          return own === null
            ? html`<li dir="auto" title=${error}>${errorLine(error)}</li>`
            : html`<li><bdi>${name}</bdi>: ${own}</li>`
        })}
      </ul>
      <p>
        <a href=${ADDRESS.partitions(job.id, 'failed')}>${text('batch.failed.all', { count: children.failed })}</a>
      </p>
    </section>`
  }
}

customElements.define('job-page', JobPage)

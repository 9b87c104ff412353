import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../contract/job.ts'
import { stalledPartitionsOf } from '../../contract/liveness.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import { isFinished } from '../../contract/states.ts'
import { JobDetails } from '../data/job-details.ts'
import { Live, shownNow } from '../feed.ts'
import { ADDRESS } from '../router.ts'
import { duration, moment, number, percent, preciseDuration, text } from '../words.ts'
import { bar } from './bar.ts'
import { actionsOf, confirmAction } from './dialogs.ts'
import { PageElement } from './element.ts'
import {
  agoText,
  conditionText,
  countText,
  elapsedSeconds,
  errorLine,
  failureText,
  latenessBadge,
  leftWithRange,
  ownReason,
  speedNowText,
  unusualText,
} from './figures.ts'
import * as icons from './icons.ts'
import './job-curves.ts'
import { allowedText, detailsList } from './job-facts.ts'
import { timeline } from './job-history.ts'
import './job-partitions.ts'
import { stages } from './job-stages.ts'
import { workers } from './job-workers.ts'
import { failure, loading } from './placeholders.ts'

const NOT_FOUND = [400, 404]

/** The page of one job. */
class JobPage extends PageElement {
  static override properties: PropertyDeclarations = { jobId: { attribute: false }, query: { attribute: false } }

  declare jobId: string
  declare query: URLSearchParams
  #details: JobDetails | null = null
  #showsAllWorkers = false

  constructor() {
    super()
    new Live(this)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#details?.close()
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('jobId')) return
    this.#details?.close()
    this.#details = new JobDetails(this.jobId)
    this.#showsAllWorkers = false
  }

  protected override updated(): void {
    const job = this.#details?.job
    if (job) document.title = `${isFinished(job) ? '' : `${percent(job.progressPercent)} · `}${job.name} · Headway`
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
    return html`
      ${this.#head(job, nowMs)} ${this.#progress(job, nowMs)} ${this.#error(job)} ${this.#failedPartitions(job)}
      <div class="job-columns">
        <div class="main-column">
          ${stages(job)}
          <job-curves .points=${details.curve.points} .job=${job} .changes=${details.changes ?? []}></job-curves>
          ${
            job.children === null
              ? workers(job, nowMs, {
                  all: this.#showsAllWorkers,
                  showAll: () => {
                    this.#showsAllWorkers = true
                    this.requestUpdate()
                  },
                })
              : html`<job-partitions
                  .batch=${job}
                  .nowMs=${nowMs}
                  .state=${this.query.get('partitions') ?? ''}
                ></job-partitions>`
          }
        </div>
        <div class="side-column">
          ${this.#json(text('result.title'), job.resultSummary)}
          ${timeline(details.changes, nowMs, job.children !== null)} ${detailsList(job, nowMs)}
          ${this.#json(text('meta.title'), job.meta)}
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
            <span class="muted"><bdi>${job.jobType}</bdi>${kind}</span>
            ${
              job.attempt > 1
                ? html`<span class="muted">${text('job.attempt', { attempt: job.attempt })}</span>`
                : nothing
            }
          </p>
          ${job.description === null ? nothing : html`<p class="muted" dir="auto">${job.description}</p>`}
        </div>
        <div class="buttons">
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

  #progress(job: JobWithWorkers, nowMs: number): TemplateResult {
    const condition = conditionOf(job, nowMs)
    const isUnknown =
      job.status === 'running' && job.totalCount === null && job.progressPercent === 0 && job.stages === null
    const fact = (label: string, value: TemplateResult | string, more = '') =>
      value === ''
        ? nothing
        : html`<div>
            <dt>${label}</dt>
            <dd>${value}${more === '' ? nothing : html` <small>${more}</small>`}</dd>
          </div>`
    const elapsed = elapsedSeconds(job, nowMs)
    const isOver = isFinished(job)
    const hint = {
      stalled: text('condition.stalled.hint'),
      cancelling: text('condition.cancelling.hint'),
    }[condition as string]
    const stalled = condition === 'stalled' ? 0 : stalledPartitionsOf(job)
    return html`<section class="card overview" aria-label=${text('column.progress')}>
      <div class="gauge">
        <span class="percent">${isUnknown ? '–' : percent(job.progressPercent)}</span>
        ${bar({ name: job.name, progressPercent: job.progressPercent, condition, isUnknown })}
      </div>
      ${
        job.message === null && !hint && stalled === 0
          ? nothing
          : html`<p class="message">
              <bdi>${job.message}</bdi>
              ${hint ? html`<span class="hint" data-condition=${condition}>${hint}</span>` : nothing}
              ${
                stalled === 0
                  ? nothing
                  : html`<a class="hint" href=${ADDRESS.partitions(job.id, 'stalled')}
                      >${text('batch.stalled', { stalled, running: job.children?.running ?? stalled })}</a
                    >`
              }
            </p>`
      }
      <dl class="facts-row">
        ${fact(text('fact.done'), countText(job))}
        ${isOver ? nothing : fact(text('fact.speed'), speedNowText(job, nowMs))}
        ${
          isOver
            ? nothing
            : fact(
                text('fact.left'),
                leftWithRange(job, nowMs),
                job.etaSource === null ? '' : text(`eta.${job.etaSource}`),
              )
        }
        ${
          elapsed === null
            ? fact(text('fact.waiting'), duration((nowMs - Date.parse(job.createdAt)) / 1000))
            : fact(
                text(isOver ? 'fact.took' : 'fact.elapsed'),
                (isOver ? preciseDuration : duration)(elapsed),
                unusualText(job),
              )
        }
        ${
          job.finishBy === null || job.deadline === null
            ? nothing
            : fact(text('fact.deadline'), moment(Date.parse(job.finishBy), nowMs), text(`deadline.${job.deadline}`))
        }
        ${isOver ? nothing : fact(text('fact.heartbeat'), agoText(job.heartbeatAt, nowMs))}
        ${isOver ? nothing : fact(text('fact.advanced'), agoText(job.advancedAt, nowMs))}
        ${job.children === null && job.workers.length > 0 ? fact(text('workers.title'), number(job.workers.length)) : nothing}
      </dl>
    </section>`
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

  #json(title: string, value: Record<string, unknown> | null): TemplateResult | typeof nothing {
    if (value === null || Object.keys(value).length === 0) return nothing
    return html`<section class="card">
      <h2>${title}</h2>
      <pre class="code" tabindex="0">${JSON.stringify(value, null, 2)}</pre>
    </section>`
  }
}

customElements.define('job-page', JobPage)

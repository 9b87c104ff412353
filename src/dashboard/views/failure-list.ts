import { html, nothing } from 'lit'
import type { PropertyDeclarations, TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { ListedJob } from '../../contract/job.ts'
import { groupFailures } from '../data/failure-groups.ts'
import type { FailureGroup } from '../data/failure-groups.ts'
import { ADDRESS } from '../router.ts'
import { clock, number, text } from '../words.ts'
import { actionsOf, confirmAction } from './dialogs.ts'
import { PageElement } from './element.ts'
import { errorLine, ownReason } from './figures.ts'
import * as icons from './icons.ts'
import { agoTag, timeTag } from './times.ts'

/** More groups are told as a number. */
const SHOWN_GROUPS = 50
/** More jobs of one group are behind a link. */
const SHOWN_JOBS = 10

/** Why a job has failed, without numbers that only hold for it. */
const said = ({ failureReason, errorMessage }: ListedJob): { line: string; isOwn: boolean } => {
  const own = ownReason(failureReason)
  const line = errorLine(errorMessage ?? '')
  if (own !== null) return { line: own, isOwn: true }
  return line === '' ? { line: text('reason.worker'), isOwn: true } : { line, isOwn: false }
}

/** Failed jobs by what went wrong. It is made when they are read, because hundreds of messages are not compared in each frame. */
export const groupsOf = (jobs: readonly ListedJob[]): FailureGroup[] => groupFailures(jobs, said)

/** Groups of failures. Each unfolds into its jobs. */
class FailureList extends PageElement {
  static override properties: PropertyDeclarations = {
    groups: { attribute: false },
    isCut: { attribute: false },
    nowMs: { attribute: false },
    filters: { attribute: false },
  }

  declare groups: readonly FailureGroup[]
  /** Whether there are more failures than were read. */
  declare isCut: boolean
  /** To the second, so that the list is drawn once a second. */
  declare nowMs: number
  /** The query of the history in which the jobs were found, for the links to all of them. */
  declare filters: string
  /** The keys of the groups that are unfolded. */
  readonly #open = new Set<string>()

  #toggle(key: string, event: Event): void {
    if ((event.target as HTMLDetailsElement).open) this.#open.add(key)
    else this.#open.delete(key)
    this.requestUpdate()
  }

  #item(group: FailureGroup): TemplateResult {
    const { key, said: line, jobs, firstAt, lastAt, types } = group
    const time = (iso: string) => timeTag(iso, clock(Date.parse(iso), this.nowMs))
    return html`<li>
      <details @toggle=${(event: Event) => this.#toggle(key, event)}>
        <summary>
          <span class="times-over">${text('failures.times', { count: jobs.length })}</span>
          <span class="names">
            <span class="what" dir="auto">${line}</span>
            <span class="subtitle">
              ${types.map((type, index) => html`${index === 0 ? '' : ', '}<bdi>${type}</bdi>`)} ·
              ${firstAt === lastAt ? time(lastAt) : html`${time(firstAt)} – ${time(lastAt)}`}
            </span>
          </span>
        </summary>
        ${this.#open.has(key) ? this.#jobs(group) : nothing}
      </details>
    </li>`
  }

  #jobs({ jobs, types, search }: FailureGroup): TemplateResult {
    const address = ADDRESS.history({
      ...Object.fromEntries(new URLSearchParams(this.filters)),
      status: 'failed',
      ...(types.length === 1 && types[0] !== undefined && { type: types[0] }),
      ...(search !== '' && { error: search }),
    })
    return html`<ul class="group-jobs">
        ${repeat(
          jobs.slice(0, SHOWN_JOBS),
          ({ id }) => id,
          job =>
            html`<li>
              <a href=${ADDRESS.job(job.id)} dir="auto">${job.name}</a>
              <span class="muted">${agoTag(job.finishedAt, this.nowMs)}</span> ${this.#retry(job)}
            </li>`,
        )}
      </ul>
      <p><a href=${address}>${text('failures.all')}</a></p>`
  }

  #retry(job: ListedJob): TemplateResult | typeof nothing {
    if (!actionsOf(job).includes('retry')) return nothing
    return html`<button
      type="button"
      class="quiet"
      aria-label=${text('action.retry.of', { name: job.name })}
      title=${text('action.retry')}
      @click=${() => confirmAction('retry', job)}
    >
      ${icons.again}
    </button>`
  }

  protected override render(): TemplateResult {
    const jobs = this.groups.reduce((sum, group) => sum + group.jobs.length, 0)
    const more = this.groups.length - SHOWN_GROUPS
    return html`<ul class="failure-groups" aria-label=${text('failures.title')}>
        ${repeat(
          this.groups.slice(0, SHOWN_GROUPS),
          ({ key }) => key,
          group => this.#item(group),
        )}
      </ul>
      ${more > 0 ? html`<p class="muted">${text('failures.more', { count: more })}</p>` : nothing}
      ${this.isCut ? html`<p class="muted">${text('failures.cut', { count: number(jobs) })}</p>` : nothing}`
  }
}

customElements.define('failure-list', FailureList)

/** The groups as a list; `filters` is the query of the history in which the jobs were found. */
export const failureList = (
  groups: readonly FailureGroup[],
  { nowMs, isCut, filters }: { nowMs: number; isCut: boolean; filters: string },
): TemplateResult =>
  html`<failure-list
    .groups=${groups}
    .isCut=${isCut}
    .nowMs=${Math.floor(nowMs / 1000) * 1000}
    .filters=${filters}
  ></failure-list>`

import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { JobWithWorkers, WorkerDocument } from '../../contract/job.ts'
import { isFinished } from '../../contract/states.ts'
import { crewOf, fitsWorker, isInTrouble, WORKER_FILTERS } from '../data/crew.ts'
import type { Crew, Member, WorkerFilter, WorkerState } from '../data/crew.ts'
import type { Spread } from '../data/spread.ts'
import { number, percent, text } from '../words.ts'
import { bar } from './bar.ts'
import { cellChoices } from './cell-choices.ts'
import { CellFilter } from './cell-filter.ts'
import './cell-grid.ts'
import { PageElement } from './element.ts'
import { countCell, inOneLine, speedText } from './figures.ts'
import { Printing } from './printing.ts'
import { agoTag, agoText } from './times.ts'
import { lookOf, WorkerCells } from './worker-cells.ts'

/** More rows are only rendered when the visitor asks for them, and on paper. */
const SHOWN = 100

/** A worker's payload in one line: JSON without brackets and quotes. */
const payloadLine = (payload: Record<string, unknown>): string =>
  Object.entries(payload)
    .map(([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' · ')

/** Folded, because a payload may have 4 KB. */
const payloadDetails = (payload: WorkerDocument['payload'], workerId: string): TemplateResult | typeof nothing =>
  payload === null || Object.keys(payload).length === 0
    ? nothing
    : html`<details class="payload">
        <summary dir="auto" aria-label=${text('workers.payload', { name: workerId })}>${payloadLine(payload)}</summary>
        <pre class="code" tabindex="0">${JSON.stringify(payload, null, 2)}</pre>
      </details>`

interface Shown {
  job: JobWithWorkers
  hasShares: boolean
  nowMs: number
}

/** What is wrong with a worker, or nothing. */
const trouble = (state: WorkerState): TemplateResult | typeof nothing =>
  isInTrouble(state)
    ? html`<span class="badge" data-condition=${state === 'silent' ? 'stalled' : 'not_advancing'}
        >${text(`picture.worker.${state}`)}</span
      >`
    : nothing

/** The states of the workers: counted, and to choose from. */
const workerStates = (
  { members }: Crew,
  job: JobWithWorkers,
  by: CellFilter<(typeof WORKER_FILTERS)[number]>,
  chosen: WorkerFilter,
): TemplateResult => {
  const choices = (['', ...WORKER_FILTERS] as const).map(filter => ({
    filter,
    label:
      filter === '' || filter === 'attention'
        ? text(`jobs.status.${filter || 'all'}`)
        : text(`picture.worker.${filter}`),
    count: members.filter(member => fitsWorker(member, filter)).length,
    look: filter === '' || filter === 'attention' ? null : lookOf(filter, job),
    calls: filter === 'attention' || (filter !== '' && isInTrouble(filter)),
  }))
  return cellChoices({ label: text('workers.status'), choices, by, chosen })
}

const row = ({ worker, state, percent: share }: Member, { job, hasShares, nowMs }: Shown): TemplateResult => {
  const unit = worker.unit ?? job.unit
  const { workerId, processedCount, totalCount, throughputPerSecond, stage, message, payload, heartbeatAt } = worker
  const speed = isFinished(job) ? '' : speedText(throughputPerSecond, unit)
  const said = [job.stages !== null && stage !== job.stage ? stage : null, message]
  return html`<tr role="row" data-worker=${workerId} ?data-silent=${state === 'silent'}>
    <th role="rowheader" scope="row" tabindex="-1"><bdi>${workerId}</bdi></th>
    ${
      hasShares
        ? html`<td role="cell" class="wide" data-label=${text('column.progress')}>
            ${
              share === null
                ? nothing
                : html`<div class="with-percent">
                    ${bar({ name: workerId, progressPercent: share, condition: lookOf(state, job).condition })}
                    <span class="percent">${percent(share)}</span>
                  </div>`
            }
          </td>`
        : nothing
    }
    <td role="cell" class="figure" data-label=${text('column.count')}>
      ${countCell({ processedCount, totalCount, unit })}
    </td>
    <td role="cell" class="figure" data-label=${speed === '' ? nothing : text('column.speed')}>${speed}</td>
    <td role="cell" class="message" title=${said.filter(Boolean).join(' · ')}>
      <div>${inOneLine(said)}</div>
      ${payloadDetails(payload, workerId)}
    </td>
    <td role="cell" class="figure" data-label=${text('workers.seen')}>
      ${trouble(state)} ${agoTag(heartbeatAt, nowMs)}
    </td>
  </tr>`
}

/** How the speeds of the workers are spread: drawn as a box between the quartiles, with the median, and said. */
const speedSpread = ({ least, lowerQuartile, median, upperQuartile, most }: Spread, unit: string): TemplateResult => {
  const whole = Math.max(most, Number.MIN_VALUE)
  const at = (value: number) => `${(100 * value) / whole}`
  const said = text('picture.speeds', {
    least: speedText(least, unit),
    median: speedText(median, unit),
    most: speedText(most, unit),
  })
  return html`<div class="spread">
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <path data-part="range" d=${`M${at(least)} 5H${at(most)}`} />
      <rect data-part="quartiles" x=${at(lowerQuartile)} y="1" width=${at(upperQuartile - lowerQuartile)} height="8" />
      <path data-part="median" d=${`M${at(median)} 0V10`} />
    </svg>
    <p class="muted">${said}</p>
  </div>`
}

/** The workers of the present attempt: as a picture, and with their counts; those in trouble first. */
class JobWorkers extends PageElement {
  static override properties: PropertyDeclarations = {
    job: { attribute: false },
    nowMs: { attribute: false },
    query: { attribute: false },
    showsAll: { state: true },
  }

  declare job: JobWithWorkers
  declare nowMs: number
  declare query: URLSearchParams
  declare private showsAll: boolean
  readonly #printing = new Printing(this, () => {
    this.requestUpdate()
    this.performUpdate()
  })
  readonly #cells = new WorkerCells()
  readonly #shown = new CellFilter('workers', WORKER_FILTERS)
  /** The worker to whose row the visitor goes. */
  #wanted: string | null = null

  constructor() {
    super()
    this.showsAll = false
  }

  protected override willUpdate(changed: PropertyValues): void {
    const before = changed.get('job') as JobWithWorkers | undefined
    if (before !== undefined && before.id !== this.job.id) this.showsAll = false
  }

  protected override updated(changed: PropertyValues): void {
    if (changed.has('query')) this.#shown.leadTo(this, this.#filterOf(crewOf(this.job, this.nowMs)))
    if (this.#wanted === null) return
    const row = this.querySelector<HTMLElement>(`tr[data-worker="${CSS.escape(this.#wanted)}"]`)
    // A filter that hides the row is gone with the next update.
    if (row === null) return
    this.#wanted = null
    row.scrollIntoView({ block: 'center' })
    row.querySelector('th')?.focus({ preventScroll: true })
  }

  /** Which workers are shown. After the end of the job all are done, and of one there is nothing to choose: all are shown. */
  #filterOf(crew: Crew): WorkerFilter {
    return isFinished(this.job) || crew.members.length < 2 ? '' : this.#shown.of(this.query)
  }

  protected override render(): TemplateResult {
    const crew = crewOf(this.job, this.nowMs)
    const { length } = crew.members
    return html`<section class="card">
      <h2 id="workers-title">
        ${text('workers.title')} ${length > 0 ? html`<span class="number">${number(length)}</span>` : nothing}
      </h2>
      ${length === 0 ? html`<p class="muted">${text('workers.empty')}</p>` : this.#content(crew)}
    </section>`
  }

  #content(crew: Crew): TemplateResult {
    const { members, speeds } = crew
    const { job } = this
    const filter = this.#filterOf(crew)
    const rows = members.filter(member => fitsWorker(member, filter))
    return html`${
      members.length < 2
        ? nothing
        : html`<cell-grid
            .cells=${this.#cells.of(members, job, filter)}
            .label=${text('picture.workers')}
            .describe=${(id: string) => this.#named(members, id)}
            .onChoose=${(id: string) => this.#show(members, filter, id)}
          ></cell-grid>`
    }
    ${members.length < 2 || isFinished(job) ? nothing : workerStates(crew, job, this.#shown, filter)}
    ${speeds === null || isFinished(job) ? nothing : speedSpread(speeds, job.unit)}
    ${rows.length === 0 ? html`<p class="muted">${text('workers.none')}</p>` : this.#table(rows)}`
  }

  #named(members: readonly Member[], id: string): TemplateResult | string {
    const member = members.find(({ worker }) => worker.workerId === id)
    if (member === undefined) return ''
    const { worker, state, percent: share } = member
    return inOneLine([
      worker.workerId,
      text(`picture.worker.${state}`),
      share === null ? null : percent(share),
      isFinished(this.job) ? null : speedText(worker.throughputPerSecond, worker.unit ?? this.job.unit),
      agoText(worker.heartbeatAt, this.nowMs),
      worker.message,
    ])
  }

  /** Leads to the row of a worker. */
  #show(members: readonly Member[], filter: WorkerFilter, id: string): void {
    this.#wanted = id
    this.showsAll = true
    const isHidden = members.some(member => member.worker.workerId === id && !fitsWorker(member, filter))
    if (isHidden) this.#shown.choose('')
    this.requestUpdate()
  }

  #table(members: readonly Member[]): TemplateResult {
    const { job, nowMs } = this
    const hasShares = members.some(member => member.percent !== null)
    const isWhole = this.showsAll || this.#printing.isOnPaper || members.length <= SHOWN
    return html`<div class="scroller" tabindex="0" role="region" aria-labelledby="workers-title">
        <table class="plain" role="table">
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">${text('workers.name')}</th>
              ${hasShares ? html`<th role="columnheader" scope="col">${text('column.progress')}</th>` : nothing}
              <th role="columnheader" scope="col" class="figure">${text('column.count')}</th>
              <th role="columnheader" scope="col" class="figure">${text('column.speed')}</th>
              <th role="columnheader" scope="col">${text('workers.message')}</th>
              <th role="columnheader" scope="col" class="figure">${text('workers.seen')}</th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            ${repeat(
              isWhole ? members : members.slice(0, SHOWN),
              ({ worker }) => worker.workerId,
              member => row(member, { job, hasShares, nowMs }),
            )}
          </tbody>
        </table>
      </div>
      ${
        isWhole
          ? nothing
          : html`<button type="button" class="button more" @click=${() => (this.showsAll = true)}>
              ${text('workers.all', { count: members.length })}
            </button>`
      }`
  }
}

customElements.define('job-workers', JobWorkers)

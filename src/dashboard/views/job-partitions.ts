import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { Children, JobWithWorkers } from '../../contract/job.ts'
import { PARTITION_STATES, Partitions } from '../data/partitions.ts'
import type { PartitionState } from '../data/partitions.ts'
import { navigate, withQuery } from '../router.ts'
import { number, text } from '../words.ts'
import { activeRow } from './active-row.ts'
import { PageElement } from './element.ts'
import './virtual-rows.ts'

const ROW_HEIGHT = 60
const NARROW_ROW_HEIGHT = 122
const NARROW = matchMedia('(max-width: 820px)')

const SHARES = ['completed', 'running', 'failed', 'cancelled', 'pending'] as const

/** The partitions of a batch, on the batch's page. */
class JobPartitions extends PageElement {
  static override properties: PropertyDeclarations = {
    batch: { attribute: false },
    nowMs: { attribute: false },
    state: { attribute: false },
  }

  declare batch: JobWithWorkers
  declare nowMs: number
  /** The state of the partitions to show; all, if it is no state. */
  declare state: string
  #partitions: Partitions | null = null

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#partitions?.close()
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('batch') && !changed.has('state')) return
    const state = this.#state
    if (this.#partitions?.batchId !== this.batch.id || this.#partitions.state !== state) {
      this.#partitions?.close()
      this.#partitions = new Partitions(this.batch, state)
    }
    this.#partitions.follow(this.batch)
  }

  /** A visitor who follows a link to some of the partitions wants to see them, so the page scrolls there. */
  protected override updated(changed: PropertyValues): void {
    if (changed.has('state') && this.#state !== '' && !this.contains(document.activeElement)) this.scrollIntoView()
  }

  get #state(): PartitionState | '' {
    return PARTITION_STATES.find(each => each === this.state) ?? ''
  }

  /** Only states that some partition has, and the chosen state. */
  #choices(children: Children): TemplateResult {
    const chosen = this.#state
    const choice = (state: PartitionState | '', label: string, count: number) =>
      html`<button
        type="button"
        class="choice"
        data-state=${state}
        aria-pressed=${state === chosen}
        ?data-calls=${(state === 'stalled' || state === 'failed') && count > 0}
        @click=${() => navigate(withQuery({ partitions: state }), { replace: true })}
      >
        ${label} <span class="number">${number(count)}</span>
      </button>`
    return html`<div class="choices" role="group" aria-label=${text('partitions.status')}>
      ${choice('', text('jobs.status.all'), children.total)}
      ${PARTITION_STATES.filter(state => children[state] > 0 || state === chosen).map(state =>
        choice(state, text(state === 'stalled' ? 'condition.stalled' : `jobs.status.${state}`), children[state]),
      )}
    </div>`
  }

  protected override render(): TemplateResult | typeof nothing {
    const partitions = this.#partitions
    const { children } = this.batch
    if (partitions === null || children === null) return nothing
    const rows = Array.from({ length: partitions.count }, (_, index) => ({
      key: `${partitions.state} ${index}`,
      job: partitions.at(index),
      isOpen: false,
      partition: { of: partitions, index },
    }))
    const context = { nowMs: this.nowMs, toggle: () => undefined }
    const made = children.pending + children.running + children.completed + children.failed + children.cancelled
    const unmade = children.total - made
    return html`<section class="card" aria-labelledby="partitions-title">
      <h2 id="partitions-title">${text('partitions.title')} <span class="number">${number(children.total)}</span></h2>
      <div class="outcomes tall" aria-hidden="true">
        ${SHARES.map(status =>
          children[status] === 0
            ? nothing
            : html`<span data-outcome=${status} .style=${`flex-grow: ${children[status]}`}></span>`,
        )}
      </div>
      <p class="muted">
        ${text('partitions.summary', {
          completed: children.completed,
          running: children.running,
          pending: children.pending,
          failed: children.failed,
          cancelled: children.cancelled,
        })}${unmade > 0 ? html` · ${text('partitions.unmade', { count: unmade })}` : nothing}
      </p>
      ${this.#choices(children)}
      ${rows.length === 0 && this.#state !== '' ? html`<p class="muted">${text('partitions.none')}</p>` : nothing}
      <div
        class="table partition-table"
        role="table"
        aria-labelledby="partitions-title"
        aria-rowcount=${rows.length + 1}
      >
        <div class="heading vh" role="rowgroup">
          <div role="row" aria-rowindex="1">
            <div role="columnheader">${text('partitions.name')}</div>
            <div role="columnheader">${text('column.progress')}</div>
            <div role="columnheader">${text('column.count')}</div>
            <div role="columnheader">${text('column.speed')}</div>
            <div role="columnheader">${text('column.left')}</div>
            <div role="columnheader">${text('column.workers')}</div>
            <div role="columnheader">${text('column.actions')}</div>
          </div>
        </div>
        <virtual-rows
          .rows=${rows}
          .isRead=${({ job }: (typeof rows)[number]) => job !== null}
          .rowHeight=${NARROW.matches ? NARROW_ROW_HEIGHT : ROW_HEIGHT}
          .renderRow=${(row: (typeof rows)[number]) => activeRow(row, context)}
          .onLook=${(first: number, last: number) => partitions.look(first, last)}
        ></virtual-rows>
      </div>
    </section>`
  }
}

customElements.define('job-partitions', JobPartitions)

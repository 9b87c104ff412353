import { html, nothing } from 'lit'
import type { PropertyDeclarations, PropertyValues, TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../client/index.ts'
import { Partitions } from '../data/partitions.ts'
import { number, text } from '../words.ts'
import { activeRow } from './active-row.ts'
import { PageElement } from './element.ts'
import './virtual-rows.ts'

const ROW_HEIGHT = 52
const NARROW_ROW_HEIGHT = 104
const NARROW = matchMedia('(max-width: 820px)')

const SHARES = ['completed', 'running', 'failed', 'cancelled', 'pending'] as const

/** The partitions of a batch, on its page. */
class JobPartitions extends PageElement {
  static override properties: PropertyDeclarations = { batch: { attribute: false }, nowMs: { attribute: false } }

  declare batch: JobWithWorkers
  declare nowMs: number
  #partitions: Partitions | null = null

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#partitions?.close()
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('batch')) return
    if (this.#partitions?.batchId !== this.batch.id) {
      this.#partitions?.close()
      this.#partitions = new Partitions(this.batch)
    }
    this.#partitions.follow(this.batch)
  }

  protected override render(): TemplateResult | typeof nothing {
    const partitions = this.#partitions
    const { children } = this.batch
    if (partitions === null || children === null) return nothing
    const rows = Array.from({ length: partitions.count }, (_, index) => ({
      key: String(index),
      job: partitions.at(index),
      isOpen: false,
      partition: { of: partitions, index },
    }))
    const context = { nowMs: this.nowMs, workerCount: () => null, toggle: () => undefined }
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
          .rowHeight=${NARROW.matches ? NARROW_ROW_HEIGHT : ROW_HEIGHT}
          .renderRow=${(row: (typeof rows)[number]) => activeRow(row, context)}
          .onLook=${(first: number, last: number) => partitions.look(first, last)}
        ></virtual-rows>
      </div>
    </section>`
  }
}

customElements.define('job-partitions', JobPartitions)

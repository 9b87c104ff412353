import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobEvent } from '../../contract/job.ts'
import type { Condition } from '../../browser-client/condition.ts'
import { isolated, percent, text } from '../words.ts'
import { errorLine, inOneLine, ownReason } from './figures.ts'
import * as icons from './icons.ts'
import { momentTag } from './times.ts'

const MARKS: Partial<Record<JobEvent['type'], Condition>> = {
  created: 'pending',
  started: 'running',
  cancel_requested: 'cancelling',
  cancelled: 'cancelled',
  completed: 'completed',
  failed: 'failed',
  stalled: 'stalled',
  recovered: 'running',
  retried: 'pending',
}

const titleOf = ({ type, attempt, data }: JobEvent, isBatch: boolean): string => {
  // A batch is stalled as soon as one of its partitions is, even if the others report.
  if (type === 'stalled' && isBatch) return text('event.stalled.batch')
  if (type === 'stage_changed') return text('event.stage_changed', { stage: isolated(String(data['stage'])) })
  if (type === 'retried') return text('event.retried', { attempt })
  return text(`event.${type}`)
}

const entry = (event: JobEvent, nowMs: number, isBatch: boolean): TemplateResult => {
  const { type, at, actor, data } = event
  const mark = MARKS[type]
  const reached =
    typeof data['progressPercent'] === 'number' && type !== 'stage_changed' ? percent(data['progressPercent']) : ''
  const said = typeof data['errorMessage'] === 'string' ? errorLine(data['errorMessage']) : ''
  const error = ownReason(data['failureReason']) ?? said
  const more = [reached, actor === null ? '' : text('history.by', { actor: isolated(actor) }), error].filter(
    part => part !== '',
  )
  return html`<li data-type=${type}>
    ${mark === undefined ? html`<span class="mark"><span class="dot"></span></span>` : icons.conditionIcon(mark)}
    <div>
      <span class="event">${titleOf(event, isBatch)}</span>
      ${more.length === 0 ? nothing : html`<span class="subtitle">${inOneLine(more)}</span>`}
    </div>
    ${momentTag(at, nowMs)}
  </li>`
}

/** The history of a job, newest first. `isBatch`: its changes result from those of its partitions. */
export const timeline = (changes: readonly JobEvent[] | null, nowMs: number, isBatch: boolean): TemplateResult =>
  html`<section class="card" aria-labelledby="history-title">
    <h2 id="history-title">${text('history.title')}</h2>
    ${
      changes === null || changes.length === 0
        ? html`<p class="muted">${changes === null ? '' : text('history.empty')}</p>`
        : html`<ol class="timeline">
            ${changes.toReversed().map(event => entry(event, nowMs, isBatch))}
          </ol>`
    }
  </section>`

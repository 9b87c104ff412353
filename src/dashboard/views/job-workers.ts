import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { JobWithWorkers, WorkerDocument } from '../../contract/job.ts'
import { isFinished } from '../../contract/states.ts'
import { number, percent, text } from '../words.ts'
import { bar } from './bar.ts'
import { agoText, countCell, inOneLine, speedText } from './figures.ts'

/** A worker that has not reported for this long is shown as silent. */
const SILENT_MS = 30_000
/** More rows are only rendered when the visitor asks for them. */
const SHOWN = 100

const percentOf = ({ processedCount, totalCount, progressPercent }: WorkerDocument): number | null =>
  totalCount === null || totalCount === 0
    ? progressPercent
    : Math.min(100, Math.floor((100 * processedCount) / totalCount))

/** A worker that has done its share need not report any more. */
const isSilent = (worker: WorkerDocument, job: JobWithWorkers, nowMs: number): boolean =>
  !isFinished(job) && percentOf(worker) !== 100 && nowMs - Date.parse(worker.heartbeatAt) > SILENT_MS

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

const row = (
  worker: WorkerDocument,
  job: JobWithWorkers,
  { silent, hasShares, nowMs }: { silent: boolean; hasShares: boolean; nowMs: number },
): TemplateResult => {
  const unit = worker.unit ?? job.unit
  const { workerId, processedCount, totalCount, throughputPerSecond, stage, message, payload, heartbeatAt } = worker
  const share = percentOf(worker)
  const condition = silent ? 'stalled' : job.status
  const speed = isFinished(job) ? '' : speedText(throughputPerSecond, unit)
  const said = [job.stages !== null && stage !== job.stage ? stage : null, message]
  return html`<tr role="row" ?data-silent=${silent}>
    <th role="rowheader" scope="row"><bdi>${workerId}</bdi></th>
    ${
      hasShares
        ? html`<td role="cell" class="wide" data-label=${text('column.progress')}>
            ${
              share === null
                ? nothing
                : html`<div class="with-percent">
                    ${bar({ name: workerId, progressPercent: share, condition })}
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
      ${silent ? html`<span class="badge" data-condition="stalled">${text('condition.stalled')}</span>` : nothing}
      ${agoText(heartbeatAt, nowMs)}
    </td>
  </tr>`
}

/** The workers of the present attempt, with their counts; silent ones first. */
export const workers = (
  job: JobWithWorkers,
  nowMs: number,
  { all, showAll }: { all: boolean; showAll: () => void },
): TemplateResult => {
  const present = job.workers.filter(({ attempt }) => attempt === job.attempt)
  const hasShares = present.some(worker => percentOf(worker) !== null)
  const rows = [true, false].flatMap(silent =>
    present.filter(worker => isSilent(worker, job, nowMs) === silent).map(worker => ({ worker, silent })),
  )
  return html`<section class="card">
    <h2 id="workers-title">
      ${text('workers.title')}
      ${present.length > 0 ? html`<span class="number">${number(present.length)}</span>` : nothing}
    </h2>
    ${
      present.length === 0
        ? html`<p class="muted">${text('workers.empty')}</p>`
        : html`<div class="scroller" tabindex="0" role="region" aria-labelledby="workers-title">
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
                    rows.slice(0, all ? undefined : SHOWN),
                    ({ worker }) => worker.workerId,
                    ({ worker, silent }) => row(worker, job, { silent, hasShares, nowMs }),
                  )}
                </tbody>
              </table>
            </div>
            ${
              all || rows.length <= SHOWN
                ? nothing
                : html`<button type="button" class="button more" @click=${showAll}>
                    ${text('workers.all', { count: rows.length })}
                  </button>`
            }`
    }
  </section>`
}

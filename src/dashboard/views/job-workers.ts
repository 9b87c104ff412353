import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobWithWorkers, WorkerDocument } from '../../client/index.ts'
import { isFinished } from '../../client/documents.ts'
import { number, percent, text } from '../words.ts'
import { bar } from './bar.ts'
import { agoText, countText, speedText } from './figures.ts'

/** A worker that has not been heard of for so long is shown as silent; the service says it of jobs only. */
const SILENT_MS = 30_000
/** More rows than that are written only for whoever asks. */
const SHOWN = 100

const percentOf = ({ processedCount, totalCount, progressPercent }: WorkerDocument): number | null =>
  totalCount === null || totalCount === 0
    ? progressPercent
    : Math.min(100, Math.floor((100 * processedCount) / totalCount))

/** One that has done its share has no more to say. */
const isSilent = (worker: WorkerDocument, job: JobWithWorkers, nowMs: number): boolean =>
  !isFinished(job) && percentOf(worker) !== 100 && nowMs - Date.parse(worker.heartbeatAt) > SILENT_MS

const row = (
  worker: WorkerDocument,
  job: JobWithWorkers,
  { silent, hasShares, nowMs }: { silent: boolean; hasShares: boolean; nowMs: number },
): TemplateResult => {
  const { workerId, processedCount, totalCount, throughputPerSecond, stage, message, heartbeatAt } = worker
  const share = percentOf(worker)
  const condition = silent ? 'stalled' : job.status
  const said = [job.stages !== null && stage !== job.stage ? stage : null, message].filter(Boolean).join(' · ')
  return html`<tr ?data-silent=${silent}>
    <th scope="row" title=${workerId}>${workerId}</th>
    ${
      hasShares
        ? html`<td class="wide">
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
    <td class="figure">${countText({ processedCount, totalCount, unit: job.unit }, { short: true })}</td>
    <td class="figure">${isFinished(job) ? '' : speedText(throughputPerSecond, job.unit)}</td>
    <td class="message" title=${said}><div dir="auto">${said}</div></td>
    <td class="figure">
      ${silent ? html`<span class="badge" data-condition="stalled">${text('condition.stalled')}</span>` : nothing}
      ${agoText(heartbeatAt, nowMs)}
    </td>
  </tr>`
}

/** The workers of the present attempt, with what each has done; those that have fallen silent first. */
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
              <table class="plain">
                <thead>
                  <tr>
                    <th scope="col">${text('workers.name')}</th>
                    ${hasShares ? html`<th scope="col">${text('column.progress')}</th>` : nothing}
                    <th scope="col" class="figure">${text('column.count')}</th>
                    <th scope="col" class="figure">${text('column.speed')}</th>
                    <th scope="col">${text('workers.message')}</th>
                    <th scope="col" class="figure">${text('workers.seen')}</th>
                  </tr>
                </thead>
                <tbody>
                  ${rows
                    .slice(0, all ? undefined : SHOWN)
                    .map(({ worker, silent }) => row(worker, job, { silent, hasShares, nowMs }))}
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

import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobWithWorkers, WorkerDocument } from '../../client/index.ts'
import { isFinished } from '../data/condition.ts'
import { number, percent, text } from '../words.ts'
import { bar } from './bar.ts'
import { agoText, countText, speedText } from './figures.ts'

/** A worker that has not been heard of for so long is shown as silent; the service says it of jobs only. */
const SILENT_MS = 30_000
const SHOWN = 100

const percentOf = ({ processedCount, totalCount, progressPercent }: WorkerDocument): number | null =>
  totalCount === null || totalCount === 0
    ? progressPercent
    : Math.min(100, Math.floor((100 * processedCount) / totalCount))

const row = (worker: WorkerDocument, job: JobWithWorkers, nowMs: number, hasShares: boolean): TemplateResult => {
  const { workerId, processedCount, totalCount, throughputPerSecond, stage, message, heartbeatAt } = worker
  const share = percentOf(worker)
  const isSilent = !isFinished(job) && nowMs - Date.parse(heartbeatAt) > SILENT_MS
  const condition = isSilent ? 'stalled' : job.status
  return html`<tr ?data-silent=${isSilent}>
    <th scope="row">${workerId}</th>
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
    <td>${[job.stages !== null && stage !== job.stage ? stage : null, message].filter(Boolean).join(' · ')}</td>
    <td class="figure">
      ${isSilent ? html`<span class="badge" data-condition="stalled">${text('condition.stalled')}</span>` : nothing}
      ${agoText(heartbeatAt, nowMs)}
    </td>
  </tr>`
}

/** The workers of the present attempt, with what each has done. */
export const workers = (job: JobWithWorkers, nowMs: number): TemplateResult => {
  const present = job.workers.filter(({ attempt }) => attempt === job.attempt)
  const hasShares = present.some(worker => percentOf(worker) !== null)
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
                ${present.slice(0, SHOWN).map(worker => row(worker, job, nowMs, hasShares))}
              </tbody>
            </table>
          </div>`
    }
  </section>`
}

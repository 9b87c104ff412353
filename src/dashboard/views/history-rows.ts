import { html } from 'lit'
import type { TemplateResult } from 'lit'
import { repeat } from 'lit/directives/repeat.js'
import type { ListedJob } from '../../contract/job.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import { ADDRESS } from '../router.ts'
import { isolated, percent, duration, text } from '../words.ts'
import { rowAction } from './row-action.ts'
import { countCell, elapsedSeconds, failureText, inOneLine, lateText, unusualText } from './figures.ts'
import * as icons from './icons.ts'
import { momentTag } from './times.ts'

export interface Choice {
  has: (job: ListedJob) => boolean
  /** Chooses jobs, or no longer. */
  set: (jobs: readonly ListedJob[], isChosen: boolean) => void
}

const isOn = (event: Event): boolean => (event.target as HTMLInputElement).checked

const row = (job: ListedJob, nowMs: number, choice: Choice): TemplateResult => {
  const seconds = elapsedSeconds(job, nowMs)
  const condition = conditionOf(job, nowMs)
  const late = lateText(job)
  const outcome = `${job.status === 'completed' ? '' : ` · ${percent(job.progressPercent)}`}${late === '' ? '' : ` · ${late}`}`
  const owner = job.startedByUserId === null ? '' : text('history.by', { actor: isolated(job.startedByUserId) })
  return html`<div class="line" role="row">
    <div class="cell choose" role="cell">
      <input
        type="checkbox"
        aria-label=${text('bulk.choose', { name: job.name })}
        .checked=${choice.has(job)}
        @change=${(event: Event) => choice.set([job], isOn(event))}
      />
    </div>
    <div class="cell job" role="cell">
      ${icons.conditionIcon(condition)}
      <div class="names">
        <span class="title"><a href=${ADDRESS.job(job.id)} title=${job.name} dir="auto">${job.name}</a></span>
        <span class="subtitle"
          >${inOneLine([job.jobType, unusualText(job), failureText(job) || job.message, owner])}</span
        >
      </div>
    </div>
    <div class="cell result" role="cell">${text(`condition.${condition}`)}${outcome}</div>
    <div class="cell count" role="cell">${countCell(job)}</div>
    <div class="cell took" role="cell">${seconds === null ? '' : duration(seconds)}</div>
    <div class="cell finished" role="cell">${momentTag(job.finishedAt, nowMs)}</div>
    <div class="cell actions" role="cell">${rowAction(job)}</div>
  </div>`
}

/** One page of the history. `isOld`: the page with the present filters is being read. */
export const historyRows = (
  jobs: readonly ListedJob[],
  { nowMs, isOld, choice }: { nowMs: number; isOld: boolean; choice: Choice },
): TemplateResult => {
  const chosen = jobs.filter(choice.has).length
  return html`<div class="table history-table" role="table" aria-label=${text('jobs.history')} aria-busy=${isOld}>
    <div class="heading" role="rowgroup">
      <div class="line" role="row">
        <div class="cell choose" role="columnheader">
          <input
            type="checkbox"
            aria-label=${text('bulk.choose.all')}
            .checked=${chosen === jobs.length}
            .indeterminate=${chosen > 0 && chosen < jobs.length}
            @change=${(event: Event) => choice.set(jobs, isOn(event))}
          />
        </div>
        <div class="cell job" role="columnheader">${text('column.job')}</div>
        <div class="cell result" role="columnheader">${text('column.result')}</div>
        <div class="cell count" role="columnheader">${text('column.count')}</div>
        <div class="cell took" role="columnheader">${text('column.duration')}</div>
        <div class="cell finished" role="columnheader">${text('column.finished')}</div>
        <div class="cell actions" role="columnheader"><span class="vh">${text('column.actions')}</span></div>
      </div>
    </div>
    <div role="rowgroup">
      ${repeat(
        jobs,
        ({ id }) => id,
        job => row(job, nowMs, choice),
      )}
    </div>
  </div>`
}

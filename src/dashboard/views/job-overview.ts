import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { JobWithWorkers } from '../../contract/job.ts'
import { stalledPartitionsOf } from '../../contract/liveness.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import { isFinished } from '../../contract/states.ts'
import { crewOf, WORKER_TROUBLES } from '../data/crew.ts'
import { ADDRESS } from '../router.ts'
import { number, percent, duration, rough, text } from '../words.ts'
import { bar } from './bar.ts'
import { countText, elapsedSeconds, lateText, leftInFull, speedNowText, usualText } from './figures.ts'
import { agoTag, momentTag, silenceText, timeTag } from './times.ts'

/** What is wrong with some of the workers, as links to them. What is wrong with all of them is the condition of the job. */
const crewHints = (job: JobWithWorkers, nowMs: number): TemplateResult[] => {
  const { counts, members } = crewOf(job, nowMs)
  const total = members.length
  return WORKER_TROUBLES.filter(state => counts[state] > 0 && counts[state] < total).map(
    state =>
      html`<a class="hint" href=${ADDRESS.workers(job.id, state)}
        >${text(`workers.${state}`, { count: counts[state], total })}</a
      >`,
  )
}

/** How far a job is, and the figures that say how it goes. */
export const overview = (job: JobWithWorkers, nowMs: number): TemplateResult => {
  const condition = conditionOf(job, nowMs)
  const isUnknown =
    job.status === 'running' && job.totalCount === null && job.progressPercent === 0 && job.stages === null
  const fact = (label: string, value: TemplateResult | string, more: TemplateResult | string = '') =>
    value === ''
      ? nothing
      : html`<div>
          <dt>${label}</dt>
          <dd>${value}${more === '' ? nothing : html` <small>${more}</small>`}</dd>
        </div>`
  const elapsed = elapsedSeconds(job, nowMs)
  const isOver = isFinished(job)
  const hint = {
    stalled: silenceText(job, nowMs) || text('condition.stalled.hint'),
    cancelling: text('condition.cancelling.hint'),
  }[condition as string]
  const stalled = condition === 'stalled' ? 0 : stalledPartitionsOf(job)
  const ofCrew = crewHints(job, nowMs)
  return html`<section class="card overview" aria-label=${text('column.progress')}>
    <div class="gauge">
      <span class="percent">${isUnknown ? '–' : percent(job.progressPercent)}</span>
      ${bar({ name: job.name, progressPercent: job.progressPercent, condition, isUnknown })}
    </div>
    ${
      job.message === null && !hint && stalled === 0 && ofCrew.length === 0
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
            ${ofCrew}
          </p>`
    }
    <dl class="facts-row">
      ${fact(text('fact.done'), countText(job))}
      ${
        isOver
          ? nothing
          : fact(
              text('fact.speed'),
              speedNowText(job, nowMs),
              html`<span title=${text('fact.speed.hint')}>${text('fact.speed.recent')}</span>`,
            )
      }
      ${
        isOver
          ? nothing
          : fact(text('fact.left'), leftInFull(job, nowMs), job.etaSource === null ? '' : text(`eta.${job.etaSource}`))
      }
      ${
        elapsed === null
          ? fact(
              text('fact.waiting'),
              timeTag(job.createdAt, rough((nowMs - Date.parse(job.createdAt)) / 1000)),
              silenceText(job, nowMs),
            )
          : fact(
              text(isOver ? 'fact.took' : 'fact.elapsed'),
              timeTag(job.startedAt ?? job.createdAt, isOver ? duration(elapsed) : rough(elapsed)),
              usualText(job) && html`<a href=${ADDRESS.type(job.jobType)}>${usualText(job)}</a>`,
            )
      }
      ${
        job.finishBy === null || job.deadline === null
          ? nothing
          : fact(
              text('fact.deadline'),
              momentTag(job.finishBy, nowMs),
              lateText(job) || text(`deadline.${job.deadline}`),
            )
      }
      ${isOver ? nothing : fact(text('fact.heartbeat'), agoTag(job.heartbeatAt, nowMs))}
      ${isOver ? nothing : fact(text('fact.advanced'), agoTag(job.advancedAt, nowMs))}
      ${job.children === null && job.workers.length > 0 ? fact(text('workers.title'), number(job.workers.length)) : nothing}
    </dl>
  </section>`
}

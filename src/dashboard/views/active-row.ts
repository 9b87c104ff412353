import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import type { LiveJob } from '../../contract/live-job.ts'
import { conditionOf } from '../../browser-client/condition.ts'
import type { Condition } from '../../browser-client/condition.ts'
import type { Row as ListRow } from '../data/active-list.ts'
import { ADDRESS } from '../router.ts'
import { number, percent, text } from '../words.ts'
import { bar } from './bar.ts'
import { bell } from './bell.ts'
import { rowAction } from './row-action.ts'
import {
  conditionText,
  countCell,
  failureText,
  inOneLine,
  latenessBadge,
  leftText,
  leftTitle,
  speedNowText,
  unusualText,
} from './figures.ts'
import * as icons from './icons.ts'
import { problemText } from './problem-text.ts'
import { ageAndOwner } from './times.ts'

type Row = Pick<ListRow, 'job' | 'isOpen'> & {
  /** `known`: a partition on the page of its batch, which has all of them. */
  partition: ListRow['partition'] | 'known'
  isSlow?: boolean
}

interface RowContext {
  nowMs: number
  toggle: (job: LiveJob) => void
}

const unfoldButton = (row: Row, job: LiveJob, toggle: RowContext['toggle']): TemplateResult | typeof nothing => {
  if (job.children === null) return nothing
  const label = text(row.isOpen ? 'job.fold' : 'job.unfold', { name: job.name })
  return html`<button
    type="button"
    class="fold"
    aria-expanded=${row.isOpen}
    aria-label=${label}
    @click=${() => toggle(job)}
  >
    ${icons.chevron}
  </button>`
}

/**
 * The badges of a row. They are only shown for unusual or pending conditions: a list in which every line says "running" says
 * nothing. Problems of partitions are links to them.
 */
const badges = (condition: Condition, job: LiveJob, isSlow: boolean, nowMs: number): TemplateResult => {
  const said = conditionText(condition, job, nowMs)
  const failed = job.children?.failed ?? 0
  const own =
    condition === 'running' || condition === 'pending' || condition === 'completed'
      ? nothing
      : condition === 'partly_stalled'
        ? html`<a class="badge" data-condition=${condition} href=${ADDRESS.partitions(job.id, 'stalled')}>${said}</a>`
        : html`<span class="badge" data-condition=${condition} title=${said}>${said}</span>`
  const ofPartitions =
    failed === 0
      ? nothing
      : html`<a class="badge" data-condition="failed" href=${ADDRESS.partitions(job.id, 'failed')}
          >${text('batch.failed.short', { failed })}</a
        >`
  const slow = isSlow
    ? html`<span class="badge" data-condition="not_advancing">${text('picture.slow')}</span>`
    : nothing
  return html`${own} ${slow} ${latenessBadge(job)} ${ofPartitions}`
}

const subtitle = (job: LiveJob, isPartition: boolean, nowMs: number): TemplateResult => {
  const { children } = job
  const [age, owner] = ageAndOwner(job, nowMs)
  const parts = [
    ...(isPartition ? [] : [job.jobType]),
    age,
    ...(children === null ? [] : [text('job.partitions', { count: children.total, running: children.running })]),
    unusualText(job),
    ...(job.stage === null ? [] : [job.stage]),
    job.message ?? (children === null ? failureText(job) : ''),
    owner,
  ]
  return html`<span class="subtitle">${inOneLine(parts)}</span>`
}

const cells = (row: Row, job: LiveJob, { nowMs, toggle }: RowContext): TemplateResult => {
  const condition = conditionOf(job, nowMs)
  const isUnknown =
    job.status === 'running' && job.totalCount === null && job.progressPercent === 0 && job.stages === null
  const left = leftText(job, nowMs)
  const speed = speedNowText(job, nowMs)
  return html`
    <div class="cell job" role="cell">
      ${unfoldButton(row, job, toggle)} ${icons.conditionIcon(condition)}
      <div class="names">
        <span class="title">
          <a href=${ADDRESS.job(job.id)} title=${job.name} dir="auto">${job.name}</a>
          <span class="vh">${text(`condition.${condition}`)}</span>
        </span>
        <span class="second"
          >${badges(condition, job, row.isSlow ?? false, nowMs)} ${subtitle(job, row.partition !== null, nowMs)}</span
        >
      </div>
    </div>
    <div class="cell progress" role="cell">
      ${bar({ name: job.name, progressPercent: job.progressPercent, condition, isUnknown })}
      <span class="percent" aria-hidden="true">${isUnknown ? '–' : percent(job.progressPercent)}</span>
    </div>
    <div class="cell count" role="cell">${countCell(job)}</div>
    <div class="cell speed" role="cell">${speed}</div>
    <div class="cell left" role="cell" title=${left === '' ? nothing : leftTitle(job, nowMs)}>${left}</div>
    <div class="cell workers" role="cell">
      ${job.children !== null || job.workerCount === 0 ? '' : number(job.workerCount)}
    </div>
    <div class="cell actions" role="cell">${rowAction(job)} ${bell(job)}</div>
  `
}

/** One line of the list of active jobs: a job, a batch, or a partition. */
export const activeRow = (row: Row, context: RowContext): TemplateResult => {
  const { job, partition } = row
  const content =
    job === null
      ? html`<div class="cell job" role="cell">
          <span class="subtitle">
            ${
              partition !== null && partition !== 'known' && partition.of.problem
                ? text('job.partitions.failed', { detail: problemText(partition.of.problem) })
                : text('job.partitions.loading')
            }
          </span>
        </div>`
      : cells(row, job, context)
  return html`<div class="line" ?data-partition=${partition !== null} ?data-batch=${job?.children != null}>
    ${content}
  </div>`
}

import { html, nothing, svg } from 'lit'
import type { TemplateResult } from 'lit'
import { isFinished } from '../client/documents.ts'
import type { Headway, LiveJob } from '../client/types.ts'
import { remainingText } from '../messages/progress.ts'
import type { ProgressLanguage } from '../messages/progress.ts'
import { secondsLeft } from './element.ts'

export interface JobView {
  job: LiveJob
  client: Headway
  language: ProgressLanguage
}

type Look = LiveJob['status'] | 'stalled' | 'cancelling'

/** What a job looks like: its status, or what is more important about it. */
export const lookOf = (job: LiveJob): Look => {
  if (job.status === 'running' && job.cancelRequestedAt !== null) return 'cancelling'
  return job.liveness === 'stalled' ? 'stalled' : job.status
}

/** Nobody knows how far a running job is: neither a total nor a percent was ever reported. */
const isUnknown = ({ status, progressPercent, totalCount }: LiveJob): boolean =>
  status === 'running' && progressPercent === 0 && totalCount === null

/** A width in percent as an attribute of SVG: a style would need a page that allows inline styles. */
export const renderBar = ({ job, language }: JobView): TemplateResult => {
  const unknown = isUnknown(job)
  const width = unknown ? 30 : job.progressPercent
  const label = language.text('progress.label', { name: job.name })
  return html`<div
    role="progressbar"
    part="bar"
    class="bar ${lookOf(job)} ${unknown ? 'unknown' : ''}"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${unknown ? nothing : job.progressPercent}
    aria-valuetext=${unknown ? language.text('progress.status.running') : language.percent(job.progressPercent)}
  >
    <svg class="track" part="track" aria-hidden="true" focusable="false">
      ${svg`<rect class="fill" part="fill" width="${width}%" height="100%"></rect>`}
    </svg>
  </div>`
}

const amount = (language: ProgressLanguage, job: LiveJob, count: number): string =>
  job.unit === 'bytes' ? language.bytes(count) : language.number(count)

const countText = ({ job, language }: JobView): string => {
  const processed = amount(language, job, job.processedCount)
  if (job.totalCount === null) {
    return job.processedCount > 0 ? language.text('progress.count.processed', { processed }) : ''
  }
  return language.text('progress.count.ofTotal', { processed, total: amount(language, job, job.totalCount) })
}

const rateText = ({ job, language }: JobView): string => {
  const rate = job.throughputPerSecond
  if (job.status !== 'running' || rate === null || rate <= 0) return ''
  return language.text('progress.rate', { rate: job.unit === 'bytes' ? language.bytes(rate) : language.rate(rate) })
}

const leftText = ({ job, client, language }: JobView): string => {
  const seconds = secondsLeft(job, client)
  return seconds === null || seconds <= 0 ? '' : remainingText(language, seconds)
}

/** One line: how much, how fast, how long. */
export const renderFigures = (view: JobView): TemplateResult => {
  const { job } = view
  const [count, rate, left] = isFinished(job)
    ? [countText(view), '', '']
    : [countText(view), rateText(view), leftText(view)]
  return html`<div class="figures small muted" part="figures">
    <span part="count">${count}</span>
    ${rate === '' ? nothing : html`<span part="rate">${rate}</span>`}
    ${left === '' ? nothing : html`<span part="eta">${left}</span>`}
  </div>`
}

const MARKS: Partial<Record<Look, string>> = { completed: '✓', failed: '✕', cancelled: '–', pending: '·', stalled: '!' }

/** A spinner while it runs, else a sign; both are for the eye alone. */
export const renderMark = (job: LiveJob): TemplateResult => {
  const look = lookOf(job)
  const mark = MARKS[look]
  return mark === undefined
    ? html`<span class="spinner" part="spinner" aria-hidden="true"></span>`
    : html`<span class="mark ${look}" part="mark" aria-hidden="true">${mark}</span>`
}

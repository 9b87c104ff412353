import { html, nothing, svg } from 'lit'
import type { TemplateResult } from 'lit'
import { conditionOf, rangeLeft, secondsLeft } from '../browser-client/condition.ts'
import type { Condition } from '../browser-client/condition.ts'
import { stalledPartitionsOf } from '../contract/liveness.ts'
import { latenessOf } from '../contract/deadline.ts'
import { isFinished } from '../contract/states.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { rangeSaid, rangeText } from '../contract/time-left.ts'
import { remainingText } from '../messages/progress.ts'
import type { ProgressLanguage } from '../messages/progress.ts'

export interface JobView {
  job: LiveJob
  /** The time at which the job was up to date. */
  nowMs: number
  language: ProgressLanguage
  /** While the connection is lost: the time at which the job was up to date. */
  asOf: string | null
}

/** Whether it is not known how far a running job is: neither a total nor a percent was ever reported. */
const isUnknown = ({ status, progressPercent, totalCount }: LiveJob): boolean =>
  status === 'running' && progressPercent === 0 && totalCount === null

/** The width in percent is an attribute of SVG, because a style would need a page that allows inline styles. */
export const renderBar = ({ job, nowMs, language, asOf }: JobView): TemplateResult => {
  const unknown = isUnknown(job)
  const width = unknown ? 30 : job.progressPercent
  const label = language.text('progress.label', { name: job.name })
  const said = unknown ? language.text('progress.status.running') : language.percent(job.progressPercent)
  return html`<div
    role="progressbar"
    part="bar"
    class="bar ${conditionOf(job, nowMs)} ${unknown ? 'unknown' : ''}"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${unknown ? nothing : job.progressPercent}
    aria-valuetext=${asOf === null ? said : `${said}, ${asOf}`}
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
    return job.processedCount > 0
      ? language.text('progress.count.processed', { processed, count: job.processedCount })
      : ''
  }
  return language.text('progress.count.ofTotal', { processed, total: amount(language, job, job.totalCount) })
}

const rateText = ({ job, language }: JobView): string => {
  const rate = job.throughputPerSecond
  if (job.status !== 'running' || rate === null || rate <= 0) return ''
  return language.text('progress.rate', { rate: job.unit === 'bytes' ? language.bytes(rate) : language.rate(rate) })
}

const leftText = ({ job, nowMs, language }: JobView): string => {
  const seconds = secondsLeft(job, nowMs)
  return seconds === null || seconds <= 0 ? '' : remainingText(language, seconds)
}

/** Longer than usual (usually 12 min); '' if the job is not unusual. */
const unusualText = ({ job, language }: JobView): string =>
  job.unusual && job.usualSeconds !== null
    ? language.text('progress.unusual', { time: language.rough(job.usualSeconds, Math.round) })
    : ''

/** Whoever wants the range no more can send it away, until the pointer or the focus comes back (WCAG 2.2, 1.4.13). */
const hideRange = ({ key, currentTarget }: KeyboardEvent): void => {
  if (key === 'Escape') (currentTarget as Element).toggleAttribute('data-hidden', true)
}

const showRangeAgain = ({ currentTarget }: Event): void => {
  ;(currentTarget as Element).removeAttribute('data-hidden')
}

/**
 * The time left. Where a range says more, it is a button, so that the keyboard and fingers get to the range as the pointer does.
 * Screen readers have the range in the name of the button.
 */
const renderLeft = (view: JobView): TemplateResult | typeof nothing => {
  const { job, nowMs, language } = view
  const left = leftText(view)
  if (left === '') return nothing
  const range = rangeLeft(job, nowMs)
  if (range === null) return html`<span part="eta">${left}</span>`
  return html`<button
    type="button"
    part="eta"
    class="eta"
    @keydown=${hideRange}
    @blur=${showRangeAgain}
    @pointerenter=${showRangeAgain}
  >
    ${left}<span class="spoken">, ${rangeSaid(range, language.locale)}</span
    ><span class="range" part="eta-range" aria-hidden="true"><bdi>${rangeText(range, language.locale)}</bdi></span>
  </button>`
}

/**
 * One line: the count, the rate, the time left, and whether it takes too long. Each is read in its own direction, whatever that of
 * the page.
 */
export const renderFigures = (view: JobView): TemplateResult => {
  const { job } = view
  const isStill = isFinished(job) || view.asOf !== null
  const lateness = latenessOf(job)
  const rate = isStill ? '' : rateText(view)
  const unusual = unusualText(view)
  return html`<div class="figures small muted" part="figures">
    <span part="count" dir="auto">${countText(view)}</span>
    ${rate === '' ? nothing : html`<span part="rate" dir="auto">${rate}</span>`} ${isStill ? nothing : renderLeft(view)}
    ${lateness === null ? nothing : html`<span part="deadline">${view.language.text(`progress.deadline.${lateness}`)}</span>`}
    ${unusual === '' ? nothing : html`<span part="unusual">${unusual}</span>`}
    ${view.asOf === null ? nothing : html`<span part="as-of">${view.asOf}</span>`}
  </div>`
}

const MARKS: Partial<Record<Condition, string>> = {
  completed: '✓',
  failed: '✕',
  cancelled: '–',
  pending: '·',
  stalled: '!',
  not_advancing: '!',
  partly_stalled: '!',
}

/** The status in words. For a batch with stalled partitions: how many there are. */
export const statusText = ({ job, nowMs, language }: JobView): string => {
  const look = conditionOf(job, nowMs)
  const { children } = job
  if (look !== 'partly_stalled' || children === null) return language.text(`progress.status.${look}`)
  return language.text(`progress.status.${look}`, { stalled: stalledPartitionsOf(job), running: children.running })
}

const OWN_REASONS = ['stale', 'never_started', 'partitions'] as const

/** The text below the name on a card: why a job has failed, and how many partitions of a batch have. */
export const messageText = ({ job, language }: JobView): string => {
  const { children, message, errorMessage, failureReason, status } = job
  if (children !== null && children.failed > 0) {
    return language.text('progress.failedParts', { failed: children.failed, total: children.total })
  }
  if (status !== 'failed') return message ?? ''
  // When the service ends a job by itself, `errorMessage` is in English.
  const own = OWN_REASONS.find(each => each === failureReason)
  return own === undefined ? (errorMessage ?? '') : language.text(`progress.reason.${own}`)
}

/** A spinner while the job runs, otherwise a sign. Both are hidden from screen readers. */
export const renderMark = (job: LiveJob, nowMs: number): TemplateResult => {
  const look = conditionOf(job, nowMs)
  const mark = MARKS[look]
  return mark === undefined
    ? html`<span class="spinner" part="spinner" aria-hidden="true"></span>`
    : html`<span class="mark ${look}" part="mark" aria-hidden="true">${mark}</span>`
}

/** How a finished job ended, with its name. */
export const endText = (language: ProgressLanguage, { name, status }: LiveJob): string => {
  const end = status === 'completed' || status === 'failed' ? status : 'cancelled'
  return language.text(`progress.announce.${end}`, { name })
}

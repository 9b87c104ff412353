import { html, nothing } from 'lit'
import type { TemplateResult } from 'lit'
import { latenessOf } from '../../contract/deadline.ts'
import { stalledPartitionsOf } from '../../contract/liveness.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import type { Unit } from '../../contract/units.ts'
import { isAdvancing, notAdvancingMs, rangeLeft, secondsLeft } from '../../browser-client/condition.ts'
import type { Condition, JobLike } from '../../browser-client/condition.ts'
import {
  bytes,
  compact,
  fullTime,
  hasWords,
  isolated,
  number,
  duration,
  range,
  rangeInWords,
  rate,
  rough,
  text,
  unitText,
} from '../words.ts'
import { endTag, likelyEndMs } from './times.ts'

const amountOf = (unit: Unit, short: boolean) => (value: number) =>
  unit === 'bytes' ? bytes(value) : short ? compact(value) : number(value)

type Counted = Pick<LiveJob, 'processedCount' | 'totalCount' | 'unit'>

/** 8,412 of 12,000, and rows; '' if nothing is counted. */
const countParts = ({ processedCount, totalCount, unit }: Counted, short: boolean): [amount: string, unit: string] => {
  if (processedCount === 0 && totalCount === null) return ['', '']
  const amount = amountOf(unit, short && Math.max(processedCount, totalCount ?? 0) >= 1_000_000)
  const counted =
    totalCount === null
      ? amount(processedCount)
      : text(short ? 'job.count.short' : 'job.count', { done: amount(processedCount), total: amount(totalCount) })
  return [counted, unitText(unit, totalCount ?? processedCount)]
}

/** 8,412 of 12,000 rows; '' if nothing is counted. `short`: for a place with little room. */
export const countText = (job: Counted, { short = false } = {}): string => {
  const [counted, unit] = countParts(job, short)
  return `${counted} ${hasWords(job.unit) || unit === '' ? unit : isolated(unit)}`.trim()
}

/** The same for a column: shorter, and in parts that may stand below each other. */
export const countCell = (job: Counted): TemplateResult | typeof nothing => {
  const [counted, unit] = countParts(job, true)
  if (counted === '') return nothing
  const named = unit === '' ? nothing : html` <span class="amount unit" dir="auto" title=${unit}>${unit}</span>`
  return html`<span class="amount">${counted}</span>${named}`
}

/** The time spans by which slow speeds are given, so that they are readable: 6/h and not 0.00167/s. */
const SPANS = [
  { key: 'job.perSecond', seconds: 1, least: 0.1 },
  { key: 'job.perMinute', seconds: 60, least: 1 },
  { key: 'job.perHour', seconds: 3_600, least: 0 },
] as const

/** 293/s, 4.1 MB/s, 6/h; '' if it is not known. */
export const speedText = (perSecond: number | null, unit: Unit): string => {
  if (perSecond === null) return ''
  const span = perSecond === 0 ? SPANS[0] : SPANS.find(({ seconds, least }) => perSecond * seconds >= least)
  const { key, seconds } = span ?? SPANS[2]
  const value = perSecond * seconds
  return text(key, { value: unit === 'bytes' ? bytes(value) : rate(value) })
}

/** The speed of a job that advances; otherwise ''. */
export const speedNowText = (job: JobLike & Pick<LiveJob, 'throughputPerSecond' | 'unit'>, nowMs: number): string =>
  isAdvancing(job, nowMs) ? speedText(job.throughputPerSecond, job.unit) : ''

/** 4 min 12 s, counting down; '' if it is not known. */
export const leftText = (job: JobLike & Pick<LiveJob, 'etaSeconds' | 'updatedAt'>, nowMs: number): string => {
  const seconds = secondsLeft(job, nowMs)
  return seconds === null ? '' : seconds === 0 ? text('job.left.soon') : duration(seconds)
}

type Estimated = JobLike & Pick<LiveJob, 'etaSeconds' | 'etaLowSeconds' | 'etaHighSeconds' | 'updatedAt'>

/** About 12 min (9 to 18), counting down; just the time left where one number is enough; '' if it is not known. */
const leftWithRange = (job: Estimated, nowMs: number): TemplateResult | string => {
  const left = rangeLeft(job, nowMs)
  if (left === null) return leftText(job, nowMs)
  return html`<bdi aria-hidden="true">${range(left)}</bdi><span class="vh">${rangeInWords(left)}</span>`
}

/** About 12 min (9 to 18), 05:10: the time left, and when the job will probably be done; '' if that is not known. */
export const leftInFull = (job: Estimated, nowMs: number): TemplateResult | string => {
  const left = leftWithRange(job, nowMs)
  const end = endTag(job, nowMs)
  return end === '' ? left : html`${left}, ${end}`
}

/** The same as plain text, for a tooltip. */
export const leftTitle = (job: Estimated, nowMs: number): string => {
  const left = rangeLeft(job, nowMs)
  const endMs = likelyEndMs(job, nowMs)
  return [left === null ? leftText(job, nowMs) : range(left), endMs === null ? '' : fullTime(endMs)]
    .filter(part => part !== '')
    .join(', ')
}

/** How long a job has been running or took, in seconds; null if it has not started. */
export const elapsedSeconds = (job: Pick<LiveJob, 'startedAt' | 'finishedAt'>, nowMs: number): number | null =>
  job.startedAt === null
    ? null
    : (Math.max(Date.parse(job.startedAt), job.finishedAt === null ? nowMs : Date.parse(job.finishedAt)) -
        Date.parse(job.startedAt)) /
      1000

/** `4 min 12 s late`; '' if the job ended in time, or has not ended. */
export const lateText = ({
  deadline,
  finishBy,
  finishedAt,
}: Pick<LiveJob, 'deadline' | 'finishBy' | 'finishedAt'>): string =>
  deadline === 'overdue' && finishBy !== null && finishedAt !== null
    ? text('deadline.late', { time: duration((Date.parse(finishedAt) - Date.parse(finishBy)) / 1000) })
    : ''

/** `longer than usual (usually 12 min)`; '' if the job is not unusual. */
export const unusualText = ({ unusual, usualSeconds }: Pick<LiveJob, 'unusual' | 'usualSeconds'>): string =>
  unusual && usualSeconds !== null ? text('job.unusual', { time: rough(usualSeconds, Math.round) }) : ''

/** `usually 12 min`, or `longer than usual (usually 12 min)`; '' where nothing usual is known. */
export const usualText = (job: Pick<LiveJob, 'unusual' | 'usualSeconds'>): string =>
  unusualText(job) ||
  (job.usualSeconds === null ? '' : text('job.usual', { time: rough(job.usualSeconds, Math.round) }))

/** A badge for a job that may be late, or is. */
export const latenessBadge = (
  job: Pick<LiveJob, 'status' | 'deadline'>,
  size = '',
): TemplateResult | typeof nothing => {
  const lateness = latenessOf(job)
  return lateness === null
    ? nothing
    : html`<span class=${`badge ${size}`} data-condition=${lateness}>${text(`deadline.${lateness}`)}</span>`
}

/** The condition in a word or two, with the relevant time or number. */
export const conditionText = (condition: Condition, job: JobLike, nowMs: number): string => {
  if (condition === 'partly_stalled' && job.children !== null) {
    return text('batch.stalled.short', { stalled: stalledPartitionsOf(job), running: job.children.running })
  }
  const silentMs = condition === 'not_advancing' ? notAdvancingMs(job, nowMs) : null
  return silentMs === null
    ? text(`condition.${condition}`)
    : text('condition.not_advancing.for', { time: rough(silentMs / 1000) })
}

/** The first line of a stack in Python, which has its error in the last line. */
const TRACEBACK = /Traceback \(most recent call last\):$/

/** The line of an error message that says what went wrong: workers often send the stack in the same text. */
export const errorLine = (message: string): string => {
  const lines = message.split(/[\r\n]+/).map(line => line.trim())
  const full = lines.filter(line => line !== '')
  const [first = '', last = ''] = [full[0], full.at(-1)]
  return TRACEBACK.test(first) ? first.replace(TRACEBACK, '') + last : first
}

/** The reasons with which the service ends a job by itself. `errorMessage` is then in English. */
const OWN_REASONS = ['stale', 'never_started', 'partitions'] as const

/** Why the service has ended a job, in the visitor's language; null if the worker gave the reason. */
export const ownReason = (failureReason: unknown): string | null => {
  const own = OWN_REASONS.find(each => each === failureReason)
  return own === undefined ? null : text(`reason.${own}`)
}

/** Why a job has failed, or what of a batch has, in one line for a list; '' if nothing has. */
export const failureText = ({
  children,
  errorMessage,
  failureReason,
}: Pick<LiveJob, 'children' | 'errorMessage' | 'failureReason'>): string =>
  children !== null && children.failed > 0
    ? text('batch.failed', { failed: children.failed, total: children.total })
    : (ownReason(failureReason) ?? errorLine(errorMessage ?? ''))

/** Texts of callers and facts in one line. Each is isolated, so that its writing direction does not affect the others. */
export const inOneLine = (parts: readonly (string | null)[]): TemplateResult =>
  html`${parts
    .filter(part => part !== null && part !== '')
    .map((part, index) => html`${index === 0 ? '' : ' · '}<bdi>${part}</bdi>`)}`

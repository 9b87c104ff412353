import { latenessOf } from '../contract/deadline.ts'
import { isFinished, type Deadline } from '../contract/states.ts'
import type { Children } from '../contract/job.ts'
import { isSilent, stalledPartitionsOf } from '../contract/liveness.ts'
import { leftRange, rangeText } from '../contract/time-left.ts'
import { bar } from './bar.ts'
import { formatBytes, formatCount, formatSeconds } from './numbers.ts'
import { printable, shorten, widthOf } from './text.ts'

/** The fields of a job that are drawn. Every document of a live stream has them. */
export interface DrawnJob {
  name?: string
  status: string
  progressPercent: number
  processedCount: number
  totalCount?: number | null
  unit?: string
  throughputPerSecond?: number | null
  etaSeconds?: number | null
  etaLowSeconds?: number | null
  etaHighSeconds?: number | null
  stage?: string | null
  message?: string | null
  liveness?: string | null
  cancelRequestedAt?: string | null
  startedAt?: string | null
  finishedAt?: string | null
  errorMessage?: string | null
  failureReason?: string | null
  children?: Children | null
  deadline?: Deadline | null
  usualSeconds?: number | null
  unusual?: boolean
}

/** The state of a job, in a word or two. */
export const stateOf = (job: DrawnJob): string => {
  if (isFinished(job)) return job.status
  if (job.cancelRequestedAt) return 'cancelling'
  return isSilent(job) ? 'stalled' : job.status
}

/** `500 of 1,200 rows`; empty if nothing is counted. */
export const countsOf = ({ processedCount, totalCount, unit = 'unknown' }: DrawnJob): string => {
  if (processedCount === 0 && totalCount == null) return ''
  const format = unit === 'bytes' ? formatBytes : formatCount
  const noun = unit === 'unknown' || unit === 'bytes' ? '' : ` ${printable(unit)}`
  return totalCount == null
    ? `${format(processedCount)}${noun}`
    : `${format(processedCount)} of ${format(totalCount)}${noun}`
}

/** `294/s`, with few digits. */
const rateOf = ({ throughputPerSecond: rate, unit }: DrawnJob): string => {
  if (!rate) return ''
  if (unit === 'bytes') return `${formatBytes(rate)}/s`
  return `${rate >= 10 ? formatCount(Math.round(rate)) : rate.toPrecision(2)}/s`
}

/** `5 of 8 partitions, 1 stalled, 1 failed`: the states of a batch's partitions. */
export const partitionsOf = (job: DrawnJob): string[] => {
  const { children } = job
  if (!children) return []
  const { completed, total, failed, cancelled } = children
  const stalled = stalledPartitionsOf(job)
  const noun = total === 1 ? 'partition' : 'partitions'
  return [
    `${formatCount(completed)} of ${formatCount(total)} ${noun}`,
    ...(stalled > 0 ? [`${formatCount(stalled)} stalled`] : []),
    ...(failed > 0 ? [`${formatCount(failed)} failed`] : []),
    ...(cancelled > 0 ? [`${formatCount(cancelled)} cancelled`] : []),
  ]
}

/** `12 min 4 s left`, or `about 12 min (9 to 18) left` where a range says more; empty if it is not known. */
const leftOf = (job: DrawnJob, ageMs: number, withRange: boolean): string => {
  if (typeof job.etaSeconds !== 'number') return ''
  // The time left of a silent job does not count down.
  const passed = isSilent(job) ? 0 : Math.max(0, ageMs) / 1000
  const range = withRange ? leftRange(job, passed) : null
  return `${range ? rangeText(range, 'en') : formatSeconds(Math.max(0, job.etaSeconds - passed))} left`
}

/**
 * The facts of a job in words, the most important first. `ageMs` is how long ago its estimate was made. `withRange`: with the
 * range of the time left, for a view of one job.
 */
export const factsOf = (job: DrawnJob, ageMs = 0, { withRange = false } = {}): string[] => {
  const late = latenessOf(job)
  const facts = [late === null ? '' : late.replace('_', ' '), ...partitionsOf(job), countsOf(job)]
  if (!isFinished(job)) facts.push(rateOf(job), leftOf(job, ageMs, withRange))
  return [...facts, unusualOf(job)].filter(fact => fact !== '')
}

/** `longer than usual (usually 12 min)`; empty if the job is not unusual. */
const unusualOf = ({ unusual, usualSeconds }: DrawnJob): string =>
  unusual && typeof usualSeconds === 'number' ? `longer than usual (usually ${formatSeconds(usualSeconds)})` : ''

/** The running partitions of a batch by name: `now Berlin, Paris`; empty if none runs, or the job is no batch. */
export const currentOf = ({ children }: DrawnJob): string => {
  const names = (children?.current ?? []).map(printable)
  const more = (children?.running ?? 0) - names.length
  if (names.length === 0) return ''
  return `now ${names.join(', ')}${more > 0 ? ` and ${formatCount(more)} more` : ''}`
}

/** Why a job has failed, in one line; empty if that is not known. */
export const reasonOf = ({ errorMessage, failureReason, children }: DrawnJob): string => {
  const reason = printable(errorMessage ?? REASONS[failureReason ?? ''] ?? '')
  const [first] = children?.errors ?? []
  return first === undefined ? reason : `${reason} (${printable(first)})`
}

const REASONS: Record<string, string> = {
  stale: 'its workers were silent',
  never_started: 'no worker has begun it in time',
  partitions: 'some of its partitions failed',
}

const secondsOf = ({ startedAt, finishedAt }: DrawnJob): number | null =>
  startedAt && finishedAt ? (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000 : null

/** How a finished job ended, as a sentence. */
export const outcomeOf = (job: DrawnJob): string => {
  const seconds = secondsOf(job)
  const after = seconds === null ? '' : ` after ${formatSeconds(seconds)}`
  const why = reasonOf(job)
  return `${job.status}${after}${job.status === 'failed' && why !== '' ? `: ${why}` : ''}`
}

/** One column less than 80, so that a terminal of 80 columns never wraps the line. */
const PLAIN_WIDTH = 79
const PLAIN_NAME_WIDTH = 24
const PLAIN_BAR_WIDTH = 16

/**
 * A job as one plain line of at most 79 columns: `Nightly import [######..........] 41 % 500 of 1,200 rows, 294/s`. `withRange`:
 * with the range of the time left, if there is room for it.
 */
export const plainLine = (job: DrawnJob, { withRange = false } = {}): string => {
  const { done, left } = bar(job.progressPercent / 100, PLAIN_BAR_WIDTH, false)
  const name = shorten(printable(job.name ?? ''), PLAIN_NAME_WIDTH, { ellipsis: '~' })
  const state = stateOf(job) === 'running' ? [] : [stateOf(job)]
  const message = isFinished(job) ? '' : printable(job.message ?? job.stage ?? currentOf(job))
  const lineWith = (facts: readonly string[]): string =>
    `${name} [${done}${left}] ${String(job.progressPercent).padStart(3)} % ${[...state, ...facts].join(', ')}`
  const ranged = lineWith(factsOf(job, 0, { withRange }))
  const line = widthOf(ranged) <= PLAIN_WIDTH ? ranged : lineWith(factsOf(job))
  const room = PLAIN_WIDTH - widthOf(line) - 2
  if (message !== '' && room > 5) return `${line}  ${shorten(message, room, { ellipsis: '~' })}`
  return shorten(line, PLAIN_WIDTH, { ellipsis: '~' })
}

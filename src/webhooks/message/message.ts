import { latenessOf } from '../../contract/deadline.ts'
import type { MessageLanguage } from '../../contract/destinations.ts'
import type { JobDocument } from '../../contract/job.ts'
import { isSilent, stalledPartitionsOf } from '../../contract/liveness.ts'
import { isFinished } from '../../contract/states.ts'
import { durationText, leftRange, rangeText } from '../../contract/time-left.ts'
import { de } from '../messages/de.ts'
import { en, type ShownState, type Words } from '../messages/en.ts'
import { fr } from '../messages/fr.ts'
import { barText, bytesText, shortText } from './text.ts'

const WORDS: Readonly<Record<MessageLanguage, Words>> = { en, de, fr }

/** The job in the body of a message: fields that are null are left out there. */
export type MessageJob = Pick<
  JobDocument,
  'id' | 'name' | 'status' | 'progressPercent' | 'processedCount' | 'unit' | 'attempt' | 'updatedAt' | 'revision'
> &
  Partial<JobDocument>

/** A piece of a line. `isForeign`: it comes from the job, so a platform must neither format it nor make a link or a mention of it. */
export interface Span {
  text: string
  isForeign: boolean
}
export type Line = readonly Span[]

/** What a chat or a mail says of a job, for no platform in particular. The renderers escape all spans. */
export interface ChatMessage {
  sign: string
  /** The name of the job. Of a test message, its text. */
  title: Span
  lines: readonly Line[]
  /** The page of the job; null where PUBLIC_URL is not set. */
  link: { label: string; url: string } | null
  /** The state in a few words, for places with little room. */
  state: string
  isFinished: boolean
}

export interface MessageContext {
  language: MessageLanguage
  /** The base of links; null: no links. */
  publicUrl: string | null
  nowMs: number
}

const SIGNS: Readonly<Record<ShownState, string>> = {
  pending: '⏳',
  running: '🔄',
  cancelling: '🔄',
  stalled: '⚠️',
  completed: '✅',
  failed: '❌',
  cancelled: '🚫',
}

/** The most UTF-16 code units of each foreign text. Together, twice as long by escapes, they fit into 2,000 (Discord). */
const MAX = { name: 100, unit: 30, part: 40, stage: 80, message: 120, user: 60, error: 300 }
const MAX_PARTS = 3

const own = (text: string): Span => ({ text, isForeign: false })
const foreign = (text: string, max: number): Span => ({ text: shortText(text, max), isForeign: true })

/** A line of a label and a foreign text; none where the text has nothing to show. */
const labelled = (label: string, text: string | null | undefined, max: number): Line[] => {
  const span = foreign(text ?? '', max)
  return span.text === '' ? [] : [[own(`${label} `), span]]
}

const stateOf = (job: MessageJob): ShownState => {
  if (isFinished(job)) return job.status
  if (job.cancelRequestedAt) return 'cancelling'
  return isSilent(job) ? 'stalled' : job.status
}

const secondsOf = ({ startedAt, finishedAt }: MessageJob): number | null => {
  const seconds = startedAt && finishedAt ? (Date.parse(finishedAt) - Date.parse(startedAt)) / 1000 : NaN
  return seconds >= 0 ? seconds : null
}

/** `Completed after 3 min 5 s · Late · Attempt 2` */
const stateText = (job: MessageJob, words: Words, locale: string): string => {
  const seconds = secondsOf(job)
  const state = words.state[stateOf(job)]
  const late = latenessOf(job)
  return [
    seconds === null ? state : `${state} ${words.after(durationText(Math.ceil(seconds), locale))}`,
    late === null ? '' : late === 'overdue' ? words.overdue : words.atRisk,
    isFinished(job) && job.deadline === 'overdue' ? words.late : '',
    job.unusual && typeof job.usualSeconds === 'number'
      ? words.unusual(durationText(Math.ceil(job.usualSeconds), locale))
      : '',
    job.attempt > 1 ? words.attempt(String(job.attempt)) : '',
  ]
    .filter(part => part !== '')
    .join(' · ')
}

const countsOf = (job: MessageJob, words: Words, locale: string): Line => {
  const { processedCount, totalCount, unit } = job
  if (processedCount === 0 && totalCount == null) return []
  const format = (count: number) =>
    unit === 'bytes' ? bytesText(count, locale) : new Intl.NumberFormat(locale).format(count)
  const counts = totalCount == null ? format(processedCount) : words.ofTotal(format(processedCount), format(totalCount))
  const noun = unit === 'unknown' || unit === 'bytes' ? foreign('', 1) : foreign(unit, MAX.unit)
  return noun.text === '' ? [own(counts)] : [own(`${counts} `), noun]
}

/** The bar, the percent, and the counts. A job of which nothing is known but that it runs has no bar. */
const progressLine = (job: MessageJob, words: Words, locale: string): Line[] => {
  const counts = countsOf(job, words, locale)
  const isKnown = job.progressPercent > 0 || job.totalCount != null || job.children != null
  if (job.status === 'pending' || (!isKnown && !isFinished(job))) return counts.length === 0 ? [] : [counts]
  const percent = new Intl.NumberFormat(locale, { style: 'percent' }).format(job.progressPercent / 100)
  const shown = own(`${barText(job.progressPercent)} ${percent}`)
  return [counts.length === 0 ? [shown] : [shown, own(' · '), ...counts]]
}

/** The time left as a range where one is known, as of now. The time left of a silent job does not count down. */
const leftLine = (job: MessageJob, words: Words, locale: string, nowMs: number): Line[] => {
  if (job.status !== 'running' || typeof job.etaSeconds !== 'number') return []
  const ageMs = nowMs - Date.parse(job.updatedAt)
  const passed = ageMs > 0 && !isSilent(job) ? ageMs / 1000 : 0
  const range = leftRange(job, passed)
  const left = Math.max(0, job.etaSeconds - passed)
  return [[own(words.left(range ? rangeText(range, locale) : durationText(Math.ceil(left), locale)))]]
}

const partsLines = (job: MessageJob, words: Words, locale: string): Line[] => {
  const { children } = job
  if (!children) return []
  const format = (count: number) => new Intl.NumberFormat(locale).format(count)
  const stalled = stalledPartitionsOf(job)
  const counts = [
    words.parts(format(children.completed), format(children.total)),
    ...(children.failed > 0 ? [words.failedParts(format(children.failed))] : []),
    ...(stalled > 0 ? [words.stalledParts(format(stalled))] : []),
  ]
  const names = isFinished(job) ? [] : children.current.slice(0, MAX_PARTS).map(name => foreign(name, MAX.part))
  const shown = names.filter(({ text }) => text !== '')
  const more = children.running - shown.length
  const now = shown.flatMap((name, index) => [own(index === 0 ? `${words.now} ` : ', '), name])
  const rest = shown.length > 0 && more > 0 ? [own(` ${words.more(format(more))}`)] : []
  return [[own(counts.join(', '))], ...(now.length === 0 ? [] : [[...now, ...rest]])]
}

const errorLine = (job: MessageJob, words: Words): Line[] => {
  if (job.status !== 'failed') return []
  const reason = job.failureReason && job.failureReason !== 'worker' ? words.reason[job.failureReason] : ''
  const said = job.errorMessage ?? job.children?.errors[0] ?? ''
  const line = labelled(words.error, said, MAX.error)
  return line.length === 0 && reason !== '' ? [[own(`${words.error} ${reason}`)]] : line
}

/** What is said of a job. */
export const messageOf = (job: MessageJob, { language, publicUrl, nowMs }: MessageContext): ChatMessage => {
  const words = WORDS[language]
  const state = stateOf(job)
  const isOver = isFinished(job)
  return {
    sign: SIGNS[state],
    title: foreign(job.name, MAX.name),
    lines: [
      [own(stateText(job, words, language))],
      ...progressLine(job, words, language),
      ...leftLine(job, words, language, nowMs),
      ...partsLines(job, words, language),
      ...errorLine(job, words),
      ...(isOver ? [] : labelled(words.stage, job.stage, MAX.stage)),
      ...(isOver || !job.message ? [] : [[foreign(job.message, MAX.message)]].filter(([span]) => span?.text !== '')),
      ...labelled(words.startedBy, job.startedByUserId, MAX.user),
    ],
    link: publicUrl === null ? null : { label: words.open, url: `${publicUrl}/jobs/${job.id}` },
    state: words.state[state],
    isFinished: isOver,
  }
}

/** What a test message says. */
export const testMessageOf = ({ language, publicUrl }: MessageContext): ChatMessage => {
  const words = WORDS[language]
  return {
    sign: '👋',
    title: own(words.test),
    lines: [[own(words.testDetail)]],
    link: publicUrl === null ? null : { label: words.open, url: `${publicUrl}/` },
    state: '',
    isFinished: true,
  }
}

/** A line without its marks, for platforms that format nothing. */
export const plain = (line: Line): string => line.map(({ text }) => text).join('')

/** `✅ Nightly import` */
export const headOf = ({ sign, title }: ChatMessage): Line => [{ text: `${sign} `, isForeign: false }, title]

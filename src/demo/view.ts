import type { WorkerDocument } from '../jobs/job.ts'
import { isFinished, type LiveJob } from './follow.ts'

/** Everything that is shown, as known at one moment. */
export interface View {
  folder: string
  /** Of the job's document, or of the service before there is one. */
  url: string
  totalBytes: number
  job: LiveJob | null
  /** When `job` arrived, by this machine's clock: its ETA is as old as that. */
  jobReceivedAtMs: number
  workers: readonly WorkerDocument[]
  cancelling: boolean
  connected: boolean
}

export interface Paper {
  columns: number
  rows: number
  colour: boolean
  /** Whether the terminal's encoding has block characters. */
  unicode: boolean
}

type Style = 'plain' | 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan'

interface Piece {
  text: string
  style: Style
}

const SGR: Record<Style, string> = {
  plain: '',
  bold: '\x1b[1m',
  dim: '\x1b[2m',
  green: '\x1b[32m',
  yellow: '\x1b[33m',
  red: '\x1b[31m',
  cyan: '\x1b[36m',
}

const piece = (text: string, style: Style = 'plain'): Piece => ({ text, style })

/** One line, cut to the width of the paper, so that the terminal never wraps it. */
const paint = (pieces: readonly Piece[], { columns, colour }: Paper): string => {
  let left = columns
  let line = ''
  for (const { text, style } of pieces) {
    const shown = Array.from(text).slice(0, left).join('')
    left -= Array.from(shown).length
    line += colour && style !== 'plain' && shown !== '' ? `${SGR[style]}${shown}\x1b[0m` : shown
  }
  return line
}

export const formatCount = (count: number): string => count.toLocaleString('en-US')

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB']

/** `162.4 MB`; powers of 1000, as disks are sold. */
export const formatBytes = (bytes: number): string => {
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), BYTE_UNITS.length - 1)
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${BYTE_UNITS[power] ?? ''}`
}

export const formatSeconds = (seconds: number): string => {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of exactly `width` characters; `fraction` is 0..1. */
export const bar = (fraction: number, width: number, unicode: boolean): { done: string; left: string } => {
  const filled = Math.max(0, Math.min(fraction, 1)) * width
  const whole = Math.floor(filled)
  if (!unicode) return { done: '#'.repeat(whole), left: '.'.repeat(width - whole) }
  const part = whole === width ? '' : (EIGHTHS[Math.floor((filled - whole) * 8)] ?? '')
  return { done: '█'.repeat(whole) + part, left: '░'.repeat(width - whole - part.length) }
}

const fractionOf = (processed: number, total: number | null | undefined): number => (total ? processed / total : 0)

const stateOf = (view: View): Piece => {
  const { job, cancelling, connected } = view
  if (!job) return piece('starting', 'dim')
  if (isFinished(job)) {
    return piece(job.status, job.status === 'completed' ? 'green' : job.status === 'failed' ? 'red' : 'yellow')
  }
  if (!connected) return piece('connection lost', 'red')
  if (cancelling || job.cancelRequestedAt) return piece('cancelling', 'yellow')
  return job.liveness === 'stalled' ? piece('stalled', 'yellow') : piece(job.status, 'cyan')
}

export const bytesOf = (workers: readonly WorkerDocument[]): number =>
  workers.reduce((sum, { payload }) => sum + (typeof payload?.bytes === 'number' ? payload.bytes : 0), 0)

/** The facts of a job in words, the most important first. */
const factsOf = (view: View, nowMs: number): string[] => {
  const { job, workers, totalBytes } = view
  if (!job) return []
  const facts = [`${formatCount(job.processedCount)} of ${formatCount(job.totalCount ?? 0)} files`]
  const active = !isFinished(job)
  if (active && job.throughputPerSecond) facts.push(`${formatCount(Math.round(job.throughputPerSecond))} files/s`)
  if (active && typeof job.etaSeconds === 'number') {
    // An ETA is as of when it was worked out: the time since then has passed already.
    facts.push(`${formatSeconds(Math.max(0, job.etaSeconds - (nowMs - view.jobReceivedAtMs) / 1000))} left`)
  }
  if (workers.length > 0) facts.push(`${formatBytes(bytesOf(workers))} of ${formatBytes(totalBytes)}`)
  return facts
}

/** As many facts as fit, whole ones only; the first one in any case. */
const fitting = (facts: readonly string[], columns: number, separator: string): string => {
  let line = facts[0] ?? ''
  for (const fact of facts.slice(1)) {
    if (line.length + separator.length + fact.length > columns) break
    line += separator + fact
  }
  return line
}

const MARGIN = '  '
const WIDEST_BAR = 60

const jobLine = (view: View, paper: Paper): Piece[] => {
  const { job } = view
  const state = stateOf(view)
  const percent = `${String(job?.progressPercent ?? 0).padStart(3)} %`
  const width = Math.min(WIDEST_BAR, paper.columns - MARGIN.length * 2 - percent.length - 2 - 'connection lost'.length)
  const lead = [piece(MARGIN)]
  const tail = [piece(percent, 'bold'), piece(MARGIN), state]
  if (width < 5) return [...lead, ...tail]
  // By the counts, which are finer than the percent; a finished job is as full as its percent says.
  const exact = job && !isFinished(job) ? fractionOf(job.processedCount, job.totalCount) : 0
  const { done, left } = bar(Math.max(exact, (job?.progressPercent ?? 0) / 100), width, paper.unicode)
  const style = job?.status === 'failed' ? 'red' : job?.status === 'cancelled' ? 'yellow' : 'green'
  return [...lead, piece(done, style), piece(left, 'dim'), piece(MARGIN), ...tail]
}

const workerLine = (worker: WorkerDocument, { columns, unicode }: Paper, nameWidth: number): Piece[] => {
  const { workerId, processedCount, totalCount } = worker
  const counts = `${formatCount(processedCount)}/${formatCount(totalCount ?? 0)}`
  const lead = [piece(MARGIN), piece(workerId.padEnd(nameWidth), 'dim'), piece(MARGIN)]
  const facts = `${counts.padStart(15)}  ${formatBytes(bytesOf([worker])).padStart(9)}`
  const room = columns - MARGIN.length * 3 - nameWidth
  const width = Math.min(24, room - facts.length)
  if (width < 5) return [...lead, piece(room >= facts.length ? facts.trimStart() : counts)]
  const { done, left } = bar(totalCount === 0 ? 1 : fractionOf(processedCount, totalCount), width, unicode)
  return [...lead, piece(done, 'cyan'), piece(left, 'dim'), piece(MARGIN + facts)]
}

/** From the right: the end of a path says more than its beginning. */
const shorten = (text: string, columns: number, ellipsis: string): string => {
  const characters = Array.from(text)
  return characters.length <= columns ? text : ellipsis + characters.slice(characters.length - columns + 1).join('')
}

const byName = (a: WorkerDocument, b: WorkerDocument): number => (a.workerId < b.workerId ? -1 : 1)

/** The picture of a moment: lines no longer than the paper is wide, and no more of them than it is high. */
export const render = (view: View, paper: Paper, nowMs: number): string[] => {
  const { job, folder, url, cancelling } = view
  const [separator, ellipsis] = paper.unicode ? [' · ', '…'] : [' - ', '~']
  const room = paper.columns - MARGIN.length
  const active = !job || !isFinished(job)
  const hint = cancelling ? 'Ctrl-C again quits at once' : 'Ctrl-C cancels'
  const nameWidth = Math.max(0, ...view.workers.map(({ workerId }) => workerId.length))
  const title = [piece('Headway', 'bold'), piece(shorten(` hashes ${folder}`, room - 'Headway'.length, ellipsis))]
  const head: Piece[][] = [
    [piece(MARGIN), ...title],
    jobLine(view, paper),
    [piece(MARGIN), piece(fitting(factsOf(view, nowMs), room, separator))],
  ]
  const workers = [...view.workers].sort(byName).map(worker => workerLine(worker, paper, nameWidth))
  const foot: Piece[][] = [
    [piece(MARGIN), piece(shorten(job?.message ?? '', room, ellipsis), 'dim')],
    [piece(MARGIN), piece(shorten(url, room, ellipsis), 'dim')],
    [piece(MARGIN), piece(hint, 'dim')],
  ]
  const spacious = [[], ...head, [], ...workers, [], ...(active ? foot : []), []]
  const tight = [...head, ...workers, ...(active ? foot : [])]
  // One row stays free: that of the cursor.
  const lines = spacious.length < paper.rows ? spacious : tight.slice(0, Math.max(1, paper.rows - 1))
  return lines.map(line => paint(line, paper))
}

/** The moment as one line of a log. */
export const renderPlain = (view: View, nowMs: number): string => {
  const { job } = view
  const parts = [`${job?.progressPercent ?? 0} %`, stateOf(view).text, ...factsOf(view, nowMs)]
  return [...parts, ...(job?.message ? [job.message] : [])].join(', ')
}

import type { WireJob } from '../contract/live-job.ts'
import type { WorkerDocument } from '../contract/job.ts'
import { bar } from '../terminal/bar.ts'
import { factsOf as jobFactsOf, stateOf as jobStateOf } from '../terminal/job.ts'
import { isFinished } from '../contract/states.ts'
import { formatBytes, formatCount } from '../terminal/numbers.ts'
import { paint, piece, type Piece } from '../terminal/paint.ts'
import type { Paper, Picture } from '../terminal/screen.ts'
import { printable, shorten } from '../terminal/text.ts'

/** Everything that is shown at one moment. */
export interface View {
  folder: string
  /** Address of the job's document, or of the service before there is a job. */
  url: string
  totalBytes: number
  job: WireJob | null
  /** When `job` arrived, by this machine's clock: its estimate is as old as that. */
  jobReceivedAtMs: number
  workers: readonly WorkerDocument[]
  cancelling: boolean
  connected: boolean
}

const fractionOf = (processed: number, total: number | null | undefined): number => (total ? processed / total : 0)

const STATE_STYLES = {
  completed: 'green',
  failed: 'red',
  cancelled: 'yellow',
  cancelling: 'yellow',
  stalled: 'yellow',
} as const

const stateOf = ({ job, cancelling, connected }: View): Piece => {
  if (!job) return piece('starting', 'dim')
  if (!connected && !isFinished(job)) return piece('connection lost', 'red')
  const state = cancelling && !isFinished(job) ? 'cancelling' : jobStateOf(job)
  return piece(state, state in STATE_STYLES ? STATE_STYLES[state as keyof typeof STATE_STYLES] : 'cyan')
}

export const bytesOf = (workers: readonly WorkerDocument[]): number =>
  workers.reduce((sum, { payload }) => sum + (typeof payload?.bytes === 'number' ? payload.bytes : 0), 0)

const factsOf = ({ job, jobReceivedAtMs, workers, totalBytes }: View, nowMs: number): string[] => {
  if (!job) return []
  const bytes = workers.length === 0 ? [] : [`${formatBytes(bytesOf(workers))} of ${formatBytes(totalBytes)}`]
  return [...jobFactsOf({ unit: 'files', ...job }, nowMs - jobReceivedAtMs), ...bytes]
}

/** As many whole facts as fit; the first one in any case. */
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
  // By the counts, which are finer than the percent. A finished job's bar shows its percent.
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

const byName = (a: WorkerDocument, b: WorkerDocument): number => (a.workerId < b.workerId ? -1 : 1)

/** The present state as lines no longer than the paper is wide, and no more of them than it is high. */
export const render = (view: View, paper: Paper, nowMs: number): string[] => {
  const { job, folder, url, cancelling } = view
  const [separator, ellipsis] = paper.unicode ? [' · ', '…'] : [' - ', '~']
  const room = paper.columns - MARGIN.length
  const active = !job || !isFinished(job)
  const hint = cancelling ? 'Ctrl-C again quits at once' : 'Ctrl-C cancels'
  const nameWidth = Math.max(0, ...view.workers.map(({ workerId }) => workerId.length))
  const title = [
    piece('Headway', 'bold'),
    piece(shorten(` hashes ${printable(folder)}`, room - 'Headway'.length, { ellipsis, from: 'end' })),
  ]
  const head: Piece[][] = [
    [piece(MARGIN), ...title],
    jobLine(view, paper),
    [piece(MARGIN), piece(fitting(factsOf(view, nowMs), room, separator))],
  ]
  const workers = [...view.workers].sort(byName).map(worker => workerLine(worker, paper, nameWidth))
  const foot: Piece[][] = [
    [piece(MARGIN), piece(shorten(printable(job?.message ?? ''), room, { ellipsis, from: 'end' }), 'dim')],
    [piece(MARGIN), piece(shorten(url, room, { ellipsis, from: 'end' }), 'dim')],
    [piece(MARGIN), piece(hint, 'dim')],
  ]
  const spacious = [[], ...head, [], ...workers, [], ...(active ? foot : []), []]
  const tight = [...head, ...workers, ...(active ? foot : [])]
  // One row stays free for the cursor.
  const lines = spacious.length < paper.rows ? spacious : tight.slice(0, Math.max(1, paper.rows - 1))
  return lines.map(line => paint(line, paper))
}

/** The present state as one line of a log. */
export const renderPlain = (view: View, nowMs: number): string => {
  const { job } = view
  const parts = [`${job?.progressPercent ?? 0} %`, stateOf(view).text, ...factsOf(view, nowMs)]
  return [...parts, ...(job?.message ? [printable(job.message)] : [])].join(', ')
}

/** The picture of a view, for a screen. */
export const pictureOf = (view: View): Picture => ({
  draw: paper => render(view, paper, Date.now()),
  describe: () => new Map(view.job ? [['job', renderPlain(view, Date.now())]] : []),
})

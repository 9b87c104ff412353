import type { JobEvent, Stage, WorkerDocument, JobWithWorkers } from '../contract/job.ts'
import { countsOf, currentOf, factsOf, outcomeOf, reasonOf, stateOf } from './job.ts'
import { isFinished } from '../contract/states.ts'
import { formatSeconds } from './numbers.ts'
import { paint, piece, STATE_STYLES, type Style } from './paint.ts'
import { jsonLines, padded, printable, printableLines } from './text.ts'
import { formatAge, formatTime } from './times.ts'

export interface JobPage {
  job: JobWithWorkers
  /** The newest entries, oldest first. */
  events: readonly JobEvent[]
  nowMs: number
  colour: boolean
}

const LABEL_WIDTH = 10

/** One entry of a job's history as a line: its kind, its actor, and its data. */
const eventLine = ({ type, at, actor, attempt, data }: JobEvent): string => {
  const { stage, errorMessage, progressPercent } = data as Record<string, unknown>
  const details = [
    ...(attempt > 1 ? [`attempt ${attempt}`] : []),
    ...(actor === null ? [] : [`by ${printable(actor)}`]),
    ...(typeof stage === 'string' ? [printable(stage)] : []),
    ...(typeof progressPercent === 'number' ? [`${progressPercent} %`] : []),
    ...(typeof errorMessage === 'string' ? [printable(errorMessage)] : []),
  ]
  return `${formatTime(at)}  ${[type.replaceAll('_', ' '), ...details].join(', ')}`
}

const stagesLine = (stages: readonly Stage[], stage: string | null): string => {
  const at = stages.findIndex(({ name }) => name === stage)
  const all = stages.map(({ name }, index) => (index === at ? `[${printable(name)}]` : printable(name))).join(' > ')
  return at < 0 ? all : `${at + 1} of ${stages.length}: ${all}`
}

const workerLines = (worker: WorkerDocument, unit: JobWithWorkers['unit'], nowMs: number): string[] => {
  const { workerId, progressPercent, stage, message, payload, liveness, heartbeatAt } = worker
  const rates = factsOf({
    ...worker,
    unit: worker.unit ?? unit,
    status: 'running',
    progressPercent: progressPercent ?? 0,
  })
  const facts = [
    ...(progressPercent === null || worker.totalCount !== null ? [] : [`${progressPercent} %`]),
    ...rates,
    ...(liveness === 'stalled' ? ['stalled'] : []),
    `heartbeat ${formatAge(heartbeatAt, nowMs)}`,
  ]
  const says = [stage, message].filter(text => text !== null).map(printable)
  return [
    `${printable(workerId)}: ${facts.join(', ')}`,
    ...(says.length > 0 ? [`  ${says.join(': ')}`] : []),
    ...(payload ? jsonLines(payload).map(line => `  ${line}`) : []),
  ]
}

/** A job for a terminal, line by line. Texts of others cannot control the terminal. */
export const jobPage = ({ job, events, nowMs, colour }: JobPage): string[] => {
  const paper = { columns: Infinity, colour }
  const lines: string[] = []
  const state = stateOf(job)
  const say = (label: string, text: string | null | undefined, style: Style = 'plain'): void => {
    if (text) lines.push(paint([piece(padded(label, LABEL_WIDTH), 'dim'), piece(text, style)], paper))
  }
  const time = (label: string, iso: string | null): void =>
    say(label, iso && `${formatTime(iso)}, ${formatAge(iso, nowMs)}`)
  const section = (title: string, body: readonly string[]): void => {
    if (body.length === 0) return
    lines.push('', paint([piece(title, 'bold')], paper), ...body.map(line => `  ${line}`.trimEnd()))
  }

  const { children, stages, errorStack, errorMessage, resultSummary, meta } = job
  lines.push(paint([piece(printable(job.name), 'bold')], paper))
  say('Id', job.id)
  say('Type', printable(job.jobType))
  say('About', printable(job.description ?? ''))
  say('Status', isFinished(job) ? outcomeOf(job) : state, STATE_STYLES[state])
  say(
    'Done',
    [`${job.progressPercent} %`, ...factsOf(job, nowMs - Date.parse(job.updatedAt), { withRange: true })].join(', '),
  )
  if (job.status === 'failed' && countsOf(job) !== '' && job.remainingCount) say('Left', String(job.remainingCount))
  say('Now', currentOf(job).replace(/^now /, ''))
  say('Stage', stages ? stagesLine(stages, job.stage) : printable(job.stage ?? ''))
  say('Message', printable(job.message ?? ''))
  time('Created', job.createdAt)
  time('Started', job.startedAt)
  time('Heartbeat', job.heartbeatAt)
  time('Advanced', job.advancedAt)
  time('Cancelled', job.cancelRequestedAt)
  time('Finished', job.finishedAt)
  say('Finish by', job.finishBy && `${formatTime(job.finishBy)}, ${(job.deadline ?? '').replace('_', ' ')}`)
  say('Attempt', job.attempt > 1 ? String(job.attempt) : '')
  say('By', printable(job.startedByUserId ?? ''))
  say('Stopped by', printable(job.cancelledByUserId ?? ''))
  say('Batch', job.parentJobId)
  say('Timeout', job.heartbeatTimeoutSeconds > 0 ? formatSeconds(job.heartbeatTimeoutSeconds) : 'never')
  say('Priority', job.priority === 0 ? '' : String(job.priority))

  if (job.status === 'failed' && !errorMessage) section('Error', [reasonOf(job)].filter(Boolean))
  if (errorMessage)
    section('Error', [...printableLines(errorMessage), ...printableLines(errorStack ?? '')].filter(Boolean))
  section('Partitions that failed', (children?.errors ?? []).map(printable))
  section(
    'Workers',
    job.workers.flatMap(worker => workerLines(worker, job.unit, nowMs)),
  )
  section('Result', resultSummary ? jsonLines(resultSummary) : [])
  section('Meta', Object.keys(meta).length > 0 ? jsonLines(meta) : [])
  section('History', events.map(eventLine))
  return lines
}

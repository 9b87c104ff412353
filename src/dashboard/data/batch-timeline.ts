import type { JobEvent } from '../../contract/job.ts'
import type { Part } from './batch-picture.ts'

/** One attempt of a partition that has ended, in milliseconds. */
export interface Attempt {
  fromMs: number
  toMs: number
}

/** From where to where the timeline of a batch reaches, in milliseconds. */
export interface TimeSpan {
  fromMs: number
  toMs: number
}

/** A part of a line: where it begins, and how long it is, as shares of the whole. */
export interface Segment {
  from: number
  length: number
}

/** The line of one partition. */
export interface Lane {
  /** From the beginning of the batch until the first attempt; null: it began with the batch. */
  waiting: Segment | null
  /** Attempts that have ended, the first one first. */
  earlier: readonly Segment[]
  /** null: the present attempt has not begun. */
  present: Segment | null
}

/** The timeline of a batch reaches from its first beginning to its last end, or until now. */
export const timeSpanOf = (parts: readonly Part[], batchStartedAt: string | null, nowMs: number): TimeSpan => {
  let fromMs = batchStartedAt === null ? nowMs : Date.parse(batchStartedAt)
  let toMs = fromMs
  for (const { job } of parts) {
    if (job.startedAt !== null) fromMs = Math.min(fromMs, Date.parse(job.startedAt))
    toMs = Math.max(toMs, job.finishedAt === null ? nowMs : Date.parse(job.finishedAt))
  }
  // Something must have a length.
  return { fromMs, toMs: Math.max(toMs, fromMs + 1_000) }
}

const segment = (fromMs: number, toMs: number, span: TimeSpan): Segment => {
  const whole = span.toMs - span.fromMs
  const from = Math.min(1, Math.max(0, (fromMs - span.fromMs) / whole))
  return { from, length: Math.max(0, Math.min(1, (toMs - span.fromMs) / whole) - from) }
}

export const laneOf = ({ job }: Part, attempts: readonly Attempt[], span: TimeSpan, nowMs: number): Lane => {
  const startMs = job.startedAt === null ? null : Date.parse(job.startedAt)
  const endMs = job.finishedAt === null ? nowMs : Date.parse(job.finishedAt)
  const firstMs = attempts[0]?.fromMs ?? startMs ?? endMs
  const waiting = segment(span.fromMs, firstMs, span)
  return {
    waiting: waiting.length === 0 ? null : waiting,
    earlier: attempts.map(({ fromMs, toMs }) => segment(fromMs, toMs, span)),
    present: startMs === null ? null : segment(startMs, endMs, span),
  }
}

const ENDS: ReadonlySet<string> = new Set(['failed', 'cancelled', 'completed'])

/** The attempts before `attempt` that the history of a job tells of, oldest first. One that never started has no time. */
export const attemptsBefore = (attempt: number, events: readonly JobEvent[]): Attempt[] => {
  const found = new Map<number, { fromMs: number; toMs: number | null }>()
  for (const { type, at, attempt: of } of events) {
    if (of >= attempt) continue
    if (type === 'started' && !found.has(of)) found.set(of, { fromMs: Date.parse(at), toMs: null })
    const begun = found.get(of)
    // A job that failed for its silence may come back and end again: the last end counts.
    if (begun && ENDS.has(type)) begun.toMs = Date.parse(at)
  }
  return [...found.values()].flatMap(({ fromMs, toMs }) => (toMs === null ? [] : [{ fromMs, toMs }]))
}

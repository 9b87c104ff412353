import { outcomeOf, plainLine, type DrawnJob } from '../terminal/job.ts'
import { isFinished } from '../contract/states.ts'
import type { LiveDocument } from './change.ts'
import type { CommitPosition } from './position.ts'

/** `text` is for a person at a terminal, and for streams of one job: a line that is drawn over itself. */
export type StreamFormat = 'sse' | 'ndjson' | 'text'

/** Written to idle streams, so that proxies keep them open and a vanished reader is noticed. */
export const KEEP_ALIVE: Readonly<Record<StreamFormat, Buffer>> = {
  sse: Buffer.from(':\n\n'),
  ndjson: Buffer.from('\n'),
  // To the beginning of the line, which is where the next one is drawn anyway.
  text: Buffer.from('\r'),
}

/** Written where a stream ends before its job has: the prompt of a terminal should not stand behind half a line. */
export const FAREWELL: Readonly<Record<StreamFormat, Buffer | null>> = {
  sse: null,
  ndjson: null,
  text: Buffer.from('\n'),
}

/**
 * One event, ready for the wire. `json` must be one line, as JSON built by Postgres and by `JSON.stringify` is.
 * SSE: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */
const encodeEvent = (format: 'sse' | 'ndjson', event: string, id: string, json: string): Buffer => {
  return format === 'sse'
    ? Buffer.from(`id: ${id}\nevent: ${event}\ndata: ${json}\n\n`)
    : Buffer.from(`{"event":"${event}","id":"${id}","data":${json}}\n`)
}

/** ECMA-48: EL, erase the whole line. */
const CLEAR_LINE = '\x1b[2K'

/** The line of a job over what stands there, and what became of it once it has finished. */
const encodeLine = ({ json, finished, stale }: LiveDocument): Buffer => {
  const job = JSON.parse(json) as DrawnJob
  const isOver = finished && !stale && isFinished(job)
  return Buffer.from(`\r${CLEAR_LINE}${plainLine(job, { withRange: true })}${isOver ? `\n${outcomeOf(job)}\n` : ''}`)
}

/** The frame of one job: `name` is a lifecycle change, or `updated`. */
export const encodeFrame = (format: StreamFormat, name: string, id: string, document: LiveDocument): Buffer =>
  format === 'text' ? encodeLine(document) : encodeEvent(format, `progress.job.${name}`, id, document.json)

/** What of a job goes into a snapshot, as it is in the job's own frame. */
export const partOf = (format: StreamFormat, document: LiveDocument): string =>
  format === 'text' ? encodeLine(document).toString() : document.json

/** The same from a frame: the document itself need not be kept beside it. Neither an id nor a name holds what is looked for. */
export const partOfFrame = (format: StreamFormat, frame: Buffer): string => {
  if (format === 'text') return frame.toString()
  const mark = format === 'sse' ? '\ndata: ' : '"data":'
  // Behind the document: an empty line, or a bracket and the end of the line.
  return frame.toString('utf8', frame.indexOf(mark) + mark.length, frame.length - 2)
}

export const encodeSnapshot = (
  format: StreamFormat,
  id: string,
  parts: readonly string[],
  truncated: boolean,
): Buffer => {
  if (format === 'text') return Buffer.from(parts.join(''))
  return encodeEvent(format, 'snapshot', id, `{"jobs":[${parts.join(',')}]${truncated ? ',"truncated":true' : ''}}`)
}

/** How long an EventSource waits before it comes back. The other formats have no such field. */
export const encodeRetry = (format: StreamFormat, milliseconds: number): Buffer | null =>
  format === 'sse' ? Buffer.from(`retry: ${Math.round(milliseconds)}\n\n`) : null

/**
 * An event id: the database's time and the position in the order of commits up to which its reader has seen everything, and the
 * revision of the frame's job.
 */
export interface EventId {
  ms: number
  revision: number
  /** null: not known, as in the ids of earlier versions. */
  position: CommitPosition | null
}

/** `<ms>.<revision>.<floor>-<open>-<open>`, the open ones by how far they are below the floor. Under 100 characters. */
export const formatEventId = ({ ms, revision, position }: EventId): string => {
  if (!position) return `${ms}.${revision}`
  const { floor, open } = position
  return [`${ms}.${revision}.${floor}`, ...open.map(transaction => floor - transaction)].join('-')
}

/** What a client sent as its last id. A malformed one counts as none: the snapshot is complete without it. */
export const parseEventId = (id: string | null): EventId | null => {
  const match = /^(\d{1,15})\.(\d{1,15})(?:\.(\d{1,15})((?:-\d{1,15}){0,4}))?$/.exec(id ?? '')
  if (!match) return null
  const [, ms, revision, floor, below = ''] = match
  const open = below
    .split('-')
    .slice(1)
    .map(distance => Number(floor) - Number(distance))
  const position =
    floor === undefined ? null : { floor: Number(floor), open: open.filter(transaction => transaction > 0) }
  return { ms: Number(ms), revision: Number(revision), position }
}

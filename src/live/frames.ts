import type { LiveDocument } from './change.ts'

export type StreamFormat = 'sse' | 'ndjson'

/** Written to idle streams, so that proxies keep them open and a vanished reader is noticed. */
export const KEEP_ALIVE: Readonly<Record<StreamFormat, Buffer>> = {
  sse: Buffer.from(':\n\n'),
  ndjson: Buffer.from('\n'),
}

/**
 * One event, ready for the wire. `json` must be one line, as JSON built by Postgres and by `JSON.stringify` is.
 * SSE: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */
function encodeEvent(format: StreamFormat, event: string, id: string, json: string): Buffer {
  return format === 'sse'
    ? Buffer.from(`id: ${id}\nevent: ${event}\ndata: ${json}\n\n`)
    : Buffer.from(`{"event":"${event}","id":"${id}","data":${json}}\n`)
}

/** The frame of one job: `name` is a lifecycle change, or `updated`. */
export const encodeFrame = (format: StreamFormat, name: string, id: string, json: string): Buffer =>
  encodeEvent(format, `progress.job.${name}`, id, json)

export function encodeSnapshot(
  format: StreamFormat,
  id: string,
  documents: readonly LiveDocument[],
  truncated: boolean,
): Buffer {
  const jobs = documents.map(document => document.json).join(',')
  return encodeEvent(format, 'snapshot', id, `{"jobs":[${jobs}]${truncated ? ',"truncated":true' : ''}}`)
}

/** How long an EventSource waits before it comes back. NDJSON has no such field: null. */
export const encodeRetry = (format: StreamFormat, milliseconds: number): Buffer | null =>
  format === 'sse' ? Buffer.from(`retry: ${Math.round(milliseconds)}\n\n`) : null

/** An event id: the database's time up to which its reader has seen everything, and the revision of the frame's job. */
export interface EventId {
  ms: number
  revision: number
}

export const formatEventId = ({ ms, revision }: EventId): string => `${ms}.${revision}`

/** What a client sent as its last id. A malformed one counts as none: the snapshot is complete without it. */
export function parseEventId(id: string | null): EventId | null {
  const match = /^(\d{1,15})\.(\d{1,15})$/.exec(id ?? '')
  return match ? { ms: Number(match[1]), revision: Number(match[2]) } : null
}

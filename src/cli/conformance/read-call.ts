import { DEFAULT_WORKER_ID } from '../../contract/job.ts'
import type { CallKind, SentReport } from './call.ts'

const KINDS: Record<string, CallKind> = {
  'POST heartbeat': 'report',
  'POST increment': 'report',
  'POST start': 'start',
  'POST complete': 'complete',
  'POST fail': 'fail',
  'POST cancelled': 'cancelled',
}

/** The kind of a call, and whether it is about the job of the scenario. */
export const kindOf = (method: string, path: string, jobId: string): { kind: CallKind; isKnown: boolean } => {
  if (path === '/jobs' && method === 'POST') return { kind: 'create', isKnown: true }
  if (path === '/heartbeats' && method === 'POST') return { kind: 'report', isKnown: true }
  const [, id, action] = /^\/jobs\/([^/]+)(?:\/([^/]+))?$/.exec(path) ?? []
  const isKnown = id?.toLowerCase() === jobId
  if (action !== undefined) return { kind: KINDS[`${method} ${action}`] ?? 'other', isKnown }
  if (method === 'PUT') return { kind: 'report', isKnown }
  return { kind: method === 'GET' && id !== undefined ? 'read' : 'other', isKnown }
}

/** The value if it is a text. */
export const textOr = (value: unknown, otherwise: string): string => (typeof value === 'string' ? value : otherwise)

/** The reports about the job that a call carries. */
export const reportsOf = (path: string, body: Record<string, unknown>): SentReport[] => {
  const bodies = path === '/heartbeats' ? (Array.isArray(body['heartbeats']) ? body['heartbeats'] : []) : [body]
  return (bodies as Record<string, unknown>[]).map(each => ({
    workerId: textOr(each['workerId'], DEFAULT_WORKER_ID),
    body: each,
  }))
}

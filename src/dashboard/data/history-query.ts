import type { ListQuery } from '../../browser-client/index.ts'
import { FINISHED_STATUSES } from '../../contract/states.ts'

const HOUR_MS = 3_600_000

/** The times that the history is filtered by with one choice, in milliseconds. */
export const SPANS_MS = { hour: HOUR_MS, day: 24 * HOUR_MS, week: 168 * HOUR_MS, month: 720 * HOUR_MS } as const
export type HistorySpan = keyof typeof SPANS_MS

/** What each choice of a status asks the service for. A choice of the deadline has the name that the service has for it. */
export const HISTORY_STATUSES: Readonly<Record<string, ListQuery>> = {
  finished: { status: FINISHED_STATUSES },
  completed: { status: ['completed'] },
  failed: { status: ['failed'] },
  cancelled: { status: ['cancelled'] },
  overdue: { status: FINISHED_STATUSES, deadline: 'overdue' },
  unusual: { status: FINISHED_STATUSES, unusual: true },
  active: { status: ['running', 'pending'] },
}

export const statusOf = (query: URLSearchParams): string => {
  const status = query.get('status') ?? ''
  return Object.hasOwn(HISTORY_STATUSES, status) ? status : 'finished'
}

export const spanOf = (query: URLSearchParams): HistorySpan | '' => {
  const span = query.get('span') ?? ''
  return Object.hasOwn(SPANS_MS, span) ? (span as HistorySpan) : ''
}

/** A time in the address, as ISO 8601; null if it is none. */
export const instantOf = (text: string | null): string | null => {
  const ms = text === null || text === '' ? NaN : Date.parse(text)
  // The service takes years of four digits.
  return Number.isNaN(ms) || ms < 0 || ms > 253_402_300_799_999 ? null : new Date(ms).toISOString()
}

/** Whether failures are grouped: a list of other jobs has none. */
export const isGrouped = (query: URLSearchParams): boolean =>
  query.has('grouped') && ['finished', 'failed'].includes(statusOf(query))

/** The filters of the history that are in the address, besides those of the toolbar. */
export const MORE_FILTERS = ['span', 'from', 'to', 'by', 'error'] as const

const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i

/** The id of the job that is searched for; null: the text is part of a name. */
export const soughtId = (query: URLSearchParams): string | null => {
  const text = (query.get('q') ?? '').trim()
  return UUID.test(text) ? text.toLowerCase() : null
}

/** What the service is asked for: the filters in the address, without the page. Active jobs have no end to filter by. */
export const historyQuery = (query: URLSearchParams, nowMs: number): ListQuery => {
  const status = statusOf(query)
  const text = (name: string, most: number) => (query.get(name) ?? '').trim().slice(0, most)
  const [jobType, search, startedByUserId, error] = [
    text('type', 100),
    text('q', 100),
    text('by', 255),
    text('error', 200),
  ]
  const span = spanOf(query)
  const since = instantOf(query.get('from')) ?? (span === '' ? null : new Date(nowMs - SPANS_MS[span]).toISOString())
  const before = instantOf(query.get('to'))
  const ended =
    status === 'active'
      ? {}
      : {
          ...(since !== null && { completedSince: since }),
          ...(before !== null && { completedBefore: before }),
          ...(error !== '' && { error }),
        }
  return {
    ...HISTORY_STATUSES[status],
    topLevel: true,
    sort: status === 'active' ? '-createdAt' : '-finishedAt',
    ...(jobType !== '' && { jobType }),
    ...(search !== '' && { search }),
    ...(startedByUserId !== '' && { startedByUserId }),
    ...ended,
  }
}

import { HeadwayError } from '../contract/errors.ts'
import type { ListedJob } from '../contract/job.ts'
import type { SortKey } from '../contract/requests.ts'

export interface ListSort {
  key: SortKey
  descending: boolean
}

/** Where a page ends: the value that its last job is sorted by, and the job's id. The next page begins after it. */
export interface ListPosition {
  /** An ISO 8601 time or a whole number, as the sort needs it. null: the job has no value, and is among the last. */
  value: string | number | null
  id: string
}

/** Changes when a cursor of an earlier version of the service would be read wrongly. */
const VERSION = 1

const NUMBERS: readonly SortKey[] = ['priority', 'partitionIndex']
const ALWAYS_KNOWN: readonly SortKey[] = ['createdAt', 'priority']
const UUID = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/
const INT32_MAX = 2_147_483_647

const nameOf = ({ key, descending }: ListSort): string => `${descending ? '-' : ''}${key}`

const refused = (message: string) =>
  new HeadwayError('validation_failed', `cursor ${message}.`, { errors: [{ path: 'cursor', message }] })

const UNREADABLE = 'must be `next` of an earlier page, as it was answered'

const parse = (cursor: string): unknown => {
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
  } catch {
    throw refused(UNREADABLE)
  }
}

const isValueOf = (key: SortKey, value: unknown): value is ListPosition['value'] => {
  if (value === null) return !ALWAYS_KNOWN.includes(key)
  if (NUMBERS.includes(key)) return Number.isInteger(value) && Math.abs(value as number) <= INT32_MAX
  return typeof value === 'string' && TIME.test(value) && !Number.isNaN(Date.parse(value))
}

/** The cursor of the page after one that ends with `last`. Callers must not look into it. */
export const cursorAfter = (sort: ListSort, last: Pick<ListedJob, 'id'> & Partial<Pick<ListedJob, SortKey>>): string =>
  Buffer.from(JSON.stringify([VERSION, nameOf(sort), last[sort.key] ?? null, last.id])).toString('base64url')

/** Raises `validation_failed` for what is no cursor of this version, and for a cursor of another sort. */
export const positionOf = (sort: ListSort, cursor: string): ListPosition => {
  const parts = parse(cursor)
  if (!Array.isArray(parts) || parts.length !== 4 || parts[0] !== VERSION) throw refused(UNREADABLE)
  const [, name, value, id] = parts as unknown[]
  if (name !== nameOf(sort)) {
    throw refused(`is of a list with another sort than ${nameOf(sort)}: begin again with the first page`)
  }
  if (typeof id !== 'string' || !UUID.test(id) || !isValueOf(sort.key, value)) throw refused(UNREADABLE)
  return { value, id }
}

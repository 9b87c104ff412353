import type { Heartbeat } from '../../contract/heartbeat.ts'
import { MAX_COUNT } from '../../contract/job.ts'
import { MAX_UNIT_LENGTH } from '../../contract/units.ts'

// Heartbeats are most of what the service takes, and zod needs 4 µs for one. Nearly all of them are plain: valid, and left by
// the schema as they are. That can be seen at a glance; whatever cannot goes to the schema, which decides alone what is
// valid and says why not. A test holds both together: what is plain, the schema takes unchanged.

type Check = (value: unknown) => boolean

/** Also no surrogate pairs: the schema counts them as one character. */
const TEXT = /^[^\0\ud800-\udfff]*$/
/** Also no joiners, which the schema takes where they join something, and no blank at the beginning. */
const SHOWN_TEXT =
  /^[^\s\p{Cc}\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\u{10000}-\u{10ffff}][^\p{Cc}\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\u{10000}-\u{10ffff}]*$/u
const ID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/
/** As JavaScript writes it. Days that not every month has are left to the schema. */
const INSTANT = /^2\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$/

const integer =
  (min: number, max: number): Check =>
  value =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
const count = integer(0, MAX_COUNT)
const text =
  (min: number, max: number): Check =>
  value =>
    typeof value === 'string' && value.length >= min && value.length <= max && TEXT.test(value)
const shownText =
  (max: number): Check =>
  value =>
    typeof value === 'string' && value.length <= max && SHOWN_TEXT.test(value)
const nullOr =
  (check: Check): Check =>
  value =>
    value === null || check(value)

/** A UUID in lower case. */
export const isPlainId = (value: unknown): value is string => typeof value === 'string' && ID.test(value)

/** Not all that a heartbeat may have: a payload takes longer to look at. */
const FIELDS: ReadonlyMap<string, Check> = new Map([
  ['workerId', shownText(200)],
  ['processedCount', count],
  ['increment', count],
  ['totalCount', nullOr(count)],
  ['progressPercent', nullOr(integer(0, 100))],
  ['etaSeconds', nullOr(count)],
  ['throughputPerSecond', nullOr(value => typeof value === 'number' && value >= 0 && value <= 1e15)],
  ['unit', shownText(MAX_UNIT_LENGTH)],
  ['stage', nullOr(shownText(100))],
  ['message', nullOr(text(0, 500))],
  ['payload', value => value === null],
  ['reportedAt', value => typeof value === 'string' && INSTANT.test(value)],
  ['attempt', integer(1, 2_147_483_647)],
])
const BULK_FIELDS: ReadonlyMap<string, Check> = new Map([['jobId', isPlainId], ...FIELDS])

const holdsOnly = (fields: ReadonlyMap<string, Check>, value: object): boolean => {
  for (const name in value) {
    const check = fields.get(name)
    if (!check?.((value as Record<string, unknown>)[name])) return false
  }
  return !('processedCount' in value && 'increment' in value)
}

/** A body of `POST /jobs/:id/heartbeat`, parsed from JSON. */
export const isPlainHeartbeat = (value: unknown): value is Omit<Heartbeat, 'jobId' | 'workerId'> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && holdsOnly(FIELDS, value)

/** An item of `POST /heartbeats`, parsed from JSON. */
export const isPlainBulkHeartbeat = (value: unknown): value is Omit<Heartbeat, 'workerId'> =>
  typeof value === 'object' && value !== null && 'jobId' in value && holdsOnly(BULK_FIELDS, value)

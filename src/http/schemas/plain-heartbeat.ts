import type { Heartbeat } from '../../contract/heartbeat.ts'
import { MAX_COUNT } from '../../contract/job.ts'
import { MAX_UNIT_LENGTH } from '../../contract/units.ts'

// Recognises plain heartbeats: valid ones that the schema would leave unchanged. Most requests are heartbeats, and nearly all
// of them are plain. zod needs 4 µs to validate one, and these checks need much less. Every other heartbeat is validated by the
// schema, which alone decides what is valid and says what is wrong. A test checks that the schema accepts every plain heartbeat
// unchanged.

type Check = (value: unknown) => boolean

/** Without surrogate pairs, because the schema counts a pair as one character. */
const TEXT = /^[^\0\ud800-\udfff]*$/
/** Without joiners, which the schema accepts only where they join something, and without a blank at the beginning. */
const SHOWN_TEXT =
  /^[^\s\p{Cc}\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\u{10000}-\u{10ffff}][^\p{Cc}\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\u{10000}-\u{10ffff}]*$/u
const ID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/
/** The format in which JavaScript writes times. Days after the 28th are left to the schema. */
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

/** Not all fields of a heartbeat: a payload takes longer to check. */
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

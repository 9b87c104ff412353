import { z } from 'zod'
import { MAX_COUNT, type JsonObject } from '../../contract/job.ts'
import { isInLine, isVisible } from '../../contract/shown-text.ts'

/** Postgres stores no NUL in text or JSON, and UTF-8 has no lone surrogates. */
const UNSTORABLE = /\0|\p{Surrogate}/u
const UNSTORABLE_MESSAGE = 'must not hold NUL characters or lone surrogates'

const INT32_MAX = 2_147_483_647

/** One sentence for everything that may be wrong with a field: what it must be. */
const must = (sentence: string) => ({
  error: (issue: { input?: unknown }) => (issue.input === undefined ? 'is missing' : sentence),
})

/** Characters are code points, as Postgres and JSON Schema count them: an emoji is one. */
const hasLength = (text: string, min: number, max: number): boolean => {
  if (text.length < min) return false
  if (text.length <= max) return true
  return text.length <= 2 * max && Array.from(text).length <= max
}

const storable = (min: number, max: number) => {
  const sentence =
    min === 0 ? `must be text of at most ${max} characters` : `must be text of ${min} to ${max} characters`
  return z
    .string(must(sentence))
    .refine(value => hasLength(value, min, max), sentence)
    .refine(value => !UNSTORABLE.test(value), UNSTORABLE_MESSAGE)
}

export const text = (min: number, max: number) => storable(min, max).meta({ minLength: min, maxLength: max })

const VISIBLE_MESSAGE = 'must have a character that can be seen'
const IN_LINE_MESSAGE =
  'must not hold line breaks, control characters, or characters that are invisible or turn the direction of text'

/** A text that names something and is shown within a line, of 1 to `max` characters. */
export const shownText = (max: number) =>
  storable(1, max)
    .refine(value => value === '' || isVisible(value), VISIBLE_MESSAGE)
    .refine(value => UNSTORABLE.test(value) || isInLine(value), IN_LINE_MESSAGE)
    .meta({ minLength: 1, maxLength: max })

export const integer = (min: number, max: number) => {
  const sentence = `must be a whole number from ${min} to ${max}`
  return z.int(must(sentence)).min(min, sentence).max(max, sentence)
}

export const int32 = integer(-INT32_MAX - 1, INT32_MAX)
export const positiveInt32 = integer(1, INT32_MAX)
export const count = integer(0, MAX_COUNT)
const RATE_SENTENCE = 'must be a number from 0 to 1e15'
export const rate = z.number(must(RATE_SENTENCE)).min(0, RATE_SENTENCE).max(1e15, RATE_SENTENCE)

/** 0, or a number from `smallest` to `max`. A smaller number is considered a mistake. */
export const decimal = (smallest: number, max: number) => {
  const sentence = `must be 0 or a number from ${smallest} to ${max}`
  return z
    .number(must(sentence))
    .min(0, sentence)
    .max(max, sentence)
    .refine(value => value === 0 || value >= smallest, sentence)
}

export const flag = z.boolean(must('must be true or false'))
export const oneOf = <const Values extends readonly string[]>(values: Values) =>
  z.enum(values, must(`must be one of ${values.join(', ')}`))

const UUID = /^[\da-fA-F]{8}(?:-[\da-fA-F]{4}){3}-[\da-fA-F]{12}$/

/** A UUID of any version. It is converted to lower case, as Postgres writes it, because ids are compared as texts. */
export const uuid = z
  .string(must('must be a UUID'))
  .regex(UUID, 'must be a UUID')
  .toLowerCase()
  .meta({ format: 'uuid', examples: ['0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'] })

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})$/i
const EARLIEST_MS = Date.UTC(2000, 0)
const LATEST_MS = Date.UTC(10_000, 0) - 1
const INSTANT_SENTENCE =
  'must be an ISO 8601 date and time with its zone, in the years 2000 to 9999, such as 2026-01-31T12:00:00.000Z'

/** JavaScript reads February 30 as March 1 or 2. */
const isCalendarDay = (value: string): boolean => {
  const day = new Date(`${value.slice(0, 10)}T00:00:00Z`)
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(value.slice(0, 10))
}

const isInstant = (value: string): boolean => {
  if (!INSTANT.test(value) || !isCalendarDay(value)) return false
  const ms = Date.parse(value)
  return ms >= EARLIEST_MS && ms <= LATEST_MS
}

/** A time in any zone and precision, converted to UTC with milliseconds: JavaScript accepts zones that Postgres refuses. */
export const instant = z
  .string(must(INSTANT_SENTENCE))
  .refine(isInstant, INSTANT_SENTENCE)
  .overwrite(value => (isInstant(value) ? new Date(value).toISOString() : value))
  .meta({ format: 'date-time', examples: ['2026-01-31T12:00:00.000Z'] })

type Complain = (path: PropertyKey[], message: string) => void

/** Postgres writes a number of JSON out in full: 5e-324 would come back as 326 characters. */
const SMALLEST = 1e-100

/** Finds values that could not be stored as they were sent: unstorable text, numbers that JSON readers round, keys that JavaScript drops. */
const inspect = (value: unknown, path: PropertyKey[], complain: Complain): void => {
  if (typeof value === 'string') {
    if (UNSTORABLE.test(value)) complain(path, UNSTORABLE_MESSAGE)
  } else if (typeof value === 'number') {
    if (Math.abs(value) > MAX_COUNT) complain(path, `must not be beyond ${MAX_COUNT}: send it as text`)
    else if (value !== 0 && Math.abs(value) < SMALLEST) complain(path, `must not be closer to 0 than ${SMALLEST}`)
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => inspect(item, [...path, index], complain))
  } else if (value !== null && typeof value === 'object') {
    for (const [key, item] of Object.entries(value)) {
      if (UNSTORABLE.test(key)) complain([...path, key], `as a key ${UNSTORABLE_MESSAGE}`)
      else if (key === '__proto__') complain([...path, key], 'is not allowed as a key')
      else inspect(item, [...path, key], complain)
    }
  }
}

/** An object with any members, of at most `maxBytes` as JSON in UTF-8. */
export const jsonObject = (maxBytes: number) =>
  z
    .custom<JsonObject>()
    .superRefine((value: unknown, context) => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) {
        context.addIssue({ code: 'custom', message: 'must be an object' })
      } else if (Buffer.byteLength(JSON.stringify(value)) > maxBytes) {
        context.addIssue({ code: 'custom', message: `must have at most ${maxBytes} bytes as JSON` })
      } else inspect(value, [], (path, message) => context.addIssue({ code: 'custom', path, message }))
    })
    .meta({ type: 'object', additionalProperties: true })

/** A number in a query. A text that looks like a number is converted, and the schema refuses any other. */
export const queryInteger = (min: number, max: number) =>
  z.preprocess(
    value => (typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value),
    integer(min, max),
  )

export const queryFlag = z.preprocess(value => (value === 'true' ? true : value === 'false' ? false : value), flag)

/** A parameter that may be repeated. */
export const queryList = <Item extends z.ZodType>(item: Item, max: number) =>
  z.preprocess(value => [value].flat(), z.array(item).max(max, `may be given at most ${max} times`))

/** For calls without body fields or without a query: any field is refused as a mistake. */
export const nothing = z.strictObject({})

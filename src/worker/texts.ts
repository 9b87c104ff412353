import { shownText } from '../contract/shown-text.ts'

/** The service's limits (docs/operate/limits.md): texts are shortened, so that no report is refused for its texts. */
const MAX_CHARACTERS = {
  message: 500,
  errorMessage: 2_000,
  errorStack: 10_000,
} as const
const MAX_SHOWN_CHARACTERS = { name: 255, jobType: 100, stage: 100, unit: 30, workerId: 200 } as const

/** The rest of a longer text is ignored. */
const MAX_LOOKED_AT = 10_000

/** Characters are code points: an emoji is one, and is not cut in two. */
const cut = (text: string, max: number): string =>
  text.length <= max
    ? text
    : Array.from(text.slice(0, max * 2))
        .slice(0, max)
        .join('')

/** A text as the service stores it; any other value is an empty text. NUL and halves of surrogate pairs cannot be stored. */
export const fit = (given: unknown, what: keyof typeof MAX_CHARACTERS): string => {
  const text = typeof given === 'string' ? given : ''
  const max = MAX_CHARACTERS[what]
  return cut(text.slice(0, max * 2 + 1).replaceAll(/\0|\p{Surrogate}/gu, '\ufffd'), max)
}

/** A text as the service takes it for a name; empty if it has no visible character. */
export const fitShown = (given: unknown, what: keyof typeof MAX_SHOWN_CHARACTERS): string => {
  const text = typeof given === 'string' ? given.slice(0, MAX_LOOKED_AT) : ''
  return shownText(cut(shownText(text), MAX_SHOWN_CHARACTERS[what]))
}

/** The result of `read`, or `otherwise` if it throws: values of the work may have parts that cannot be read. */
export const readOr = <Value>(read: () => Value, otherwise: Value): Value => {
  try {
    return read()
  } catch {
    return otherwise
  }
}

/** The error of the work, which may be any value, as the service stores it. */
export const errorFields = (error: unknown): { errorMessage: string; errorStack?: string } => {
  const isError = readOr(() => error instanceof Error, false)
  const text = isError
    ? readOr(() => (error as Error).message || (error as Error).name, '')
    : readOr(() => String(error), '')
  const message = fit(text, 'errorMessage')
  const stack = isError
    ? fit(
        readOr(() => (error as Error).stack, ''),
        'errorStack',
      )
    : ''
  return {
    errorMessage: message === '' ? 'The work failed, and did not say why.' : message,
    ...(stack && { errorStack: stack }),
  }
}

const withoutBigInt = (_: string, value: unknown): unknown => {
  if (typeof value !== 'bigint') return value
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
}

/** A value as a JSON object, or null if JSON cannot write it: it may be cyclic. */
export const asJsonObject = (value: unknown): Record<string, unknown> | null => {
  try {
    const copy: unknown = JSON.parse(JSON.stringify(value, withoutBigInt))
    return typeof copy === 'object' && copy !== null && !Array.isArray(copy) ? (copy as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/** What the service takes (docs/operate/limits.md): a report must not be refused for what the work has put into it. */
const MAX_CHARACTERS = {
  name: 255,
  jobType: 100,
  message: 500,
  stage: 100,
  unit: 30,
  errorMessage: 2_000,
  errorStack: 10_000,
} as const

/** Any text as the service keeps it; what is no text is empty. Characters are code points: an emoji is one, and is not cut in two. NUL and halves of surrogate pairs cannot be stored. */
export const fit = (given: unknown, what: keyof typeof MAX_CHARACTERS): string => {
  const text = typeof given === 'string' ? given : ''
  const max = MAX_CHARACTERS[what]
  const sound = text.slice(0, max * 2 + 1).replaceAll(/\0|\p{Surrogate}/gu, '\ufffd')
  return sound.length <= max ? sound : Array.from(sound).slice(0, max).join('')
}

/** What `read` gives, or `otherwise` where it throws: what the work hands over may have parts that cannot be read. */
export const readOr = <Value>(read: () => Value, otherwise: Value): Value => {
  try {
    return read()
  } catch {
    return otherwise
  }
}

/** The error of the work, whatever was thrown, as the service keeps it. */
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

/** A value that JSON can hold, or null: what the work hands over may be cyclic. */
export const asJsonObject = (value: unknown): Record<string, unknown> | null => {
  try {
    const copy: unknown = JSON.parse(JSON.stringify(value, withoutBigInt))
    return typeof copy === 'object' && copy !== null && !Array.isArray(copy) ? (copy as Record<string, unknown>) : null
  } catch {
    return null
  }
}

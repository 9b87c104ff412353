import type { FastifySchemaCompiler } from 'fastify'
import { z } from 'zod'
import { HeadwayError, type FieldError } from '../contract/errors.ts'

/** A body of 256 KB can be wrong in a hundred thousand places: nobody reads more than this. */
const MAX_ERRORS = 100

/** Long enough for any name of ours: a hostile key is not repeated whole. */
const MAX_KEY_LENGTH = 100

/** `['heartbeats', 3, 'workerId']` → `heartbeats[3].workerId` */
export const fieldPath = (path: readonly PropertyKey[]): string =>
  path
    .map((part, index) => {
      if (typeof part === 'number') return `[${part}]`
      const name = String(part).slice(0, MAX_KEY_LENGTH)
      return index === 0 ? name : `.${name}`
    })
    .join('')

/** Every bad field, once each, at most a hundred. `prefix` is where the checked value sits in the body. */
export const fieldErrors = (error: z.core.$ZodError, prefix: readonly PropertyKey[] = []): FieldError[] => {
  const found = new Map<string, FieldError>()
  const add = (path: readonly PropertyKey[], message: string) => {
    const name = fieldPath([...prefix, ...path])
    if (found.size < MAX_ERRORS && !found.has(name)) found.set(name, { path: name, message })
  }
  for (const issue of error.issues) {
    if (issue.code !== 'unrecognized_keys') add(issue.path, issue.message)
    else for (const key of issue.keys.slice(0, MAX_ERRORS)) add([...issue.path, key], 'is not known here')
  }
  return [...found.values()]
}

const sentenceOf = ({ path, message }: FieldError): string => (path === '' ? `It ${message}` : `${path} ${message}`)

/** The refusal of a request, or of one item of a bulk, that names every bad field. */
export const validationFailed = (errors: FieldError[]): HeadwayError => {
  const shown = errors.slice(0, 3).map(sentenceOf).join('; ')
  const more = errors.length > 3 ? `; and ${errors.length - 3} more` : ''
  return new HeadwayError('validation_failed', `${shown}${more}.`, { errors })
}

/** Lets Fastify validate with zod, and refuse in our words. A body that was never sent is the empty one. */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> =
  ({ schema }) =>
  (data: unknown) => {
    const result = schema.safeParse(data ?? {})
    return result.success ? { value: result.data } : { error: validationFailed(fieldErrors(result.error)) }
  }

/** What of a request is taken without a look at its schema, since the schema would take it as it is. */
export type Plain = Partial<Record<'params' | 'querystring' | 'body', (value: unknown) => boolean>>

/** The same for a route that must be fast: only what is not `plain` is shown to its schema. */
export const plainFirst =
  <Schema>(plain: Plain): FastifySchemaCompiler<Schema> =>
  part => {
    const validate = validatorCompiler(part as unknown as Parameters<typeof validatorCompiler>[0])
    const isPlain = plain[part.httpPart as keyof Plain]
    return isPlain ? (data: unknown) => (isPlain(data) ? true : validate(data)) : validate
  }

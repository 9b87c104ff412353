import type { FastifySchemaCompiler } from 'fastify'
import { z } from 'zod'
import { HeadwayError, type FieldError } from '../contract/errors.ts'

/** A body of 256 KB can have a hundred thousand bad fields, and nobody reads more than this. */
const MAX_ERRORS = 100

/** Longer than any field name of the API. A longer key is cut, because it may be hostile. */
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

/** Every bad field once, at most a hundred. `prefix` is the path of the checked value in the body. */
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

/** The refusal of a request, or of one item of a bulk request, that names every bad field. */
export const validationFailed = (errors: FieldError[]): HeadwayError => {
  const shown = errors.slice(0, 3).map(sentenceOf).join('; ')
  const more = errors.length > 3 ? `; and ${errors.length - 3} more` : ''
  return new HeadwayError('validation_failed', `${shown}${more}.`, { errors })
}

/** Lets Fastify validate with zod and refuse with the service's own errors. A body that is absent counts as empty. */
export const validatorCompiler: FastifySchemaCompiler<z.ZodType> =
  ({ schema }) =>
  (data: unknown) => {
    const result = schema.safeParse(data ?? {})
    return result.success ? { value: result.data } : { error: validationFailed(fieldErrors(result.error)) }
  }

/** Tests for values that need no validation, because their schema would accept them unchanged. */
export type Plain = Partial<Record<'params' | 'querystring' | 'body', (value: unknown) => boolean>>

/** The same for a route that must be fast: only a value that is not `plain` is validated by its schema. */
export const plainFirst =
  <Schema>(plain: Plain): FastifySchemaCompiler<Schema> =>
  part => {
    const validate = validatorCompiler(part as unknown as Parameters<typeof validatorCompiler>[0])
    const isPlain = plain[part.httpPart as keyof Plain]
    return isPlain ? (data: unknown) => (isPlain(data) ? true : validate(data)) : validate
  }

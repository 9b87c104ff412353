import { HEADER } from '../../contract/http.ts'
import { z } from 'zod'
import { PROBLEMS } from '../problems.ts'
import type { ProblemCode } from '../problems.ts'

interface Header {
  description: string
  type: 'string' | 'integer'
}

export interface Answer {
  description: string
  /** A schema with an id, shown by reference; absent if the answer has no body. */
  schema?: z.ZodType
  /** For answers that are not one JSON document. */
  content?: Record<string, { schema: object; example: unknown }>
  headers?: Record<string, Header>
}

export interface Operation {
  id: string
  summary: string
  description?: string
  /** Calls of the tag `operations` take no token. */
  tag: string
  answers: Record<number, Answer>
  /** The token may be sent as `access_token` instead of in the header. */
  takesTokenInQuery?: boolean
  /** Everyone may call. */
  takesNoToken?: boolean
  /** Refusals of this call, besides those of every call and, if it takes a token, those of every call of the API. */
  refusals?: ProblemCode[]
}

const REQUEST_ID: Record<string, Header> = {
  [HEADER.requestId]: { type: 'string', description: "The caller's own `x-request-id`, or a new one." },
}

const RETRY_AFTER: Record<string, Header> = {
  'retry-after': { type: 'integer', description: 'Seconds to wait before the next try.' },
}

/**
 * Refusals of every call, health included. The introduction of the document describes those that only broken clients get (408,
 * 417, 431).
 */
const EVERY_CALL: ProblemCode[] = ['validation_failed', 'misdirected_request', 'internal_error', 'shutting_down']

const CHALLENGE: Record<string, Header> = {
  'www-authenticate': {
    type: 'string',
    description: 'Which token is needed (RFC 6750); absent without authentication.',
  },
}

/** Refusals of every call of the API: those of tokens, of parameters and of limits. */
const API_CALLS: ProblemCode[] = [
  'unauthenticated',
  'forbidden',
  'rate_limited',
  'too_much_in_flight',
  'keys_unavailable',
  'overloaded',
]

/** The security schemes of a call that names none itself. */
export const TOKEN = [{ bearer: [] }]

/**
 * The security schemes of a call, each of which is sufficient, where they are not those that the document states for all.
 */
const securityOf = (takesNoToken: boolean, takesTokenInQuery: boolean) => {
  if (takesNoToken) return { security: [] }
  return takesTokenInQuery ? { security: [...TOKEN, { accessToken: [] }] } : {}
}

const headersOf = (status: number): Record<string, Header> => ({
  ...REQUEST_ID,
  ...(status === 503 || status === 429 ? RETRY_AFTER : {}),
  ...(status === 401 || status === 403 ? CHALLENGE : {}),
})

const referenceTo = (schema: z.ZodType): object => {
  const id = z.globalRegistry.get(schema)?.id
  if (id === undefined) throw new Error('A schema that is shown by reference needs an id')
  return { $ref: `#/components/schemas/${id}` }
}

const documentAnswer = ({ description, schema, content, headers }: Answer): object => ({
  description,
  headers: { ...REQUEST_ID, ...headers },
  ...(schema && { content: { 'application/json': { schema: referenceTo(schema) } } }),
  ...(content && { content }),
  ...(!schema && !content && { type: 'null' }),
})

/** One answer per status, which names the codes that it may have. */
const documentRefusals = (codes: readonly ProblemCode[]): Record<string, object> => {
  const byStatus = new Map<number, ProblemCode[]>()
  for (const code of new Set(codes)) {
    const { status } = PROBLEMS[code]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  return Object.fromEntries(
    [...byStatus].map(([status, names]) => [
      status,
      {
        description: names.map(code => `\`${code}\``).join(', '),
        headers: headersOf(status),
        content: {
          'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
        },
      },
    ]),
  )
}

/**
 * A route's description for the OpenAPI document. The schemas beside it validate requests. Answers are not validated, because
 * the service makes them itself.
 */
export const operation = ({
  id,
  summary,
  description,
  tag,
  answers,
  takesTokenInQuery = false,
  takesNoToken = tag === 'operations',
  refusals = [],
}: Operation) => ({
  operationId: id,
  summary,
  ...(description !== undefined && { description }),
  tags: [tag],
  ...securityOf(takesNoToken, takesTokenInQuery),
  response: {
    ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, documentAnswer(answer)])),
    ...documentRefusals([...(takesNoToken ? [] : API_CALLS), ...EVERY_CALL, ...refusals]),
  },
})

/** Refusals of every call that takes a body. */
const BODY_REFUSALS: ProblemCode[] = ['payload_too_large', 'unsupported_media_type']

/** Refusals of every call that changes a job, except reports. */
export const CHANGE_REFUSALS: ProblemCode[] = [...BODY_REFUSALS, 'database_unavailable']

/**
 * Refusals of reports. Without the database, reports are kept until there is no more room (`overloaded`, as for every call).
 */
export const REPORT_REFUSALS: ProblemCode[] = [...BODY_REFUSALS, 'outcome_unknown']

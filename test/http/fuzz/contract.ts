import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type { FormatsPlugin } from 'ajv-formats'
import { inlineShared } from '../../helpers/openapi.ts'

/** As much of a JSON Schema as the OpenAPI document uses. */
export interface Schema {
  $ref?: string
  type?: string | string[]
  format?: string
  enum?: unknown[]
  const?: unknown
  anyOf?: Schema[]
  allOf?: Schema[]
  items?: Schema
  minItems?: number
  maxItems?: number
  minLength?: number
  maxLength?: number
  minimum?: number
  maximum?: number
  properties?: Record<string, Schema>
  required?: string[]
  additionalProperties?: boolean | Schema
}

export interface Parameter {
  name: string
  in: 'path' | 'query' | 'header'
  required?: boolean
  schema: Schema
}

interface Content {
  content?: Record<string, { schema: Schema }>
}

interface DocumentedOperation {
  operationId: string
  parameters?: Parameter[]
  requestBody?: Content & { required: boolean }
  responses: Record<string, Content & { description: string }>
}

export interface OpenApi {
  paths: Record<string, Record<string, DocumentedOperation>>
  components: { schemas: Record<string, Schema> }
}

/** The promises of the OpenAPI document about one call. */
export interface Operation {
  id: string
  method: string
  /** With `{id}` where a parameter stands. */
  path: string
  parameters: Parameter[]
  body: Schema | null
  /** Of each refusal, the codes that it may carry. */
  codes: ReadonlyMap<number, ReadonlySet<string>>
  /** The schema of the answer by status; null: no body. */
  answers: ReadonlyMap<number, Record<string, ValidateFunction> | null>
}

export interface Contract {
  operations: Operation[]
  isProblem: ValidateFunction
  resolve(schema: Schema): Schema
}

/** Node and Fastify refuse these wherever they are sent: the introduction of the document names them. */
export const EVERYWHERE = new Set(['malformed_request', 'request_timeout', 'headers_too_large', 'expectation_failed'])

const PREFIX = '#/components/schemas/'

export const readContract = (described: OpenApi): Contract => {
  const document = inlineShared(described)
  const ajv = new Ajv2020({ strict: false, allErrors: false })
  ;(formats as unknown as FormatsPlugin)(ajv)
  ajv.addSchema({ ...document, $id: 'openapi' })
  const resolve = ({ $ref, allOf, ...schema }: Schema): Schema => {
    if ($ref !== undefined) return resolve(document.components.schemas[$ref.slice(PREFIX.length)] ?? {})
    if (!allOf) return schema
    const parts = [...allOf.map(resolve), schema]
    const properties = Object.fromEntries(parts.flatMap(part => Object.entries(part.properties ?? {})))
    return { ...schema, properties, required: parts.flatMap(part => part.required ?? []) }
  }
  const validator = (schema: Schema) =>
    ajv.compile(schema.$ref === undefined ? schema : { $ref: `openapi${schema.$ref}` })
  const read = (path: string, method: string, documented: DocumentedOperation): Operation => {
    const codes = new Map<number, Set<string>>()
    const answers = new Map<number, Record<string, ValidateFunction> | null>()
    for (const [status, { description, content }] of Object.entries(documented.responses)) {
      if (Number(status) >= 400) {
        codes.set(Number(status), new Set([...description.matchAll(/`(\w+)`/g)].map(([, code]) => code ?? '')))
      }
      const types = Object.entries(content ?? {}).map(([type, { schema }]) => [type, validator(schema)] as const)
      answers.set(Number(status), types.length === 0 ? null : Object.fromEntries(types))
    }
    return {
      id: documented.operationId,
      method: method.toUpperCase(),
      path,
      parameters: documented.parameters ?? [],
      body: documented.requestBody?.content?.['application/json']?.schema ?? null,
      codes,
      answers,
    }
  }
  return {
    operations: Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, documented]) => read(path, method, documented)),
    ),
    isProblem: validator({ $ref: `${PREFIX}Problem` }),
    resolve,
  }
}

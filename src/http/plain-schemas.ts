type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
type JsonSchema = { [name: string]: Json }

const isObject = (value: Json | undefined): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** `T | null` as a list of types instead of a list of schemas (JSON Schema 2020). */
const joinNull = (schema: JsonSchema): JsonSchema => {
  const { anyOf, ...rest } = schema
  if (!Array.isArray(anyOf) || anyOf.length !== 2 || 'type' in rest) return schema
  const [value, nothing] = anyOf
  if (!isObject(value) || !isObject(nothing) || Object.keys(nothing).length !== 1 || nothing.type !== 'null')
    return schema
  const { type, enum: values, ...limits } = value
  if (typeof type !== 'string' || 'const' in limits) return schema
  return { type: [type, 'null'], ...(Array.isArray(values) && { enum: [...values, null] }), ...limits, ...rest }
}

/**
 * Drops what says nothing: the largest integers of JavaScript, a pattern that spells out a format, that the names of
 * properties are text, and that a parameter is not required.
 */
const dropNothings = (part: JsonSchema): JsonSchema => {
  const kept = { ...part }
  if (kept.maximum === Number.MAX_SAFE_INTEGER) delete kept.maximum
  if (kept.minimum === Number.MIN_SAFE_INTEGER) delete kept.minimum
  if (kept.format === 'uuid' || kept.format === 'date-time') delete kept.pattern
  if (JSON.stringify(kept.propertyNames) === '{"type":"string"}') delete kept.propertyNames
  if (typeof kept.in === 'string' && kept.required === false) delete kept.required
  return kept
}

/** The values of these keywords are examples and constants, not schemas. */
const VALUES = new Set(['example', 'examples', 'default', 'enum', 'const'])

/** The schemas of a document in the shortest form that means the same. */
export const writePlainly = <Document>(document: Document): Document => {
  const walk = (value: Json): Json => {
    if (Array.isArray(value)) return value.map(walk)
    if (!isObject(value)) return value
    const inner = Object.fromEntries(
      Object.entries(value).map(([name, part]) => [name, VALUES.has(name) ? part : walk(part)]),
    )
    return dropNothings(joinNull(inner))
  }
  return walk(document as Json) as Document
}

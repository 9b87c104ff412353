type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
type JsonSchema = { [name: string]: Json }

interface Schemas {
  components: { schemas: Record<string, object> }
}

/** A field of an object schema: where it stands, and what it is. */
interface Field {
  /** The component that it is part of, however deep. */
  owner: string
  name: string
  schema: JsonSchema
}

const isObject = (value: Json | undefined): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The values of these keywords are examples and constants, not schemas. */
const VALUES = new Set(['examples', 'example', 'default', 'enum', 'const'])

/** A schema with each field of each object in it changed, the inner ones first. */
const changeFields = (schema: Json, owner: string, change: (field: Field) => JsonSchema): Json => {
  const walk = (value: Json): Json => {
    if (Array.isArray(value)) return value.map(walk)
    if (!isObject(value)) return value
    return Object.fromEntries(
      Object.entries(value).map(([keyword, part]): [string, Json] => {
        if (VALUES.has(keyword)) return [keyword, part]
        if (keyword !== 'properties' || !isObject(part)) return [keyword, walk(part)]
        return [
          keyword,
          Object.fromEntries(
            Object.entries(part).map(([name, field]) => [
              name,
              change({ owner, name, schema: walk(field) as JsonSchema }),
            ]),
          ),
        ]
      }),
    )
  }
  return walk(schema)
}

const pascal = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1)

const referenceTo = (name: string): JsonSchema => ({ $ref: `#/components/schemas/${name}` })

/** Whether a document gets shorter where `text` is stated once under `name`, and `count` references take its place. */
const isShorter = (text: string, name: string, count: number): boolean =>
  text.length + name.length + count * JSON.stringify(referenceTo(name)).length < count * text.length

/**
 * Names for the fields that are stated alike several times, by their text. A field has its own name where all fields of this
 * name are alike, and otherwise that of the schema before it which states it first.
 */
const nameFields = (fields: Field[], taken: ReadonlySet<string>): Map<string, string> => {
  const byText = new Map<string, Field[]>()
  const variants = new Map<string, Set<string>>()
  for (const field of fields) {
    const text = JSON.stringify(field.schema)
    byText.set(text, [...(byText.get(text) ?? []), field])
    variants.set(field.name, (variants.get(field.name) ?? new Set()).add(text))
  }
  const names = new Map<string, string>()
  for (const [text, [first, ...others]] of byText) {
    if (first === undefined || others.some(({ name }) => name !== first.name)) continue
    const own = pascal(first.name)
    const name =
      variants.get(first.name)?.size === 1 && !taken.has(own) ? own : `${first.owner.replace(/Fields$/, '')}${own}`
    if (isShorter(text, name, others.length + 1)) names.set(text, name)
  }
  return names
}

/** States every field that several schemas have alike once, as a schema of its own. */
export const shareProperties = <Document extends Schemas>(document: Document): Document => {
  const schemas = Object.entries(document.components.schemas) as [string, Json][]
  const fields: Field[] = []
  for (const [owner, schema] of schemas) {
    changeFields(schema, owner, field => {
      fields.push(field)
      return field.schema
    })
  }
  const names = nameFields(fields, new Set(schemas.map(([name]) => name)))
  const parts: Record<string, Json> = {}
  const changed = schemas.map(([owner, schema]): [string, Json] => [
    owner,
    changeFields(schema, owner, ({ schema: field }) => {
      const name = names.get(JSON.stringify(field))
      if (name === undefined) return field
      parts[name] ??= field
      return referenceTo(name)
    }),
  ])
  return {
    ...document,
    components: { ...document.components, schemas: { ...Object.fromEntries(changed), ...parts } },
  }
}

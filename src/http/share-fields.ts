/** As much of a schema as is looked at here. */
interface ObjectSchema {
  type?: unknown
  properties?: Record<string, object>
  required?: string[]
  additionalProperties?: unknown
}

interface Schemas {
  components: { schemas: Record<string, object> }
}

/** A schema with fewer fields is not worth a name of its own. */
const FEWEST_FIELDS = 8

/** Whether a schema is an object without any fields but those that it names. */
const isClosed = (schema: ObjectSchema): boolean =>
  schema.type === 'object' && schema.properties !== undefined && schema.additionalProperties === false

const fieldCount = ({ properties = {} }: ObjectSchema): number => Object.keys(properties).length

/** Whether `whole` has every field of `part`, each with the same schema and equally required, and more. */
const extendsFieldsOf = (whole: ObjectSchema, part: ObjectSchema): boolean =>
  fieldCount(whole) > fieldCount(part) &&
  Object.entries(part.properties ?? {}).every(
    ([name, schema]) =>
      JSON.stringify(whole.properties?.[name]) === JSON.stringify(schema) &&
      (whole.required ?? []).includes(name) === (part.required ?? []).includes(name),
  )

const fieldsOf = (name: string) => `${name}Fields`

const referenceTo = (name: string) => ({ $ref: `#/components/schemas/${name}` })

/** The closed schema with the most fields that `whole` extends. */
const baseOf = (whole: ObjectSchema, closed: ReadonlyMap<string, ObjectSchema>): string | undefined =>
  [...closed]
    .filter(([, part]) => fieldCount(part) >= FEWEST_FIELDS && extendsFieldsOf(whole, part))
    .sort(([, one], [, other]) => fieldCount(other) - fieldCount(one))[0]?.[0]

/** The fields of a schema: those of its base by reference, and those that it adds. */
const stateFields = (schema: ObjectSchema, base: string | undefined, closed: ReadonlyMap<string, ObjectSchema>) => {
  const { properties = {}, required = [] } = schema
  if (base === undefined) return { type: 'object', properties, required }
  const isNew = (name: string) => closed.get(base)?.properties?.[name] === undefined
  return {
    type: 'object',
    allOf: [referenceTo(fieldsOf(base))],
    properties: Object.fromEntries(Object.entries(properties).filter(([name]) => isNew(name))),
    required: required.filter(isNew),
  }
}

const FIELDS = new Set(['type', 'properties', 'required', 'additionalProperties'])

/** What a schema says besides its fields: descriptions and examples. */
const besidesFields = (schema: object): object =>
  Object.fromEntries(Object.entries(schema).filter(([keyword]) => !FIELDS.has(keyword)))

/**
 * States the fields that a schema has in common with a larger one once, as `<name>Fields`; both refer to them by `allOf`.
 * Both stay closed: `unevaluatedProperties` refuses unknown fields, where `additionalProperties` would also refuse the fields
 * that the reference brings (JSON Schema 2020-12, Core, 11.3).
 */
export const shareFields = <Document extends Schemas>(document: Document): Document => {
  const { schemas } = document.components
  const closed = new Map(Object.entries(schemas).filter(([, schema]) => isClosed(schema)))
  const bases = new Map([...closed].map(([name, schema]) => [name, baseOf(schema, closed)]))
  const extended = new Set(bases.values())
  const state = ([name, schema]: [string, object]): [string, object][] => {
    const base = bases.get(name)
    if (base === undefined && !extended.has(name)) return [[name, schema]]
    const fields = stateFields(schema, base, closed)
    const end = { unevaluatedProperties: false, ...besidesFields(schema) }
    if (!extended.has(name)) return [[name, { ...fields, ...end }]]
    const whole = { type: 'object', allOf: [referenceTo(fieldsOf(name))], ...end }
    return [[fieldsOf(name), fields], [name, whole]] // prettier-ignore
  }
  return {
    ...document,
    components: { ...document.components, schemas: Object.fromEntries(Object.entries(schemas).flatMap(state)) },
  }
}

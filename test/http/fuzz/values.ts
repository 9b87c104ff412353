import fc from 'fast-check'
import type { Contract, Schema } from './contract.ts'

/** Stands for the id of a job that exists, chosen when the request is sent: which jobs there are depends on what was sent before. */
export const JOB_MARK = /0000fade-0000-4000-8000-0000000(\d{5})/g

const existingJob = fc.nat({ max: 99_999 }).map(n => `0000fade-0000-4000-8000-0000000${String(n).padStart(5, '0')}`)

export const jobId = fc.oneof({ weight: 9, arbitrary: existingJob }, { weight: 1, arbitrary: fc.uuid() })

/** Of few characters, so that two may be the same: names of stages, keys of idempotency. */
const word = fc.constantFrom('a', 'b', 'import', 'Zürich', '数', '🦊')

const textOf = ({ minLength = 0, maxLength = 60 }: Schema) =>
  fc.oneof(
    { weight: 3, arbitrary: word },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength, maxLength: Math.min(maxLength, 60) }) },
    {
      weight: 1,
      arbitrary: fc.string({ minLength: Math.min(maxLength, 2_000), maxLength: Math.min(maxLength, 2_000) }),
    },
  )

const stringOf = (schema: Schema): fc.Arbitrary<string> => {
  if (schema.format === 'uuid') return jobId
  // A port without a listener: messages to webhooks must not leave this machine.
  if (schema.format === 'uri') return fc.constantFrom('http://127.0.0.1:1/', 'http://127.0.0.1:1/a?b=c')
  if (schema.format === 'date-time') {
    return fc
      .date({ min: new Date('2000-01-01T00:00:00Z'), max: new Date('9999-12-31T00:00:00Z'), noInvalidDate: true })
      .map(date => date.toISOString())
  }
  return textOf(schema)
}

const numberOf = ({ type, minimum = -1e9, maximum = 1e15 }: Schema): fc.Arbitrary<number> => {
  const small = fc.integer({
    min: Math.max(minimum, Math.min(0, maximum)),
    max: Math.min(maximum, Math.max(minimum, 20)),
  })
  const any =
    type === 'integer'
      ? fc.maxSafeInteger().map(n => Math.min(maximum, Math.max(minimum, n)))
      : fc.double({ min: minimum, max: maximum, noNaN: true })
  return fc.oneof(
    { weight: 4, arbitrary: small },
    { weight: 1, arbitrary: any },
    { weight: 1, arbitrary: fc.constantFrom(minimum, maximum) },
  )
}

const freeObject = fc.dictionary(fc.oneof(word, fc.string()), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 4 })

/** Values that a schema allows. */
export const valueOf = (contract: Contract, given: Schema): fc.Arbitrary<unknown> => {
  const schema = contract.resolve(given)
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map(option => valueOf(contract, option)))
  if (schema.enum) return fc.constantFrom(...schema.enum)
  if (schema.const !== undefined) return fc.constant(schema.const)
  const { type } = schema
  if (Array.isArray(type)) return fc.oneof(...type.map(one => valueOf(contract, { ...schema, type: one })))
  switch (type) {
    case 'string':
      return stringOf(schema)
    case 'integer':
    case 'number':
      return numberOf(schema)
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array': {
      const { minItems: minLength = 0, maxItems = 4 } = schema
      return fc.array(valueOf(contract, schema.items ?? {}), {
        minLength,
        maxLength: Math.min(maxItems, minLength + 4),
      })
    }
    case 'object':
      return schema.properties ? objectOf(contract, schema) : freeObject
    default:
      return fc.jsonValue()
  }
}

const objectOf = (contract: Contract, { properties = {}, required = [] }: Schema) => {
  const fields = Object.entries(properties).map(([name, schema]) => {
    const value = valueOf(contract, schema)
    if (required.includes(name)) return [name, value] as const
    // A third of them: all optional fields together are mostly refused.
    return [name, fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value })] as const
  })
  return fc
    .record(Object.fromEntries(fields))
    .map(record => Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)))
}

/** The parts of an OpenAPI document that are used here. */
interface Shareable {
  paths: Record<string, Record<string, unknown>>
  components: object
}

type Kind = 'responses' | 'headers' | 'parameters' | 'examples'

interface Reference {
  $ref: string
}

interface Content {
  schema?: object
  example?: unknown
  examples?: Record<string, object>
}

interface Response {
  description?: string
  content?: Record<string, Content>
  headers?: Record<string, object>
}

interface Parameter {
  name: string
  in: string
}

interface Operation {
  parameters?: (Parameter | Reference)[]
  responses?: Record<string, Response | Reference>
}

const pascal = (name: string): string =>
  name.replace(/(?:^|[-_ ])(\w)/g, (_, letter: string) => letter.toUpperCase()).replace(/\W/g, '')

/** The parts of one kind that a document states more than once, each with a name. */
class Shared {
  readonly parts: Record<string, object> = {}
  readonly #kind: Kind
  readonly #counts = new Map<string, number>()
  readonly #names = new Map<string, string>()

  constructor(kind: Kind) {
    this.#kind = kind
  }

  count(part: object): void {
    const text = JSON.stringify(part)
    this.#counts.set(text, (this.#counts.get(text) ?? 0) + 1)
  }

  /** A reference to a part that is stated more than once; a part that is stated once stays as it is. */
  share<Part extends object>(part: Part, wanted: string): Part | Reference {
    const text = JSON.stringify(part)
    if ((this.#counts.get(text) ?? 0) < 2) return part
    let name = this.#names.get(text)
    if (name === undefined) {
      name = wanted
      for (let n = 2; name in this.parts; n += 1) name = `${wanted}${n}`
      this.#names.set(text, name)
      this.parts[name] = part
    }
    return { $ref: `#/components/${this.#kind}/${name}` }
  }
}

const isReference = (part: object): part is Reference => '$ref' in part

/** A map with each of its parts changed. */
const mapParts = <Part>(
  parts: Record<string, Part>,
  change: (part: Part, name: string) => Part,
): Record<string, Part> => Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, change(part, name)]))

const exampleOf = ({ example }: Content): object | undefined => (example === undefined ? undefined : { value: example })

/** Answers of a type whose example several answers share refer to it. */
const shareExamples = (responses: (Response | Reference)[], shared: Shared): void => {
  const contents = responses.flatMap(response => (isReference(response) ? [] : Object.entries(response.content ?? {})))
  for (const [, content] of contents) {
    const example = exampleOf(content)
    if (example) shared.count(example)
  }
  for (const [type, content] of contents) {
    const example = exampleOf(content)
    const part = example && shared.share(example, pascal(type.replace('/', ' ')))
    if (!part || !isReference(part)) continue
    delete content.example
    content.examples = { example: part }
  }
}

/** States every header, example, parameter and answer that several operations share once, under `components`. */
export const shareComponents = <Document extends Shareable>(document: Document): Document => {
  const headers = new Shared('headers')
  const answers = new Shared('responses')
  const parameters = new Shared('parameters')
  const examples = new Shared('examples')
  const operations = Object.values(document.paths).flatMap(path => Object.values(path)) as Operation[]

  const responses = operations.flatMap(operation => Object.values(operation.responses ?? {}))
  shareExamples(responses, examples)
  for (const response of responses) {
    if (!isReference(response)) for (const header of Object.values(response.headers ?? {})) headers.count(header)
  }
  for (const response of responses) {
    if (isReference(response) || !response.headers) continue
    response.headers = mapParts(response.headers, (header, name) => headers.share(header, pascal(name)))
  }
  for (const response of responses) answers.count(response)
  for (const operation of operations) for (const parameter of operation.parameters ?? []) parameters.count(parameter)
  for (const operation of operations) {
    if (operation.responses) {
      operation.responses = mapParts(operation.responses, (response, status) =>
        isReference(response) ? response : answers.share(response, `Answer${status}`),
      )
    }
    if (operation.parameters) {
      operation.parameters = operation.parameters.map(parameter =>
        isReference(parameter)
          ? parameter
          : parameters.share(parameter, `${pascal(parameter.name)}In${pascal(parameter.in)}`),
      )
    }
  }
  const shared = {
    headers: headers.parts,
    examples: examples.parts,
    responses: answers.parts,
    parameters: parameters.parts,
  }
  return { ...document, components: { ...document.components, ...shared } }
}

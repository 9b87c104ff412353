/** An OpenAPI document with its shared answers, parameters, headers and examples where they are used; schemas stay references. */
export const inlineShared = <Document extends { components: object }>(document: Document): Document => {
  const components = document.components as Record<string, Record<string, unknown> | undefined>
  const walk = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walk)
    if (typeof value !== 'object' || value === null) return value
    const [, kind = '', name = ''] =
      '$ref' in value
        ? (/^#\/components\/(responses|parameters|headers|examples)\/(.+)$/.exec(String(value.$ref)) ?? [])
        : []
    const shared = components[kind]?.[name]
    if (shared !== undefined) return walk(shared)
    return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, walk(part)]))
  }
  return walk(document) as Document
}

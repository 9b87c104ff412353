/**
 * What JSON writes as an object, for `meta`, `payload` and a summary: of a type that is named by an alias, an interface or a
 * class, with read-only parts or not. Lists, functions, promises, maps and dates are none; each is told by a symbol that no
 * field of a summary can have.
 */
export type Details = (Record<string, unknown> | object) & {
  readonly [Symbol.iterator]?: never
  readonly [Symbol.hasInstance]?: never
  readonly [Symbol.toStringTag]?: never
  readonly [Symbol.toPrimitive]?: never
}

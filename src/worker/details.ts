/**
 * A value that JSON writes as an object, for `meta`, `payload` and a result summary. Its type may be an alias, an interface or
 * a class, with read-only members or not. Lists, functions, promises, maps and dates are excluded by symbols that no field of a
 * summary can have.
 */
export type Details = (Record<string, unknown> | object) & {
  readonly [Symbol.iterator]?: never
  readonly [Symbol.hasInstance]?: never
  readonly [Symbol.toStringTag]?: never
  readonly [Symbol.toPrimitive]?: never
}

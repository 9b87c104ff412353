/** The units that have a text in every language; `unknown` has none. */
export const UNITS = ['items', 'files', 'rows', 'bytes', 'records', 'chunks', 'iterations', 'paths', 'unknown'] as const
export const MAX_UNIT_LENGTH = 30

/** The unit of counts: one of UNITS, or any text of at most 30 characters that can be shown within a line. */
export type Unit = (typeof UNITS)[number] | (string & Record<never, never>)

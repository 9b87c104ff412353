/**
 * The file of a dump: lines of text in UTF-8, which may be compressed by gzip as a whole.
 *
 * 1. The head, a JSON document.
 * 2. For each table: its name and columns as a JSON document, its rows in the text format of COPY (one row a line,
 *    https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS), and the line `\.`, which no row can be.
 * 3. The end, a JSON document. Nothing follows it, so a file without it was cut.
 */
import { HeadwayError } from '../../contract/errors.ts'
import { isDumpedTable, type DumpedTable } from './tables.ts'

/** Raised when a later version writes dumps that this version cannot read. */
export const FORMAT = 1

export interface DumpHead {
  headwayDump: number
  /** The version of Headway that wrote the dump. */
  version: string
  /** The last migration of the database. */
  migration: string
  takenAt: string
}

export interface DumpSection {
  table: DumpedTable
  columns: string[]
}

export interface DumpEnd {
  rows: Partial<Record<DumpedTable, number>>
  /** The last number that was taken from each table's sequence; null: none was. Numbers of erased rows are not used again. */
  sequences: Partial<Record<DumpedTable, string | null>>
  /** SHA-256 of everything before the end, in hexadecimal digits. */
  sha256: string
}

export const END_OF_ROWS = '\\.\n'

export const damaged = (reason: string, cause?: unknown): HeadwayError =>
  new HeadwayError('validation_failed', `The dump is cut short or damaged (${reason}). Nothing was restored.`, {
    cause,
  })

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const parse = (line: string): Record<string, unknown> | null => {
  try {
    const value: unknown = JSON.parse(line)
    return isRecord(value) ? value : null
  } catch {
    return null
  }
}

/** Raises `validation_failed` if the file is no dump, or one of a later version. */
export const parseHead = (line: string): DumpHead => {
  const { headwayDump, version, migration, takenAt } = parse(line) ?? {}
  if (typeof headwayDump !== 'number' || typeof migration !== 'string') {
    throw new HeadwayError(
      'validation_failed',
      'The file is no dump of Headway. Give one that headway dump has written.',
    )
  }
  if (headwayDump > FORMAT) {
    throw new HeadwayError('validation_failed', 'A newer Headway has written the dump. Restore it with that version.')
  }
  return { headwayDump, version: String(version), migration, takenAt: String(takenAt) }
}

/** Raises `validation_failed` if the line is neither a section nor the end. */
export const parseSection = (line: string): DumpSection | DumpEnd => {
  const { table, columns, rows, sequences, sha256 } = parse(line) ?? {}
  if (isDumpedTable(table) && Array.isArray(columns) && columns.every(column => typeof column === 'string')) {
    return { table, columns }
  }
  if (isRecord(rows) && isRecord(sequences) && typeof sha256 === 'string') return { rows, sequences, sha256 }
  throw damaged('a line is neither a table nor the end')
}

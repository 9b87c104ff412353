import { createHash } from 'node:crypto'
import type pg from 'pg'
import { to as copyTo } from 'pg-copy-streams'
import { HeadwayError } from '../../contract/errors.ts'
import { readMigrationState } from '../migrations.ts'
import { ConnectionLostError, sqlStateOf } from '../failures.ts'
import { withClient } from './client.ts'
import { END_OF_ROWS, FORMAT, type DumpEnd, type DumpHead, type DumpSection } from './format.ts'
import { copyTarget, prepareTransaction, readColumns, type DumpedTable } from './tables.ts'

/** The rows of each table. */
export type Counts = Partial<Record<DumpedTable, number>>

/** Raises `validation_failed` if the database holds nothing of Headway, or what a later version has written. */
const readMigration = async (client: pg.Client): Promise<string> => {
  const { last, isNewer } = await readMigrationState(client)
  if (isNewer) {
    throw new HeadwayError(
      'validation_failed',
      'A newer Headway has been started on this database, and this version does not know all of its tables. ' +
        'Dump it with that version.',
    )
  }
  if (last === null) {
    throw new HeadwayError('validation_failed', 'This database holds nothing of Headway. Name the right one.')
  }
  return last
}

const readSequences = async (client: pg.Client, tables: DumpedTable[]): Promise<DumpEnd['sequences']> => {
  const { rows } = await client.query<{ table: string; last: string | null }>(
    `SELECT c.relname AS table, pg_sequence_last_value(pg_get_serial_sequence('public.' || c.relname, a.attname)::regclass)::text
       AS last
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY ($1) AND a.attname = 'id' AND a.attidentity <> ''`,
    [tables],
  )
  return Object.fromEntries(rows.map(({ table, last }) => [table, last]))
}

async function* writeTables(client: pg.Client, version: string, onEnd: (counts: Counts) => void) {
  const hash = createHash('sha256')
  const piece = (data: Buffer | string): Buffer => {
    hash.update(data)
    return typeof data === 'string' ? Buffer.from(data) : data
  }
  const document = (value: DumpHead | DumpSection) => piece(`${JSON.stringify(value)}\n`)
  const migration = await readMigration(client)
  yield document({ headwayDump: FORMAT, version, migration, takenAt: new Date().toISOString() })
  const tables = await readColumns(client)
  const copies: (readonly [DumpedTable, { rowCount: number }])[] = []
  for (const [table, columns] of tables) {
    yield document({ table, columns })
    const copy = client.query(copyTo(`COPY ${copyTarget(table, columns)} TO STDOUT`))
    for await (const rows of copy as AsyncIterable<Buffer>) yield piece(rows)
    yield piece(END_OF_ROWS)
    copies.push([table, copy])
  }
  // Read last, so that no number is lower than that of a row. The answer also comes after the row counts of all copies.
  const sequences = await readSequences(client, [...tables.keys()])
  const rows: Counts = Object.fromEntries(copies.map(([table, { rowCount }]) => [table, rowCount]))
  const end: DumpEnd = { rows, sequences, sha256: hash.digest('hex') }
  yield Buffer.from(`${JSON.stringify(end)}\n`)
  onEnd(rows)
}

/** Raises what has failed in the database, so that it differs from what fails where the pieces are written. */
async function* fromDatabase(pieces: AsyncIterable<Buffer>) {
  try {
    yield* pieces
  } catch (error) {
    if (error instanceof HeadwayError || sqlStateOf(error) !== null) throw error
    throw new ConnectionLostError(error)
  }
}

/**
 * Reads everything that Headway knows from the database at `url`, in the form of format.ts, as of one moment. The service may
 * run meanwhile. `write` gets the pieces and resolves when it has stored them. Answers how many rows each table has. Raises
 * `validation_failed` when there is nothing to dump, `UnreachableError` when no connection is available.
 */
export const dump = (
  url: string,
  version: string,
  write: (pieces: AsyncIterable<Buffer>) => Promise<void>,
): Promise<Counts> =>
  withClient(url, async client => {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
    await prepareTransaction(client)
    let counts: Counts = {}
    await write(fromDatabase(writeTables(client, version, found => (counts = found))))
    await client.query('COMMIT')
    return counts
  })

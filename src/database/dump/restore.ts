import { pipeline } from 'node:stream/promises'
import type pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { HeadwayError } from '../../contract/errors.ts'
import { migrate } from '../migrate.ts'
import { migrationNames, readMigrationState } from '../migrations.ts'
import { withClient } from './client.ts'
import type { Counts } from './dump.ts'
import { damaged, parseHead, parseSection, type DumpEnd } from './format.ts'
import { DumpReader } from './reader.ts'
import { copyTarget, DUMPED_TABLES, prepareTransaction, qualified, readColumns, type DumpedTable } from './tables.ts'

/** Class 22 (data) and 23 (integrity), and what rows of other columns or tables than those of the database raise. */
const DAMAGE_STATES = /^(?:22|23|42703|42P01)/

const isDamage = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' && DAMAGE_STATES.test(error.code)

const isEmpty = async (client: pg.Client, table: DumpedTable): Promise<boolean> =>
  (await client.query(`SELECT FROM ${qualified(table)} LIMIT 1`)).rows.length === 0

const refuseFull = async (client: pg.Client, tables: Iterable<DumpedTable>): Promise<void> => {
  for (const table of tables) {
    if (await isEmpty(client, table)) continue
    throw new HeadwayError(
      'validation_failed',
      'The database has jobs or webhooks already, and a dump is restored into an empty one only. Create a new database, ' +
        'or name another HEADWAY_DATA_DIR.',
    )
  }
}

/** Raises `validation_failed` unless the database has the tables of the dump's version, or older ones, without rows. */
const refuseUnsuited = (url: string, migration: string, names: string[]): Promise<void> =>
  withClient(url, async client => {
    await refuseFull(client, (await readColumns(client)).keys())
    const { last, isNewer } = await readMigrationState(client)
    if (!isNewer && names.indexOf(last ?? '') <= names.indexOf(migration)) return
    throw new HeadwayError(
      'validation_failed',
      'The dump is of an older version, and the database has the tables of a newer one. Restore it into a new, empty ' +
        'database: it is brought up to date there.',
    )
  })

const readEnd = async (reader: DumpReader, copyRows: (line: string) => Promise<DumpEnd | null>): Promise<DumpEnd> => {
  for (;;) {
    const line = await reader.readLine()
    const end = await copyRows(line)
    if (end !== null) return end
  }
}

/** Copies the rows of all tables, and answers how many each of them got. Raises `validation_failed` if they are not whole. */
const copyTables = async (client: pg.Client, reader: DumpReader): Promise<Counts> => {
  const counts: Counts = {}
  const end = await readEnd(reader, async line => {
    const section = parseSection(line)
    if (!('table' in section)) return section
    reader.count(line)
    const copy = client.query(copyFrom(`COPY ${copyTarget(section.table, section.columns)} FROM STDIN`))
    await pipeline(reader.readRows(), copy)
    counts[section.table] = copy.rowCount
    return null
  })
  if (reader.digest() !== end.sha256) throw damaged('its checksum is another one')
  await reader.expectEnd()
  for (const table of DUMPED_TABLES) {
    if ((counts[table] ?? 0) !== (end.rows[table] ?? 0)) throw damaged(`${table} has another number of rows`)
  }
  for (const [table, last] of Object.entries(end.sequences)) {
    if (last !== null)
      await client.query("SELECT setval(pg_get_serial_sequence('public.' || $1, 'id'), $2)", [table, last])
  }
  return counts
}

const copyAll = (url: string, migration: string, reader: DumpReader): Promise<Counts> =>
  withClient(url, async client => {
    await client.query('BEGIN')
    await prepareTransaction(client)
    // No process may migrate the database, or write into it, before everything is there.
    await client.query('LOCK TABLE drizzle.__drizzle_migrations IN SHARE MODE')
    const tables = [...(await readColumns(client)).keys()]
    await client.query(`LOCK TABLE ${tables.map(qualified).join(', ')} IN SHARE ROW EXCLUSIVE MODE`)
    await refuseFull(client, tables)
    const { last } = await readMigrationState(client)
    if (last !== migration) {
      throw new HeadwayError(
        'validation_failed',
        'Another version has changed the database meanwhile. Stop it, and try again.',
      )
    }
    // The trigger that queues messages would first collect the whole history, and no change of it is news.
    for (const table of tables) await client.query(`ALTER TABLE ${qualified(table)} DISABLE TRIGGER USER`)
    const counts = await copyTables(client, reader)
    for (const table of tables) await client.query(`ALTER TABLE ${qualified(table)} ENABLE TRIGGER USER`)
    await client.query('COMMIT')
    return counts
  })

/** Without statistics the planner knows nothing of the rows until autovacuum has seen them. */
const analyze = (url: string): Promise<void> =>
  withClient(url, async client => {
    await client.query(`ANALYZE ${DUMPED_TABLES.map(qualified).join(', ')}`)
  })

export interface Restored {
  counts: Counts
  /** When the dump was taken. */
  takenAt: string
  /** Warnings for the operator, one sentence each. */
  warnings: string[]
}

/**
 * Restores a dump into the database at `url`, which may be empty, or have the tables of the dump's version without a row. The
 * rows come in one transaction, after the migrations up to the dump's version and before those that came later. Raises
 * `validation_failed` when the dump is damaged or the database is not suited, and `UnreachableError` when no connection is
 * available.
 */
export const restore = async (url: string, pieces: AsyncIterable<Buffer>): Promise<Restored> => {
  const reader = new DumpReader(pieces)
  const line = await reader.readLine()
  const { migration, takenAt } = parseHead(line)
  reader.count(line)
  const names = await migrationNames()
  if (!names.includes(migration)) {
    throw new HeadwayError('validation_failed', 'A newer Headway has written the dump. Restore it with that version.')
  }
  await refuseUnsuited(url, migration, names)
  await migrate(url, { upTo: migration })
  const counts = await copyAll(url, migration, reader).catch((error: unknown) => {
    throw isDamage(error) ? damaged('the database refuses a row', error) : error
  })
  const warnings = await migrate(url)
  await analyze(url)
  return { counts, takenAt, warnings }
}

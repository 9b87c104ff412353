import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'

export const MIGRATIONS_FOLDER = fileURLToPath(new URL('../../drizzle', import.meta.url))

interface Journal {
  entries: { when: number; tag: string }[]
}

const readJournal = async (): Promise<Journal> =>
  JSON.parse(await readFile(`${MIGRATIONS_FOLDER}/meta/_journal.json`, 'utf8')) as Journal

/** The names of this version's migrations, oldest first. */
export const migrationNames = async (): Promise<string[]> => (await readJournal()).entries.map(({ tag }) => tag)

/** When the newest migration that the database has had was made, in milliseconds since 1970; 0 where it has had none. */
const newestMigration = async (client: pg.Client): Promise<number> => {
  const { rows: known } = await client.query("SELECT WHERE to_regclass('drizzle.__drizzle_migrations') IS NOT NULL")
  if (known.length === 0) return 0
  const { rows } = await client.query<{ newest: string | null }>(
    'SELECT max(created_at) AS newest FROM drizzle.__drizzle_migrations',
  )
  return Number(rows[0]?.newest ?? 0)
}

/** The names of the migrations that the database has not had, in their order. */
export const missingMigrations = async (client: pg.Client): Promise<string[]> => {
  const { entries } = await readJournal()
  const newest = await newestMigration(client)
  return entries.filter(({ when }) => when > newest).map(({ tag }) => tag)
}

export interface MigrationState {
  /** The last migration that the database has had; null for none. */
  last: string | null
  /** A later version has changed the tables. */
  isNewer: boolean
  /** The migrations are those of another program that uses Drizzle: its dates would decide which of Headway's are applied. */
  isForeign: boolean
}

export const readMigrationState = async (client: pg.Client): Promise<MigrationState> => {
  const { entries } = await readJournal()
  const newest = await newestMigration(client)
  const last = entries.findLast(({ when }) => when <= newest)
  const isNewer = newest > (entries.at(-1)?.when ?? 0)
  if (newest === 0) return { last: null, isNewer, isForeign: false }
  const { rows } = await client.query('SELECT FROM drizzle.__drizzle_migrations WHERE created_at = $1', [
    entries[0]?.when ?? 0,
  ])
  return { last: last?.tag ?? null, isNewer, isForeign: rows.length === 0 }
}

/**
 * Calls `use` with a folder that holds the migrations up to `last`, for Drizzle, which applies a whole folder. The folder is
 * removed afterwards.
 */
export const withMigrationsUpTo = async (last: string, use: (folder: string) => Promise<void>): Promise<void> => {
  const journal = await readJournal()
  const index = journal.entries.findIndex(({ tag }) => tag === last)
  if (index === -1) throw new Error(`there is no migration ${last}`)
  const entries = journal.entries.slice(0, index + 1)
  const folder = await mkdtemp(join(tmpdir(), 'headway-migrations-'))
  try {
    await mkdir(join(folder, 'meta'))
    await writeFile(join(folder, 'meta/_journal.json'), JSON.stringify({ ...journal, entries }))
    for (const { tag } of entries) await cp(join(MIGRATIONS_FOLDER, `${tag}.sql`), join(folder, `${tag}.sql`))
    await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

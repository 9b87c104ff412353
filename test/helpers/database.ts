import { randomBytes } from 'node:crypto'
import pg from 'pg'
import type { Test } from 'tap'

/** A migrated database of one test. */
export interface TestDatabase {
  url: string
  pool: pg.Pool
  /** Drops the database before the test ends, and ends its sessions. */
  drop: () => Promise<void>
}

const readEnvironment = (name: string): string => {
  const value = process.env[name]
  if (value === undefined || value === '') {
    throw new Error(
      `${name} is not set: tests that use the database need its runner, so use \`npm test -- test/x.test.ts\``,
    )
  }
  return value
}

/** The same server and credentials, another database. */
export const withDatabase = (url: string, database: string): string => {
  const other = new URL(url)
  other.pathname = `/${database}`
  return other.href
}

/** PostgreSQL manual, appendix A: someone is connected to the template (another file copies it at this moment). */
const OBJECT_IN_USE = '55006'
const COPY_ATTEMPTS = 20

const copyTemplate = async (admin: pg.Client, template: string, name: string): Promise<void> => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await admin.query(`CREATE DATABASE "${name}" TEMPLATE "${template}" ${process.env['TEST_COPY_OPTIONS'] ?? ''}`)
      return
    } catch (error) {
      if (!(error instanceof pg.DatabaseError) || error.code !== OBJECT_IN_USE || attempt === COPY_ATTEMPTS) throw error
    }
  }
}

const asAdmin = async (url: string, use: (admin: pg.Client) => Promise<unknown>): Promise<void> => {
  const admin = new pg.Client(url)
  await admin.connect()
  try {
    await use(admin)
  } finally {
    await admin.end()
  }
}

/** Makes a database by `make`, and drops it at the end of `t`. */
const createDatabase = async (
  t: Test,
  make: (admin: pg.Client, template: string, name: string) => Promise<unknown>,
): Promise<TestDatabase> => {
  const adminUrl = readEnvironment('TEST_DATABASE_URL')
  const template = readEnvironment('TEST_TEMPLATE')
  // The runner knows its tests' databases by this beginning, and drops those of a test that was cut short.
  const name = `${template.replace('template', 'test')}_${randomBytes(6).toString('hex')}`
  await asAdmin(adminUrl, admin => make(admin, template, name))
  const url = withDatabase(adminUrl, name)
  // Statements of the test itself wait for locks as long as the service does, with any default of the server.
  const options = '-c default_transaction_isolation=read\\ committed'
  const pool = new pg.Pool({ connectionString: url, max: 10, options })
  // WITH (FORCE) cuts connections, and a client without a listener for that would end the process: the pool listens to idle ones
  // alone.
  pool.on('error', () => undefined)
  pool.on('connect', client => client.on('error', () => undefined))
  const drop = () => asAdmin(adminUrl, admin => admin.query(`DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`))
  t.teardown(async () => {
    await drop()
    if (!pool.ended) await pool.end()
  })
  return { url, pool, drop }
}

/** Makes a database from the migrated template (about 55 ms), and drops it at the end of `t`. */
export const createTestDatabase = (t: Test): Promise<TestDatabase> => createDatabase(t, copyTemplate)

/** Makes a database in which Headway has never been, and drops it at the end of `t`. */
export const createEmptyDatabase = (t: Test): Promise<TestDatabase> =>
  createDatabase(t, (admin, _template, name) =>
    admin.query(`CREATE DATABASE "${name}" ENCODING 'UTF8' TEMPLATE template0`),
  )

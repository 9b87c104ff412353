// A scratch Postgres with the settings of production: fsync and synchronous_commit on.
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'

export const withDatabase = (url, name) => {
  const other = new URL(url)
  other.pathname = `/${name}`
  return other.href
}

/** `settings` is for benchmarks that count instead of measuring. */
export const startPostgres = async (settings = {}) => {
  const { startEmbeddedPostgres } = await import('../../../dist/database/embedded/embedded.js')
  const directory = mkdtempSync(join(tmpdir(), 'headway-bench-'))
  // As root the server runs as another user, who must be able to reach its data.
  chmodSync(directory, 0o755)
  const postgres = await startEmbeddedPostgres({ dataDir: directory, settings, log: console.error })
  const admin = new pg.Pool({ connectionString: postgres.url, max: 1 })
  admin.on('error', () => undefined)
  return {
    version: postgres.version,
    /** Makes an empty database; answers its URL. */
    async createDatabase() {
      const name = `bench_${randomBytes(6).toString('hex')}`
      await admin.query(`CREATE DATABASE "${name}"`)
      return withDatabase(postgres.url, name)
    },
    /** The processes that serve a database, by their ids. */
    async backends(url) {
      const name = new URL(url).pathname.slice(1)
      const { rows } = await admin.query('SELECT pid FROM pg_stat_activity WHERE datname = $1', [name])
      return rows.map(row => row.pid)
    },
    async dropDatabase(url) {
      await admin.query(`DROP DATABASE IF EXISTS "${new URL(url).pathname.slice(1)}" WITH (FORCE)`)
    },
    async stop() {
      await admin.end()
      await postgres.stop()
      rmSync(postgres.dataDir, { recursive: true, force: true })
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

// A scratch Postgres with the settings of production: fsync and synchronous_commit on.
import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { startProgram } from './processes.js'

export const withDatabase = (url, name) => {
  const other = new URL(url)
  other.pathname = `/${name}`
  return other.href
}

/** The newest server of Debian's packages. */
const findPrograms = () => {
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root).map(Number) : []
  const found = versions.sort((a, b) => b - a).map(version => join(root, String(version), 'bin'))
  return found.find(programs => existsSync(join(programs, 'postgres'))) ?? null
}

/** Postgres refuses root. */
const asNobody = () => {
  if (process.getuid?.() !== 0) return {}
  const id = flag => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

/** A server with the settings that its package gives it, reached by a unix socket as Redis is. */
const startInstalled = async (programs, directory, settings) => {
  const who = asNobody()
  if (who.uid !== undefined) chownSync(directory, who.uid, who.gid)
  const data = join(directory, 'data')
  const init = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C']
  const { status, stderr } = spawnSync(join(programs, 'initdb'), init, { ...who, cwd: directory, encoding: 'utf8' })
  if (status !== 0) throw new Error(`initdb failed: ${stderr}`)
  const given = { listen_addresses: '', unix_socket_directories: directory, ...settings }
  const args = Object.entries(given).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const program = await startProgram(join(programs, 'postgres'), ['-D', data, ...args], {
    ready: /ready to accept connections/,
    ...who,
    cwd: directory,
  })
  const version = execFileSync(join(programs, 'postgres'), ['--version'], { encoding: 'utf8' })
  return {
    url: `postgresql://postgres@localhost/postgres?host=${encodeURIComponent(directory)}`,
    version: /[\d.]+/.exec(version)[0],
    dataDir: data,
    stop: program.stop,
  }
}

const startEmbedded = async (directory, settings) => {
  const { startEmbeddedPostgres } = await import('../../../dist/database/embedded/embedded.js')
  return startEmbeddedPostgres({ dataDir: directory, settings, log: console.error })
}

/**
 * Debian's server where it is installed, because that is what production runs. The embedded one is built to be small
 * (-Os), and takes about an eighth more CPU. `embedded` is for benchmarks that count instead of measuring, because the embedded
 * one is the same everywhere. `settings` are added to those of the server.
 */
export const startPostgres = async ({ settings = {}, embedded = false } = {}) => {
  const directory = mkdtempSync(join(tmpdir(), 'headway-bench-'))
  // As root the server runs as another user, who must be able to reach its data.
  chmodSync(directory, 0o755)
  const programs = embedded ? null : findPrograms()
  if (!embedded && programs === null) {
    console.log(
      'No PostgreSQL of Debian (apt-get install -y --no-install-recommends postgresql): the embedded one serves.',
    )
  }
  const postgres = await (programs ? startInstalled(programs, directory, settings) : startEmbedded(directory, settings))
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
    /** The processes of the server that `backends` does not answer: those that serve no database, such as the checkpointer. */
    async sharedProcesses() {
      const { rows } = await admin.query('SELECT pid FROM pg_stat_activity WHERE datname IS NULL')
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

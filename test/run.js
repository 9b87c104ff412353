/* global AbortController */
// Runs the tests on one Postgres: `npm test`, or `npm test -- test/jobs/x.test.ts` for some of them. Coverage is measured by
// `npm run coverage` and in CI.
// The server is the embedded one, for this run only, or that of DATABASE_URL. Each test copies a migrated template.
// Plain JavaScript: the tests, and what they import from dist/, are compiled first.
import '../scripts/supported-node.js'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { compileTests } from './compile.js'
import { createTapReader } from './tap-reader.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TIMEOUT_MS = 20 * 60_000
const CLEANUP_MS = 30_000

/**
 * Nothing outlives the run, so nothing needs to be safe on disk, and nobody need vacuum databases that live for seconds.
 * Commits stay synchronous: VACUUM marks no page all-visible while the commit on it is not written, and plans depend on that.
 */
const SETTINGS = {
  max_connections: '200',
  fsync: 'off',
  full_page_writes: 'off',
  wal_level: 'minimal',
  max_wal_senders: '0',
}

// Imported late: a build that is broken must still end in the line for machines.
const startServer = async () => {
  const given = process.env.DATABASE_URL
  if (given) return { url: given, copyOptions: '', stop: async () => {} }
  const { startEmbeddedPostgres } = await import('../dist/database/embedded/embedded.js')
  const directory = mkdtempSync(join(tmpdir(), 'headway-tests-'))
  // As root the server runs as another user, who must be able to reach its data. They are in a closed directory below.
  chmodSync(directory, 0o755)
  const postgres = await startEmbeddedPostgres({ dataDir: directory, settings: SETTINGS, log: console.log })
  const stop = async () => {
    await postgres.stop()
    rmSync(postgres.dataDir, { recursive: true, force: true })
    rmSync(directory, { recursive: true, force: true })
  }
  // Without a log to write it to, copying files costs half of copying pages.
  return { url: postgres.url, copyOptions: 'STRATEGY FILE_COPY', stop }
}

const asAdmin = async (url, use) => {
  const admin = new pg.Client(url)
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.end()
  }
}

const makeTemplate = async url => {
  const { migrate } = await import('../dist/database/migrate.js')
  const name = `headway_template_${randomBytes(6).toString('hex')}`
  await asAdmin(url, admin => admin.query(`CREATE DATABASE "${name}"`))
  const template = new URL(url)
  template.pathname = `/${name}`
  await migrate(template.href)
  return name
}

/** Drops the template, and the databases of tests that were cut short. */
const dropDatabases = (url, template) =>
  asAdmin(url, async admin => {
    const leftOver = `${template.replace('template', 'test')}_`
    const { rows } = await admin.query(
      'SELECT datname FROM pg_database WHERE datname = $1 OR starts_with(datname, $2)',
      [template, leftOver],
    )
    for (const { datname } of rows) await admin.query(`DROP DATABASE "${datname}" WITH (FORCE)`)
  })

/** Runs them in a process group of their own, so that a time-out ends all test processes. Gives the exit code. */
const runSuite = async (environment, reader, stopped) => {
  const suite = spawn(process.execPath, [join(ROOT, 'test/suite.js'), ...process.argv.slice(2)], {
    env: environment,
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: process.platform !== 'win32',
  })
  const end = () => {
    try {
      process.kill(process.platform === 'win32' ? suite.pid : -suite.pid, 'SIGKILL')
    } catch {
      // It has ended by itself.
    }
  }
  stopped.addEventListener('abort', end)
  if (stopped.aborted) end()
  createInterface({ input: suite.stdout }).on('line', line => reader.read(line))
  const [code] = await once(suite, 'close')
  return code ?? 1
}

/** The limits of coverage hold for all tests together, and not for some of them. */
const isCoverageMeasured = process.argv.length === 2 && process.env.CI === 'true'

const runMeasured = async (environment, reader, stopped) => {
  if (!isCoverageMeasured) return runSuite(environment, reader, stopped)
  const directory = mkdtempSync(join(tmpdir(), 'headway-coverage-'))
  try {
    const code = await runSuite({ ...environment, NODE_V8_COVERAGE: directory }, reader, stopped)
    if (code !== 0) return code
    const { reportCoverage } = await import('./coverage.js')
    return (await reportCoverage(directory)) ? 0 : 1
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const build = async () => {
  const builder = spawn(process.execPath, [join(ROOT, 'scripts/build.js'), '--if-stale'], { stdio: 'inherit' })
  const [code] = await once(builder, 'close')
  if (code !== 0) throw new Error('The build failed: nothing was tested.')
}

const runTests = async (reader, stopped) => {
  await build()
  await compileTests()
  const server = await startServer()
  try {
    const template = await makeTemplate(server.url)
    try {
      const environment = {
        ...process.env,
        TEST_DATABASE_URL: server.url,
        TEST_TEMPLATE: template,
        TEST_COPY_OPTIONS: server.copyOptions,
      }
      // Tests name their database themselves: none may write into that of the caller by accident.
      delete environment.DATABASE_URL
      return await runMeasured(environment, reader, stopped)
    } finally {
      await dropDatabases(server.url, template)
    }
  } finally {
    await server.stop()
  }
}

/** The last line is for machines: `N passed, M failed`, alone. */
const finish = (reader, code) => {
  const { passed, failed } = reader.summary() ?? { passed: 0, failed: 1 }
  if (code !== 0 && failed === 0) console.log(`No test failed, but the tests ended with code ${code}.`)
  console.log(`${passed} passed, ${code !== 0 && failed === 0 ? 1 : failed} failed`)
  process.exit(code)
}

const reader = createTapReader(line => console.log(line))
const stop = new AbortController()
const stopBecause = reason => {
  console.log(`${reason}: ending the tests.`)
  stop.abort()
  setTimeout(() => finish(reader, 1), CLEANUP_MS)
}
setTimeout(() => stopBecause(`The tests took longer than ${TIMEOUT_MS / 60_000} minutes`), TIMEOUT_MS)
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stopBecause(`Got ${signal}`))

try {
  finish(reader, await runTests(reader, stop.signal))
} catch (error) {
  console.error(error)
  finish(reader, 1)
}

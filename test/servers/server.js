// Runs tests on a server of its own.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startProgram } from '../bench/environment/processes.js'
import { skip } from './results.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** Nothing outlives the run, so nothing needs to be safe on disk. */
const SETTINGS = { max_connections: '200', fsync: 'off', full_page_writes: 'off', listen_addresses: '' }

/** Compiles the changed files. */
export const build = () => {
  const { status } = spawnSync(process.execPath, ['scripts/build.js', '--if-stale'], { cwd: ROOT, stdio: 'inherit' })
  if (status !== 0) throw new Error('The build failed: nothing was tested.')
}

/** Postgres refuses root. */
const chooseUser = async directory => {
  const { chooseAccount } = await import('../../dist/database/embedded/account.js')
  const account = chooseAccount(join(directory, 'none'))
  if (account === null) return {}
  chownSync(directory, account.uid, account.gid)
  return { uid: account.uid, gid: account.gid }
}

/** Makes a cluster in `directory` and starts it; its address, and how to stop it. */
export const startServer = async (bin, directory, settings) => {
  const who = await chooseUser(directory)
  const data = join(directory, 'data')
  const init = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync']
  const { status, stderr } = spawnSync(join(bin, 'initdb'), init, { ...who, cwd: directory, encoding: 'utf8' })
  if (status !== 0) throw new Error(`initdb failed: ${stderr}`)
  const all = { ...SETTINGS, unix_socket_directories: directory, ...settings }
  const args = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const program = await startProgram(join(bin, 'postgres'), ['-D', data, ...args], {
    ready: /ready to accept connections/,
    ...who,
    cwd: directory,
  })
  return { url: `postgresql://postgres@localhost/postgres?host=${encodeURIComponent(directory)}`, stop: program.stop }
}

const runTests = async (url, tests, jobs) => {
  const run = spawn(process.execPath, ['test/run.js', `--jobs=${jobs}`, ...tests], {
    cwd: ROOT,
    env: { ...process.env, DATABASE_URL: url },
    stdio: 'inherit',
  })
  const [code] = await once(run, 'close')
  return code === 0
}

/** 'passed', 'failed' or 'skipped'. */
export const runOn = async ({ name, programs, settings, tests }, jobs) => {
  console.log(`== ${name}`)
  const { bin, missing } = await programs()
  if (missing !== undefined) return skip(name, missing)
  const directory = mkdtempSync(join(tmpdir(), 'headway-server-'))
  // The server runs as another user where this one is root.
  chmodSync(directory, 0o755)
  try {
    const server = await startServer(bin, directory, settings)
    try {
      return (await runTests(server.url, tests, jobs)) ? 'passed' : 'failed'
    } finally {
      await server.stop()
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

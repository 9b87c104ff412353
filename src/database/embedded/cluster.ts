import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import {
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { GuardOptions } from './messages.ts'
import { SERVER_SOCKET, type Place } from './place.ts'
import { errorCode, processIdentity, runsWith } from './processes.ts'
import { openLog } from './server-log.ts'

/** Small: the default installation idles in little memory, and a handful of processes share 60 connections. */
const SETTINGS = {
  shared_buffers: '32MB',
  max_connections: '60',
  io_method: 'sync',
  timezone: 'UTC',
  log_timezone: 'UTC',
  max_logical_replication_workers: '0',
}

/** The superuser that initdb creates. */
export const SUPERUSER = 'postgres'

/** For 10 s in all: an initdb whose guard was killed goes on writing until it finds that its folder has gone. */
const REMOVAL = { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }

const READY_POLL_MS = 10
const ALIVE_POLL_MS = 200
const FAST_SHUTDOWN_MS = 30_000

/** A running server. */
export interface Server {
  host: string
  port: number
  /** Resolves when the server has ended, for any reason. */
  gone: Promise<void>
  /** Ends the server's connections and shuts it down; resolves when it has ended. */
  stop: () => Promise<void>
}

interface PostmasterFile {
  pid: number
  port: number
  socketDir: string
  ready: boolean
}

const dataOf = (place: Place) => join(place.cluster, 'data')
const postmasterPidPath = (place: Place) => join(dataOf(place), 'postmaster.pid')

/** Lines 1, 4, 5 and 8 of postmaster.pid; see src/include/utils/pidfile.h in the source of PostgreSQL. */
const readPostmasterFile = (place: Place): PostmasterFile | null => {
  const path = postmasterPidPath(place)
  if (!existsSync(path)) return null
  const lines = readFileSync(path, 'utf8').split('\n')
  return {
    pid: Number(lines[0]),
    port: Number(lines[3]),
    socketDir: lines[4] ?? '',
    ready: lines[7]?.trim() === 'ready',
  }
}

const program = (bin: string, name: string) => join(bin, 'bin', process.platform === 'win32' ? `${name}.exe` : name)

/** Programs of Postgres run as its user, in a folder that this user can enter, and without the caller's PG… variables. */
const spawnOptions = (place: Place, log: number): SpawnOptions => ({
  cwd: place.home,
  detached: process.platform !== 'win32',
  windowsHide: true,
  stdio: ['ignore', log, log],
  env: {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG'))),
    LC_ALL: 'C',
  },
  ...(place.account === null ? {} : { uid: place.account.uid, gid: place.account.gid }),
})

const spawnProgram = async (place: Place, command: string, args: string[]): Promise<ChildProcess> => {
  const log = openLog(place)
  try {
    const child = spawn(command, args, spawnOptions(place, log))
    await once(child, 'spawn')
    return child
  } catch (error) {
    // ENOENT for a file that exists means that its loader is missing: npm installs the package on musl as well.
    if (errorCode(error) !== 'ENOENT' || !existsSync(command)) throw error
    throw new Error(
      `${command} cannot run on this system, it needs glibc: set DATABASE_URL to a PostgreSQL 14 or later`,
      { cause: error },
    )
  } finally {
    closeSync(log)
  }
}

const run = async (place: Place, command: string, args: string[]): Promise<void> => {
  const child = await spawnProgram(place, command, args)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  if (code !== 0) throw new Error(`${command} ended with ${signal ?? `code ${code}`}`)
}

const writeDurably = (path: string, content: string, place: Place): void => {
  writeFileSync(path, content, { mode: 0o600 })
  if (place.account !== null) chownSync(path, place.account.uid, place.account.gid)
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

/**
 * Creates the cluster if there is none. It is made under another name and then renamed, so a folder named `cluster` is always
 * complete. Call it under the lock: every draft that it finds was then left by a start that was interrupted.
 */
const initialize = async ({ place, settings }: GuardOptions, bin: string): Promise<void> => {
  for (const name of readdirSync(place.home)) {
    if (name.startsWith('new-')) await rm(join(place.home, name), REMOVAL)
  }
  if (existsSync(place.cluster)) return
  const draft = join(place.home, `new-${randomUUID()}`)
  mkdirSync(draft, { mode: 0o700 })
  if (place.account !== null) chownSync(draft, place.account.uid, place.account.gid)
  const password = join(draft, 'password')
  writeDurably(password, randomBytes(24).toString('base64url'), place)
  await run(place, program(bin, 'initdb'), [
    ...['-D', join(draft, 'data'), '-U', SUPERUSER, '-E', 'UTF8'],
    ...['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'],
    ...['-A', 'scram-sha-256', `--pwfile=${password}`, '--no-instructions'],
    // An operator who runs the server without fsync has accepted that data may be lost.
    ...(settings['fsync'] === 'off' ? ['--no-sync'] : []),
  ])
  renameSync(draft, place.cluster)
}

/** Refuses data of another major version, with a message. Postgres itself would only write to its log file. */
const checkVersion = ({ place, programs }: GuardOptions): void => {
  const found = readFileSync(join(dataOf(place), 'PG_VERSION'), 'utf8').trim()
  const brought = programs.version.split('.')[0]
  if (found === brought) return
  throw new Error(
    `The data in ${place.home} are of Postgres ${found}, and this Headway brings Postgres ${brought}: ` +
      `dump them with the old version and restore them with the new one, or move ${place.home} away to begin anew.`,
  )
}

const isFree = async (port: number): Promise<number | null> => {
  const probe = createServer()
  probe.listen(port, '127.0.0.1')
  try {
    await once(probe, 'listening')
  } catch {
    return null
  }
  const chosen = (probe.address() as AddressInfo).port
  probe.close()
  await once(probe, 'close')
  return chosen
}

/** The port of the last start if it is free, so that addresses that were given out stay valid. */
const choosePort = async (place: Place): Promise<number> => {
  const file = join(place.home, 'port')
  const last = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0
  const port = (Number.isInteger(last) ? await isFree(last) : null) ?? (await isFree(0)) ?? 0
  writeDurably(file, String(port), place)
  return port
}

const listenSettings = async ({ place, transport }: GuardOptions): Promise<Record<string, string>> =>
  transport === 'tcp'
    ? { listen_addresses: '127.0.0.1', port: String(await choosePort(place)), unix_socket_directories: '' }
    : { listen_addresses: '', port: '5432', unix_socket_directories: place.run, unix_socket_permissions: '0700' }

/**
 * Resolves when the server's process has ended. The process is a child of this guard, or was left running by a killed guard.
 */
const watch = (pid: number, child: ChildProcess | null): Promise<void> =>
  child !== null
    ? once(child, 'close').then(() => undefined)
    : (async () => {
        const identity = processIdentity(pid)
        while (identity !== null && processIdentity(pid) === identity) await delay(ALIVE_POLL_MS)
      })()

/** A fast shutdown is SIGINT, an immediate one SIGQUIT (PostgreSQL manual, "Shutting Down the Server"). */
const shutDown = async (place: Place, bin: string, pid: number, gone: Promise<void>): Promise<void> => {
  if (process.platform === 'win32') {
    await run(place, program(bin, 'pg_ctl'), ['stop', '-D', dataOf(place), '-m', 'fast']).catch(() => undefined)
    return gone
  }
  const signal = (name: NodeJS.Signals) => {
    try {
      process.kill(pid, name)
    } catch {
      // The process has ended by itself.
    }
  }
  signal('SIGINT')
  const timer = setTimeout(() => signal('SIGQUIT'), FAST_SHUTDOWN_MS)
  await gone
  clearTimeout(timer)
}

/** Resolves with the contents of postmaster.pid once the server accepts connections; null if the server has ended before. */
const untilReady = async (place: Place, pid: number, gone: Promise<void>): Promise<PostmasterFile | null> => {
  for (;;) {
    const file = readPostmasterFile(place)
    if (file?.pid === pid && file.ready) return file
    if (await Promise.race([gone.then(() => true), delay(READY_POLL_MS, false)])) return null
  }
}

/**
 * Removes the files that a dead server has left. Postgres refuses to start if a process with the number in these files exists,
 * also if the number now belongs to another program (after a power cut, in a restarted container) or to a zombie. Children of
 * the dead server may still be running. Postgres finds them by its shared memory, and they end by themselves.
 */
const removeTraces = (place: Place): void => {
  for (const path of [postmasterPidPath(place), join(place.run, `${SERVER_SOCKET}.lock`)]) rmSync(path, { force: true })
}

/** Answers the running server of the cluster, or starts it; creates the cluster if there is none. Call it under the lock. */
export const startServer = async (options: GuardOptions, bin: string): Promise<Server> => {
  const { place } = options
  await initialize(options, bin)
  checkVersion(options)
  const data = dataOf(place)
  const found = readPostmasterFile(place)
  let child: ChildProcess | null = null
  let pid = found?.pid ?? 0
  if (!runsWith(pid, data)) {
    removeTraces(place)
    const settings = { ...SETTINGS, ...options.settings, ...(await listenSettings(options)) }
    child = await spawnProgram(place, program(bin, 'postgres'), [
      ...['-D', data],
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ])
    pid = child.pid ?? 0
  }
  const gone = watch(pid, child)
  const ready = await untilReady(place, pid, gone)
  if (ready === null) throw new Error(`Postgres has ended before it was ready`)
  return {
    host: ready.socketDir === '' ? '127.0.0.1' : ready.socketDir,
    port: ready.port,
    gone,
    stop: () => shutDown(place, bin, pid, gone),
  }
}

import { spawn, type ChildProcess } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { processIdentity } from '../../src/database/embedded/processes.ts'
import { waitFor } from './wait.ts'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
const START_TIMEOUT_MS = 20_000

export const lives = (pid: number): boolean => processIdentity(pid) !== null

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface LogLine {
  level: number
  msg: string
  [field: string]: unknown
}

/** A replica of the service as a process of its own. */
export class ServiceProcess {
  readonly child: ChildProcess
  readonly exited: Promise<Exit>
  stdout = ''
  stderr = ''
  #url = ''

  constructor(child: ChildProcess) {
    this.child = child
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.exited = new Promise(resolve => child.once('close', (code, signal) => resolve({ code, signal })))
  }

  get pid(): number {
    return this.child.pid!
  }

  /** Where it listens; known once `ready` has resolved. */
  get url(): string {
    return this.#url
  }

  /** The entries of its log. */
  get log(): LogLine[] {
    return this.stdout
      .split('\n')
      .slice(0, -1)
      .filter(line => line.startsWith('{'))
      .map(line => JSON.parse(line) as LogLine)
  }

  /** Resolves when it listens; rejects with all that it wrote when it ends before. */
  async ready(): Promise<this> {
    let ended = false
    void this.exited.then(() => (ended = true))
    const url = await waitFor(() => ended || /Headway listens on (http:\/\/[^\s,]+)/.exec(this.stdout)?.[1], {
      timeoutMs: START_TIMEOUT_MS,
    })
    if (typeof url !== 'string') throw new Error(`The service has ended:\n${this.stdout}${this.stderr}`)
    this.#url = url
    return this
  }

  /** The answer of /readyz, or null when there is none. */
  async readiness(): Promise<{ status: string | number; degraded?: string[] } | null> {
    try {
      const response = await fetch(`${this.#url}/readyz`, { signal: AbortSignal.timeout(2_000) })
      return (await response.json()) as { status: string; degraded?: string[] }
    } catch {
      return null
    }
  }

  kill(signal: NodeJS.Signals): Promise<Exit> {
    this.child.kill(signal)
    return this.exited
  }
}

/** A new directory that the user of Postgres can enter; removed at the end of `t`, when the processes that write there have ended. */
export const makeDirectory = (t: Test): string => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'headway-test-')))
  chmodSync(directory, 0o755)
  t.teardown(() =>
    waitFor(() => (rmSync(directory, { recursive: true, force: true }), true), { timeoutMs: START_TIMEOUT_MS }),
  )
  return directory
}

/** Copies a folder with the modes of its folders, which `cpSync` of Node 22.23 and 24 makes 0755: Postgres refuses such data. */
export const copyFolder = (from: string, to: string): void => {
  cpSync(from, to, { recursive: true, verbatimSymlinks: true })
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    const path = join(entry.parentPath, entry.name)
    chmodSync(join(to, relative(from, path)), statSync(path).mode)
  }
  chmodSync(to, statSync(from).mode)
}

/** A data directory with the cluster of `seed`: a copy is made sooner than a new one. */
export const copyData = (t: Test, seed: string): string => {
  const dataDir = makeDirectory(t)
  mkdirSync(join(dataDir, 'postgres'))
  copyFolder(join(seed, 'postgres/cluster'), join(dataDir, 'postgres/cluster'))
  return dataDir
}

/**
 * Starts `node dist/main.js`, or another `main`, on a free port, with nothing of this process's environment; killed at the end
 * of `t`.
 */
export const spawnService = (t: Test, settings: Record<string, string>, main = MAIN): ServiceProcess => {
  // tap puts a loader of its own into NODE_OPTIONS of whatever is spawned, which takes 40 MB: only `env` comes after it.
  const options = `NODE_OPTIONS=${settings['NODE_OPTIONS'] ?? ''}`
  const [program, ...given] =
    process.platform === 'win32' ? [process.execPath, main] : ['/usr/bin/env', options, process.execPath, main]
  const child = spawn(program, given, {
    cwd: '/',
    // No limit on the delay of its event loop: a machine that is busy with other tests is no reason to refuse calls.
    env: { PATH: process.env['PATH'], PORT: '0', MAX_EVENT_LOOP_DELAY_MS: '0', ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const service = new ServiceProcess(child)
  t.teardown(() => service.kill('SIGKILL'))
  return service
}

/** Settings of a process that loads files of helpers/preload/ before everything else. */
export const preload = (...names: string[]): Record<string, string> => ({
  NODE_OPTIONS: names.map(name => `--import=${new URL(`./preload/${name}.js`, import.meta.url).href}`).join(' '),
})

/** The embedded Postgres of a data directory, seen from outside. */
export const postgresOf = (dataDir: string) => {
  const home = join(dataDir, 'postgres')
  const pidFile = join(home, 'cluster/data/postmaster.pid')
  const firstNumber = (path: string): number => (existsSync(path) ? Number.parseInt(readFileSync(path, 'utf8'), 10) : 0)
  return {
    /** 0 when there is none. */
    serverPid: () => firstNumber(pidFile),
    guardPid: () => firstNumber(join(home, 'guard.lock')),
    url: () => {
      const password = encodeURIComponent(readFileSync(join(home, 'cluster/password'), 'utf8'))
      const socketDir = readFileSync(pidFile, 'utf8').split('\n')[4]!
      return `postgresql://postgres:${password}@localhost:5432/postgres?host=${encodeURIComponent(socketDir)}`
    },
  }
}

/** Processes that `parent` has started, on Linux. */
export const childrenOf = (parent: number): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter(pid => {
      if (!(pid > 0)) return false
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
        // proc_pid_stat(5): after the name in parentheses come the state and the parent.
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent
      } catch {
        return false
      }
    })

/** Stops a server with all its backends, as a suspended host would; `resume` lets it go on, and so does the end of `t`. */
export const pauseServer = (t: Test, serverPid: number): { resume: () => void } => {
  process.kill(serverPid, 'SIGSTOP')
  const stopped = [serverPid, ...childrenOf(serverPid)]
  const signal = (name: NodeJS.Signals) => {
    for (const pid of stopped) {
      try {
        process.kill(pid, name)
      } catch {
        // It has gone by itself.
      }
    }
  }
  const resume = () => signal('SIGCONT')
  t.teardown(resume)
  signal('SIGSTOP')
  return { resume }
}

import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** A process as the operating system shows it at one moment. */
export interface ProcessEntry {
  pid: number
  parent: number
  group: number
  session: number
  /** Together with `pid` it identifies a process: a later process with the same id has another start time. */
  startedAt: string
  name: string
  isStopped: boolean
}

/** The operating system's list of processes. */
export interface ProcessTable {
  /** All living processes, in no order. Zombies are left out. */
  list(): ProcessEntry[]
  /** One process as it is now; null if it is not alive. */
  find(pid: number): ProcessEntry | null
  /** Whether a process has `mark` in its inherited environment, or one of `files` as its standard output or error. */
  inherits(pid: number, mark: string, files: ReadonlySet<string>): boolean
  /** The files behind standard output and error of a process. */
  files(pid: number): string[]
}

const attempt = <Value>(read: () => Value, otherwise: Value): Value => {
  try {
    return read()
  } catch {
    // The process has ended meanwhile, or belongs to another user.
    return otherwise
  }
}

/** The fields after the name, which may itself contain blanks and parentheses (proc(5), /proc/pid/stat). */
const entryOfStat = (stat: string): ProcessEntry | null => {
  const [opens, closes] = [stat.indexOf('('), stat.lastIndexOf(')')]
  const fields = stat.slice(closes + 2).split(' ')
  const [state, parent, group, session] = fields
  // A process whose first thread has ended looks like a zombie while its other threads run.
  if (closes < 0 || ((state === 'Z' || state === 'X') && Number(fields[17]) <= 1)) return null
  return {
    pid: Number(stat.slice(0, opens)),
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    startedAt: fields[19] ?? '',
    name: stat.slice(opens + 1, closes),
    isStopped: state === 'T',
  }
}

const linux: ProcessTable = {
  list: () =>
    readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(name => linux.find(Number(name)))
      .filter(entry => entry !== null),
  find: pid => attempt(() => entryOfStat(readFileSync(`/proc/${pid}/stat`, 'latin1')), null),
  inherits: (pid, mark, files) =>
    attempt(() => readFileSync(`/proc/${pid}/environ`, 'latin1'), '').includes(mark) ||
    linux.files(pid).some(file => files.has(file)),
  files: pid =>
    [1, 2]
      .map(descriptor => attempt(() => readlinkSync(`/proc/${pid}/fd/${descriptor}`), ''))
      .filter(file => /^(?:pipe|socket):/.test(file)),
}

const COLUMNS = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d+)\s+(.*)$/

/** Lists processes by POSIX `ps` on macOS and the BSDs. It shows neither sessions nor environments. */
const listByPs = (args: readonly string[]): ProcessEntry[] =>
  attempt(
    () =>
      execFileSync('ps', [...args, '-o', 'pid=,ppid=,pgid=,stat=,lstart=,comm='], {
        encoding: 'utf8',
        env: { ...process.env, LC_ALL: 'C' },
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    '',
  )
    .split('\n')
    .flatMap(line => {
      const [, pid, parent, group, state = '', startedAt = '', name = ''] = COLUMNS.exec(line) ?? []
      if (pid === undefined || state.startsWith('Z')) return []
      const ids = { pid: Number(pid), parent: Number(parent), group: Number(group), session: 0 }
      return [{ ...ids, startedAt, name, isStopped: state.startsWith('T') }]
    })

const posix: ProcessTable = {
  list: () => listByPs(['-A']),
  find: pid => listByPs(['-p', String(pid)])[0] ?? null,
  inherits: () => false,
  files: () => [],
}

export const processTable: ProcessTable = existsSync('/proc/self/stat') ? linux : posix

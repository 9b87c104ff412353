import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** A process as the operating system shows it at one moment. */
export interface ProcessEntry {
  pid: number
  parent: number
  group: number
  session: number
  /** With `pid` it names one process for good: a later one of the same id has another. */
  startedAt: string
  name: string
  isStopped: boolean
}

/** What an operating system says of its processes. */
export interface ProcessTable {
  /** Those that live, in no order; not those that have ended and wait for their parents to take note (zombies). */
  list(): ProcessEntry[]
  /** One of them, as it is now; null when it does not live. */
  find(pid: number): ProcessEntry | null
  /** Whether a process inherited the `mark` in its environment, or holds one of `files` as its standard output or error. */
  inherits(pid: number, mark: string, files: ReadonlySet<string>): boolean
  /** What standard output and error of a process are. */
  files(pid: number): string[]
}

const attempt = <Value>(read: () => Value, otherwise: Value): Value => {
  try {
    return read()
  } catch {
    // It has ended meanwhile, or belongs to another user.
    return otherwise
  }
}

/** Fields after the name, which may itself hold blanks and parentheses (proc(5), /proc/pid/stat). */
const entryOfStat = (stat: string): ProcessEntry | null => {
  const [opens, closes] = [stat.indexOf('('), stat.lastIndexOf(')')]
  const fields = stat.slice(closes + 2).split(' ')
  const [state, parent, group, session] = fields
  // Of a zombie whose first thread alone has ended, the others work on.
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

/** macOS and the BSDs, by POSIX `ps`: it names neither sessions nor environments. */
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

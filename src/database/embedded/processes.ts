import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** The code of a failed system call or file call, such as `ENOENT`. */
export const errorCode = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''

const readOrNull = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

const ps = (pid: number, column: string): string | null => {
  try {
    return execFileSync('ps', ['-p', String(pid), '-o', `${column}=`], { encoding: 'utf8' }).trim()
  } catch {
    return null
  }
}

const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errorCode(error) === 'EPERM'
  }
}

/**
 * Names a living process so that no later process has the same name: after a power cut, or in a restarted container, the same
 * number may belong to another program. Null when the process is dead; a zombie counts as dead.
 */
export const processIdentity = (pid: number): string | null => {
  if (!Number.isSafeInteger(pid) || pid <= 0 || !exists(pid)) return null
  if (process.platform === 'win32') return String(pid)
  if (process.platform !== 'linux') {
    const started = ps(pid, 'lstart')
    return started === null || ps(pid, 'stat')?.startsWith('Z') ? null : `${pid} ${started}`
  }
  const stat = readOrNull(`/proc/${pid}/stat`)
  if (stat === null) return null
  // proc_pid_stat(5): the name in parentheses may contain any character. The state is the first field after it, the start time
  // (in ticks since boot) the twentieth.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return null
  const boot = readOrNull('/proc/sys/kernel/random/boot_id')?.trim() ?? ''
  return `${pid} ${fields[19] ?? ''} ${boot}`
}

/**
 * Whether `pid` is alive and was started with `argument` on its command line. On Windows, where that cannot be read, being
 * alive is enough.
 */
export const runsWith = (pid: number, argument: string): boolean => {
  if (processIdentity(pid) === null) return false
  if (process.platform === 'win32') return true
  if (process.platform !== 'linux') return ps(pid, 'command')?.includes(argument) ?? false
  return readOrNull(`/proc/${pid}/cmdline`)?.split('\0').includes(argument) ?? false
}

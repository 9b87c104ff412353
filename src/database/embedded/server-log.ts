import { closeSync, copyFileSync, fchownSync, fstatSync, openSync, readSync, statSync, truncateSync } from 'node:fs'
import type { Place } from './place.ts'

const MAX_LOG_BYTES = 4 * 1024 * 1024

/** Opens the log for appending. Postgres writes to the file itself, so that no line is lost when the guard is killed. */
export const openLog = ({ log, account }: Pick<Place, 'log' | 'account'>): number => {
  const file = openSync(log, 'a', 0o600)
  if (account !== null) fchownSync(file, account.uid, account.gid)
  return file
}

/** Limits the log: keeps one older log and empties the file. The file is not renamed, because Postgres keeps its descriptor. */
export const boundLog = (path: string): void => {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0
  if (size <= MAX_LOG_BYTES) return
  copyFileSync(path, `${path}.1`)
  truncateSync(path)
}

/** The last lines of the log, for the message of a failed start. */
export const readLogEnd = (path: string, maxBytes = 1000): string => {
  const file = openSync(path, 'r')
  try {
    const { size } = fstatSync(file)
    const buffer = Buffer.alloc(Math.min(size, maxBytes))
    readSync(file, buffer, 0, buffer.length, size - buffer.length)
    return buffer.toString().trim()
  } finally {
    closeSync(file)
  }
}

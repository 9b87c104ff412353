import { randomUUID } from 'node:crypto'
import { chmodSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { errorCode, processIdentity } from './processes.ts'

const read = (path: string): string | null => {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null
    throw error
  }
}

/**
 * Whether the owner that a lock names is alive. A file that a power failure has cut names no process, and counts as left
 * behind.
 */
const ownerLives = (content: string): boolean => processIdentity(Number.parseInt(content, 10)) === content

const linkIfFree = (from: string, to: string): boolean => {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false
    throw error
  }
}

/**
 * Moves a lock whose owner has died out of the way. The rename moves whatever file is there now, so the moved file is read
 * again. If another process has made a new lock meanwhile, that lock is put back.
 */
const removeAbandoned = (path: string, abandoned: string): void => {
  const aside = `${path}.${randomUUID()}`
  try {
    renameSync(path, aside)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return
    throw error
  }
  if (read(aside) !== abandoned) linkIfFree(aside, path)
  rmSync(aside, { force: true })
}

/**
 * Takes the lock for the rest of this process's life, and answers a function that releases it; null when a living process has
 * the lock. Node has no flock(2), so the file names its owner, and the lock of a dead owner is free.
 */
export const acquireLock = (path: string): (() => void) | null => {
  const mine = processIdentity(process.pid) ?? String(process.pid)
  const draft = `${path}.${randomUUID()}`
  // A hard link appears together with its content, so no other process can see the lock empty and take it for abandoned.
  writeFileSync(draft, mine)
  chmodSync(draft, 0o644)
  try {
    while (!linkIfFree(draft, path)) {
      const content = read(path)
      if (content === null) continue
      if (ownerLives(content)) return null
      removeAbandoned(path, content)
    }
  } finally {
    rmSync(draft, { force: true })
  }
  return () => {
    if (read(path) === mine) rmSync(path, { force: true })
  }
}

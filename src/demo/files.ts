import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'

export interface FoundFile {
  /** Relative to the folder. */
  path: string
  size: number
}

export interface FoundFiles {
  files: FoundFile[]
  /** Folders that could not be opened, and files that were gone or closed to us. */
  unreadable: number
}

/** Every regular file under `folder`, in no particular order. Links are not followed: what they point at may be anywhere. */
export const findFiles = async (folder: string, signal: AbortSignal): Promise<FoundFiles> => {
  const found: FoundFiles = { files: [], unreadable: 0 }
  const countUnreadable = (): void => {
    found.unreadable++
  }
  const waiting = ['']
  for (let inside = waiting.pop(); inside !== undefined; inside = waiting.pop()) {
    signal.throwIfAborted()
    const entries = await readdir(join(folder, inside), { withFileTypes: true }).catch(countUnreadable)
    for (const entry of entries ?? []) {
      const path = join(inside, entry.name)
      if (entry.isDirectory()) waiting.push(path)
      if (!entry.isFile()) continue
      await lstat(join(folder, path)).then(({ size }) => found.files.push({ path, size }), countUnreadable)
    }
  }
  return found
}

/** What opening and closing a file costs, in bytes that could be hashed meanwhile. */
const FILE_OVERHEAD_BYTES = 50_000

/** Shares of about equal work: the largest file goes first, each to the share with the least so far. */
export const shareOut = (files: readonly FoundFile[], shares: number): FoundFile[][] => {
  const result = Array.from({ length: shares }, () => ({ files: [] as FoundFile[], load: 0 }))
  for (const file of [...files].sort((a, b) => b.size - a.size)) {
    const least = result.reduce((best, share) => (share.load < best.load ? share : best))
    least.files.push(file)
    least.load += file.size + FILE_OVERHEAD_BYTES
  }
  return result.map(share => share.files)
}

import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'

export interface FoundFile {
  /** Relative to the folder. */
  path: string
  size: number
}

export interface FoundFiles {
  files: FoundFile[]
  /** Folders that could not be opened, and files that were gone or not readable. */
  unreadable: number
}

/** Every regular file under `folder`, in no particular order. Links are not followed, because their targets may be anywhere. */
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

/** The cost of opening and closing a file, in bytes that could be hashed in that time. */
const FILE_OVERHEAD_BYTES = 50_000

/** Shares of about equal work: the files go, largest first, to the share with the least work so far. */
export const shareOut = (files: readonly FoundFile[], shares: number): FoundFile[][] => {
  const result = Array.from({ length: shares }, () => ({ files: [] as FoundFile[], load: 0 }))
  for (const file of [...files].sort((a, b) => b.size - a.size)) {
    const least = result.reduce((best, share) => (share.load < best.load ? share : best))
    least.files.push(file)
    least.load += file.size + FILE_OVERHEAD_BYTES
  }
  return result.map(share => share.files)
}

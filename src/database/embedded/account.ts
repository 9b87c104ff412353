import { execFileSync } from 'node:child_process'
import { readdirSync, lchownSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The user that Postgres runs as, where that is not the user of this process. */
export interface Account {
  uid: number
  gid: number
  name: string
}

const findAccount = (name: string): Account | null => {
  const id = (flag: string) =>
    Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
  try {
    return { name, uid: id('-u'), gid: id('-g') }
  } catch {
    return null
  }
}

export const isRoot = (): boolean => process.getuid?.() === 0

/**
 * Postgres refuses to run as root. A directory that already belongs to someone stays theirs; else it is `postgres`
 * where the system has that user, else `nobody`. No user is ever created. Null when not root: Postgres is then ours.
 */
export const chooseAccount = (existingDir: string): Account | null => {
  if (!isRoot()) return null
  const owner = statSync(existingDir, { throwIfNoEntry: false })
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid, name: `user ${owner.uid}` }
  return findAccount('postgres') ?? findAccount('nobody') ?? { uid: 65534, gid: 65534, name: 'nobody' }
}

/** Whether `account` has all of `bits` (4 read, 1 execute or traverse) on `path`. Its supplementary groups are dropped at spawn. */
export const mayUse = (account: Account, path: string, bits: number): boolean => {
  const { uid, gid, mode } = statSync(path)
  const shift = uid === account.uid ? 6 : gid === account.gid ? 3 : 0
  return ((mode >> shift) & bits) === bits
}

/** Whether `account` can reach what is in `directory`: one 0700 directory on the way is enough to keep it out. */
export const mayEnter = (account: Account, directory: string): boolean =>
  mayUse(account, directory, 1) && (dirname(directory) === directory || mayEnter(account, dirname(directory)))

/** Gives `path` and everything in it to `account`. Links are not followed. */
export const giveTo = (account: Account, path: string): void => {
  lchownSync(path, account.uid, account.gid)
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const child = join(path, entry.name)
    if (entry.isDirectory()) giveTo(account, child)
    else lchownSync(child, account.uid, account.gid)
  }
}

import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, lchownSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The user that Postgres runs as, if it is not the user of this process. */
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

/** Whether the system has a user of this number. True where it cannot be asked. */
export const hasName = (uid: number): boolean => spawnSync('id', ['-un', String(uid)], { stdio: 'ignore' }).status !== 1

export const isRoot = (): boolean => process.getuid?.() === 0

/**
 * Chooses the user that Postgres runs as, because it refuses to run as root. A directory that belongs to a user other than root
 * keeps its owner. Otherwise the user is `postgres` if the system has it, else `nobody`. No user is ever created. Null when
 * this process is not root: Postgres then runs as the same user.
 */
export const chooseAccount = (existingDir: string): Account | null => {
  if (!isRoot()) return null
  const owner = statSync(existingDir, { throwIfNoEntry: false })
  if (owner !== undefined && owner.uid !== 0) return { uid: owner.uid, gid: owner.gid, name: `user ${owner.uid}` }
  return findAccount('postgres') ?? findAccount('nobody') ?? { uid: 65534, gid: 65534, name: 'nobody' }
}

/**
 * Whether `account` has all of `bits` (4 read, 1 execute or traverse) on `path`. Postgres is started without the account's
 * supplementary groups.
 */
export const mayUse = (account: Account, path: string, bits: number): boolean => {
  const { uid, gid, mode } = statSync(path)
  const shift = uid === account.uid ? 6 : gid === account.gid ? 3 : 0
  return ((mode >> shift) & bits) === bits
}

/** Whether `account` can reach the files in `directory`: one 0700 directory on the path is enough to prevent it. */
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

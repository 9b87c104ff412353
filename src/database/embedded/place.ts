import { createHash } from 'node:crypto'
import { chmodSync, chownSync, existsSync, lstatSync, mkdirSync, realpathSync, statfsSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { HeadwayError } from '../../contract/errors.ts'
import { chooseAccount, giveTo, hasName, mayEnter, type Account } from './account.ts'
import { errorCode } from './processes.ts'

/** Where the files of one embedded Postgres are. Every process with the same data directory gets the same place. */
export interface Place {
  /** Belongs to the user that Postgres runs as, and is closed to others: cluster, log, lock, and copied programs. */
  home: string
  /** Only exists when it is complete: `data` (the data directory of Postgres) and `password`. */
  cluster: string
  /** Folder of the server's socket. */
  run: string
  log: string
  lock: string
  /** The socket on which the guard listens. */
  guardSocket: string
  account: Account | null
  warnings: string[]
}

/**
 * The longest path of a socket that every system accepts: `sun_path` is 108 bytes on Linux, 104 on macOS, with the final NUL.
 */
const MAX_SOCKET_PATH_BYTES = 103
/** The name that Postgres gives to the socket of port 5432. */
export const SERVER_SOCKET = '.s.PGSQL.5432'

/** By the codes of Node; any other is a matter of rights. */
const WHY_UNUSABLE: Readonly<Record<string, string>> = {
  EROFS: 'is on a file system that cannot be written: make it writable',
  ENOSPC: 'is on a file system without room: make room there',
  EDQUOT: 'is on a file system whose quota is used up: make room there',
  EEXIST: 'is no directory: move away what is there',
  ENOTDIR: 'is no directory: move away what is there',
  ENAMETOOLONG: 'has a name that is too long: choose a shorter one',
  EIO: 'is on a disk that fails: look at the log of the system',
  ENOTCONN: 'is on a file system that has gone: mount it again',
  ESTALE: 'is on a file system that has gone: mount it again',
}

const inaccessible = (path: string, cause: unknown) =>
  new HeadwayError(
    'database_unavailable',
    `The data of the embedded Postgres, ${path}, ` +
      (WHY_UNUSABLE[errorCode(cause)] ?? 'is not accessible to this user: run as its owner') +
      ', or set HEADWAY_DATA_DIR to a directory of your own, or set DATABASE_URL.',
    { cause },
  )

/** The sentence for an error of the file system; answers any other error unchanged. */
export const explainFiles = (error: unknown, dataDir: string): unknown => {
  const code = errorCode(error)
  if (error instanceof HeadwayError || !(code in WHY_UNUSABLE || code === 'EACCES' || code === 'EPERM')) return error
  return inaccessible(resolve(dataDir), error)
}

/** More than initdb writes, and more than a server needs to recover. */
const ROOM_BYTES = 64 * 1024 * 1024

/** Whether the file system of `place` has room for a server to start. Postgres reports a full disk in its log only, as a text. */
export const hasRoom = ({ home }: Pick<Place, 'home'>): boolean => {
  const { bavail, bsize } = statfsSync(home)
  return bavail * bsize >= ROOM_BYTES
}

export const withoutRoom = ({ home }: Pick<Place, 'home'>) =>
  new HeadwayError(
    'database_unavailable',
    `The embedded Postgres could not be started: the file system of ${home} has less than ${ROOM_BYTES / 1024 / 1024} MB left. ` +
      'Make room there, or set HEADWAY_DATA_DIR to a directory of your own, or set DATABASE_URL.',
  )

/** Makes a directory that only the user of Postgres may enter. Refuses a directory of another user. */
const makePrivate = (path: string, account: Account | null): void => {
  try {
    mkdirSync(path, { mode: 0o700 })
    if (account !== null) chownSync(path, account.uid, account.gid)
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw inaccessible(path, error)
  }
  if (process.platform === 'win32') return
  const stat = lstatSync(path)
  // A directory with owner 0 was restored from a backup, or the process that made it was killed before it could change the
  // owner.
  if (account !== null && stat.isDirectory() && stat.uid === 0) giveTo(account, path)
  else if (!stat.isDirectory() || stat.uid !== (account?.uid ?? process.getuid?.())) throw inaccessible(path, undefined)
  chmodSync(path, 0o700)
}

/** `initdb` asks the system for the name of its user, which an engine of containers and `DynamicUser=` may make up as a number. */
const refuseNameless = (account: Account | null): void => {
  const uid = account?.uid ?? process.getuid?.()
  if (uid === undefined || hasName(uid)) return
  throw new HeadwayError(
    'database_unavailable',
    `The embedded Postgres cannot be created by the user ${uid}, which has no name on this machine. Add such a user, or install ` +
      'libnss-systemd if systemd has made it up (DynamicUser), or set DATABASE_URL.',
  )
}

const short = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16)

const chooseHome = (base: string): { home: string; account: Account | null; moved: boolean } => {
  const home = join(base, 'postgres')
  const account = chooseAccount(home)
  if (account === null || mayEnter(account, base)) return { home, account, moved: false }
  if (existsSync(join(home, 'cluster'))) {
    throw new HeadwayError(
      'database_unavailable',
      `${home} holds data, but ${account.name}, the user that Postgres runs as, cannot enter ${base}: ` +
        'make every directory on the way traversable (chmod o+x), or set HEADWAY_DATA_DIR.',
    )
  }
  const elsewhere = join('/var/lib/headway', short(base))
  mkdirSync(dirname(elsewhere), { recursive: true, mode: 0o755 })
  return { home: elsewhere, account: chooseAccount(elsewhere), moved: true }
}

const chooseRun = (home: string): string => {
  const run = join(home, 'run')
  if (Buffer.byteLength(join(run, SERVER_SOCKET)) <= MAX_SOCKET_PATH_BYTES) return run
  // Not os.tmpdir(): TMPDIR differs between processes, and all processes with the same data must use the same folder.
  return join('/tmp', `headway-${short(home)}`)
}

/** Whether an embedded Postgres has been created for this directory. Creates nothing. */
export const hasCluster = (dataDir: string): boolean =>
  existsSync(dataDir) && existsSync(join(chooseHome(realpathSync(dataDir)).home, 'cluster'))

/** Decides where the files of the embedded Postgres are, and makes its directories. */
export const choosePlace = (dataDir: string): Place => {
  try {
    mkdirSync(dataDir, { recursive: true })
  } catch (error) {
    throw inaccessible(resolve(dataDir), error)
  }
  const base = realpathSync(dataDir)
  const { home, account, moved } = chooseHome(base)
  const cluster = join(home, 'cluster')
  if (!existsSync(cluster)) refuseNameless(account)
  makePrivate(home, account)
  if (account !== null && statSync(cluster, { throwIfNoEntry: false })?.uid === 0) giveTo(account, home)
  const run = chooseRun(home)
  makePrivate(run, account)
  const warnings: string[] = []
  if (moved) warnings.push(`${base} is closed to ${account?.name ?? ''}, so the data of Postgres is in ${home}.`)
  if (account?.name === 'nobody' || account?.uid === 65534) {
    warnings.push('Postgres runs as nobody: other processes of nobody could read its data. Add a user named postgres.')
  }
  return {
    home,
    cluster,
    run,
    log: join(home, 'postgres.log'),
    lock: join(home, 'guard.lock'),
    guardSocket: process.platform === 'win32' ? `\\\\.\\pipe\\headway-${short(home)}` : join(run, 'guard.sock'),
    account,
    warnings,
  }
}

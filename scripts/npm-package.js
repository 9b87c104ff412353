// Packages of npm that are used as programs and not as dependencies: other versions of Node and of Postgres. They are kept from
// one run to the next, in a folder that other users can enter, since Postgres does not run as root.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const CACHE = join(tmpdir(), `headway-programs-${process.getuid?.() ?? 'user'}`)

/** The folder of an installed package, or a sentence why it cannot be had. None of its scripts is run. */
export const installFromNpm = (name, version) => {
  const home = join(CACHE, `${name.replace('/', '+')}-${version}`)
  const directory = join(home, 'node_modules', name)
  if (existsSync(directory)) return { directory }
  mkdirSync(CACHE, { recursive: true })
  const draft = mkdtempSync(join(CACHE, 'new-'))
  const options = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel=error']
  const args = ['install', '--prefix', draft, ...options, `${name}@${version}`]
  const { status, stderr } = spawnSync('npm', args, { encoding: 'utf8', shell: process.platform === 'win32' })
  if (status !== 0) {
    rmSync(draft, { recursive: true, force: true })
    return { missing: `npm could not install ${name}@${version}: ${stderr?.trim().split('\n').at(-1) ?? ''}` }
  }
  chmodSync(draft, 0o755)
  rmSync(home, { recursive: true, force: true })
  renameSync(draft, home)
  return { directory }
}

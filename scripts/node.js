// Finds or installs a Node of a major version: `node scripts/node.js 24` prints the folder that belongs at the front of PATH. Also
// runs on a Node that is too old for the rest.
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { installFromNpm } from './npm-package.js'

/** The newest of each line that Headway is tested with, by its major version. */
export const NODES = { 22: '22.23.3', 24: '24.21.0', 26: '26.10.0' }

/** The folder with `node`: that of the Node that runs this, where it is of the same line, else that of a package of npm. */
export const findNode = major => {
  const version = NODES[major]
  if (version === undefined) return { missing: `Node ${major} is none of ${Object.keys(NODES).join(', ')}` }
  if (process.versions.node.split('.')[0] === String(major)) return { bin: dirname(process.execPath) }
  const platform = process.platform === 'win32' ? 'win' : process.platform
  const { directory, missing } = installFromNpm(`node-${platform}-${process.arch}`, version)
  if (missing !== undefined) return { missing }
  const bin = join(directory, 'bin')
  return existsSync(bin) ? { bin } : { missing: `${directory} has no folder bin` }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { bin, missing } = findNode(process.argv[2] ?? '')
  if (missing !== undefined) {
    console.error(`${missing}.`)
    process.exit(1)
  }
  console.log(bin)
}

// Builds the image of the Dockerfile without a registry of images: the base is a minimal Debian with the Node and npm of npm's packages,
// under the name that the Dockerfile gives it.
import { chmodSync, cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findNode } from '../../scripts/node.js'
import { installFromNpm } from '../../scripts/npm-package.js'
import { ROOT, importImage, makeDebian, run } from './tools.js'

const NPM_VERSION = '11.19.1'
/** Where npm and Node look for certificates: those of this machine count inside as well. */
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'
/** `node:24-trixie-slim` → its parts. */
export const readBase = () => {
  const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
  const [, name, major, suite] = /^FROM (node:(\d+)-(\w+)-slim)$/m.exec(dockerfile)
  return { name: `docker.io/library/${name}`, major, suite }
}

/** A minimal Debian with Node, npm and the user `node`, as the image of that name has them. */
const makeRoot = ({ major, suite }) => {
  const root = makeDebian(suite, suite, ['libstdc++6', 'ca-certificates'], root =>
    run('chroot', [root, 'useradd', '--uid', '1000', '--user-group', '--create-home', 'node']),
  )
  const node = findNode(major)
  const npm = installFromNpm('npm', NPM_VERSION)
  if (node.missing ?? npm.missing) throw new Error(node.missing ?? npm.missing)
  cpSync(join(node.bin, 'node'), join(root, 'usr/local/bin/node'))
  chmodSync(join(root, 'usr/local/bin/node'), 0o755)
  cpSync(npm.directory, join(root, 'usr/local/lib/node_modules/npm'), { recursive: true })
  run('ln', ['-sf', '../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm')])
  return root
}

/** Volumes by which npm in the image uses the registry and the certificates of this machine. Not its cache, which the build empties. */
const npmOfThisMachine = directory => {
  const ask = name => run('npm', ['config', 'get', name], { cwd: ROOT }).stdout.trim()
  const file = join(directory, 'npmrc')
  const isKnown = existsSync(CERTIFICATES)
  const lines = [`registry=${ask('registry')}`, ...(isKnown ? [`cafile=${CERTIFICATES}`] : [])]
  writeFileSync(file, `${lines.join('\n')}\n`)
  const volumes = [`${file}:/root/.npmrc:ro`]
  if (isKnown) volumes.push(`${CERTIFICATES}:${CERTIFICATES}:ro`)
  return volumes.flatMap(volume => ['--volume', volume])
}

/** Leaves the image `headway` in the storage of these tools. */
export const buildImage = (tools, directory) => {
  const base = readBase()
  importImage(tools, makeRoot(base), base.name, directory)
  const options = ['--isolation', 'chroot', '--format', 'docker', '--pull-never', '--network', 'host']
  tools.buildah('bud', ...options, ...npmOfThisMachine(directory), '-t', 'headway', '.')
}

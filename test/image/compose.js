// Brings deploy/compose.yaml up with podman-compose and uses it: `npm run compose:check`, as root on Debian, with what image:check
// needs and podman-compose, netavark, aardvark-dns and iptables. No registry of images is needed: Debian's PostgreSQL and nginx stand
// in for the images of these names. Prometheus, which has a profile of its own, is left out. Where a tool cannot be had, a line says
// so; --required makes that a failure.
import '../../scripts/supported-node.js'
import { randomBytes } from 'node:crypto'
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { conclude, skip } from '../servers/results.js'
import { buildImage, readBase } from './build.js'
import {
  ROOT,
  check,
  createTools,
  findMissing,
  freePort,
  importImage,
  makeDebian,
  run,
  waitUntilHealthy,
} from './tools.js'

const NAME = 'The compose file'
const TOOLS = ['buildah', 'podman', 'podman-compose', 'runc', 'debootstrap', 'iptables']
const PROJECT = 'headway-check'
const REPLICAS = ['headway-1', 'headway-2']
const SERVICES = ['postgres', ...REPLICAS, 'proxy']
const REQUEST_TIMEOUT_MS = 30_000
/** `stop_grace_period` of the file, after which a container is killed. */
const STOP_TIMEOUT_S = 15

/** Leaves images in the storage of these tools, under the names that the file uses. */
const makeImages = (tools, directory) => {
  buildImage(tools, directory)
  const { suite } = readBase()
  const root = makeDebian(`compose-${suite}`, suite, ['postgresql', 'nginx-light', 'curl'], root => {
    rmSync(join(root, 'var/lib/postgresql'), { recursive: true })
    run('chroot', [root, 'install', '-d', '-o', 'postgres', '-g', 'postgres', '/var/lib/postgresql'])
    run('chroot', [root, 'install', '-d', '-o', 'postgres', '-g', 'postgres', '/run/postgresql'])
  })
  cpSync(join(ROOT, 'test/image/postgres.sh'), join(root, 'usr/local/bin/postgres.sh'))
  const { services } = readCompose()
  importImage(tools, root, `docker.io/library/${services.postgres}`, directory, [
    'USER postgres',
    'ENTRYPOINT ["sh", "/usr/local/bin/postgres.sh"]',
    'STOPSIGNAL SIGINT',
  ])
  importImage(tools, root, `docker.io/library/${services.proxy}`, directory, [
    'CMD ["nginx", "-g", "daemon off;"]',
    'STOPSIGNAL SIGQUIT',
  ])
}

/** The images that the file names, by service. */
const readCompose = () => {
  const text = readFileSync(join(ROOT, 'deploy/compose.yaml'), 'utf8')
  const imageOf = service => new RegExp(`^  ${service}:\\n    image: (\\S+)$`, 'm').exec(text)[1]
  return { text, services: { postgres: imageOf('postgres'), proxy: imageOf('proxy') } }
}

/** A copy of deploy/ whose proxy listens on a free port, and what runs podman-compose on it. */
const prepareCompose = (tools, directory, port) => {
  cpSync(join(ROOT, 'deploy'), join(directory, 'deploy'), { recursive: true })
  const file = join(directory, 'deploy/compose.yaml')
  const published = '127.0.0.1:8080:8080'
  const { text } = readCompose()
  if (!text.includes(published)) throw new Error(`compose.yaml does not publish ${published}`)
  writeFileSync(file, text.replace(published, `127.0.0.1:${port}:8080`))
  const env = { ...tools.environment, POSTGRES_PASSWORD: randomBytes(16).toString('hex') }
  return (...args) => run('podman-compose', ['-f', file, '-p', PROJECT, ...args], { env })
}

const container = service => `${PROJECT}_${service}_1`

/** Asks the service behind the proxy. */
const createClient =
  port =>
  async (method, path, { body, headers = {} } = {}) => {
    const asked = request({
      ...{ host: '127.0.0.1', port, method, path, agent: false },
      headers: { 'content-type': 'application/json', ...headers },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    }).end(body === undefined ? undefined : JSON.stringify(body))
    const [answer] = await once(asked, 'response')
    return answer
  }

const readAll = async answer => {
  let text = ''
  for await (const part of answer) text += part
  return text
}

/** Opens a stream of a job; resolves with what it wrote when that has `text`. */
const readStreamUntil = async (ask, path, text) => {
  const answer = await ask('GET', path, { headers: { accept: 'text/event-stream' } })
  let read = ''
  for await (const part of answer) {
    read += part
    if (read.includes(text)) break
  }
  return read
}

const checkUse = async ask => {
  const foreign = await ask('GET', '/readyz', { headers: { host: 'evil.test' } })
  check(foreign.statusCode === 421, 'The proxy refuses another host.', String(foreign.statusCode))
  const metrics = await ask('GET', '/metrics')
  check([403, 404].includes(metrics.statusCode), 'The proxy does not publish metrics.', String(metrics.statusCode))
  const created = await ask('POST', '/api/progress/jobs', {
    body: { jobType: 'check', name: 'A check', totalCount: 1200 },
  })
  const text = await readAll(created)
  check(created.statusCode === 201, 'A job is made through the proxy.', text)
  const { id } = JSON.parse(text)
  // Each stream and each report may be on either replica: with eight of them, each leads through Postgres at least once.
  const streams = Array.from({ length: 8 }, () =>
    readStreamUntil(ask, `/api/progress/jobs/${id}/stream`, '"status":"completed"'),
  )
  for (const processedCount of [300, 600, 900]) {
    const answer = await ask('POST', `/api/progress/jobs/${id}/heartbeat`, { body: { processedCount } })
    check(
      answer.statusCode === 200,
      `A report of ${processedCount} is written through the proxy.`,
      await readAll(answer),
    )
  }
  await ask('POST', `/api/progress/jobs/${id}/complete`, { body: {} })
  const ends = await Promise.all(streams)
  check(ends.length === 8, 'Eight streams over both replicas tell the end of the job.')
  return id
}

const checkFaults = async (tools, ask, id) => {
  const { podman } = tools
  const begun = Date.now()
  podman(['stop', '--time', String(STOP_TIMEOUT_S), container('headway-1')])
  const code = podman(['inspect', container('headway-1'), '--format', '{{.State.ExitCode}}']).stdout.trim()
  check(code === '0', 'A replica that is stopped ends with code 0.', `${code} after ${Date.now() - begun} ms`)
  const answers = []
  for (let i = 0; i < 8; i++) answers.push((await ask('GET', `/api/progress/jobs/${id}`)).statusCode)
  check(
    answers.every(status => status === 200),
    'The other replica answers everything meanwhile.',
    answers.join(),
  )
  podman(['start', container('headway-1')])
  await waitUntilHealthy(tools, container('headway-1'), 'The replica comes back.')
  podman(['restart', '--time', String(STOP_TIMEOUT_S), container('postgres')])
  await waitUntilHealthy(tools, container('postgres'), 'Postgres is restarted.')
  for (const name of REPLICAS)
    await waitUntilHealthy(tools, container(name), `${name} is ready again, without a restart.`)
  check(
    podman(['inspect', container('headway-2'), '--format', '{{.RestartCount}}']).stdout.trim() === '0',
    'The replica that was left alone was never restarted.',
  )
}

const checkVolume = async (tools, compose, ask, id) => {
  compose('down')
  compose('up', '-d', '--no-build')
  for (const service of SERVICES) await waitUntilHealthy(tools, container(service), `${service} is healthy once more.`)
  const answer = await ask('GET', `/api/progress/jobs/${id}`)
  check(answer.statusCode === 200, 'The job outlives `down` and `up`.', String(answer.statusCode))
}

const runChecks = async () => {
  console.log(`== ${NAME}`)
  const missing = findMissing(TOOLS)
  if (missing !== null) return skip(NAME, missing)
  const directory = mkdtempSync(join(tmpdir(), 'headway-compose-'))
  chmodSync(directory, 0o755)
  const tools = createTools(join(directory, 'containers'))
  const port = await freePort()

  try {
    makeImages(tools, directory)
    const compose = prepareCompose(tools, directory, port)
    const ask = createClient(port)
    compose('up', '-d', '--no-build')
    for (const service of SERVICES) await waitUntilHealthy(tools, container(service), `${service} is healthy.`)
    const id = await checkUse(ask)
    await checkFaults(tools, ask, id)
    await checkVolume(tools, compose, ask, id)
    return 'passed'
  } catch (error) {
    console.error(error)
    for (const service of SERVICES) {
      const { stdout, stderr } = tools.podman(['logs', '--tail', '20', container(service)], { allowFailure: true })
      console.error(`-- ${service}\n${stdout}${stderr}`)
    }
    return 'failed'
  } finally {
    tools.podman(['rm', '--all', '--force', '--time', '0'], { allowFailure: true })
    tools.podman(['network', 'rm', '--force', `${PROJECT}_default`], { allowFailure: true })
    rmSync(directory, { recursive: true, force: true })
  }
}

process.exit(conclude([{ name: NAME, result: await runChecks() }], process.argv.includes('--required')))

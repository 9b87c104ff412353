import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, request, type IncomingHttpHeaders } from 'node:http'
import { createRequire } from 'node:module'
import { connect, type AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { Script } from 'node:vm'
import { once } from 'node:events'
import { Ajv } from 'ajv'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { makeDirectory } from './helpers/process.ts'
import { waitFor } from './helpers/wait.ts'

const DEPLOY = new URL('../deploy/', import.meta.url)
const readDeploy = (path: string): string => readFileSync(new URL(path, DEPLOY), 'utf8')

interface Compose {
  services: Record<
    string,
    {
      healthcheck?: { test: string[] }
      volumes?: string[]
      ports?: string[]
      environment?: Record<string, string>
    }
  >
}

/** The schema of the Compose specification, as dclint brings it. Its `$schema` is spelled in a way that ajv does not know. */
const readComposeSchema = (): object => {
  const root = dirname(createRequire(import.meta.url).resolve('dclint/package.json'))
  const schema = JSON.parse(readFileSync(join(root, 'schemas/compose.schema.json'), 'utf8')) as Record<string, unknown>
  return { ...schema, $schema: 'http://json-schema.org/draft-07/schema#' }
}

t.test('the files that deploy the service are well-formed, and fit together', async t => {
  const files = readdirSync(DEPLOY, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.yaml'))
  t.strictSame(files.filter(name => !name.startsWith('kubernetes/')).sort(), [
    'compose.yaml',
    'prometheus/alerts.yaml',
    'prometheus/prometheus.yaml',
  ])
  for (const file of files) t.ok(parse(readDeploy(file), { strict: true, uniqueKeys: true }), file)

  const { services } = parse(readDeploy('compose.yaml'), { merge: true }) as Compose
  const proxy = readDeploy('nginx/headway.conf')
  const prometheus = readDeploy('prometheus/prometheus.yaml')
  const replicas = Object.keys(services).filter(name => name.startsWith('headway-'))
  t.equal(replicas.length, 2)
  for (const name of replicas) {
    t.match(proxy, `server ${name}:3000`)
    t.match(prometheus, `${name}:3000`)
  }
  for (const mount of Object.values(services).flatMap(({ volumes = [] }) => volumes)) {
    const [from = ''] = mount.split(':')
    if (from.startsWith('.')) t.doesNotThrow(() => readDeploy(from), mount)
  }
  // What it logs holds no tokens, and whose address it passes on nobody can forge.
  t.match(proxy, /access_log \S+ headway;/)
  t.notMatch(
    proxy,
    /\$(?:request|request_uri|args|query_string|http_referer|is_args|arg_\w+|proxy_add_x_forwarded_for)\b/,
  )
  t.match(proxy, 'X-Forwarded-For $remote_addr;')
  // Without these a stream through nginx comes in lumps, or ends when nothing happens.
  for (const line of ['proxy_buffering off;', 'proxy_read_timeout 1h;', 'proxy_http_version 1.1;', 'keepalive 64;']) {
    t.match(proxy, line)
  }
})

t.test('compose.yaml is what the Compose specification allows, and its health checks run', async t => {
  const compose = parse(readDeploy('compose.yaml'), { merge: true }) as Compose
  const validate = new Ajv({ strict: false, allErrors: true }).compile(readComposeSchema())
  t.ok(validate(compose), JSON.stringify(validate.errors))
  for (const [name, { healthcheck, ports = [] }] of Object.entries(compose.services)) {
    for (const port of ports) t.match(port, /^127\.0\.0\.1:/, `${name} asks nobody who he is: loopback alone`)
    if (name === 'prometheus') continue
    const [how, ...parts] = healthcheck?.test ?? []
    for (const part of parts) t.type(part, 'string', name)
    // podman-compose 1.0, of Debian 12, gives the parts of a CMD to a shell without quoting them.
    if (how === 'CMD')
      for (const part of parts) t.match(part, /^[\w./:=@-]+$/, `${name}: a shell reads it as it stands`)
    else t.strictSame([how, parts.length], ['CMD-SHELL', 1], name)
    const script = /^node -e '([^']*)'$/.exec(parts[0] ?? '')?.[1]
    if (script !== undefined) t.doesNotThrow(() => new Script(script), 'its script is JavaScript')
    else t.notMatch(parts.join(' '), 'node')
  }
})

const NGINX = ['/usr/sbin/nginx', '/usr/local/sbin/nginx', '/opt/homebrew/bin/nginx'].find(path => existsSync(path))

/** Runs the sample in front of a service that repeats the Host it was sent. Gives the port of nginx. */
const startNginx = async (t: Test): Promise<number> => {
  const service = createServer((asked, answer) => answer.end(asked.headers.host)).listen(0, '127.0.0.1')
  await once(service, 'listening')
  t.teardown(() => service.close())
  const spare = createServer().listen(0, '127.0.0.1')
  await once(spare, 'listening')
  const { port } = spare.address() as AddressInfo
  await new Promise(resolve => spare.close(resolve))
  const directory = makeDirectory(t)
  mkdirSync(join(directory, 'logs'))
  const sample = readDeploy('nginx/headway.conf')
    .replace('server headway-1:3000', `server 127.0.0.1:${(service.address() as AddressInfo).port}`)
    .replace(/ *server headway-2:3000.*\n/, '')
    .replace('listen 8080', `listen 127.0.0.1:${port}`)
    .replaceAll('/var/log/nginx/', `${directory}/logs/`)
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    name => `${name}_temp_path ${directory}/${name};`,
  )
  writeFileSync(
    join(directory, 'nginx.conf'),
    `daemon off; master_process off; pid ${directory}/pid; error_log ${directory}/logs/error.log;
     events {} http { ${paths.join(' ')} ${sample} }`,
  )
  const nginx = spawn(NGINX ?? '', ['-p', directory, '-c', join(directory, 'nginx.conf')], { stdio: 'ignore' })
  const gone = once(nginx, 'close')
  t.teardown(async () => {
    nginx.kill('SIGTERM')
    await gone
  })
  await waitFor(
    () =>
      new Promise<boolean>((resolve, reject) => {
        const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', reject)
        socket.on('connect', () => socket.destroy())
      }),
  )
  return port
}

t.test(
  'the sample nginx in front of a service without tokens refuses other hosts and pages of other origins',
  { skip: NGINX === undefined && 'nginx is not installed' },
  async t => {
    const port = await startNginx(t)
    const ask = async (headers: IncomingHttpHeaders) => {
      const asked = request({ port, host: '127.0.0.1', path: '/api/progress/jobs', headers, method: 'POST' }).end()
      const [answer] = (await once(asked, 'response')) as [AsyncIterable<Buffer> & { statusCode: number }]
      let body = ''
      for await (const chunk of answer) body += String(chunk)
      return { status: answer.statusCode, body }
    }
    const own = `localhost:${port}`
    t.strictSame(await ask({ host: own }), { status: 200, body: own }, 'the service is told the port as well')
    const cases: [headers: IncomingHttpHeaders, status: number][] = [
      [{ host: `127.0.0.1:${port}` }, 200],
      [{ host: '[::1]' }, 200],
      [{ host: own, origin: `http://${own}` }, 200],
      [{ host: own, origin: `http://${own}`, 'sec-fetch-site': 'same-origin' }, 200],
      [{ host: own, 'sec-fetch-site': 'none' }, 200],
      [{ host: `evil.test:${port}` }, 421],
      [{ host: 'localhost.evil.test' }, 421],
      [{ host: own, origin: 'https://evil.test' }, 403],
      [{ host: own, origin: `http://${own}.evil.test` }, 403],
      [{ host: own, origin: 'http://localhost:1' }, 403],
      [{ host: own, origin: 'null' }, 403],
      [{ host: own, origin: `http://${own}`, 'sec-fetch-site': 'cross-site' }, 403],
      [{ host: own, 'sec-fetch-site': 'cross-site' }, 403],
    ]
    for (const [headers, status] of cases) t.match(await ask(headers), { status }, JSON.stringify(headers))
  },
)

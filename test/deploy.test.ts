import { spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, request, type IncomingHttpHeaders } from 'node:http'
import { createRequire } from 'node:module'
import { connect, type AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { Script } from 'node:vm'
import { once } from 'node:events'
import { Ajv } from 'ajv'
import t, { type Test } from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { findBadFields, type Manifest } from './helpers/kubernetes.ts'
import { makeDirectory } from './helpers/process.ts'
import { waitFor } from './helpers/wait.ts'

const DEPLOY = new URL('../deploy/', import.meta.url)
const readDeploy = (path: string): string => readFileSync(new URL(path, DEPLOY), 'utf8')

interface Compose {
  services: Record<
    string,
    {
      healthcheck?: { test: unknown[] }
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

t.test('what deploys the service is well-formed, and fits together', async t => {
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
    const [how, program, ...rest] = healthcheck?.test ?? []
    t.equal(how, 'CMD', name)
    for (const part of [program, ...rest]) t.type(part, 'string', name)
    if (program === 'node') {
      t.doesNotThrow(() => new Script(String(rest[1])), 'its script is JavaScript')
      t.equal(rest[0], '-e')
    }
  }
})

interface Container {
  name: string
  args?: string[]
  ports?: { name: string; containerPort: number }[]
  envFrom: { secretRef: { name: string } }[]
  securityContext: object
  startupProbe?: { httpGet: { path: string; port: string } }
  livenessProbe?: { httpGet: { path: string; port: string } }
  readinessProbe?: { httpGet: { path: string; port: string } }
}

interface Deployment extends Manifest {
  spec: {
    replicas: number
    selector: { matchLabels: object }
    template: {
      metadata: { labels: object }
      spec: {
        terminationGracePeriodSeconds: number
        securityContext: object
        initContainers: Container[]
        containers: Container[]
      }
    }
  }
}

interface Backend {
  path: string
  backend: { service: { name: string; port: { name: string } } }
}

interface Cluster {
  Deployment: [Deployment]
  Service: (Manifest & { spec: { selector?: object; ports: { name: string; targetPort?: string }[] } })[]
  PodDisruptionBudget: [Manifest & { spec: { selector: { matchLabels: object } } }]
  Ingress: [Manifest & { spec: { rules: { http: { paths: Backend[] } }[] } }]
}

const KUBERNETES = 'kubernetes/'

/** The manifests that kustomization.yaml names. */
const readManifests = (): Manifest[] => {
  const { resources } = parse(readDeploy(`${KUBERNETES}kustomization.yaml`)) as { resources: string[] }
  return resources.map(name => parse(readDeploy(KUBERNETES + name)) as Manifest)
}

t.test('the manifests for Kubernetes have only fields that its API knows, of the types that it knows', t => {
  const manifests = readManifests()
  t.strictSame(findBadFields(manifests), [])
  const [deployment] = manifests as [Deployment]
  const wrong = structuredClone(deployment) as unknown as { spec: { replicas: unknown; template: { spec: object } } }
  Object.assign(wrong.spec, { replicas: '2' })
  t.match(findBadFields([wrong as unknown as Manifest]), [/string.* not assignable to type 'number'/])
  Object.assign(wrong.spec, { replicas: 2 })
  Object.assign(wrong.spec.template.spec, { readinessProb: {} })
  t.match(findBadFields([wrong as unknown as Manifest]), [/readinessProb/], 'at any depth')
  t.end()
})

t.test('the manifests for Kubernetes fit together: two confined replicas, found by service, budget and ingress', t => {
  const manifests = readManifests()
  const ofKind = <Kind extends keyof Cluster>(kind: Kind): Cluster[Kind] =>
    manifests.filter(manifest => manifest.kind === kind) as Cluster[Kind]
  const [{ spec: deployment }] = ofKind('Deployment')
  const { metadata, spec: pod } = deployment.template
  t.equal(deployment.replicas, 2)
  t.strictSame(deployment.selector.matchLabels, metadata.labels)
  t.strictSame(ofKind('PodDisruptionBudget')[0].spec.selector.matchLabels, metadata.labels)
  t.match(pod, { securityContext: { runAsNonRoot: true, runAsUser: 1000 } })
  t.ok(pod.terminationGracePeriodSeconds > 5 + 10, 'longer than preStop and SHUTDOWN_GRACE_SECONDS')

  const { secretGenerator } = parse(readDeploy(`${KUBERNETES}kustomization.yaml`)) as {
    secretGenerator: { name: string }[]
  }
  for (const { name, envFrom, securityContext } of [...pod.initContainers, ...pod.containers]) {
    t.equal(envFrom[0]?.secretRef.name, secretGenerator[0]?.name, name)
    t.strictSame(securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    })
  }
  t.strictSame(pod.initContainers[0]?.args, ['headway', 'migrate'])

  const [container] = pod.containers
  const port = container?.ports?.[0]
  t.equal(port?.containerPort, 3000)
  for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe'] as const) {
    const path = probe === 'readinessProbe' ? '/readyz' : '/healthz'
    t.match(container?.[probe], { httpGet: { path, port: port?.name } }, probe)
  }

  const services = new Map(ofKind('Service').map(service => [service.metadata.name, service.spec]))
  const paths = ofKind('Ingress')[0].spec.rules.flatMap(({ http }) => http.paths)
  for (const { path, backend } of paths) {
    const service = services.get(backend.service.name)
    const served = service?.ports.find(({ name }) => name === backend.service.port.name)
    t.ok(served, path)
    if (path === '/metrics') t.notOk(service?.selector, 'metrics are not published')
    else
      t.match(
        { selector: service?.selector, port: served?.targetPort },
        { selector: metadata.labels, port: port?.name },
      )
  }
  // Streams through the ingress come at once, and end when Headway ends them.
  t.match(ofKind('Ingress')[0].metadata.annotations, {
    'nginx.ingress.kubernetes.io/proxy-buffering': 'off',
    'nginx.ingress.kubernetes.io/proxy-read-timeout': '3600',
    'nginx.ingress.kubernetes.io/enable-access-log': 'false',
  })
  t.end()
})

const isInstalled = (program: string): boolean =>
  spawnSync(program, ['--help'], { stdio: 'ignore' }).error === undefined

t.test(
  'kustomize makes of the folder what its files say, with the version of package.json and the settings of secret.env',
  { skip: !isInstalled('kubectl') && 'kubectl is not installed' },
  t => {
    const directory = makeDirectory(t)
    cpSync(new URL(KUBERNETES, DEPLOY), directory, { recursive: true })
    cpSync(join(directory, 'secret.env.example'), join(directory, 'secret.env'))
    const { stdout, stderr, status } = spawnSync('kubectl', ['kustomize', directory], { encoding: 'utf8' })
    t.equal(status, 0, stderr)
    const made = parseAllDocuments(stdout).map(document => document.toJS() as Manifest)
    t.strictSame(made.map(({ kind }) => kind).sort(), ['Secret', ...readManifests().map(({ kind }) => kind)].sort())
    t.strictSame(findBadFields(made), [])
    const secret = made.find(({ kind }) => kind === 'Secret') as (Manifest & { data: object }) | undefined
    t.strictSame(Object.keys(secret?.data ?? {}).sort(), ['AUTH_JWT_SECRET', 'DATABASE_URL'])
    const { version } = JSON.parse(readFileSync(new URL('../package.json', DEPLOY), 'utf8')) as { version: string }
    t.match(stdout, `image: ghcr.io/headway-progress/headway:${version}`)
    t.match(stdout, `name: ${secret?.metadata.name}`, 'the pods read this secret')
    t.end()
  },
)

t.test(
  'the unit for systemd is one that systemd takes, and confines the service',
  { skip: !isInstalled('systemd-analyze') && 'systemd is not installed' },
  t => {
    const file = join(makeDirectory(t), 'headway.service')
    // The program need not be installed here.
    writeFileSync(file, readDeploy('systemd/headway.service').replace(/^(ExecStart=)\S+/m, `$1${process.execPath}`))
    const verified = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' })
    t.strictSame({ status: verified.status, said: verified.stderr }, { status: 0, said: '' })
    const args = ['security', '--offline=yes', '--threshold=20', file]
    const judged = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
    t.equal(judged.status, 0, judged.stdout)
    t.end()
  },
)

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

import { spawnSync } from 'node:child_process'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { findBadFields, type Manifest } from './helpers/kubernetes.ts'
import { makeDirectory } from './helpers/process.ts'

const DEPLOY = new URL('../deploy/', import.meta.url)
const readDeploy = (path: string): string => readFileSync(new URL(path, DEPLOY), 'utf8')

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

/** A part of a manifest, read by name. */
interface Node {
  [name: string]: unknown
}

const KUBERNETES = 'kubernetes/'

/** The manifests that kustomization.yaml names. */
const readManifests = (): Manifest[] => {
  const { resources } = parse(readDeploy(`${KUBERNETES}kustomization.yaml`)) as { resources: string[] }
  return resources.map(name => parse(readDeploy(KUBERNETES + name)) as Manifest)
}

t.test(
  'the manifests for Kubernetes have only fields that its API knows, with values that its schemas allow',
  async t => {
    const manifests = readManifests()
    t.strictSame((await findBadFields(manifests)).flat(), [])
    const mistakes: [kind: string, path: string, value: unknown, said: RegExp][] = [
      ['Deployment', 'spec.replicas', '2', /string.* not assignable to type 'number'/],
      ['Deployment', 'spec.replicas', 1.5, /spec\/replicas must be integer/],
      ['Deployment', 'spec.replicas', 2 ** 40, /spec\/replicas must match format "int32"/],
      ['Deployment', 'spec.selector', undefined, /must have required property selector/],
      ['Deployment', 'spec.template.spec.readinessProb', {}, /readinessProb/],
      ['Deployment', 'spec.template.spec.containers.0.ports.0.containerPort', 'http', /containerPort must be integer/],
      ['Deployment', 'spec.template.spec.containers.0.resources.limits.memory', [], /limits\/memory must be string/],
      ['Service', 'spec.ports.0.prot', 'TCP', /prot/],
      ['Ingress', 'spec.rules.0.http.paths.0.pathType', undefined, /must have required property pathType/],
      ['PodDisruptionBudget', 'spec.maxUnavailable', true, /maxUnavailable must be /],
    ]
    const wrong = mistakes.map(([kind, path, value]) => {
      const manifest = structuredClone(manifests.find(manifest => manifest.kind === kind)) as Manifest
      const steps = path.split('.')
      const last = steps.pop() ?? ''
      const parent = steps.reduce((node, step) => node[step] as Node, manifest as unknown as Node)
      if (value === undefined) Reflect.deleteProperty(parent, last)
      else parent[last] = value
      return manifest
    })
    const found = await findBadFields(wrong)
    for (const [index, [kind, path, value, said]] of mistakes.entries()) {
      t.match(found[index]?.join('\n'), said, `${kind} ${path} ${String(value)}`)
    }
  },
)

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
  'kustomize builds the manifests of the folder with the version of package.json and the settings of secret.env',
  { skip: !isInstalled('kubectl') && 'kubectl is not installed' },
  async t => {
    const directory = makeDirectory(t)
    cpSync(new URL(KUBERNETES, DEPLOY), directory, { recursive: true })
    cpSync(join(directory, 'secret.env.example'), join(directory, 'secret.env'))
    const { stdout, stderr, status } = spawnSync('kubectl', ['kustomize', directory], { encoding: 'utf8' })
    t.equal(status, 0, stderr)
    const made = parseAllDocuments(stdout).map(document => document.toJS() as Manifest)
    t.strictSame(made.map(({ kind }) => kind).sort(), ['Secret', ...readManifests().map(({ kind }) => kind)].sort())
    const secret = made.find(({ kind }) => kind === 'Secret') as
      (Manifest & { data: Record<string, string> }) | undefined
    // Kustomize breaks long base64 into lines. The API reads over them, and its schema does not.
    if (secret !== undefined)
      for (const [name, value] of Object.entries(secret.data)) secret.data[name] = value.replaceAll('\n', '')
    t.strictSame((await findBadFields(made)).flat(), [])
    t.strictSame(Object.keys(secret?.data ?? {}).sort(), ['AUTH_JWT_SECRET', 'DATABASE_URL'])
    const { version } = JSON.parse(readFileSync(new URL('../package.json', DEPLOY), 'utf8')) as { version: string }
    t.match(stdout, `image: ghcr.io/headway-progress/headway:${version}`)
    t.match(stdout, `name: ${secret?.metadata.name}`, 'the pods read this secret')
    t.end()
  },
)

t.test(
  'systemd accepts the unit, and the unit confines the service',
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

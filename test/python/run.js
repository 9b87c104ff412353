// Tests the client for Python: `npm run test:python`, or `npm run test:python -- test_tqdm` for one of its files.
// It starts the built service twice on an embedded Postgres of its own: without tokens, and with them. The tests run with Debian's
// python3, on the wheel as it is published, installed in a virtual environment. The examples of the README run in one that has
// nothing else. What of Debian's packages is missing is said in a plain line, and fails with --required.
import '../../scripts/supported-node.js'
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CLIENT = join(ROOT, 'clients/python')
const PYTHON = '/usr/bin/python3'
const TIMEOUT_MS = 5 * 60_000

/** What the tests need of Debian, by the module or the command that comes with it. */
const MODULES = {
  build: 'python3-build',
  setuptools: 'python3-setuptools',
  wheel: 'python3-wheel',
  pip: 'python3-pip',
  venv: 'python3-venv',
}
const ADAPTED = { tqdm: 'python3-tqdm', celery: 'python3-celery', redis: 'python3-redis' }
const COMMANDS = { mypy: 'mypy', black: 'black', 'redis-server': 'redis-server' }

/** Runs a program to its end. Its output is shown if it fails. */
const run = (command, args, options = {}) => {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: CLIENT, encoding: 'utf8', ...options })
  if (status === 0) return
  throw new Error(`${command} ${args.join(' ')} failed:\n${error?.message ?? `${stdout}${stderr}`}`)
}

const hasModule = name => spawnSync(PYTHON, ['-c', `import ${name}`]).status === 0
const hasCommand = name => spawnSync(name, ['--version']).error === undefined

const missingPackages = () => [
  ...Object.entries({ ...MODULES, ...ADAPTED }).flatMap(([name, debian]) => (hasModule(name) ? [] : [debian])),
  ...Object.entries(COMMANDS).flatMap(([name, debian]) => (hasCommand(name) ? [] : [debian])),
]

/** Builds wheel and sdist without the network, from a copy: a build leaves files beside its sources. */
const buildPackages = directory => {
  const copy = join(directory, 'source')
  cpSync(CLIENT, copy, {
    recursive: true,
    filter: path => !/__pycache__|\.mypy_cache|\.egg-info|\/(build|dist)$/.test(path),
  })
  const dist = join(directory, 'dist')
  run(PYTHON, ['-m', 'build', '--no-isolation', '--outdir', dist, copy])
  const files = readdirSync(dist)
  const wheel = files.find(name => name.endsWith('.whl'))
  if (!wheel || !files.some(name => name.endsWith('.tar.gz'))) throw new Error(`The build made ${files.join(', ')}.`)
  return join(dist, wheel)
}

/** A virtual environment with the wheel; with `--system-site-packages` it has Debian's packages as well. */
const makeEnvironment = (path, wheel, ...options) => {
  run(PYTHON, ['-m', 'venv', '--without-pip', ...options, path])
  run(PYTHON, ['-m', 'pip', '--python', path, 'install', '--quiet', '--no-index', '--no-deps', wheel])
  return join(path, 'bin/python3')
}

/** Starts a replica of the built service, and resolves with its address. */
const startService = async (settings, children) => {
  const child = spawn(process.execPath, [join(ROOT, 'dist/main.js')], {
    cwd: '/',
    env: { PATH: process.env.PATH, PORT: '0', MAX_EVENT_LOOP_DELAY_MS: '0', HEARTBEAT_INTERVAL_MS: '150', ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  let said = ''
  for await (const line of createInterface({ input: child.stdout })) {
    said += `${line}\n`
    const [, url] = /Headway listens on (http:\/\/[^\s,"]+)/.exec(line) ?? []
    if (url === undefined) continue
    child.stdout.resume()
    return url
  }
  throw new Error(`The service has ended:\n${said}`)
}

/** How many files of tests run at a time: they wait more than they work. */
const AT_A_TIME = 4

/** Runs one file of tests, and resolves with what it wrote when it has ended. */
const testFile = async (python, environment, name) => {
  const child = spawn(python, ['-m', 'unittest', '-v', name], {
    cwd: join(CLIENT, 'tests'),
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIMEOUT_MS,
    killSignal: 'SIGKILL',
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', text => (said += text))
  const [code] = await once(child, 'close')
  console.log(`-- ${name}\n${said}`)
  // Python 3.11 takes no tests at all for a success.
  return code === 0 && /^Ran [1-9]/m.test(said)
}

/** Runs the files, those that take longest first. Resolves with how many failed. */
const testAll = async (python, environment, names) => {
  const all = readdirSync(join(CLIENT, 'tests')).filter(name => /^test_.*\.py$/.test(name))
  const queue = names.length > 0 ? [...names] : all.map(name => name.replace('.py', '')).sort(byDuration)
  let failed = 0
  const work = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift())
      if (!(await testFile(python, environment, name))) failed += 1
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, work))
  return failed
}

const LONGEST = ['test_bad_service', 'test_celery', 'test_process']
const byDuration = (a, b) => Number(LONGEST.includes(b)) - Number(LONGEST.includes(a))

const main = async () => {
  const { values, positionals } = parseArgs({
    options: { required: { type: 'boolean', default: false } },
    allowPositionals: true,
  })
  const missing = missingPackages()
  if (missing.length > 0) {
    console.error(`NOT TESTED: the client for Python needs apt-get install -y ${missing.join(' ')}`)
    if (values.required || missing.some(name => Object.values(MODULES).includes(name))) return values.required ? 1 : 0
  }
  run(process.execPath, [join(ROOT, 'scripts/build.js'), '--if-stale'], { cwd: ROOT })
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'headway-python-')))
  // As root, Postgres runs as another user, who must be able to reach its data.
  chmodSync(directory, 0o755)
  const children = []
  try {
    if (!missing.includes('mypy')) run('mypy', ['--no-incremental', '--cache-dir=/dev/null'])
    if (!missing.includes('black')) run('black', ['--quiet', '--check', 'src', 'tests'])
    const wheel = buildPackages(directory)
    const python = makeEnvironment(join(directory, 'debian'), wheel, '--system-site-packages')
    const bare = makeEnvironment(join(directory, 'bare'), wheel)
    const secret = randomBytes(32).toString('hex')
    const data = { HEADWAY_DATA_DIR: join(directory, 'data') }
    const url = await startService(data, children)
    const guarded = await startService({ ...data, AUTH_JWT_SECRET: secret }, children)
    const environment = {
      HEADWAY_TEST_URL: url,
      HEADWAY_TEST_GUARDED_URL: guarded,
      HEADWAY_TEST_SECRET: secret,
      HEADWAY_TEST_NODE: process.execPath,
      HEADWAY_URL: '',
      HEADWAY_TOKEN: '',
    }
    const failed = await testAll(python, { ...environment, HEADWAY_BARE_PYTHON: bare }, positionals)
    console.log(failed === 0 ? 'The client for Python passed.' : `${failed} files of tests failed.`)
    return failed === 0 ? 0 : 1
  } finally {
    // The second one goes first: the first one has started Postgres.
    for (const child of children.reverse()) {
      if (child.exitCode !== null) continue
      child.kill('SIGTERM')
      await once(child, 'close')
    }
    if (existsSync(directory)) rmSync(directory, { recursive: true, force: true })
  }
}

process.exit(await main())

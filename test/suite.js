// Runs compiled test files, each in a process of its own and several at once, and writes one TAP document for run.js.
// The command `tap` would do the same, and load a compiler into each of these processes.
import { readdirSync, statSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import t from 'tap'
import { compiledPath } from './compile.js'
import './warnings.js'

const WARNINGS = new URL('warnings.js', import.meta.url).href
const FOLDER = fileURLToPath(new URL('.', import.meta.url))

/** Beginnings of paths. The files that take longest begin first, so that none runs alone at the end. */
const SLOWEST = [
  'faults',
  'database/embedded',
  'demo',
  'process.',
  'jobs/batch-model',
  'jobs/liveness',
  'http/fuzz',
  'packages',
]

const rank = file => {
  const place = SLOWEST.findIndex(name => relative(FOLDER, file).startsWith(name))
  return place === -1 ? SLOWEST.length : place
}

/** The files that are named, or are in named folders; all if none is named. Browser tests run only if they are named. */
const chooseFiles = names => {
  const paths = names.map(name => resolve(name))
  const isChosen = file => paths.length === 0 || paths.some(path => file.startsWith(path + sep))
  // The benchmark installs others' packages below test/, and some of them bring tests.
  const files = readdirSync(FOLDER, { recursive: true })
    .filter(name => !name.split(sep).includes('node_modules'))
    .map(name => join(FOLDER, name))
  return files
    .filter(file => paths.includes(file) || (file.endsWith('.test.ts') && isChosen(file)))
    .filter(file => statSync(file).isFile())
    .sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
}

const { values, positionals } = parseArgs({
  options: {
    jobs: { type: 'string', default: '4' },
    /** Seconds for one file. The slowest one starts real servers. */
    timeout: { type: 'string', default: '240' },
  },
  allowPositionals: true,
})
const files = chooseFiles(positionals)
if (files.length === 0) t.fail(`${positionals.join(', ')}: no such test; a file of them ends in .test.ts`)

const environment = {
  ...process.env,
  // A file is its own tap as well, which gives itself 30 seconds unless told otherwise.
  TAP_TIMEOUT: values.timeout,
  // tap would always measure coverage, which takes time, and the runner reads the coverage that Node measures.
  _TAPJS_PROCESSINFO_COVERAGE_: '0',
}
t.jobs = Number(values.jobs)
t.setTimeout(0)
for (const file of files) {
  void t.spawn(process.execPath, ['--enable-source-maps', `--import=${WARNINGS}`, compiledPath(file)], {
    name: relative(process.cwd(), file),
    env: environment,
    timeout: Number(values.timeout) * 1000,
    buffered: true,
  })
}

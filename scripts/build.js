// Compiles src/ to dist/, without checking types: `npm run types` does that, and a first start should not wait for it. With
// --if-stale it does so only when something is newer than the last build, and it tolerates a missing compiler where dist/
// exists (a production install has no dev dependencies). What others import is built as packages, by scripts/packages.js.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { replaceFolder } from './replace-folder.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const stamp = `${root}dist/.built`

const newest = path => {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.mtimeMs
  return Math.max(stat.mtimeMs, ...readdirSync(path).map(name => newest(`${path}/${name}`)))
}

const SOURCES = ['src', 'tsconfig.json', 'tsconfig.build.json', 'package.json']
const BUILT = ['dist/.built', 'packages/worker/dist/index.js', 'packages/client/dist/index.js']

const isFresh = () =>
  BUILT.every(path => existsSync(root + path)) &&
  SOURCES.every(path => !existsSync(root + path) || newest(root + path) <= statSync(stamp).mtimeMs)

const findCompiler = () => {
  try {
    return createRequire(import.meta.url).resolve('typescript/bin/tsc')
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error
    return null
  }
}

if (process.argv.includes('--if-stale')) {
  if (isFresh()) process.exit(0)
  if (findCompiler() === null && existsSync(`${root}dist/main.js`)) process.exit(0)
}

const compiler = findCompiler()
if (compiler === null) {
  console.error('typescript is not installed: run `npm ci` (with dev dependencies) before building')
  process.exit(1)
}
const started = new Date()
// Beside dist/ and renamed at the end, so that nobody who runs from it sees half of it.
const fresh = `${root}dist-${process.pid}`
const args = [compiler, '-p', `${root}tsconfig.build.json`, '--noCheck', '--outDir', fresh]
const [code] = await once(spawn(process.execPath, args, { stdio: 'inherit' }), 'close')
if (code !== 0) {
  rmSync(fresh, { recursive: true, force: true })
  process.exit(1)
}
// `npm link` makes a link to it, which must still work after the next build.
chmodSync(`${fresh}/cli/main.js`, 0o755)
cpSync(`${root}src/database/functions`, `${fresh}/database/functions`, { recursive: true })
// Imported late: where dev dependencies are missing, nothing is built and nothing must be bundled.
const { buildDashboard } = await import('./dashboard.js')
const { buildElements } = await import('./elements.js')
const { buildPackages } = await import('./packages.js')
const { compressTexts } = await import('./compress.js')
try {
  await buildDashboard(`${fresh}/dashboard`)
  // Served beside the pages of the dashboard.
  await buildElements(`${fresh}/dashboard/elements.js`)
  compressTexts(`${fresh}/dashboard`)
  // A start needs no types, and should not wait for them.
  await buildPackages({ withTypes: !process.argv.includes('--if-stale') })
} catch (error) {
  // esbuild has said where.
  if (!Array.isArray(error.errors)) console.error(error)
  rmSync(fresh, { recursive: true, force: true })
  process.exit(1)
}
// `headway/worker` and the like, until the release after 0.2: whoever imports them gets what the packages export.
mkdirSync(`${fresh}/deprecated`)
for (const name of ['worker', 'client/elements', 'client/react', 'client']) {
  const file = `${fresh}/deprecated/${name.replace('client/', '')}`
  for (const kind of ['js', 'd.ts', 'd.cts']) writeFileSync(`${file}.${kind}`, `export * from '@headway/${name}'\n`)
  writeFileSync(`${file}.cjs`, `module.exports = require('@headway/${name}')\n`)
}
writeFileSync(`${fresh}/.built`, `${started.toISOString()}\n`)
utimesSync(`${fresh}/.built`, started, started)
replaceFolder(`${root}dist`, fresh)

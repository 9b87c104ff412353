// Compiles src/ to dist/, without checking types: `npm run types` does that, and a first start should not wait for it. With
// --if-stale it does so only when something is newer than the last build, and it tolerates a missing compiler where dist/
// exists (a production install has no dev dependencies). headway/worker, which others import, is compiled once more, as CommonJS
// with declarations: Node 20 cannot require a module, and everything can import CommonJS.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  cpSync,
  existsSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const stamp = `${root}dist/.built`

const newest = path => {
  const stat = statSync(path)
  if (!stat.isDirectory()) return stat.mtimeMs
  return Math.max(stat.mtimeMs, ...readdirSync(path).map(name => newest(`${path}/${name}`)))
}

const isFresh = () =>
  existsSync(stamp) &&
  ['src', 'tsconfig.json', 'tsconfig.build.json', 'tsconfig.worker.json', 'package.json'].every(
    path => !existsSync(root + path) || newest(root + path) <= statSync(stamp).mtimeMs,
  )

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
const compile = async ([project, directory]) => {
  const args = [compiler, '-p', `${root}${project}`, '--noCheck', '--outDir', directory]
  const [code] = await once(spawn(process.execPath, args, { stdio: 'inherit' }), 'close')
  return code === 0
}
const compiled = await Promise.all(
  Object.entries({ 'tsconfig.build.json': fresh, 'tsconfig.worker.json': `${fresh}/commonjs` }).map(compile),
)
if (compiled.includes(false)) {
  rmSync(fresh, { recursive: true, force: true })
  process.exit(1)
}
// The package is one of modules.
writeFileSync(`${fresh}/commonjs/package.json`, '{ "type": "commonjs" }\n')
// `npm link` makes a link to it, which must still work after the next build.
chmodSync(`${fresh}/cli/main.js`, 0o755)
cpSync(`${root}src/database/functions`, `${fresh}/database/functions`, { recursive: true })
// Imported late: where dev dependencies are missing, nothing is built and nothing must be bundled.
const { buildDashboard } = await import('./dashboard.js')
const { buildElements, declareExports } = await import('./elements.js')
try {
  await buildDashboard(`${fresh}/dashboard`)
  // Served beside the pages of the dashboard, and exported by the package.
  await buildElements(`${fresh}/dashboard/elements.js`)
} catch (error) {
  // esbuild has said where.
  if (!Array.isArray(error.errors)) console.error(error)
  rmSync(fresh, { recursive: true, force: true })
  process.exit(1)
}
// For those who use the package. A start needs no types, and should not wait for them.
if (!process.argv.includes('--if-stale') && !declareExports(compiler, fresh)) {
  rmSync(fresh, { recursive: true, force: true })
  process.exit(1)
}
writeFileSync(`${fresh}/.built`, `${started.toISOString()}\n`)
utimesSync(`${fresh}/.built`, started, started)
const outdated = `${root}dist-${process.pid}-outdated`
try {
  if (existsSync(`${root}dist`)) renameSync(`${root}dist`, outdated)
  renameSync(fresh, `${root}dist`)
} catch (error) {
  // Another build was faster: its result is as good.
  if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(error.code)) throw error
  rmSync(fresh, { recursive: true, force: true })
}
rmSync(outdated, { recursive: true, force: true })

// Compiles src/ to dist/. With --if-stale it does so only when something is newer than the last build, and it
// tolerates a missing compiler where dist/ exists (a production install has no dev dependencies).
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
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
  ['src', 'tsconfig.json', 'tsconfig.build.json', 'package.json'].every(
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
rmSync(`${root}dist`, { recursive: true, force: true })
const { status } = spawnSync(process.execPath, [compiler, '-p', `${root}tsconfig.build.json`], { stdio: 'inherit' })
if (status !== 0) process.exit(status ?? 1)
cpSync(`${root}src/database/functions`, `${root}dist/database/functions`, { recursive: true })
writeFileSync(stamp, `${started.toISOString()}\n`)

// Fails when something that is generated is not what it would be generated as now.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs a program in the root of the repository and says whether it went well. */
const run = (program, args, environment = {}) =>
  spawnSync(program, args, { cwd: root, stdio: 'inherit', env: { ...process.env, ...environment } }).status === 0

const openApiIsCurrent = async () => {
  if (!run(process.execPath, ['scripts/build.js', '--if-stale'])) return false
  const { buildOpenApi } = await import('../dist/http/openapi.js')
  const file = `${root}openapi.yaml`
  if (existsSync(file) && readFileSync(file, 'utf8') === (await buildOpenApi())) return true
  console.error('openapi.yaml is out of date: run `npm run openapi` and commit it.')
  return false
}

/** Lints without asking the network for anything. */
const openApiIsSound = () => {
  const redocly = createRequire(import.meta.url).resolve('@redocly/cli/bin/cli.js')
  return run(process.execPath, [redocly, 'lint', 'openapi.yaml', '--config', 'redocly.yaml'], {
    REDOCLY_TELEMETRY: 'off',
    REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true',
  })
}

/** Lets drizzle-kit write what is missing into a copy, where nothing may appear. */
const migrationsAreComplete = () => {
  const kit = join(dirname(createRequire(import.meta.url).resolve('drizzle-kit')), 'bin.cjs')
  const copy = mkdtempSync(join(tmpdir(), 'headway-drift-'))
  try {
    cpSync(`${root}drizzle`, copy, { recursive: true })
    const filesBefore = readdirSync(copy).length
    // It takes `out` as relative to where it runs, even an absolute one.
    const from = ['--dialect', 'postgresql', '--schema', 'src/database/schema.ts', '--out', relative(root, copy)]
    const ran = run(process.execPath, [kit, 'check', '--dialect', 'postgresql', '--out', relative(root, copy)])
    if (ran && run(process.execPath, [kit, 'generate', ...from]) && readdirSync(copy).length === filesBefore)
      return true
    console.error(
      'The migrations do not lead to src/database/schema.ts: run `npm run db:generate` and commit drizzle/.',
    )
    return false
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

const generationIsCurrent = () => run(process.execPath, ['scripts/generation.js', '--check'])

/** Names in the lock file that an installation without dev and optional packages has. */
const runtimePackages = () => {
  const { packages } = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8'))
  const installed = Object.entries(packages).filter(
    ([path, { dev, optional, devOptional, link }]) =>
      path.startsWith('node_modules/') && !dev && !optional && !devOptional && !link,
  )
  return [...new Set(installed.map(([path]) => path.replace(/^.*node_modules\//, '')))].sort()
}

const surfaceIsCurrent = () => {
  const wanted = runtimePackages()
    .map(name => `\`${name}\``)
    .join(', ')
  const [, listed = ''] =
    /<!-- packages -->\n([^]*?)<!-- \/packages -->/.exec(readFileSync(`${root}SECURITY.md`, 'utf8')) ?? []
  if (listed.trim() === wanted) return true
  console.error(`The list of packages in SECURITY.md is out of date. It should be:\n\n${wanted}\n`)
  return false
}

// One function a check, each with a sentence of its own when it fails.
const checks = [openApiIsCurrent, openApiIsSound, migrationsAreComplete, generationIsCurrent, surfaceIsCurrent]

let sound = true
for (const check of checks) sound = (await check()) && sound
process.exit(sound ? 0 : 1)

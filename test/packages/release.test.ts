import { execFile } from 'node:child_process'
import { chmodSync, cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { makeDirectory } from '../helpers/process.ts'
import { manifestOf, ROOT } from './packed.ts'

interface Ended {
  code: number
  output: string
}

/** Runs a script of the repository to its end. */
const runScript = (file: string, args: string[], environment: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  new Promise(resolve => {
    const env = { ...process.env, ...environment }
    execFile(
      process.execPath,
      [file, ...args],
      { env, encoding: 'utf8', maxBuffer: 2 ** 24 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    )
  })

const { version, repository } = manifestOf(ROOT) as unknown as { version: string; repository: { url: string } }

/** The document of a package in a registry. */
interface Known {
  'repository.url'?: string
  versions: string | string[]
}

/**
 * Runs the script that publishes, with an npm that knows these packages and notes what is published. Gives the folders that were
 * published, in their order.
 */
const publish = async (t: Test, known: Record<string, Known>): Promise<Ended & { published: string[] }> => {
  const directory = makeDirectory(t)
  const notes = join(directory, 'published')
  writeFileSync(notes, '')
  const npm = join(directory, 'npm')
  writeFileSync(
    npm,
    `#!${process.execPath}
const [command, name, ...rest] = process.argv.slice(2)
const known = ${JSON.stringify(known)}[name]
if (command === 'publish') require('node:fs').appendFileSync(${JSON.stringify(notes)}, [name, ...rest].join(' ') + '\\n')
else if (known) console.log(JSON.stringify(known))
else { console.log('{"error":{"code":"E404"}}'); process.exit(1) }
`,
  )
  chmodSync(npm, 0o755)
  const ended = await runScript(join(ROOT, 'scripts/publish.js'), ['--provenance'], {
    PATH: `${directory}${delimiter}${dirname(process.execPath)}`,
  })
  return { ...ended, published: readFileSync(notes, 'utf8').split('\n').filter(Boolean) }
}

const RIGHTS = '--access public --provenance'
const ours = (versions: string | string[]): Known => ({ 'repository.url': repository.url, versions })

t.test('a first release publishes the service last, since it asks for both others', async t => {
  const { code, published } = await publish(t, {})
  t.equal(code, 0)
  t.strictSame(published, [`./packages/worker/ ${RIGHTS}`, `./packages/client/ ${RIGHTS}`, `./ ${RIGHTS}`])
})

t.test('a release that stopped half-way publishes the missing packages when it is run again', async t => {
  const half = { '@headway/worker': ours(['0.0.9', version]), '@headway/client': ours(version), headway: ours('0.0.9') }
  const { code, published, output } = await publish(t, half)
  t.equal(code, 0)
  t.strictSame(published, [`./ ${RIGHTS}`])
  t.match(output, `@headway/worker@${version} is published already`)
})

t.test('nothing is published if a name belongs to a package of somebody else', async t => {
  const { code, published, output } = await publish(t, { headway: { versions: [version] } })
  t.equal(code, 1)
  t.strictSame(published, [])
  t.match(output, /headway of the registry is another package/)
})

t.test('a tag must be the version of all packages and of the image, and have its notes', async t => {
  const check = (tag: string) => runScript(join(ROOT, 'scripts/check-tag.js'), [tag])
  const [right, wrong, none, early] = await Promise.all([
    check(`v${version}`),
    check('v0.0.1'),
    check(''),
    check(`v${version}-rc.1`),
  ])
  t.match(right, { code: 0, output: /^### Added/m })
  t.notMatch(right.output, /^## /m, 'only those of this version')
  t.match(wrong, { code: 1, output: /The tag is v0\.0\.1/ })
  t.match(none, { code: 1, output: /The tag is missing/ })
  t.match(early, { code: 1, output: /-rc\.1\. A release has a tag such as v1\.2\.3/ }, 'it would become the latest')
})

t.test('npm builds a git dependency, and nothing when it installs a checkout', async t => {
  t.equal((manifestOf(ROOT).scripts as Record<string, string>).prepare, 'node scripts/prepare.js')
  const checkout = makeDirectory(t)
  cpSync(join(ROOT, 'scripts'), join(checkout, 'scripts'), { recursive: true })
  cpSync(join(ROOT, 'package.json'), join(checkout, 'package.json'))
  const prepare = (environment: NodeJS.ProcessEnv) => runScript(join(checkout, 'scripts/prepare.js'), [], environment)
  t.strictSame(await prepare({ npm_package_resolved: undefined }), { code: 0, output: '' })
  // There is no compiler here, which only the build asks for.
  t.match(await prepare({ npm_package_resolved: checkout }), { code: 1, output: /typescript is not installed/ })
})

t.test('the list of parts of a release has the packages of an installation, and no development tools', async t => {
  const { code, output } = await runScript(join(ROOT, 'scripts/sbom.js'), [])
  t.equal(code, 0)
  const { bomFormat, metadata, components } = JSON.parse(output) as {
    bomFormat: string
    metadata: { component: { version: string } }
    components: { purl: string }[]
  }
  t.match({ bomFormat, version: metadata.component.version }, { bomFormat: 'CycloneDX', version })
  const parts = new Set(components.map(({ purl }) => decodeURIComponent(purl).replace(/@[^@]+$/, '')))
  for (const name of Object.keys(manifestOf(ROOT).dependencies ?? {})) t.ok(parts.has(`pkg:npm/${name}`), name)
  for (const name of ['typescript', 'tap', 'react']) t.notOk(parts.has(`pkg:npm/${name}`), name)
})

interface Step {
  run?: string
  uses?: string
  with?: Record<string, unknown>
}

t.test('the workflow of a release uses the Node version of the repository, and runs only scripts that exist', t => {
  const { jobs } = parse(readFileSync(join(ROOT, '.github/workflows/release.yml'), 'utf8')) as {
    jobs: Record<string, { container?: string; needs?: string | string[]; steps: Step[] }>
  }
  const node = readFileSync(join(ROOT, '.nvmrc'), 'utf8').trim()
  for (const [name, { container, needs = [], steps }] of Object.entries(jobs)) {
    if (container !== undefined) t.match(container, `node:${node}-`, name)
    for (const other of [needs].flat()) t.ok(other in jobs, `${name} needs ${other}`)
    for (const { run = '', uses = '', with: options } of steps) {
      if (uses.startsWith('actions/setup-node@')) t.equal(options?.['node-version-file'], '.nvmrc', name)
      for (const [, script] of run.matchAll(/node (scripts\/[\w-]+\.js)/g))
        t.ok(existsSync(join(ROOT, script!)), script!)
    }
  }
  t.end()
})

t.test('a release first asks what leaves nothing behind, and each job comes after those that may refuse it', t => {
  const { jobs } = parse(readFileSync(join(ROOT, '.github/workflows/release.yml'), 'utf8')) as {
    jobs: Record<string, { needs?: string | string[]; permissions?: Record<string, string>; steps: Step[] }>
  }
  const before = (name: string): string[] => {
    const needs = [jobs[name]?.needs ?? []].flat()
    return [...new Set([...needs, ...needs.flatMap(before)])]
  }
  const ORDER = ['source', 'check', 'tag', 'packages', 'image', 'release']
  t.strictSame(Object.keys(jobs), ORDER)
  for (const [place, name] of ORDER.entries()) t.strictSame(before(name).sort(), ORDER.slice(0, place).sort(), name)
  const commands = (name: string) => jobs[name]?.steps.map(({ run = '' }) => run).join('\n')
  t.match(commands('source'), /merge-base --is-ancestor [^\n]+ origin\/main/, 'of main')
  t.match(commands('source'), /gh run list --workflow ci\.yml .*--status success/, 'that CI has passed')
  t.match(commands('check'), 'node scripts/publish.js --dry-run', 'under names that are free or its own')
  for (const [name, { permissions = {}, steps }] of Object.entries(jobs)) {
    const writes = Object.values(permissions).includes('write')
    t.equal(writes, ['tag', 'packages', 'image', 'release'].includes(name), `${name} has the rights that it needs`)
    for (const { uses = '', with: options } of steps)
      if (uses.startsWith('actions/checkout@')) t.equal(options?.['persist-credentials'], false, name)
  }
  t.end()
})

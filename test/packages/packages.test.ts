import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { manifestOf, npx, packAll, ROOT, runIn, type Packed } from './packed.ts'

const { packed, callers, everything, withReact } = await packAll(t)

/** The compiler reads its own libraries and the types of others once for all programs. */
const libraries = new Map<string, ts.SourceFile | undefined>()

const hostOf = (options: ts.CompilerOptions): ts.CompilerHost => {
  const host = ts.createCompilerHost(options, true)
  const read = host.getSourceFile.bind(host)
  host.getSourceFile = (file, kind, ...more) => {
    if (!/node_modules\/(?:typescript|@types|undici-types|csstype)\//.test(file)) return read(file, kind, ...more)
    const key = `${file} ${typeof kind === 'object' ? kind.impliedNodeFormat : ''}`
    if (!libraries.has(key)) libraries.set(key, read(file, kind, ...more))
    return libraries.get(key)
  }
  return host
}

/** The errors of the compiler in programs and in the declarations of the packages, as `file:line: text`. */
const errorsIn = (project: string, files: Record<string, string>, options: ts.CompilerOptions): string[] => {
  const names = Object.entries(files).map(([name, source]) => {
    const file = join(project, name)
    mkdirSync(join(file, '..'), { recursive: true })
    writeFileSync(file, source)
    return file
  })
  const strict = { strict: true, exactOptionalPropertyTypes: true, noEmit: true, jsx: ts.JsxEmit.ReactJSX }
  const all = { target: ts.ScriptTarget.ES2022, types: [], ...strict, ...options }
  const sources = names.filter(name => !name.endsWith('.json'))
  const program = ts.createProgram(sources, all, hostOf(all))
  const checked = program
    .getSourceFiles()
    .filter(({ fileName }) => names.includes(fileName) || /node_modules\/(?:@headway|headway)\//.test(fileName))
  const found = checked.flatMap(file => ts.getPreEmitDiagnostics(program, file))
  return [...program.getOptionsDiagnostics(), ...found].map(({ messageText, file, start = 0 }) => {
    const line = file ? file.text.slice(0, start).split('\n').length : 0
    return `${file?.fileName.slice(project.length + 1) ?? ''}:${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}

const NODENEXT = { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext }
const NODE16 = { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 }
const BUNDLER = { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }
/** A program in Node and one in a browser know of different globals. */
const IN_NODE = { types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')] }
const IN_BROWSER = { lib: ['lib.es2023.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'] }

const WORKER = (name: string): string => `
import { createWorker, StopError, type Job, type Report } from '${name}'
interface Row { readonly id: number; tags: readonly string[]; at?: Date }
interface Summary { imported: number; readonly rows: readonly Row[]; nested: { row: Row | null } }
type Named = { readonly a: 1 }
class Made { total = 3; get half() { return this.total / 2 } }
declare const summary: Summary, named: Named, row: Row
const headway = createWorker({ url: 'http://127.0.0.1:1', token: async () => '' })
export const work = async (): Promise<void> => {
  const job: Job = await headway.start({ name: 'a', meta: summary }, { idempotencyKey: 'k' })
  const report: Report = { processedCount: 1, payload: row }
  job.report(report)
  job.report({ payload: { a: [1], b: null } })
  await Promise.all([job.complete(summary), job.complete(named), job.complete(new Made()), job.complete({ any: [1] })])
  await job.complete({})
  await job.complete()
  const readOnly: readonly Row[] = [row]
  for await (const each of headway.track(readOnly, { name: 'rows', meta: { ...summary, more: 1 } })) each.id.toFixed()
  if (job.signal.reason instanceof StopError) job.signal.reason.code satisfies string
}`

const BAD = [
  'job.complete([1, 2])',
  'job.complete(() => 1)',
  'job.complete(class {})',
  "job.complete('done')",
  'job.complete(3)',
  'job.complete(null)',
  'job.complete(Promise.resolve({}))',
  'job.complete(new Map())',
  'job.complete(new Date())',
  "headway.start({ name: 'a', meta: [] })",
  "headway.track({ rows: [] }, { name: 'a' })",
  "headway.track(null, { name: 'a' })",
]

const PAGE = (client: string, elements: string, react: string): string => `
import { createClient, HeadwayProblem, type LiveJob } from '${client}'
import { HeadwayTopBar, type HeadwayTopBarElement } from '${elements}'
import { HeadwayProblem as SameProblem, useProgress, type UseProgressResult } from '${react}'

const headway = createClient({ url: 'http://127.0.0.1:3000', token: async () => 'token' })
headway.on('failed', (job: LiveJob) => console.log(job.name, job.errorMessage?.length))
export const problem: SameProblem = new HeadwayProblem({ status: 409, code: 'x', title: 'x', detail: 'x' })

const bar: HeadwayTopBarElement = document.querySelector('headway-top-bar') ?? new HeadwayTopBar()
bar.token = () => 'token'
bar.addEventListener('click', () => console.log(bar.expanded satisfies boolean))
// @ts-expect-error: it is a boolean
export const wrong: number = bar.expanded
window.addEventListener('progress:error', ({ detail }) => console.log(detail.errorMessage.length))

export const Operations = () => {
  const { activeJobs }: UseProgressResult = useProgress({ token: () => 'token' })
  // @ts-expect-error: it is no token
  const odd = <headway-top-bar token={5} />
  return <>{odd}{activeJobs.map(job => <headway-progress key={job.id} job-id={job.id} plain token={() => 'token'} />)}</>
}
`
const NEW_PAGE = PAGE('@headway/client', '@headway/client/elements', '@headway/client/react')

/** The values that each entry exports, by the program that loads it. */
const VALUES = {
  '@headway/worker': 'StopError,createHeadway,createWorker',
  '@headway/client': 'HeadwayProblem,createClient,createHeadway',
  '@headway/client/elements': 'HeadwayJobCard,HeadwayProblem,HeadwayProgress,HeadwayTopBar,createClient,createHeadway',
  '@headway/client/react': 'HeadwayProblem,useProgress',
}

const pathsOf = ({ files }: Packed): string[] => files.map(({ path }) => path).sort()

t.test('the three packages have one version, and the service asks for exactly that of the others', async t => {
  const [root, worker, client] = ['', 'packages/worker', 'packages/client'].map(name => manifestOf(join(ROOT, name)))
  t.equal(worker!.version, root!.version)
  t.equal(client!.version, root!.version)
  t.match(root!.optionalDependencies, { '@headway/worker': root!.version, '@headway/client': root!.version })
  for (const name of ['license', 'engines', 'publishConfig']) t.same(worker![name], root![name], name)
  for (const name of ['license', 'engines', 'publishConfig']) t.same(client![name], root![name], name)
})

t.test('an installation of the worker or the client installs no other package and runs no script', async t => {
  const lock = JSON.parse(readFileSync(join(callers, 'package-lock.json'), 'utf8')) as { packages: object }
  t.same(Object.keys(lock.packages), ['', 'node_modules/@headway/client', 'node_modules/@headway/worker'])
  for (const name of ['@headway/client', '@headway/worker'] as const) {
    const { dependencies, optionalDependencies, scripts } = manifestOf(join(callers, 'node_modules', name))
    t.same({ dependencies, optionalDependencies }, { dependencies: undefined, optionalDependencies: undefined })
    t.same(Object.keys(scripts as object), ['prepack'], name)
  }
})

t.test('a package has the files that it needs, and no tests, sources or maps', async t => {
  t.same(pathsOf(packed['@headway/worker']), [
    'LICENSE',
    'README.md',
    ...['index.d.mts', 'index.d.ts', 'index.js', 'index.mjs'].map(name => `dist/${name}`),
    'package.json',
  ])
  const client = pathsOf(packed['@headway/client'])
  const entries = ['elements', 'index', 'react'].flatMap(name =>
    ['d.mts', 'd.ts', 'js', 'mjs', 'node.mjs'].map(extension => `dist/${name}.${extension}`),
  )
  t.same(
    client.filter(path => !/^dist\/shared-\w+\.(?:js|mjs|d\.ts)$/.test(path)),
    ['LICENSE', 'README.md', ...entries, 'package.json'],
  )
  const service = pathsOf(packed.headway)
  const tops = new Set(service.map(path => path.split('/')[0]))
  const documents = ['CHANGELOG.md', 'LICENSE', 'README.md', 'openapi.yaml', 'package.json']
  t.same([...tops].sort(), [...documents, 'dist', 'drizzle'].sort())
  const unwanted = service.filter(path =>
    /\.map$|(?<!\.d)\.ts$|\.test\.|snapshot\.json|browser-client|react\//.test(path),
  )
  t.same(unwanted, [])
  for (const needed of ['dist/main.js', 'dist/cli/main.js', 'dist/dashboard/elements.js', 'drizzle/meta/_journal.json'])
    t.ok(service.includes(needed), needed)
})

t.test('packages are smaller than their limits', async t => {
  const sizeOf = (path: string): number => packed['@headway/client'].files.find(file => file.path === path)!.size
  const client = pathsOf(packed['@headway/client'])
  const entry = ['dist/index.mjs', ...client.filter(path => /shared-\w+\.mjs/.test(path))].map(sizeOf)
  const bytes = {
    worker: packed['@headway/worker'].unpackedSize,
    client: packed['@headway/client'].unpackedSize,
    elements: sizeOf('dist/elements.mjs'),
    createClient: entry.reduce((sum, size) => sum + size, 0),
    service: packed.headway.unpackedSize,
  }
  t.comment(JSON.stringify(bytes))
  t.ok(bytes.worker < 50 * 1024, `the worker has ${bytes.worker} bytes`)
  t.ok(bytes.client < 500_000, `the client has ${bytes.client} bytes`)
  t.ok(bytes.elements < 130_000, `the elements have ${bytes.elements} bytes`)
  t.ok(bytes.createClient < 75_000, `createClient has ${bytes.createClient} bytes`)
  t.ok(bytes.service < 3_000_000, `the service has ${bytes.service} bytes`)
})

t.test('each entry can be imported and required, also on a server, and both give one module', async t => {
  const project = withReact[18]
  const names = JSON.stringify(Object.keys(VALUES))
  const program = `
    const { createRequire } = require('node:module')
    void (async () => {
      for (const name of ${names}) {
        const required = require(name), imported = await import(name)
        const names = Object.keys(imported).filter(key => key !== 'default' && key !== 'module.exports').sort()
        console.log(name, names.join(), Object.keys(required).sort().join() === names.join(), names.every(key => imported[key] === required[key]))
      }
      const { HeadwayProblem } = require('@headway/client'), react = await import('@headway/client/react')
      console.log(react.HeadwayProblem === HeadwayProblem)
    })()`
  const expected = Object.entries(VALUES).map(([name, values]) => `${name} ${values} true true`)
  t.equal(await runIn(project, 'commonjs', program), [...expected, 'true'].join('\n'))
})

t.test('a browser, a bundler and Node load entries with the same exports', async t => {
  const project = withReact[19]
  for (const [name, file] of [
    ['@headway/client', 'index'],
    ['@headway/client/elements', 'elements'],
    ['@headway/client/react', 'react'],
  ] as const) {
    const path = `./node_modules/@headway/client/dist/${file}.mjs`
    const program = `console.log(Object.keys(await import('${path}')).sort().join())`
    t.equal(await runIn(project, 'module', program), VALUES[name], name)
  }
  for (const file of ['react.js', 'react.mjs', 'react.node.mjs']) {
    const text = readFileSync(join(project, 'node_modules/@headway/client/dist', file), 'utf8')
    t.match(text, /^['"]use client['"]/, `${file} says first that it is for the client`)
  }
})

t.test('the worker compiles with each module setting of TypeScript, and accepts only documented values', async t => {
  const bad = `import type { Job, HeadwayWorker } from '@headway/worker'
declare const job: Job, headway: HeadwayWorker
${BAD.map(call => `void ${call}`).join('\n')}`
  const both = { 'good.cts': WORKER('@headway/worker'), 'good.mts': WORKER('@headway/worker') }
  const errors = errorsIn(callers, { ...both, 'bad.cts': bad }, { ...NODE16, ...IN_NODE })
  const lines = BAD.map((_, index) => `bad.cts:${index + 3}`)
  t.same([...new Set(errors.map(error => /^.*?:\d+/.exec(error)?.[0]))], lines, errors.join('\n'))
  t.same(errorsIn(callers, both, { ...NODENEXT, ...IN_NODE }), [])
  t.same(errorsIn(callers, { 'good.ts': WORKER('@headway/worker') }, { ...BUNDLER, ...IN_NODE }), [])
})

for (const version of [18, 19] as const) {
  t.test(`the client compiles with each module setting of TypeScript and React ${version}`, async t => {
    const project = withReact[version]
    const page = { 'page.tsx': NEW_PAGE }
    const both = { ...page, 'commonjs/package.json': '{ "type": "commonjs" }', 'commonjs/page.tsx': NEW_PAGE }
    t.same(errorsIn(project, both, { ...NODE16, ...IN_BROWSER }), [])
    t.same(errorsIn(project, both, { ...NODENEXT, ...IN_BROWSER }), [])
    t.same(errorsIn(project, page, { ...BUNDLER, ...IN_BROWSER }), [])
  })

  t.test(`useProgress renders on a server with React ${version}`, async t => {
    const project = withReact[version]
    const render = `
      const Jobs = () => createElement('p', null, String(useProgress().isLoading), ' ', version)
      console.log(renderToString(createElement(Jobs)))`
    const imported = `
      import { createElement, version } from 'react'
      import { renderToString } from 'react-dom/server'
      import { useProgress } from '@headway/client/react'
      ${render}`
    const required = `
      const { createElement, version } = require('react')
      const { renderToString } = require('react-dom/server')
      const { useProgress } = require('@headway/client/react')
      ${render}`
    const shown = new RegExp(`^<p>true<!-- --> <!-- -->${version}\\.[\\d.]+</p>$`)
    t.match(await runIn(project, 'module', imported), shown)
    t.match(await runIn(project, 'commonjs', required), shown)
  })
}

t.test('declarations export a type as a type, and not as a value', async t => {
  const project = withReact[18]
  const source = "import { createHeadway } from '@headway/client/react'\nexport const made = createHeadway()"
  const [error, ...more] = errorsIn(project, { 'page.ts': source }, { ...BUNDLER, ...IN_BROWSER })
  t.match(error, /page\.ts:2: .*cannot be used as a value because it was exported using 'export type'/)
  t.same(more, [])
})

t.test('replaced names still work, and are marked as deprecated', async t => {
  const old = {
    'worker.mts': `import { createHeadway, type Headway, type HeadwayOptions } from '@headway/worker'
const options: HeadwayOptions = { url: 'http://127.0.0.1:1' }
export const headway: Headway = createHeadway(options)`,
  }
  t.same(errorsIn(callers, old, { ...NODENEXT, ...IN_NODE }), [])
  const program = "const m = require('@headway/worker'); console.log(m.createHeadway === m.createWorker)"
  t.equal(await runIn(callers, 'commonjs', program), 'true')
  const declarations = readFileSync(join(callers, 'node_modules/@headway/worker/dist/index.d.ts'), 'utf8')
  for (const name of ['createHeadway', 'Headway', 'HeadwayOptions']) {
    t.match(declarations, new RegExp(`@deprecated[^*]*\\*/\\n(?:declare const|type) ${name}\\b`), name)
  }
})

t.test('npx runs the command of the service', async t => {
  t.equal(await npx(everything, 'headway', '--version'), manifestOf(ROOT).version)
})

t.test('headway/worker and the other old entries hand on what the packages export', async t => {
  const moved = {
    'headway/worker': '@headway/worker',
    'headway/client': '@headway/client',
    'headway/elements': '@headway/client/elements',
    'headway/react': '@headway/client/react',
  }
  const compare = Object.entries(moved).map(
    ([old, name]) => `
      console.log(Object.keys(require('${old}')).join() === Object.keys(require('${name}')).join())
      void Promise.all([import('${old}'), import('${name}')]).then(([old, now]) =>
        console.log(Object.keys(now).every(key => key === 'default' || old[key] === now[key])))`,
  )
  const answers = await runIn(everything, 'commonjs', compare.join(''))
  t.equal(answers, Array(8).fill('true').join('\n'))
  const worker = { 'old.cts': WORKER('headway/worker'), 'old.mts': WORKER('headway/worker') }
  t.same(errorsIn(everything, worker, { ...NODE16, ...IN_NODE }), [])
  const page = PAGE('headway/client', 'headway/elements', 'headway/react')
  t.same(errorsIn(everything, { 'page.tsx': page }, { ...BUNDLER, ...IN_BROWSER }), [])
})

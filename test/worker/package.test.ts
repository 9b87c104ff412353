import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import ts from 'typescript'

/** In this package, to find it by its name. */
const PROGRAMS = t.testdir()

const write = (name: string, source: string): string => {
  const file = join(PROGRAMS, name)
  writeFileSync(file, source)
  return file
}

/** What the compiler says of programs, one line for each error. */
const errorsIn = (files: string[], options: ts.CompilerOptions): string[] => {
  const strict = { strict: true, exactOptionalPropertyTypes: true, noEmit: true, skipLibCheck: true, types: ['node'] }
  const program = ts.createProgram(files, { target: ts.ScriptTarget.ES2022, ...strict, ...options })
  return ts.getPreEmitDiagnostics(program).map(({ messageText, file, start = 0 }) => {
    const line = file ? file.text.slice(0, start).split('\n').length : 0
    return `${line}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
  })
}

const GOOD = `
import { createWorker, StopError, type Job, type Report } from 'headway/worker'
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

t.test('headway/worker compiles in a program of any kind, and takes values of any kind of type', t => {
  const files = ['good.cts', 'good.mts'].map(name => write(name, GOOD))
  const bad = write(
    'bad.cts',
    `import type { Job, HeadwayWorker } from 'headway/worker'
declare const job: Job, headway: HeadwayWorker
${BAD.map(call => `void ${call}`).join('\n')}`,
  )
  const node16 = { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 }
  const bundler = { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }
  const lines = BAD.map((_, index) => index + 3)
  const errors = errorsIn([...files, bad], node16)
  t.same([...new Set(errors.map(error => Number.parseInt(error, 10)))], lines, errors.join('\n'))
  t.same(errorsIn([write('good.ts', GOOD)], bundler), [])
  t.end()
})

t.test('headway/worker can be required and imported, and is one module for both', t => {
  const file = write(
    'both.cjs',
    `const { createWorker, StopError } = require('headway/worker')
void import('headway/worker').then(imported => {
  console.log(imported.createWorker === createWorker, new imported.StopError('superseded') instanceof StopError)
})`,
  )
  t.equal(execFileSync(process.execPath, [file], { encoding: 'utf8' }), 'true true\n')
  t.end()
})

t.test('names that were replaced are still there, and are told to be deprecated', t => {
  const consumer = write(
    'old-names.mts',
    `import { createHeadway, type Headway, type HeadwayOptions } from 'headway/worker'
const options: HeadwayOptions = { url: 'http://127.0.0.1:1' }
export const headway: Headway = createHeadway(options)`,
  )
  const { NodeNext: module } = ts.ModuleKind
  t.same(errorsIn([consumer], { module, moduleResolution: ts.ModuleResolutionKind.NodeNext }), [])
  const script = "const m = require('headway/worker'); console.log(m.createHeadway === m.createWorker)"
  t.equal(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8', cwd: PROGRAMS }), 'true\n')
  const declarations = readFileSync(new URL('../../dist/commonjs/worker/headway.d.ts', import.meta.url), 'utf8')
  for (const name of ['createHeadway', 'Headway', 'HeadwayOptions']) {
    t.match(declarations, new RegExp(`@deprecated[^*]*\\*/\\nexport (declare const|type) ${name}\\b`), name)
  }
  t.end()
})

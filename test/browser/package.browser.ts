import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')

t.test('a server that renders pages can load the elements', async t => {
  const script = `
    const elements = await import('headway/elements'), client = await import('headway/client'), react = await import('headway/react')
    console.log(Object.keys({ ...elements, ...client, ...react }).sort().join())`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: root })
  t.equal(
    stdout.trim(),
    'HeadwayJobCard,HeadwayProblem,HeadwayProgress,HeadwayTopBar,createClient,createHeadway,useProgress',
    'and gets the same names',
  )
})

const CONSUMER = `
import { createClient, HeadwayProblem, type LiveJob } from 'headway/client'
import { HeadwayTopBar, type HeadwayTopBarElement } from 'headway/elements'
import { useProgress } from 'headway/react'

const headway = createClient({ url: 'http://127.0.0.1:3000', token: async () => 'token' })
headway.on('failed', (job: LiveJob) => console.log(job.name, job.errorMessage?.length))
export const code: string = new HeadwayProblem({ status: 409, code: 'x', title: 'x', detail: 'x' }).code

const bar: HeadwayTopBarElement = document.querySelector('headway-top-bar') ?? new HeadwayTopBar()
bar.token = () => 'token'
bar.addEventListener('click', () => console.log(bar.expanded satisfies boolean))
// @ts-expect-error: it is a boolean
export const wrong: number = bar.expanded
window.addEventListener('progress:error', ({ detail }) => console.log(detail.errorMessage.length))

export const Operations = () => {
  const { activeJobs } = useProgress({ token: () => 'token' })
  // @ts-expect-error: it is no token
  const odd = <headway-top-bar token={5} />
  return <>{odd}{activeJobs.map(job => <headway-progress key={job.id} job-id={job.id} plain token={() => 'token'} />)}</>
}
`

t.test('its types hold where nothing else is installed, and libraries are checked as well', async t => {
  const folder = t.testdir({ 'page.tsx': CONSUMER, node_modules: {} })
  const modules = `${folder}/node_modules`
  mkdirSync(`${modules}/headway`)
  cpSync(`${root}package.json`, `${modules}/headway/package.json`)
  for (const name of ['@types', 'csstype']) symlinkSync(`${root}node_modules/${name}`, `${modules}/${name}`)
  const { declareExports } = (await import(new URL('../../scripts/elements.js', import.meta.url).href)) as {
    declareExports: (compiler: string, directory: string) => boolean
  }
  t.ok(declareExports(compiler, `${modules}/headway/dist`))
  for (const [module, moduleResolution] of [
    ['node16', 'node16'],
    ['esnext', 'bundler'],
  ]) {
    const compilerOptions = {
      ...{ strict: true, noEmit: true, skipLibCheck: false, preserveSymlinks: true, jsx: 'react-jsx', types: [] },
      ...{ target: 'es2022', lib: ['es2023', 'dom', 'dom.iterable'], module, moduleResolution },
    }
    writeFileSync(`${folder}/package.json`, '{ "type": "module" }')
    writeFileSync(`${folder}/tsconfig.json`, JSON.stringify({ compilerOptions, files: ['page.tsx'] }))
    const { stdout } = await run(process.execPath, [compiler, '-p', folder]).catch(
      (error: unknown) => error as { stdout: string },
    )
    t.equal(stdout, '', `${moduleResolution}`)
  }
})

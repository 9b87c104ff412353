import { spawn } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { PROBLEMS } from '../src/http/problems.ts'
import type { ListedJob, Page } from '../src/contract/job.ts'
import {
  allPages,
  anchorsOf,
  blocksOf,
  linksOf,
  manualPages,
  nameOf,
  readFromRoot,
  type Block,
} from './helpers/manual.ts'
import { startService, type Service } from './helpers/service.ts'

const ROOT = new URL('../', import.meta.url)
const DOCUMENTED_URL = 'http://127.0.0.1:3000'

/** Languages of blocks that are run, or have a reason before the block: `<!-- not run: … -->`. */
const RUN = new Set(['sh', 'bash', 'python'])
/** Languages of blocks that are only shown. A block of any other language is an error, because nothing would run it. */
const SHOWN = new Set(['', 'html', 'ini', 'js', 'json', 'nginx', 'sql', 'tsx', 'yaml'])

/** The pages with blocks to run, and the state of their jobs afterwards. */
const JOBS: Readonly<Record<string, Record<string, string>>> = {
  'README.md': { 'Nightly import': 'completed' },
  'docs/start.md': { 'Nightly import': 'completed' },
  'docs/reporting/command.md': { 'Nightly import': 'completed' },
  'docs/reporting/node.md': { 'Nightly import': 'completed' },
  'docs/reporting/shell.md': { 'In bash': 'completed' },
  'docs/reporting/python.md': {
    'Nightly import': 'completed',
    Export: 'completed',
    'With a log': 'completed',
    Train: 'completed',
  },
  'docs/jobs/batches.md': { 'Reindex products': 'pending' },
  'docs/jobs/stages.md': { 'Generate proposals': 'pending', 'Build the tree': 'running' },
  'docs/reading/jobs.md': { 'Nightly import': 'completed' },
  'docs/reading/badges.md': {},
  'docs/reading/history.md': {},
  'docs/reading/streams.md': { 'Nightly import': 'completed' },
  'docs/webhooks.md': {},
}

interface Plan {
  files: { name: string; code: string }[]
  session: string
  notRun: Block[]
}

/** The files that a reader of the page saves, and the commands that they type, in order and in one session. */
const planOf = (page: string): Plan => {
  const blocks = blocksOf(page)
  const notRun = blocks.filter(block => block.notRun !== null)
  const files: Plan['files'] = []
  const typed: string[] = []
  for (const block of blocks.filter(block => block.notRun === null)) {
    const name = nameOf(block)
    if (name !== null) files.push({ name, code: block.code })
    else if (block.language === 'sh') typed.push(block.before, block.code)
  }
  return { files, session: typed.join('\n'), notRun }
}

/** Ends at the first line that fails, as nobody's terminal does; a refusal of the service counts as a failure of curl. */
const STRICT = `set -euo pipefail
curl() {
  [[ " $* " == *' -sf '* ]] || set -- --fail-with-body "$@"
  command curl "$@"
}
export -f curl
`

/** A reader who follows the documentation, in a folder of their own. */
class Reader {
  readonly #t: Test
  readonly #folder: string
  readonly #service: Service

  constructor(t: Test, service: Service) {
    this.#t = t
    this.#service = service
    this.#folder = t.testdir({ bin: {} })
    const main = fileURLToPath(new URL('dist/cli/main.js', ROOT))
    symlinkSync(main, join(this.#folder, 'bin/headway'))
  }

  save(name: string, code: string): void {
    const path = join(this.#folder, name)
    writeFileSync(path, code.replaceAll(DOCUMENTED_URL, this.#service.url))
    chmodSync(path, 0o755)
  }

  async run(script: string, environment: Record<string, string> = {}) {
    this.save('session.sh', `${STRICT}${script}\nwait\n`)
    const bash = spawn('bash', ['session.sh'], {
      cwd: this.#folder,
      env: {
        ...process.env,
        PATH: `${join(this.#folder, 'bin')}:${process.env['PATH']}`,
        HEADWAY_URL: this.#service.url,
        // In place of `pip install headway-progress`.
        PYTHONPATH: fileURLToPath(new URL('clients/python/src', ROOT)),
        PYTHONDONTWRITEBYTECODE: '1',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#t.teardown(() => bash.kill('SIGKILL'))
    const exited = new Promise<number | null>(resolve => bash.once('close', resolve))
    const [code, stdout, stderr] = await Promise.all([exited, text(bash.stdout), text(bash.stderr)])
    if (code !== 0) this.#t.comment(`${stdout}\n${stderr}`)
    return { code, stdout, stderr }
  }
}

const jobsOf = async (service: Service): Promise<Record<string, string>> => {
  const { body } = await service.call<Page<ListedJob>>('GET', '/jobs?includeCompleted=true&pageSize=100')
  return Object.fromEntries(body.items.map(({ name, status }) => [name, status]))
}

// They wait more than they work.
t.jobs = 3

for (const [page, jobs] of Object.entries(JOBS)) {
  t.test(`the commands of ${page} work as they are written`, { buffered: true }, async t => {
    const service = await startService(t, { LIVE_INTERVAL_MS: '50' })
    const reader = new Reader(t, service)
    const { files, session, notRun } = planOf(page)
    for (const { notRun: why, line } of notRun) t.comment(`${page}:${line}: not run, since ${why}`)
    for (const { name, code } of files) reader.save(name, code)
    const { code, stdout, stderr } = await reader.run(session)
    t.equal(code, 0, `${page}: ${stderr.slice(-500)} ${stdout.slice(-500)}`)
    t.match(await jobsOf(service), jobs)
  })
}

t.test('every block of the manual is run, or has a reason why it cannot be', async t => {
  const pages: string[] = []
  for (const page of manualPages()) {
    const { files, session } = planOf(page)
    if (session.trim() !== '') pages.push(page)
    for (const block of blocksOf(page)) {
      const { line, language, code, notRun } = block
      t.ok(RUN.has(language) || SHOWN.has(language), `${page}:${line}: "${language}" is neither run nor only shown`)
      if (!RUN.has(language) || notRun !== null) continue
      const name = nameOf(block)
      const isRun =
        name === null ? session.includes(code) : session.includes(name) && files.some(file => file.name === name)
      t.ok(isRun, `${page}:${line}: nobody runs this, and it does not say why`)
    }
  }
  t.strictSame(pages.sort(), Object.keys(JOBS).sort(), 'the pages with something to type are those that are run')
})

const recipe = (name: string): string => {
  const block = blocksOf('docs/reporting/scheduled.md').find(block => nameOf(block) === name)
  if (!block) throw new Error(`there is no ${name}`)
  return block.code
}

t.test('a step of a workflow, a CronJob and a unit report the command that they run', { buffered: true }, async t => {
  const service = await startService(t)
  const reader = new Reader(t, service)
  const script = (code: number) => `#!/usr/bin/env bash\necho 3/7\nsleep 0.3\nexit ${code}\n`

  const [step] = parse(recipe('step.yaml')) as [{ run: string }]
  const github = (number: string) => ({
    GITHUB_WORKFLOW: 'CI',
    GITHUB_RUN_NUMBER: number,
    GITHUB_RUN_ID: number,
    GITHUB_RUN_ATTEMPT: '1',
    HEADWAY_TOKEN: 'unused',
  })
  reader.save('build.sh', script(0))
  t.match(await reader.run(step.run, github('1')), { code: 0 })
  reader.save('build.sh', script(3))
  t.match(await reader.run(step.run, github('2')), { code: 3 })
  reader.save('build.sh', script(0))
  const away = { HEADWAY_URL: 'http://127.0.0.1:1' }
  t.match(await reader.run(step.run, { ...github('3'), ...away }), { code: 0 }, 'a service that is away fails no step')

  const cron = parse(recipe('cronjob.yaml')) as {
    spec: { jobTemplate: { spec: { template: { spec: { containers: [{ command: string[] }] } } } } }
  }
  reader.save('import.sh', script(0))
  const words = cron.spec.jobTemplate.spec.template.spec.containers[0].command.map(word => `'${word}'`)
  t.match(await reader.run(words.join(' ')), { code: 0, stdout: '3/7\n' })

  const start = /^ExecStart=(.*)$/m.exec(recipe('backup.service'))?.[1] ?? ''
  reader.save('backup.sh', script(4))
  const local = start.replace('/usr/local/bin/headway', 'headway').replace('/usr/local/bin/backup.sh', './backup.sh')
  t.match(await reader.run(local), { code: 4 })

  t.match(await jobsOf(service), {
    'CI, run 1': 'completed',
    'CI, run 2': 'failed',
    'Nightly import': 'completed',
    'Nightly backup': 'failed',
  })
})

/** Whether a link of `page` leads somewhere: to another site, or to a file of the repository and, in a page, to a heading. */
const leadsSomewhere = (page: string, link: string): boolean => {
  if (/^(?:https?|mailto):/.test(link)) return true
  const [path = '', anchor] = link.split('#')
  const target = path === '' ? page : posix.normalize(posix.join(posix.dirname(page), path))
  if (target.startsWith('..') || !existsSync(new URL(target, ROOT))) return false
  return anchor === undefined || (target.endsWith('.md') && anchorsOf(target).has(anchor))
}

t.test('every link of a page leads to a file that exists, and to a heading that it has', async t => {
  for (const page of allPages()) {
    for (const link of linksOf(page)) t.ok(leadsSomewhere(page, link), `${page}: ${link}`)
  }
})

/** A page named in a comment or a message, with the heading that may follow. */
const PAGE_NAMED = /(?<![\w/])docs\/[\w./-]+?\.md(?:#[\w-]+)?/g
const SOURCES = ['src', 'scripts', 'deploy', 'examples', 'drizzle', 'test'].map(folder => `${folder}/`)

t.test('every page that the sources name exists', async t => {
  const files = SOURCES.flatMap(folder =>
    readdirSync(new URL(folder, ROOT), { recursive: true, encoding: 'utf8' })
      .filter(name => /\.(?:ts|tsx|js|sql|yaml|conf|json|css|html)$/.test(name))
      // Packages that a folder has installed for itself are no sources.
      .filter(name => !/(?:^|[\\/])node_modules[\\/]/.test(name))
      .map(name => folder + name),
  )
  let named = 0
  for (const file of [...files, 'eslint.config.js', '.ci/run', 'Dockerfile']) {
    for (const [page] of readFromRoot(file).matchAll(PAGE_NAMED)) {
      named += 1
      t.ok(leadsSomewhere('README.md', page), `${file}: ${page}`)
    }
  }
  t.ok(named > 5, 'the pattern finds pages')
})

/** The first cells of the tables of a page, without the marks of code. */
const firstCells = (page: string, pattern: RegExp): string[] =>
  [...readFromRoot(page).matchAll(pattern)].map(([, cell = '']) => cell)

t.test('the manual has every setting of the service, and no other', async t => {
  const read = [...readFromRoot('src/config.ts').matchAll(/^ +([A-Z][A-Z_]+):/gm)].map(([, name = '']) => name)
  t.ok(read.length > 20)
  t.strictSame(firstCells('docs/reference/settings.md', /^\| `([A-Z_]+)`/gm).sort(), [...new Set(read)].sort())
})

t.test('the manual has every code of a refusal with its status, and no other', async t => {
  const listed = [...readFromRoot('docs/reference/errors.md').matchAll(/^\| `([a-z_]+)` +\| (\d+)/gm)]
  t.strictSame(
    Object.fromEntries(listed.map(([, code = '', status]) => [code, Number(status)])),
    Object.fromEntries(Object.entries(PROBLEMS).map(([code, { status }]) => [code, status])),
  )
})

t.test('the manual has every call of the API, and no other', async t => {
  const { paths } = parse(readFromRoot('openapi.yaml')) as { paths: Record<string, object> }
  const described = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
  )
  const listed = [...readFromRoot('docs/reference/api.md').matchAll(/`([A-Z]+) (\/[^`]*)`/g)].map(
    ([, method = '', path = '']) =>
      `${method} ${described.some(call => call.endsWith(` ${path}`)) ? path : `/api/progress${path}`}`,
  )
  t.strictSame([...new Set(listed)].sort(), described.sort())
})

t.test('the site lists every page', async t => {
  const config = readFromRoot('docs/.vitepress/config.js')
  for (const page of allPages().filter(page => page !== 'README.md' && !/decisions\/\d/.test(page))) {
    const address = page.replace(/^docs\//, '/').replace(/(?:index)?\.md$/, '')
    t.ok(config.includes(`link: '${address.startsWith('/') ? address : `/${address}`}'`), page)
  }
})

t.test('the README is short, and leads to every page of the manual within two clicks', async t => {
  t.ok(Buffer.byteLength(readFromRoot('README.md')) < 8 * 1024)
  const reached = new Set(['README.md'])
  for (const click of [1, 2]) {
    t.comment(`after ${click}`)
    for (const page of [...reached].filter(page => page.endsWith('.md'))) {
      for (const link of linksOf(page).filter(link => !/^\w+:/.test(link))) {
        const [path = ''] = link.split('#')
        if (path !== '') reached.add(posix.normalize(posix.join(posix.dirname(page), path)))
      }
    }
  }
  for (const page of allPages()) t.ok(reached.has(page), page)
})

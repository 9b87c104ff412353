import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import type { ListedJob, Page } from '../src/contract/job.ts'
import { startService, type Service } from './helpers/service.ts'

const ROOT = new URL('../', import.meta.url)
const DOCUMENTED_URL = 'http://127.0.0.1:3000'

/** What must be run, or say why not: `<!-- not run: … -->` before the block. */
const RUN = new Set(['sh', 'bash', 'python'])

interface Block {
  language: string
  code: string
  /** Why it is not run. */
  notRun: string | null
  /** What the block needs and its reader has: `<!-- before: … -->`. */
  before: string
}

const blocksOf = (file: string): Block[] => {
  const markdown = readFileSync(new URL(file, ROOT), 'utf8')
  const pattern = /(?:^<!-- (not run|before): (.*) -->\n\n)?^```(\w+)\n([^]*?)^```$/gm
  return [...markdown.matchAll(pattern)].map(([, mark, remark = '', language = '', code = '']) => ({
    language,
    code,
    notRun: mark === 'not run' ? remark : null,
    before: mark === 'before' ? remark : '',
  }))
}

/** A file is saved under the name in its first lines, as its reader would save it. */
const nameOf = (code: string): string | null => /^(?:#!.*\n)?(?:#|\/\/) ([\w.-]+\.\w+)/.exec(code)?.[1] ?? null

/** Ends at the first line that fails, as nobody's terminal does; a refusal of the service counts as a failure of curl. */
const STRICT = `set -euo pipefail
curl() {
  [[ " $* " == *' -sf '* ]] || set -- --fail-with-body "$@"
  command curl "$@"
}
export -f curl
`

/** Somebody who does what the documentation says, in a folder of their own. */
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

for (const [file, jobs] of [
  [
    'README.md',
    {
      'Nightly import': 'completed',
      'In bash': 'completed',
      'Reindex products': 'pending',
      'Build the tree': 'completed',
    },
  ],
  ['docs/recipes.md', { 'Import in Python': 'completed' }],
] as const) {
  t.test(`what ${file} tells its readers to type works as it stands`, { buffered: true }, async t => {
    const service = await startService(t, { LIVE_INTERVAL_MS: '50' })
    const reader = new Reader(t, service)
    const session: string[] = []
    for (const { language, code, notRun, before } of blocksOf(file)) {
      const name = nameOf(code)
      if (notRun !== null) t.comment(`${file}: not run, since ${notRun}: ${code.split('\n')[0]}`)
      else if (name) reader.save(name, code)
      else if (language === 'sh') session.push(before, code)
      else t.notOk(RUN.has(language), `a block of ${language} has neither a name nor a reason: ${code.slice(0, 100)}`)
    }
    const { code, stdout, stderr } = await reader.run(session.join('\n'))
    t.equal(code, 0, `${file}: ${stderr.slice(-500)} ${stdout.slice(-500)}`)
    t.match(await jobsOf(service), jobs)
  })
}

const recipe = (name: string): string => {
  const block = blocksOf('docs/recipes.md').find(({ code }) => nameOf(code) === name)
  if (!block) throw new Error(`there is no ${name}`)
  return block.code
}

t.test('a step of a workflow, a CronJob and a unit report what they run', { buffered: true }, async t => {
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

import { Linter } from 'eslint'
import t from 'tap'
import { parser } from 'typescript-eslint'
// @ts-expect-error: a configuration has no types
import config from '../eslint.config.js'

const root = new URL('..', import.meta.url).pathname
const [own] = (config as Linter.Config[]).filter(({ plugins }) => plugins?.headway)

/** What the rule says of this code in this file of src. */
const says = (path: string, code: string): string[] =>
  new Linter({ cwd: root })
    .verify(code, [{ files: ['**/*.ts'], languageOptions: { parser }, ...own }], `${root}src/${path}`)
    .map(({ message }) => message)

t.test('clients import only the contract from the service, neither other values nor other types', async t => {
  const callers = [
    'node-client',
    'worker',
    'cli',
    'terminal',
    'demo',
    'browser-client',
    'elements',
    'react',
    'dashboard',
  ]
  for (const caller of callers) {
    t.same(says(`${caller}/some.ts`, "import { isFinished } from '../contract/states.ts'"), [], caller)
    t.same(says(`${caller}/deep/some.ts`, "export type { Unit } from '../../contract/units.ts'"), [], caller)
    for (const part of ['jobs', 'http', 'database', 'live', 'webhooks', 'metrics', 'turns']) {
      t.equal(says(`${caller}/some.ts`, `import { x } from '../${part}/x.ts'`).length, 1, `${caller} → ${part}`)
      t.equal(says(`${caller}/some.ts`, `import type { X } from '../${part}/x.ts'`).length, 1, `${caller} → ${part}`)
      t.equal(says(`${caller}/some.ts`, `let x: import('../${part}/x.ts').X`).length, 1, `${caller} → ${part}`)
    }
    for (const file of ['config.ts', 'app.ts', 'serve.ts', 'log.ts', 'readiness.ts']) {
      t.equal(says(`${caller}/some.ts`, `export * from '../${file}'`).length, 1, `${caller} → ${file}`)
    }
  }
})

t.test('the contract imports nothing', async t => {
  t.same(says('contract/job.ts', "import type { Unit } from './units.ts'"), [])
  for (const path of ['../jobs/use-cases.ts', '../turns/turns.ts', '../browser-client/types.ts', '../version.ts']) {
    t.equal(says('contract/job.ts', `import type { X } from '${path}'`).length, 1, path)
  }
})

t.test('no module of the service imports a client, or the modules that assemble the service', async t => {
  for (const part of ['contract', 'turns', 'database', 'live', 'jobs', 'webhooks', 'http', 'metrics', 'config.ts']) {
    const path = part.endsWith('.ts') ? part : `${part}/some.ts`
    const up = part.endsWith('.ts') ? './' : '../'
    for (const target of ['app.ts', 'serve.ts', 'cli/x.ts', 'worker/x.ts', 'browser-client/x.ts', 'dashboard/x.ts']) {
      t.equal(says(path, `await import('${up}${target}')`).length, 1, `${part} → ${target}`)
    }
  }
})

t.test('a folder without an entry in the rule may import nothing', async t => {
  t.equal(says('newcomer/some.ts', "import { x } from '../contract/states.ts'").length, 1)
})

t.test('the rule holds for every form of import', async t => {
  for (const code of [
    'await import(`../jobs/x.ts`)',
    'await import(`../${"jobs"}/x.ts`)',
    "await import('../jobs' + '/x.ts')",
    "import jobs = require('../jobs/x.ts')",
    "require('../jobs/x.ts')",
    "import { x } from '../../src/jobs/x.ts'",
    `import { x } from '${root}src/jobs/x.ts'`,
    "import '../jobs/x.ts'",
    "export { x } from '../../test/helpers/service.ts'",
  ]) {
    t.equal(says('worker/some.ts', code).length, 1, code)
  }
  t.same(says('worker/some.ts', "import { x } from 'node:fs'; await import(`pg`); require('pg')"), [])
})

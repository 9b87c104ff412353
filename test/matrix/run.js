// Runs the tests on everything that Headway says it runs on: what reads or writes a database on each PostgreSQL, and all tests on
// each Node. `npm run test:matrix`, or a part of it: `-- --node 22 --node 26`, `-- --postgres 14`, `-- --node 22 --part`,
// `-- --postgres 16 test/live`.
// A server or Node that is missing here is skipped, in a plain line. With --required, that is a failure.
import '../../scripts/supported-node.js'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { findNode, NODES } from '../../scripts/node.js'
import { SERVERS_OF_THE_MATRIX } from '../servers/list.js'
import { conclude, skip } from '../servers/results.js'
import { build, runOn } from '../servers/server.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** With --part: what depends on Node itself, which are its streams, sockets, processes, files and modules. */
const PART = [
  'test/database/embedded.test.ts',
  'test/http/answers.test.ts',
  'test/http/limits.test.ts',
  'test/live/streams.test.ts',
  'test/process.test.ts',
  'test/service.test.ts',
  'test/webhooks/post.test.ts',
  'test/worker',
]

const runOnNode = async (major, { jobs, tests }) => {
  const name = `Node ${major}`
  console.log(`== ${name}`)
  const { bin, missing } = findNode(major)
  if (missing !== undefined) return skip(name, missing)
  const run = spawn(join(bin, 'node'), ['test/run.js', `--jobs=${jobs}`, ...tests], {
    cwd: ROOT,
    // Tests start programs by the path of their own Node, and npm by PATH. What CI sets has coverage measured, once is enough.
    env: { ...process.env, CI: '', PATH: `${bin}${delimiter}${process.env.PATH}` },
    stdio: 'inherit',
  })
  const [code] = await once(run, 'close')
  return code === 0 ? 'passed' : 'failed'
}

const { values, positionals } = parseArgs({
  options: {
    node: { type: 'string', multiple: true },
    postgres: { type: 'string', multiple: true },
    part: { type: 'boolean', default: false },
    jobs: { type: 'string', default: '4' },
    required: { type: 'boolean', default: false },
  },
  // Files or folders of tests, in place of those that each would run.
  allowPositionals: true,
})
const isAll = values.node === undefined && values.postgres === undefined
const servers = SERVERS_OF_THE_MATRIX.filter(
  ({ name }) => isAll || values.postgres?.some(version => name === `PostgreSQL ${version}`),
)
build()
const results = []
const chosen = positionals.length === 0 ? {} : { tests: positionals }
for (const server of servers)
  results.push({ name: server.name, result: await runOn({ ...server, ...chosen }, values.jobs) })
const tests = chosen.tests ?? (values.part ? PART : [])
for (const major of isAll ? Object.keys(NODES) : (values.node ?? []))
  results.push({ name: `Node ${major}`, result: await runOnNode(major, { jobs: values.jobs, tests }) })
process.exit(conclude(results, values.required))

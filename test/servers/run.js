// Runs the tests that depend on the server on others than the embedded one: `npm run test:servers`, or
// `npm run test:servers -- 14` for those whose name has "14". list.js says which servers and tests.
// A server that cannot be had here is skipped, in a plain line. With --required, that is a failure.
import { parseArgs } from 'node:util'
import { SERVERS } from './list.js'
import { conclude } from './results.js'
import { build, runOn } from './server.js'

const { values, positionals } = parseArgs({
  options: { jobs: { type: 'string', default: '4' }, required: { type: 'boolean', default: false } },
  allowPositionals: true,
})
build()
const chosen = SERVERS.filter(({ name }) => positionals.length === 0 || positionals.some(part => name.includes(part)))
const results = []
for (const server of chosen) results.push({ name: server.name, result: await runOn(server, values.jobs) })
process.exit(conclude(results, values.required))

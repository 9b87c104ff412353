// Progress as DBOS publishes it: events of workflows, kept in Postgres (https://docs.dbos.dev/typescript/tutorials/workflow-communication,
// "Workflow Events"). A job is a workflow that sets its event again and again. Configuration and launch are as in
// https://docs.dbos.dev/typescript/programming-guide, with the pool's default of ten connections.
import { DBOS } from '@dbos-inc/dbos-sdk'
import { serveCalls, workerOptions } from '../environment/processes.js'
import { rateOf } from './rate.js'

const { databaseUrl } = workerOptions()

const counter = { done: 0 }
let stopped = false

const importProducts = DBOS.registerWorkflow(
  async () => {
    for (let turn = 0; !stopped; turn += 1) {
      await DBOS.setEvent('progress', { processedCount: turn })
      counter.done += 1
    }
  },
  { name: 'import' },
)

DBOS.setConfig({ name: 'bench', systemDatabaseUrl: databaseUrl, logLevel: 'warn', runAdminServer: false })
await DBOS.launch()

/** So many workflows at a time, in this process. */
const measure = async ({ concurrency, ...times }) => {
  counter.done = 0
  stopped = false
  const handles = []
  for (let n = 0; n < concurrency; n += 1) handles.push(await DBOS.startWorkflow(importProducts)())
  const perSecond = await rateOf(counter, times)
  const total = counter.done
  stopped = true
  for (const handle of handles) await handle.getResult()
  return { perSecond, total }
}

serveCalls({ ready: () => ({}), measure })

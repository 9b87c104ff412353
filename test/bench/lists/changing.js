// What creating, starting, reporting and finishing a job cost, beside many finished jobs, in two databases by turns.
import { readFileSync } from 'node:fs'
import { openDatabase } from '../../../dist/database/connection.js'
import { createJobRepository } from '../../../dist/jobs/repository.js'
import { createHeartbeatWrite } from '../../../dist/jobs/heartbeats/write.js'
import { LARGE_TENANT } from './fill.js'

const JOBS = 300
const ROUNDS = 7
const scope = {
  actor: null,
  tenantId: LARGE_TENANT,
  allOrganizations: true,
  organizationId: null,
  jobId: null,
  caller: null,
}

const newJob = n => ({
  id: null,
  tenant_id: LARGE_TENANT,
  job_type: n % 2 === 0 ? 'import' : `type-${n % 30}`,
  name: `Import of products for Globex ${(n * 7919).toString(16)}, 2026-11-${10 + (n % 20)}`,
  heartbeat_timeout_seconds: 60,
})

/** CPU of a process in µs: `utime` and `stime` of proc(5), in hundredths of a second. */
const cpuOf = pid => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

const open = async url => {
  const database = openDatabase({ url, poolSize: 1, preparedStatements: true, onConnectionError: () => undefined })
  const repository = createJobRepository(database)
  return { database, repository, write: createHeartbeatWrite(database), spent: {} }
}

const measured = async (side, name, work) => {
  // The pool has one connection, and replaces it when it has rested.
  const [{ pid }] = await side.database.query(null, 'SELECT pg_backend_pid() AS pid', [])
  const before = cpuOf(pid)
  await work()
  const all = (side.spent[name] ??= [])
  all.push((cpuOf(pid) - before) / JOBS)
}

const entryOf = (jobId, processedCount) => ({
  scope,
  heartbeat: { workerId: 'default', jobId, processedCount },
  keepHigher: false,
  waiters: [],
  buffered: false,
  since: 0,
  bytes: 0,
})

const round = async side => {
  const { repository, write, database } = side
  const ids = []
  await measured(side, 'create', async () => {
    for (let n = 0; n < JOBS; n += 1) {
      const [{ id }] = await database.query(
        'bench_create',
        `INSERT INTO public.progress_jobs (tenant_id, job_type, name, heartbeat_timeout_seconds) VALUES ($1, $2, $3, 60) RETURNING id`,
        [LARGE_TENANT, newJob(n).job_type, newJob(n).name],
      )
      ids.push(id)
    }
  })
  await measured(side, 'start', async () => {
    for (const id of ids) await repository.change(scope, id, 'start', null, {})
  })
  await measured(side, 'heartbeat, one by one', async () => {
    for (const id of ids) await write([entryOf(id, 10)], false)
  })
  await measured(side, 'heartbeats in bulk', async () => {
    for (let n = 0; n < 10; n += 1)
      for (let at = 0; at < JOBS; at += 100)
        await write(
          ids.slice(at, at + 100).map(id => entryOf(id, 20 + n)),
          false,
        )
  })
  await measured(side, 'complete', async () => {
    for (const id of ids) await repository.change(scope, id, 'complete', null, {})
  })
}

const median = values => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]

/** Prints µs of CPU of the server for each change of a job, in the database at `url` and in the one at `against`. */
export const compareChanges = async (url, against) => {
  const sides = [await open(url), await open(against)]
  for (const side of sides) await round(side)
  for (const side of sides) side.spent = {}
  for (let n = 0; n < ROUNDS; n += 1) for (const side of n % 2 === 0 ? sides : [...sides].reverse()) await round(side)
  console.log('\n  before    after µs of CPU of the server, medians of rounds')
  for (const name of Object.keys(sides[0].spent)) {
    const [before, after] = [median(sides[1].spent[name]), median(sides[0].spent[name])]
    const change = `${(100 * (after / before - 1)).toFixed(1)} %`
    console.log(`${before.toFixed(0).padStart(8)} ${after.toFixed(0).padStart(8)}   ${change.padStart(8)}  ${name}`)
  }
  for (const side of sides) await side.database.close()
}

// What a tenant feels of another one that does its worst: `npm run bench:fairness`, `-- list` names the attacks, `-- deep-pages`
// runs one. One process of the service with authentication and its defaults; a tenant with 200,000 jobs, whose two hostile tokens
// (one may look, one may report and create) attack from a process of their own; and the calls of another tenant, from a third
// one. The goal: the p99 of each call stays under 5 times its quiet one, and none is refused.
import { randomUUID } from 'node:crypto'
import { availableParallelism } from 'node:os'
import pg from 'pg'
import { startPostgres } from '../environment/postgres.js'
import { startWorker } from '../environment/processes.js'
import { BASE_PATH, startService } from '../environment/service.js'
import { mint, SECRET } from '../environment/tokens.js'
import { percentile } from '../load/statistics.js'
import { ATTACKS } from './attacks.js'

const JOBS = 200_000
const SECONDS = Number(process.env.FAIRNESS_SECONDS ?? 25)
/** An attack is under way for so long before anything is measured. */
const WARM_UP_SECONDS = 3
const MAX_RATIO = 5
/** A quiet p99 of a millisecond says more about the clock than about fairness: ratios count from here. */
const FLOOR_MS = 2

const [only] = process.argv.slice(2)
if (only === 'list') {
  for (const { name, description } of ATTACKS) console.log(`${name.padEnd(33)} ${description}`)
  process.exit(0)
}
const attacks = only === undefined ? ATTACKS : ATTACKS.filter(({ name }) => name === only)
if (attacks.length === 0) throw new Error(`There is no attack ${only}: \`-- list\` names them.`)

const call = async (origin, token, method, path, body) => {
  const response = await fetch(`${origin}${BASE_PATH}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${method} ${path} was answered ${response.status}: ${await response.text()}`)
  return response.json()
}

/** Makes the hostile tenant's jobs out of one that has been through the API. Answers the ids of some that run. */
const fill = async (databaseUrl, origin, token) => {
  const template = await call(origin, token, 'POST', '/jobs', { jobType: 'import', name: 'template', meta: { a: 1 } })
  const report = { processedCount: 5, totalCount: 10, message: 'half of it' }
  await call(origin, token, 'POST', `/jobs/${template.id}/heartbeat`, report)
  await call(origin, token, 'POST', `/jobs/${template.id}/complete`, {})
  const client = new pg.Client(databaseUrl)
  await client.connect()
  try {
    const { rows } = await client.query(
      `SELECT string_agg(quote_ident(column_name), ', ') AS names FROM information_schema.columns
       WHERE table_schema = 'public' AND table_name = 'progress_jobs' AND is_generated = 'NEVER'
         AND column_name NOT IN
           ('id', 'created_at', 'updated_at', 'finished_at', 'finished_xact', 'name', 'idempotency_key', 'idempotency_hash')`,
    )
    const { names } = rows[0]
    await client.query(
      `INSERT INTO progress_jobs (created_at, updated_at, finished_at, name, ${names})
       SELECT created_at - make_interval(mins => n), updated_at - make_interval(mins => n),
         finished_at - make_interval(mins => n), 'job ' || n, ${names}
       FROM progress_jobs, generate_series(1, ${JOBS}) AS n WHERE id = $1`,
      [template.id],
    )
    await client.query('VACUUM ANALYZE')
  } finally {
    await client.end()
  }
  const running = []
  for (let n = 0; n < 200; n += 1) {
    const { id } = await call(origin, token, 'POST', '/jobs', { jobType: 'import', name: `running ${n}` })
    running.push(id)
  }
  await call(origin, token, 'POST', '/heartbeats', {
    heartbeats: running.map(jobId => ({ jobId, processedCount: 1 })),
  })
  return running
}

const show = value => (value === null ? '-' : value.toFixed(1)).padStart(8)

const report = (name, quiet, attacked) => {
  const failures = []
  for (const [kind, { times, refused }] of Object.entries(attacked)) {
    const p99 = percentile(times, 0.99)
    const quietP99 = percentile(quiet[kind].times, 0.99)
    const ratio = p99 === null ? Infinity : p99 / Math.max(quietP99, FLOOR_MS)
    const held = ratio < MAX_RATIO && refused === 0
    if (!held) failures.push(kind)
    const columns = [percentile(quiet[kind].times, 0.5), quietP99, percentile(times, 0.5), p99].map(show)
    console.log(
      `${name.padEnd(33)} ${kind.padEnd(10)} ${columns.join(' ')} ${ratio.toFixed(1).padStart(7)} ${String(refused).padStart(8)}` +
        `${String(times.length + refused).padStart(7)}${held ? '' : '  FAILS'}`,
    )
  }
  return failures.length === 0
}

const postgres = await startPostgres()
const databaseUrl = await postgres.createDatabase()
const settings = { AUTH_JWT_SECRET: SECRET, RETENTION_DAYS: '0' }
const service = await startService(databaseUrl, { settings })
const origin = service.origin
const hostileTenant = randomUUID()
const running = await fill(databaseUrl, origin, await mint(hostileTenant, 'owner', ['progress.*']))
const victim = await startWorker(new URL('victim.js', import.meta.url), {
  origin,
  basePath: BASE_PATH,
  token: await mint(randomUUID(), 'victim', ['progress.*']),
})
const hostile = {
  origin,
  basePath: BASE_PATH,
  running,
  jobs: JOBS,
  view: await mint(hostileTenant, 'viewer', ['progress.view']),
  update: await mint(hostileTenant, 'worker', ['progress.update', 'progress.create']),
}

console.log(`PostgreSQL ${postgres.version}, ${availableParallelism()} cores, which the load shares; ${SECONDS} s each`)
console.log(
  `${'attack'.padEnd(33)} ${'call'.padEnd(10)}  quiet: p50     p99  attacked: p50  p99 (ms)  ratio  refused  calls`,
)
let holds = true
for (const { name } of attacks) {
  const quiet = await victim.call('measure', { seconds: SECONDS })
  const attacker = await startWorker(new URL('attacker.js', import.meta.url), hostile)
  await attacker.call('begin', { name })
  await new Promise(resolve => setTimeout(resolve, WARM_UP_SECONDS * 1000))
  const attacked = await victim.call('measure', { seconds: SECONDS })
  const answers = await attacker.call('end')
  await attacker.stop()
  holds = report(name, quiet, attacked) && holds
  console.log(`${''.padEnd(33)} the attacker was answered ${JSON.stringify(answers)}`)
}
await victim.stop()
await service.stop()
await postgres.stop()
process.exit(holds ? 0 : 1)

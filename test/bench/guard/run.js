// Counts what the service does, where the benchmark measures how long it takes: `npm run guard`. Counts are the same on a busy
// machine, so that a regression is seen before it is merged. limits.js says what is allowed.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { startPostgres } from '../environment/postgres.js'
import { LIMITS } from './limits.js'

/** Nothing is measured, so nothing has to be on disk; and nobody but the guard touches the tables. */
const SETTINGS = { fsync: 'off', full_page_writes: 'off', autovacuum: 'off', shared_buffers: '256MB' }

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

const build = () => {
  const { status } = spawnSync(process.execPath, ['scripts/build.js', '--if-stale'], { cwd: ROOT, stdio: 'inherit' })
  if (status !== 0) throw new Error('The build failed.')
}

const find = async () => {
  const { openWorld } = await import('./world.js')
  const { checkDatabase } = await import('./database.js')
  const { checkLive } = await import('./live.js')
  const postgres = await startPostgres({ settings: SETTINGS, embedded: true })
  try {
    const world = await openWorld(postgres)
    try {
      return [...(await checkDatabase(world)), ...(await checkLive(world))]
    } finally {
      await world.database.close()
    }
  } finally {
    await postgres.stop()
  }
}

const format = value => (Number.isInteger(value) ? String(value) : value.toFixed(2))

const sentenceOf = ({ name, value, detail }) =>
  `Worse than allowed: ${name}: ${format(value)}, and the limit is ${LIMITS[name]}. ` +
  `If that is worth it, raise the limit in test/bench/guard/limits.js and say why.${detail ? `\n${detail}` : ''}`

build()
const findings = await find()
const unknown = findings.filter(({ name }) => LIMITS[name] === undefined).map(({ name }) => name)
const missing = Object.keys(LIMITS).filter(name => !findings.some(finding => finding.name === name))
if (unknown.length + missing.length > 0)
  throw new Error(`Not in step with limits.js: ${[...unknown, ...missing].join(', ')}`)
for (const { name, value } of findings)
  console.log(`${format(value).padStart(8)} of ${format(LIMITS[name]).padStart(6)}  ${name}`)
const worse = findings.filter(({ name, value }) => value > LIMITS[name])
for (const finding of worse) console.error(`\n${sentenceOf(finding)}`)
console.log(
  worse.length === 0
    ? 'All counts are within their limits.'
    : `\n${worse.length} of ${findings.length} counts are worse.`,
)
process.exit(worse.length === 0 ? 0 : 1)

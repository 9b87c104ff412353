import { randomBytes } from 'node:crypto'
import pg from 'pg'
import t from 'tap'
import { withDatabase } from '../helpers/database.ts'
import { query, readJob, until } from './calls.ts'
import { startWorld, type World } from './world.ts'

const admin = process.env['TEST_DATABASE_URL']!
const name = `${process.env['TEST_TEMPLATE']!.replace('template', 'test')}_${randomBytes(6).toString('hex')}`
const databaseUrl = withDatabase(admin, name)
const settings = { DATABASE_URL: databaseUrl }

let world: World
t.before(async () => {
  await query(admin, `CREATE DATABASE "${name}"`)
  t.teardown(() => query(admin, `DROP DATABASE "${name}" WITH (FORCE)`))
  // Both make the tables of an empty database, at once.
  world = await startWorld(t, { databaseUrl: () => databaseUrl, settings: [settings, settings] })
})

t.test('a host whose clock is moved loses nothing, fails no job, and streams converge', async t => {
  const scene = await world.begin(t)
  const [first, second] = world.replicas as [World['replicas'][0], World['replicas'][0]]
  const longSince = world.outlastTimeout()
  for (let move = 0; move < 3; move += 1) {
    // One host of the two: their clocks differ by an hour, one way and the other.
    first.child.kill('SIGUSR2')
    await world.untilAnswered(scene)
  }
  await longSince
  const jobs = await Promise.all(scene.jobIds.map(jobId => readJob(second.url, jobId)))
  t.ok(
    jobs.every(job => Math.abs(Date.parse(job.updatedAt) - Date.now()) < 60_000),
    'all times are those of the database',
  )
  await world.assertWell(t, scene)
})

t.test('a replica killed under load loses nothing durable, fails no job, and its readers move on', async t => {
  const scene = await world.begin(t)
  const [first] = world.replicas as [World['replicas'][0]]
  await first.kill('SIGKILL')
  // The verdict that the crash delays must not end jobs whose workers report.
  const longSince = world.outlastTimeout()
  await world.untilAnswered(scene)
  const replacement = await world.spawn(settings).ready()
  await longSince
  world.replicas[0] = replacement
  await world.untilAnswered(scene)
  t.ok(world.streams[0]!.connects > 1, 'its stream was cut and came back')
  await world.assertWell(t, scene, { refusals: ['reset'], lostBuffers: true })
})

/** Who has the lock of the migration, and who waits for it. */
const readMigrators = async () => {
  const rows = await query<{ granted: boolean }>(
    databaseUrl,
    `SELECT granted FROM pg_locks
     WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
  )
  return [rows.filter(({ granted }) => granted).length, rows.filter(({ granted }) => !granted).length]
}

t.test(
  'replicas that start while another replica migrates wait for it, while the old replicas are under load',
  async t => {
    const scene = await world.begin(t)
    const old = [...world.replicas]
    // As a release with other functions: the first replica to start makes all of them anew.
    await query(databaseUrl, "COMMENT ON SCHEMA headway IS 'of the last release'")
    const holder = new pg.Client(databaseUrl)
    await holder.connect()
    t.teardown(() => holder.end())
    // Holds the migration up when it has begun.
    await holder.query('BEGIN; LOCK TABLE drizzle.__drizzle_migrations IN ACCESS EXCLUSIVE MODE')
    const starting = [world.spawn(settings), world.spawn(settings)]
    await until(async () => (await readMigrators()).join() === '1,1')
    await world.untilAnswered(scene)
    t.notOk(
      starting.some(({ stdout }) => stdout.includes('listens')),
      'neither of them serves yet',
    )
    await holder.query('COMMIT')
    const started = await Promise.all(starting.map(replica => replica.ready()))
    await world.untilAnswered(scene)
    // The old ones go, as in a rolling deploy.
    world.replicas.splice(0, 2, ...started)
    t.same(await Promise.all(old.map(replica => replica.kill('SIGTERM'))), [
      { code: 0, signal: null },
      { code: 0, signal: null },
    ])
    await world.untilAnswered(scene)
    t.same(await readMigrators(), [0, 0])
    await world.assertWell(t, scene, { refusals: ['reset', 'shutting_down'] })
  },
)

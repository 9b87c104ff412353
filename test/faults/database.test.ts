import pg from 'pg'
import t from 'tap'
import type { HeartbeatAnswer } from '../../src/contract/heartbeat.ts'
import { lives, makeDirectory, pauseServer, postgresOf } from '../helpers/process.ts'
import { beat, call, createJobs, increment, query, readCounts, readJob, until } from './calls.ts'
import { waitFor } from '../helpers/wait.ts'
import { startWorld, type World } from './world.ts'

const IS_LINUX = process.platform === 'linux'

/** The replicas share the Postgres that they bring along: it can be killed and paused. */
const dataDir = makeDirectory(t)
const postgres = postgresOf(dataDir)
let world: World
t.before(async () => {
  const settings = { HEADWAY_DATA_DIR: dataDir }
  world = await startWorld(t, { databaseUrl: postgres.url, settings: [settings, settings] })
})

t.test('Postgres killed under load loses nothing durable, fails no job, and streams converge', async t => {
  const scene = await world.begin(t)
  const killed = postgres.serverPid()
  process.kill(killed, 'SIGKILL')
  await until(() => postgres.serverPid() !== killed && !lives(killed))
  await world.untilAnswered(scene)
  await world.assertWell(t, scene, { refusals: ['outcome_unknown'], lostBuffers: true })
})

t.test(
  'while Postgres is suspended, heartbeats are answered 202 in time and written in order later, and no job is judged',
  { skip: !IS_LINUX },
  async t => {
    const scene = await world.begin(t)
    const [{ url }] = world.replicas as [World['replicas'][0]]
    // These report once.
    const jobIds = await createJobs(url, 50, 0)
    await Promise.all(jobIds.map(jobId => beat(url, jobId, { processedCount: 1 })))
    const { resume } = pauseServer(t, postgres.serverPid())
    const longSince = world.outlastTimeout()
    const paused = await beat(url, jobIds[0]!, { processedCount: 2, message: 'first' })
    t.equal(paused.status, 202)
    t.ok(paused.tookMs < 4_000, `answered after ${Math.round(paused.tookMs)} ms`)
    // Fills the queue, so that later reports are refused.
    const bulks = jobIds.map(jobId =>
      call<{ results: HeartbeatAnswer[] }>(url, 'POST', '/heartbeats', {
        heartbeats: Array.from({ length: 998 }, (_, index) => ({ jobId, workerId: `bulk-${index}`, increment: 1 })),
      }),
    )
    const more = Array.from({ length: 20 }, (_, index) =>
      beat(url, jobIds[0]!, { processedCount: index + 3, message: `report ${index}` }),
    )
    const statuses = (await Promise.all([...bulks, ...more])).map(({ status }) => status)
    t.same([...new Set(statuses)], [202])
    const full = await call(url, 'POST', '/heartbeats', {
      heartbeats: Array.from({ length: 200 }, (_, index) => ({
        jobId: jobIds[0],
        workerId: `one too many ${index}`,
        increment: 1,
      })),
    })
    t.match([full.status, full.body.code, full.headers.get('retry-after')], [503, 'overloaded', '1'])
    await longSince
    resume()
    // 50,000 reports are written before the answers of the load: a busy machine takes long for that.
    const counts = (await waitFor(
      async () => {
        const stored = await readCounts(postgres.url(), jobIds)
        return stored.size >= 50 * 999 ? stored : null
      },
      { timeoutMs: 60_000 },
    ))!
    await world.untilAnswered(scene)
    const expected = (row: string) => (row === `${jobIds[0]}/default` ? 22 : 1)
    t.same(
      [...counts].filter(([row, count]) => count !== expected(row)),
      [],
    )
    t.equal((await readJob(url, jobIds[0]!)).message, 'report 19')
    await world.assertWell(t, scene, { refusals: ['overloaded'] })
  },
)

t.test('heartbeats wait while the disk is full, and count once when there is room again', async t => {
  const scene = await world.begin(t)
  await query(
    postgres.url(),
    `CREATE TABLE full_disk ();
     CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF EXISTS (SELECT FROM public.full_disk) THEN RAISE 'no space left' USING ERRCODE = '53100'; END IF;
         RETURN NEW;
       END $$;
     CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON job_progress FOR EACH ROW EXECUTE FUNCTION refuse();
     INSERT INTO full_disk DEFAULT VALUES`,
  )
  const longSince = world.outlastTimeout()
  const durable = await readCounts(postgres.url(), scene.jobIds)
  const jobId = scene.jobIds[0]!
  const replies = await Promise.all(
    world.replicas.flatMap(({ url }) =>
      [1, 2, 3].map(by => increment(url, jobId, { workerId: 'adds', increment: by })),
    ),
  )
  t.same(
    replies.map(({ status }) => status),
    Array.from({ length: 6 }, () => 202),
  )
  await longSince
  t.same(await readCounts(postgres.url(), scene.jobIds), durable, 'nothing could be written')
  t.ok(scene.load.bufferedAnswers > 0)
  await query(postgres.url(), 'DELETE FROM full_disk')
  await world.untilAnswered(scene)
  await query(postgres.url(), 'DROP TABLE full_disk; DROP FUNCTION refuse CASCADE')
  await until(async () => (await readCounts(postgres.url(), [jobId])).get(`${jobId}/adds`) === 12)
  await world.assertWell(t, scene)
})

t.test('an open transaction of another session delays only heartbeats for the rows that it has locked', async t => {
  const scene = await world.begin(t)
  const held = scene.jobIds[7]!
  // Reports of its workers cannot be written, so the job is silent for longer than its timeout.
  await query(postgres.url(), 'UPDATE public.progress_jobs SET heartbeat_timeout_seconds = 60 WHERE id = $1', [held])
  const holder = new pg.Client(postgres.url())
  await holder.connect()
  t.teardown(() => holder.end())
  for (const [table, key] of [
    ['progress_jobs', 'id'],
    ['job_progress', 'job_id'],
  ]) {
    await holder.query('BEGIN')
    await holder.query(`SELECT FROM ${table} WHERE ${key} = $1 FOR UPDATE`, [held])
    for (const count of [2, 3]) {
      const replies = await Promise.all(
        scene.jobIds.map((jobId, index) => beat(world.replicas[index % 2]!.url, jobId, { processedCount: count })),
      )
      const waiting = replies.flatMap(({ status }, index) => (status === 200 ? [] : [scene.jobIds[index]]))
      t.same(waiting, [held], `${table} is locked`)
    }
    await holder.query('COMMIT')
    await until(async () => (await readCounts(postgres.url(), [held])).get(`${held}/default`) === 3)
  }
  await world.assertWell(t, scene)
})

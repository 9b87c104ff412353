import t, { type Test } from 'tap'
import { createTestDatabase, type TestDatabase } from '../helpers/database.ts'
import { scrape } from '../helpers/prometheus.ts'
import { startProxy, type Proxy } from '../helpers/proxy.ts'
import { beat, createJobs, increment, readJob, until } from './calls.ts'
import { startWorld, type Scene, type World } from './world.ts'

let database: TestDatabase
let world: World
/** Before the pools of both replicas, and before the listener of the first one. */
let pools: Proxy
let ear: Proxy
t.before(async () => {
  database = await createTestDatabase(t)
  const toPools = await startProxy(t, database.url)
  const toEar = await startProxy(t, database.url)
  pools = toPools.proxy
  ear = toEar.proxy
  world = await startWorld(t, {
    databaseUrl: () => database.url,
    settings: [
      { DATABASE_URL: toPools.url, DATABASE_LISTEN_URL: toEar.url },
      { DATABASE_URL: toPools.url, DATABASE_LISTEN_URL: database.url },
    ],
  })
})

/** A network that is itself again when the fault ends, however it ends. */
const begin = (t: Test): Promise<Scene> => {
  t.teardown(() => {
    ear.heal()
    pools.heal()
    pools.delayMs = 0
    pools.judge = () => 'pass'
  })
  return world.begin(t)
}

const isFlush = (chunk: Buffer) => chunk.includes('headway_flush')

/** Milliseconds from the answer of a report to its event at the first replica. Reported to the second one. */
const timeToEvent = async ({ jobIds: [jobId = ''] }: Scene): Promise<number> => {
  const { body } = await beat(world.replicas[1]!.url, jobId, { workerId: 'told', message: `at ${performance.now()}` })
  const begun = performance.now()
  await until(() => (world.streams[0]!.jobs.get(jobId)?.revision ?? 0) >= (body.revision ?? Infinity))
  return performance.now() - begun
}

t.test('a listener whose connection is cut connects again, and receives notifications again', async t => {
  const scene = await begin(t)
  const reconnects = async () =>
    (await scrape(world.replicas[0]!.url)).value('headway_listener_reconnects_total') ?? Infinity
  const before = await reconnects()
  ear.cutAll()
  await until(async () => (await reconnects()) > before)
  const times = [await timeToEvent(scene), await timeToEvent(scene), await timeToEvent(scene)]
  t.ok(Math.min(...times) < 1_000, 'hints arrive: reconcile alone takes up to 5 seconds')
  await world.assertWell(t, scene)
})

t.test(
  'a listener whose network drops everything is noticed, and the reconciler finds the changes until the listener works again',
  async t => {
    const scene = await begin(t)
    const connects = world.streams.map(stream => stream.connects)
    ear.blackHole()
    // It hears of the hole by its own unanswered ping.
    await until(async () => (await world.replicas[0]!.readiness())?.degraded?.includes('listener'))
    t.equal((await world.replicas[0]!.readiness())?.status, 'ready', 'degraded, not down')
    t.same((await world.replicas[1]!.readiness())?.degraded, [], 'the other replica hears')
    t.ok((await timeToEvent(scene)) < 4_000, 'reconcile sees the change')
    ear.heal()
    await world.untilReady()
    const times = [await timeToEvent(scene), await timeToEvent(scene), await timeToEvent(scene)]
    t.ok(Math.min(...times) < 1_000, 'hints arrive again')
    t.same(
      world.streams.map(stream => stream.connects),
      connects,
      'no stream was cut',
    )
    await world.assertWell(t, scene)
  },
)

t.test('with a slow database batches are larger, and every heartbeat is accepted', async t => {
  const scene = await begin(t)
  let flushes = 0
  pools.judge = chunk => {
    if (isFlush(chunk)) flushes += 1
    return 'pass'
  }
  pools.delayMs = 200
  const replies = await Promise.all(
    Array.from({ length: 50 }, async (_, worker) => {
      const statuses = []
      for (let turn = 1; turn <= 4; turn += 1) {
        const jobId = scene.jobIds[(worker + turn) % scene.jobIds.length]!
        const { url } = world.replicas[(worker + turn) % 2]!
        statuses.push((await increment(url, jobId, { workerId: `w-${worker}`, increment: 1 })).status)
      }
      return statuses
    }),
  )
  const statuses = replies.flat()
  t.same(
    statuses.filter(status => status !== 200 && status !== 202),
    [],
  )
  // On a busy machine reports that waited for 2 s are answered 202 as well.
  t.ok(statuses.filter(status => status === 200).length > 100, 'most are on disk before they are answered')
  t.ok(flushes <= 60, `200 heartbeats and a load took ${flushes} flushes`)
  pools.delayMs = 0
  await world.assertWell(t, scene)
  const { rows } = await database.pool.query<{ sum: string }>(
    "SELECT sum(processed_count) FROM public.job_progress WHERE job_id = ANY($1) AND worker_id LIKE 'w-%'",
    [scene.jobIds],
  )
  t.same(rows, [{ sum: '200' }])
})

t.test('an increment whose commit was not confirmed is never repeated, and an absolute count is repeated', async t => {
  const scene = await begin(t)
  for (const verdict of ['cut_after_answer', 'cut'] as const) {
    const [{ url }] = world.replicas as [World['replicas'][0]]
    const [jobId = ''] = await createJobs(url, 1, 0)
    const cutNextFlush = () => {
      pools.judge = chunk => {
        if (!isFlush(chunk) || !chunk.includes(jobId)) return 'pass'
        pools.judge = () => 'pass'
        return verdict
      }
    }
    t.equal((await increment(url, jobId, { workerId: 'adds', increment: 5 })).status, 200)
    cutNextFlush()
    const lost = await increment(url, jobId, { workerId: 'adds', increment: 7 })
    t.match([lost.status, lost.body.code, lost.headers.get('retry-after')], [503, 'outcome_unknown', '1'])
    cutNextFlush()
    const absolute = await beat(url, jobId, { workerId: 'counts', processedCount: 30 })
    t.equal(absolute.status, 200, 'written again')
    await increment(url, jobId, { workerId: 'adds', increment: 1 })
    const { workers } = await readJob(url, jobId)
    t.strictSame(
      Object.fromEntries(workers.map(({ workerId, processedCount }) => [workerId, processedCount])),
      { adds: verdict === 'cut' ? 6 : 13, counts: 30 },
      verdict === 'cut' ? 'the statement did not arrive' : 'its answer did not arrive',
    )
  }
  await world.assertWell(t, scene, { refusals: ['outcome_unknown'], lostBuffers: true })
})

// Failovers to a synchronous standby behind HAProxy: `npm run test:failover`. It needs servers of Debian, so it is not part of
// `npm test`.
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { blocksOf } from '../helpers/manual.ts'
import { missingForCluster, startCluster, type Cluster } from './cluster.ts'
import { call, query, until } from './calls.ts'
import { startWorld, type World } from './world.ts'

/** Longer than a busy machine needs. The time that it took is printed. */
const RESUME_WITHIN_MS = 20_000
/** A caller is answered in this time, whatever the database does: the 12 s of a statement, and what a busy machine adds. */
const ANSWER_WITHIN_MS = 17_000

/** Between two reads. */
const PAUSE_MS = 10

const skip = missingForCluster()
let cluster: Cluster
let world: World
t.before(async () => {
  if (skip !== false) return
  const configuration = blocksOf('docs/operate/failover.md').find(({ code }) => code.includes('tcp-check'))!.code
  cluster = await startCluster(t, configuration)
  const settings = { DATABASE_URL: cluster.url }
  world = await startWorld(t, { databaseUrl: () => cluster.primaryUrl, settings: [settings, settings] })
})

const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`

/** Reads a job again and again, until `end` is called. */
class Reader {
  slowestMs = 0
  readonly statuses = new Map<number, number>()
  readonly #ended = new AbortController()
  readonly #running: Promise<void>

  constructor(url: string, jobId: string) {
    this.#running = this.#run(url, jobId)
  }

  async end(): Promise<void> {
    this.#ended.abort()
    await this.#running
  }

  async #run(url: string, jobId: string): Promise<void> {
    while (!this.#ended.signal.aborted) {
      const { status, tookMs } = await call(url, 'GET', `/jobs/${jobId}`)
      this.slowestMs = Math.max(this.slowestMs, tookMs)
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
      await delay(PAUSE_MS)
    }
  }
}

/** The primary fails, the standby is promoted, and what was the primary becomes the standby of the new one. */
const failOver = async (t: Test, { fail, fence }: { fail: () => unknown; fence: () => Promise<unknown> }) => {
  const scene = await world.begin(t)
  const before = scene.load.answers
  const keptBefore = scene.load.bufferedAnswers
  const reader = new Reader(world.replicas[0]!.url, scene.jobIds[0]!)
  const failed = performance.now()
  await fail()
  await until(() => scene.load.bufferedAnswers > keptBefore)
  const kept = performance.now()
  // Longer than a silent job may be: nobody could write what its worker reported.
  await world.outlastTimeout()
  await fence()
  const answersWhileAway = scene.load.answers
  await cluster.promoteStandby()
  const promoted = performance.now()
  await until(() => scene.load.answers > answersWhileAway)
  const resumed = performance.now()
  await world.untilReady()
  const ready = performance.now()
  await world.untilAnswered(scene)
  await reader.end()
  t.ok(resumed - promoted < RESUME_WITHIN_MS, 'writes resume')
  t.ok(reader.slowestMs < ANSWER_WITHIN_MS, 'each caller is answered')
  console.error(
    `acknowledged before: ${before}; first report kept (202): after ${seconds(kept - failed)}; kept while no primary was there: ` +
      `${scene.load.bufferedAnswers}; slowest read: ${seconds(reader.slowestMs)}, reads by status: ` +
      `${JSON.stringify([...reader.statuses])}; without a primary: ${seconds(promoted - failed)}; from the promotion to the first ` +
      `write: ${seconds(resumed - promoted)}; until all replicas were ready: ${seconds(ready - promoted)}`,
  )
  t.same(
    [...scene.load.refusals.keys()].filter(code => code !== 'outcome_unknown'),
    [],
    'no report was refused',
  )
  const [server] = await query<{ address: string }>(cluster.url, 'SELECT inet_server_port()::text AS address')
  t.equal(server?.address, new URL(cluster.primaryUrl).port, 'HAProxy leads to the new primary')
  const rewinding = performance.now()
  await cluster.rewindOldPrimary()
  console.error(
    `the old primary was rewound, and each commit waits for it, after ${seconds(performance.now() - rewinding)}`,
  )
  await world.untilAnswered(scene)
  await world.assertWell(t, scene, { refusals: ['outcome_unknown'], lostBuffers: true })
}

t.test(
  'a standby that is promoted under load has all that was acknowledged, no live job is failed, and streams converge',
  { skip },
  t => failOver(t, { fail: () => cluster.crashPrimary(), fence: () => Promise.resolve() }),
)

t.test(
  'so it is when the primary hangs with its connections open, and when the standby is one that pg_rewind has made',
  { skip },
  t => failOver(t, { fail: () => cluster.hangPrimary(t), fence: () => cluster.fencePrimary() }),
)

// A failover to a synchronous standby behind HAProxy: `npm run test:failover`. It needs servers of Debian, so it is not part of
// `npm test`.
import t from 'tap'
import { blocksOf } from '../helpers/manual.ts'
import { missingForCluster, startCluster } from './cluster.ts'
import { query, until } from './calls.ts'
import { startWorld } from './world.ts'

/** Longer than a busy machine needs. What it took is printed. */
const RESUME_WITHIN_MS = 20_000

t.test(
  'a standby that is promoted under load has all that was acknowledged, no live job is failed, and streams converge',
  { skip: missingForCluster() },
  async t => {
    const configuration = blocksOf('docs/operate/failover.md').find(({ code }) => code.includes('tcp-check'))!.code
    const cluster = await startCluster(t, configuration)
    const settings = { DATABASE_URL: cluster.url }
    const world = await startWorld(t, { databaseUrl: () => cluster.primaryUrl, settings: [settings, settings] })
    const scene = await world.begin(t)
    const before = scene.load.answers

    await cluster.crashPrimary()
    const crashed = performance.now()
    // Longer than a silent job may be: nobody could write what its worker reported.
    await world.outlastTimeout()
    const answersWhileAway = scene.load.answers
    await cluster.promoteStandby()
    const promoted = performance.now()
    await until(() => scene.load.answers > answersWhileAway)
    const resumed = performance.now()
    await world.untilReady()
    const ready = performance.now()
    await world.untilAnswered(scene)
    t.ok(resumed - promoted < RESUME_WITHIN_MS, 'writes resume')
    const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`
    console.error(
      `acknowledged before: ${before}; kept (202) while no primary was there: ${scene.load.bufferedAnswers}; ` +
        `without a primary: ${seconds(promoted - crashed)}; from the promotion to the first write: ` +
        `${seconds(resumed - promoted)}; until all replicas were ready: ${seconds(ready - promoted)}`,
    )
    t.same(
      [...scene.load.refusals.keys()].filter(code => code !== 'outcome_unknown'),
      [],
      'no report was refused',
    )
    const [server] = await query<{ address: string }>(cluster.url, 'SELECT inet_server_port()::text AS address')
    t.equal(server?.address, new URL(cluster.primaryUrl).port, 'HAProxy leads to the new primary')
    await world.assertWell(t, scene, { refusals: ['outcome_unknown'], lostBuffers: true })
  },
)

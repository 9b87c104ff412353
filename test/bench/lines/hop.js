// What the proxy in front of cells costs a heartbeat: the same service, asked directly and through HAProxy as deploy/cells has it.
import { startHaproxy } from '../environment/programs.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { alternate, cpuOf, cpuText, medianOf, perSecond, showCpu } from '../rounds.js'

const JOBS = 2_000
/** One, where nothing waits for anything else, and many. */
const CONNECTIONS = [1, 64]
const [DIRECT, THROUGH] = ['directly', 'through HAProxy']

const contestant = (context, load, connections, name, start) => ({
  name,
  start: async () => {
    const databaseUrl = await context.postgres.createDatabase()
    const service = await startService(databaseUrl)
    const proxy = await start(service.origin)
    const ids = await createRunningJobs(databaseUrl, service.origin, JOBS)
    return {
      measure: () =>
        load.call('heartbeats', {
          origins: [proxy?.origin ?? service.origin],
          connections,
          keys: ids.map(jobId => ({ jobId })),
          basePath: BASE_PATH,
          seconds: context.seconds,
          warmupSeconds: context.warmupSeconds,
        }),
      processes: async () => ({
        service: [service.pid],
        database: await context.postgres.backends(databaseUrl),
        ...(proxy && { proxy: [proxy.pid] }),
      }),
      stop: async () => {
        await proxy?.stop()
        await service.stop()
      },
    }
  },
})

const ms = value => `${value.toFixed(2)} ms`

const measureWith = async (context, load, connections) => {
  const what = `p50 of a heartbeat through the proxy of deploy/cells, ${connections} ${connections === 1 ? 'connection' : 'connections'}`
  context.log(`  ${what}`)
  const results = await alternate(
    [
      contestant(context, load, connections, DIRECT, async () => null),
      contestant(context, load, connections, THROUGH, startHaproxy),
    ],
    {
      ...context,
      show: result =>
        `${perSecond(result.perSecond)}, p50 ${ms(result.p50Ms)}, p99 ${ms(result.p99Ms)}, ${showCpu(result)}`,
    },
  )
  const { missing } = results.get(THROUGH)
  const row = { what, against: DIRECT, target: '', met: null }
  if (missing !== undefined) return { ...row, reached: '', figures: missing }
  const [direct, through] = [DIRECT, THROUGH].map(name => {
    const found = results.get(name)
    return {
      p50: medianOf(found, 'p50Ms'),
      p99: medianOf(found, 'p99Ms'),
      rate: medianOf(found, 'perSecond'),
      cpu: cpuOf(found),
    }
  })
  return {
    ...row,
    reached: `${through.p50 < direct.p50 ? '' : '+'}${ms(through.p50 - direct.p50)}`,
    figures: `p50 ${ms(through.p50)} to ${ms(direct.p50)}, p99 ${ms(through.p99)} to ${ms(direct.p99)}; ${perSecond(through.rate)} to ${perSecond(direct.rate)}; ${cpuText(through.cpu)} to ${cpuText(direct.cpu)} µs of CPU each`,
  }
}

export const hop = {
  name: 'hop',
  title: 'what the proxy in front of cells adds to a heartbeat',
  async run(context) {
    const load = await startLoad()
    try {
      const rows = []
      for (const connections of CONNECTIONS) rows.push(await measureWith(context, load, connections))
      return rows
    } finally {
      await load.stop()
    }
  },
}

// How soon a report is seen: from its POST to its event, at a service that has nothing else to do.
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { percentile } from '../load/statistics.js'

const JOBS = 20
const LIMIT_MS = 50

export const latency = {
  name: 'latency',
  title: "p99 from heartbeat POST to event at an idle service's subscriber",
  async run({ postgres, rounds, seconds, warmupSeconds, log }) {
    const load = await startLoad()
    const databaseUrl = await postgres.createDatabase()
    const service = await startService(databaseUrl)
    try {
      const jobIds = await createRunningJobs(databaseUrl, service.origin, JOBS)
      const options = { origin: service.origin, basePath: BASE_PATH, jobIds }
      await load.call('latency', { ...options, seconds: warmupSeconds + 2 })
      const values = []
      for (let round = 1; round <= rounds; round += 1) {
        const result = await load.call('latency', { ...options, seconds })
        log(`  round ${round}: p50 ${result.p50Ms.toFixed(1)} ms, p99 ${result.p99Ms.toFixed(1)} ms`)
        values.push(...result.valuesMs)
      }
      const p99 = percentile(values, 0.99)
      const figures = `p50 ${percentile(values, 0.5).toFixed(1)} ms, ${values.length} reports`
      return [
        {
          what: latency.title,
          against: '—',
          target: `< ${LIMIT_MS} ms`,
          reached: `${p99.toFixed(1)} ms`,
          met: p99 < LIMIT_MS,
          figures,
        },
      ]
    } finally {
      await service.stop()
      await load.stop()
    }
  },
}

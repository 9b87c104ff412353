// What an open stream costs while nothing happens.
import { setTimeout as delay } from 'node:timers/promises'
import { residentBytes } from '../environment/processes.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { median } from '../load/statistics.js'

const SUBSCRIBERS = 10_000
const LIMIT_KB = 20
/** Long enough for garbage of the opening to be collected, and for a keep-alive to be written to all. */
const SETTLE_MS = 20_000

const measureOnce = async ({ databaseUrl, load, settleMs }) => {
  const service = await startService(databaseUrl)
  try {
    // Code that has run, and buffers that have been made, belong to the process and not to a stream.
    await load.call('openStreams', { origin: service.origin, path: `${BASE_PATH}/stream`, count: 500 })
    await delay(1_000)
    await load.call('closeStreams')
    await delay(2_000)
    const before = residentBytes(service.pid)
    await load.call('openStreams', { origin: service.origin, path: `${BASE_PATH}/stream`, count: SUBSCRIBERS })
    await delay(settleMs)
    const after = residentBytes(service.pid)
    await load.call('closeStreams')
    return (after - before) / SUBSCRIBERS / 1000
  } finally {
    await service.stop()
  }
}

export const idleMemory = {
  name: 'idle-memory',
  title: 'memory per idle subscriber, 10,000 open',
  async run({ postgres, rounds, seconds, log }) {
    const load = await startLoad()
    try {
      const databaseUrl = await postgres.createDatabase()
      const first = await startService(databaseUrl)
      await createRunningJobs(databaseUrl, first.origin, 20)
      await first.stop()
      const values = []
      for (let round = 1; round <= rounds; round += 1) {
        const value = await measureOnce({ databaseUrl, load, settleMs: Math.min(SETTLE_MS, seconds * 2_000) })
        log(`  round ${round}: ${value.toFixed(1)} KB`)
        values.push(value)
      }
      const kilobytes = median(values)
      return [
        {
          what: idleMemory.title,
          against: '—',
          target: `< ${LIMIT_KB} KB`,
          reached: `${kilobytes.toFixed(1)} KB`,
          met: kilobytes < LIMIT_KB,
          figures: 'growth of resident memory of the process',
        },
      ]
    } finally {
      await load.stop()
    }
  },
}

// Readers that never read: what they make the process keep.
import { setTimeout as delay } from 'node:timers/promises'
import { residentBytes } from '../environment/processes.js'
import { BASE_PATH, createRunningJobs, startService } from '../environment/service.js'
import { startLoad } from '../load/load.js'
import { median } from '../load/statistics.js'
import { CHANGE_MS } from './fan-out.js'

const JOBS = 1_000
const READERS = 50
const FULL_CHANGE_SECONDS = 10
/** Readers that accept nothing are cut after 20 s: what follows the ten seconds must end before that. */
const AFTER_SECONDS = 8
const LIMIT_MB = 60
/** Between two looks at a heap that is collected now and then. */
const FLAT_MB = 10

const sample = async (pid, seconds) => {
  const values = []
  for (let n = 0; n < seconds * 10; n += 1) {
    values.push(residentBytes(pid) / 1e6)
    await delay(100)
  }
  return values
}

const measureOnce = async ({ databaseUrl, ids, readers, writer, seconds }) => {
  const service = await startService(databaseUrl)
  const { origin, pid } = service
  try {
    const stream = { origin, path: `${BASE_PATH}/stream` }
    await readers.call('openStreams', { ...stream, count: 1 })
    const keys = ids.map(jobId => ({ jobId }))
    await writer.call('startChanges', { origin, basePath: BASE_PATH, keys, intervalMs: CHANGE_MS })
    // The same change with a reader that reads: what that takes is not the fault of those that do not.
    await delay(seconds * 1500)
    const before = Math.max(...(await sample(pid, 3)))
    await readers.call('openMuteReaders', { ...stream, count: READERS })
    const during = await sample(pid, FULL_CHANGE_SECONDS)
    const after = await sample(pid, AFTER_SECONDS)
    await writer.call('stopChanges')
    await readers.call('closeMuteReaders')
    await readers.call('closeStreams')
    return {
      growthMb: Math.max(...during) - before,
      afterMb: median(after.slice(-30)) - median(during.slice(-30)),
    }
  } finally {
    await service.stop()
  }
}

export const slowReaders = {
  name: 'slow-readers',
  title: '50 readers that never read, 10 s of full change',
  async run({ postgres, rounds, seconds, log }) {
    const readers = await startLoad()
    const writer = await startLoad()
    try {
      const databaseUrl = await postgres.createDatabase()
      const first = await startService(databaseUrl)
      const ids = await createRunningJobs(databaseUrl, first.origin, JOBS)
      await first.stop()
      const values = []
      for (let round = 1; round <= rounds; round += 1) {
        const value = await measureOnce({ databaseUrl, ids, readers, writer, seconds })
        log(`  round ${round}: ${value.growthMb.toFixed(0)} MB, then ${value.afterMb.toFixed(0)} MB`)
        values.push(value)
      }
      const growth = median(values.map(value => value.growthMb))
      const after = median(values.map(value => value.afterMb))
      return [
        {
          what: slowReaders.title,
          against: 'growth of the process, and flat after',
          target: `< ${LIMIT_MB} MB`,
          reached: `${growth.toFixed(0)} MB`,
          met: growth < LIMIT_MB && after < FLAT_MB,
          figures: `${after >= 0 ? '+' : '−'}${Math.abs(after).toFixed(0)} MB in the ${AFTER_SECONDS} s after`,
        },
      ]
    } finally {
      await readers.stop()
      await writer.stop()
    }
  },
}

// Brings a database that was filled by SQL into the state of a service that lived through the time of its jobs.
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

/** Rolls up all that is over, by the service's own function and without its rests. Answers the seconds and the pieces of work. */
export const rollUpAll = async database => {
  const { createRollUp } = await import('../../../dist/jobs/statistics/roll-up.js')
  const run = createRollUp({ database, rest: () => Promise.resolve() })
  const begunMs = performance.now()
  let pieces = 0
  for (let done; (done = await run()) !== 0;) {
    pieces += done ?? 0
    // It waits for transactions that were open when it looked first.
    if (done === null) await delay(100)
  }
  await database.query(null, 'VACUUM ANALYZE public.statistics_rollups', [])
  return { seconds: (performance.now() - begunMs) / 1000, pieces }
}

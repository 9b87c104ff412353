import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'

/** How many operations a second `counter.done` counts, after the time to warm up. */
export const rateOf = async (counter, { warmupSeconds, seconds }) => {
  await delay(warmupSeconds * 1000)
  const before = counter.done
  const begun = performance.now()
  await delay(seconds * 1000)
  return (counter.done - before) / ((performance.now() - begun) / 1000)
}

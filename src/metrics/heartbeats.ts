import { Counter, Histogram, type Registry } from 'prom-client'
import { HeadwayError } from '../contract/errors.ts'
import type { Jobs } from '../jobs/use-cases.ts'
import type { HeartbeatAnswer } from '../contract/heartbeat.ts'
import type { HeartbeatWrite } from '../jobs/heartbeats/write.ts'

/** The same use cases; counts heartbeats by their answers. */
export const createHeartbeatCounts = (registry: Registry): ((jobs: Jobs) => Jobs) => {
  // Plain numbers until a scrape, because nearly every heartbeat counts in one of the two.
  let written = 0
  let buffered = 0
  const answered = new Counter({
    name: 'headway_heartbeats_total',
    help: 'Heartbeats by what was answered: written (200), buffered (202), or refused with a code',
    labelNames: ['outcome', 'code'],
    registers: [registry],
    // Exported from the start, also with 0: rate() does not see a step from a missing series to 1.
    collect() {
      this.inc({ outcome: 'written' }, written)
      this.inc({ outcome: 'buffered' }, buffered)
      written = buffered = 0
    },
  })

  const countAnswer = ({ durable }: HeartbeatAnswer): void => {
    if (durable) written += 1
    else buffered += 1
  }
  const countRefusal = (error: unknown, times = 1): void => {
    answered.inc({ outcome: 'refused', code: error instanceof HeadwayError ? error.code : 'internal_error' }, times)
  }
  const countRefusalOnce = (error: unknown): void => countRefusal(error)

  return jobs => ({
    ...jobs,
    // The promise is passed on unchanged: another promise would cost as much as the counting.
    heartbeat(identity, heartbeat) {
      const answer = jobs.heartbeat(identity, heartbeat)
      answer.then(countAnswer, countRefusalOnce)
      return answer
    },
    heartbeats(identity, heartbeats) {
      const results = jobs.heartbeats(identity, heartbeats)
      results.then(
        all => {
          for (const result of all) {
            if (result instanceof HeadwayError) countRefusal(result)
            else countAnswer(result)
          }
        },
        // All of them were refused.
        (error: unknown) => countRefusal(error, heartbeats.length),
      )
      return results
    },
  })
}

/** The same write; measures how many entries each flush had, and how long it took. */
export const createFlushTimes = (registry: Registry): ((write: HeartbeatWrite) => HeartbeatWrite) => {
  const registers = [registry]
  const seconds = new Histogram({
    name: 'headway_flush_duration_seconds',
    help: 'How long the writes of heartbeats to the database took, failed ones included',
    buckets: [0.002, 0.01, 0.05, 0.25, 1, 5],
    registers,
  })
  const sizes = new Histogram({
    name: 'headway_flush_entries',
    help: 'Entries in one write. What one worker reported while it waited is one entry',
    buckets: [1, 4, 16, 64, 256, 500],
    registers,
  })
  const failures = new Counter({
    name: 'headway_flush_failures_total',
    help: 'Writes of heartbeats that the database did not carry out; what they held waits, and is written again',
    registers,
  })
  return write => async (entries, skipLocked) => {
    const begun = performance.now()
    const result = await write(entries, skipLocked)
    seconds.observe((performance.now() - begun) / 1000)
    sizes.observe(entries.length)
    if (result.failure) failures.inc()
    return result
  }
}

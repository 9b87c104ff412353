import { Counter, Histogram, type Registry } from 'prom-client'
import { HeadwayError } from '../errors.ts'
import type { Jobs } from '../jobs/commands.ts'
import type { HeartbeatAnswer } from '../jobs/heartbeat.ts'
import type { HeartbeatWrite } from '../jobs/write-heartbeats.ts'

/** The same use cases; heartbeats are counted by what their callers were answered. */
export const createHeartbeatCounts = (registry: Registry): ((jobs: Jobs) => Jobs) => {
  const answered = new Counter({
    name: 'headway_heartbeats_total',
    help: 'Heartbeats by what was answered: written (200), buffered (202), or refused with a code',
    labelNames: ['outcome', 'code'],
    registers: [registry],
  })
  // From the start: a rate knows nothing of the step from "no such series" to 1.
  for (const outcome of ['written', 'buffered']) answered.inc({ outcome }, 0)

  const count = (result: unknown): void => {
    if (result instanceof HeadwayError) answered.inc({ outcome: 'refused', code: result.code })
    else if (result instanceof Error) answered.inc({ outcome: 'refused', code: 'internal_error' })
    else answered.inc({ outcome: (result as HeartbeatAnswer).durable ? 'written' : 'buffered' })
  }

  return jobs => ({
    ...jobs,
    async heartbeat(identity, heartbeat) {
      try {
        const answer = await jobs.heartbeat(identity, heartbeat)
        count(answer)
        return answer
      } catch (error) {
        count(error)
        throw error
      }
    },
    async heartbeats(identity, heartbeats) {
      try {
        const results = await jobs.heartbeats(identity, heartbeats)
        for (const result of results) count(result)
        return results
      } catch (error) {
        // Refused whole.
        for (let refused = 0; refused < heartbeats.length; refused += 1) count(error)
        throw error
      }
    },
  })
}

/** The same write; how much each flush carried, and how long it took. */
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
    buckets: [1, 4, 16, 64, 256, 1000],
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

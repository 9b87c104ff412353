import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { Sweeper } from '../jobs/sweeper.ts'

type Sweep = Sweeper['sweep']

/** The same sweep; measures how long each took, what it did, and why it judged no job. */
export const createSweepTimes = (registry: Registry): ((sweep: Sweep) => Sweep) => {
  const registers = [registry]
  const seconds = new Histogram({
    name: 'headway_sweep_duration_seconds',
    help: 'How long the sweeps for silent jobs took',
    buckets: [0.01, 0.05, 0.25, 1, 5],
    registers,
  })
  const skipped = new Counter({
    name: 'headway_sweeps_skipped_total',
    help: 'Sweeps that judged nobody, because the service itself was in trouble: with its database, or with its intake',
    labelNames: ['reason'],
    registers,
  })
  for (const reason of ['database', 'intake']) skipped.inc({ reason }, 0)
  const failures = new Counter({ name: 'headway_sweep_failures_total', help: 'Sweeps that broke off', registers })
  const stalled = new Counter({
    name: 'headway_jobs_stalled_total',
    help: 'Jobs that this process marked as stalled',
    registers,
  })
  const ended = new Counter({
    name: 'headway_jobs_ended_total',
    help: 'Jobs that this process ended for their silence, or because nobody started them in time',
    registers,
  })
  return sweep => async () => {
    const begun = performance.now()
    try {
      const result = await sweep()
      stalled.inc(result.stalled)
      ended.inc(result.ended)
      if (result.skipped) skipped.inc({ reason: result.skipped })
      return result
    } catch (error) {
      failures.inc()
      throw error
    } finally {
      seconds.observe((performance.now() - begun) / 1000)
    }
  }
}

/** The same retention; counts the jobs that it erased, and measures how long ago its last run ended, by a monotonic clock. */
export const createErasedCount = (registry: Registry) => {
  let endedMs = performance.now()
  new Gauge({
    name: 'headway_retention_age_seconds',
    help: 'Time since retention last came to its end, or since the process began',
    registers: [registry],
    collect() {
      this.set((performance.now() - endedMs) / 1000)
    },
  })
  const erased = new Counter({
    name: 'headway_jobs_erased_total',
    help: 'Jobs that this process erased because they were older than RETENTION_DAYS',
    registers: [registry],
  })
  return (erase: () => Promise<number>) => async (): Promise<number> => {
    const count = await erase()
    erased.inc(count)
    endedMs = performance.now()
    return count
  }
}

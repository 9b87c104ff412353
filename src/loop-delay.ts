import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 20
const SAMPLE_INTERVAL_MS = 1_000

/** How late the event loop of this process is. */
export interface LoopDelay {
  /** Mean of the last second, in milliseconds beyond what an idle loop takes; 0 until it has been measured. */
  meanMs(): number
  close(): void
}

/** Watches the event loop as @fastify/under-pressure does, which tells nobody what it sees before it refuses calls. */
export const watchLoopDelay = (): LoopDelay => {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delays.enable()
  let meanMs = 0
  const timer = setInterval(() => {
    // NaN where the loop was held so long that nothing was measured: what was known goes on to hold.
    if (delays.count > 0) meanMs = Math.max(0, delays.mean / 1e6 - RESOLUTION_MS)
    delays.reset()
  }, SAMPLE_INTERVAL_MS).unref()
  return {
    meanMs: () => meanMs,
    close() {
      clearInterval(timer)
      delays.disable()
    },
  }
}

import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 20
const SAMPLE_INTERVAL_MS = 1_000

/** How late the event loop of this process runs. */
export interface LoopDelay {
  /** Mean of the last second, in milliseconds more than in an idle loop; 0 until it has been measured. */
  meanMs(): number
  close(): void
}

/**
 * Measures the event loop as @fastify/under-pressure does. That plugin does not publish its measurement before it refuses
 * calls.
 */
export const watchLoopDelay = (): LoopDelay => {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  delays.enable()
  let meanMs = 0
  const timer = setInterval(() => {
    // `mean` is NaN when the loop was blocked for the whole second. The last measurement is then kept.
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

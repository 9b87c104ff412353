import { getHeapStatistics } from 'node:v8'
import underPressure from '@fastify/under-pressure'
import type { FastifyInstance } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'

export interface PressureLimits {
  /** Mean of the last second, in milliseconds more than in an idle loop; 0: no limit. */
  maxEventLoopDelayMs: number
  /**
   * Bytes of V8's heap. By default nine tenths of what V8 may use, because the next large request could exceed that. 0: no
   * limit.
   */
  maxHeapBytes?: number
  /** Called for every call that is refused. */
  onRefused: () => void
}

const MAX_HEAP_PART = 0.9

/** How often the limits are checked. A caller should wait at least as long. */
const SAMPLE_INTERVAL_MS = 1_000
const RETRY_AFTER_SECONDS = 2

/**
 * A period of pressure is logged once, however many calls are refused. After so long without a refusal, the next one begins a
 * new period.
 */
const QUIET_MS = 10_000

/**
 * Refuses the calls of `api` with `overloaded` while the process has more work than it can do. A refusal costs a fraction of a
 * call and needs no memory for its body. Calls and streams that are open continue. Register it before the caller is identified.
 */
export const registerPressure = async (api: FastifyInstance, limits: PressureLimits): Promise<void> => {
  const { maxEventLoopDelayMs, maxHeapBytes = MAX_HEAP_PART * getHeapStatistics().heap_size_limit, onRefused } = limits
  let refusedAt = -Infinity
  await api.register(underPressure, {
    maxEventLoopDelay: maxEventLoopDelayMs,
    maxHeapUsedBytes: maxHeapBytes,
    sampleInterval: SAMPLE_INTERVAL_MS,
    pressureHandler: (request, _reply, measure, value) => {
      const now = performance.now()
      if (now - refusedAt > QUIET_MS) request.log.warn({ measure, value }, 'under pressure: calls are refused')
      refusedAt = now
      onRefused()
      throw new HeadwayError('overloaded', 'This process has too much to do at the moment: try again later.', {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      })
    },
  })
}

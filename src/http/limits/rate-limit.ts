import type { FastifyReply } from 'fastify'
import { HeadwayError } from '../../contract/errors.ts'
import type { Identity } from '../../jobs/identity.ts'
import { Allowances, WINDOW_SECONDS } from './allowances.ts'

/** More identities than one process serves in ten seconds; 100 bytes each. */
const MAX_CALLERS = 100_000

export interface RateLimitOptions {
  /** Requests per second of one identity, on average over ten seconds; 0: no limit. */
  perSecond: number
  /** Milliseconds of a monotonic clock. */
  now?: () => number
}

/** Counts a request and says in headers how many are left. Raises `rate_limited` when none is left. */
export type RateLimit = (identity: Identity, reply: FastifyReply) => void

/**
 * Limits the requests of one caller, so that it cannot use up the service. The headers are those of the IETF draft
 * (draft-ietf-httpapi-ratelimit-headers-06): how many requests a full allowance has, how many may follow at once, and in how
 * many seconds the allowance is full again.
 */
export const createRateLimit = ({ perSecond, now = () => performance.now() }: RateLimitOptions): RateLimit | null => {
  if (perSecond === 0) return null
  const allowances = new Allowances({ perSecond, maxKeys: MAX_CALLERS, now })
  return ({ caller }, reply) => {
    if (caller === null) return
    const { granted, remaining, fullAfterSeconds, retryAfterSeconds } = allowances.use(caller)
    reply
      .header('ratelimit-limit', allowances.limit)
      .header('ratelimit-remaining', remaining)
      .header('ratelimit-reset', Math.ceil(fullAfterSeconds))
    if (granted) return
    throw new HeadwayError(
      'rate_limited',
      `These are more than ${perSecond} requests a second, on average over ${WINDOW_SECONDS} seconds: send fewer, or many ` +
        'heartbeats in one request.',
      { retryAfterSeconds },
    )
  }
}

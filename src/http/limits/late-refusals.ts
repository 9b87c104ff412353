import { HeadwayError } from '../../errors.ts'
import { Allowances } from './allowances.ts'
import { networkOf } from './guesses.ts'

/** Refusals of one address that are told at once, on average over ten seconds. */
const AT_ONCE_PER_SECOND = 10

/** Of each, only a number is kept. */
const MAX_ADDRESSES = 50_000

/** As long as `Retry-After` asks for at least, and up to twice as long, so that they do not come all at once. */
const LATE_MS = 1_000

/** Tells a refusal to a caller at `address`: calls `tell` at once, or after a while. */
export type Refuse = (error: unknown, address: string, tell: (error: Error) => void) => void

/**
 * Callers that send more than they may and do not wait when they are told so make as much work by what is refused as by what is
 * answered. So all but the first of such refusals (`rate_limited`) come late: whoever sends the next request behind the answer
 * sends one a second on each connection, and whoever waits as `Retry-After` says notices nothing.
 */
export const createLateRefusals = (now: () => number = () => performance.now()): Refuse => {
  const atOnce = new Allowances({ perSecond: AT_ONCE_PER_SECOND, maxKeys: MAX_ADDRESSES, now })
  return (error, address, tell) => {
    const isLate =
      error instanceof HeadwayError && error.code === 'rate_limited' && !atOnce.use(networkOf(address)).granted
    if (isLate) setTimeout(() => tell(error), LATE_MS * (1 + Math.random()))
    else tell(error as Error)
  }
}

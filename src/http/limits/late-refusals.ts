import type { Socket } from 'node:net'
import { HeadwayError } from '../../contract/errors.ts'
import { Allowances } from './allowances.ts'
import { networkOf } from './guesses.ts'

/** Refusals of one address that are answered at once, per second, on average over ten seconds. */
const AT_ONCE_PER_SECOND = 10

/** Only a number is kept per address. */
const MAX_ADDRESSES = 50_000

/**
 * The shortest delay, which is also the shortest `Retry-After`. The delay is up to twice as long, so that refusals do not come
 * all at once.
 */
const LATE_MS = 1_000

/**
 * A client that waits for answers never has so many late refusals on one connection. One that does, sends requests without
 * reading.
 */
const MAX_LATE_PER_CONNECTION = 100

/** Answers a refusal of `request`: calls `tell` at once, or after a delay. */
export type Refuse = (
  error: unknown,
  request: { ip: string; raw: { readonly socket: Socket } },
  tell: (error: Error) => void,
) => void

/**
 * Delays refusals for callers that send more than they may and do not wait. Otherwise refused requests would cost as much work
 * as answered ones. All but the first `rate_limited` refusals are answered late. A caller that sends its next request after
 * each answer then sends one per second on each connection. A caller that waits as `Retry-After` says does not notice the
 * delay. Each delayed refusal keeps its request in memory, so a connection with a hundred of them is closed, which ends them
 * all.
 */
export const createLateRefusals = (now: () => number = () => performance.now()): Refuse => {
  const atOnce = new Allowances({ perSecond: AT_ONCE_PER_SECOND, maxKeys: MAX_ADDRESSES, now })
  const lateOf = new WeakMap<Socket, Set<() => void>>()

  const openLate = (socket: Socket): Set<() => void> => {
    const late = new Set<() => void>()
    lateOf.set(socket, late)
    socket.once('close', () => {
      for (const end of late) end()
    })
    return late
  }

  return (error, { ip, raw: { socket } }, tell) => {
    const isLate = error instanceof HeadwayError && error.code === 'rate_limited' && !atOnce.use(networkOf(ip)).granted
    if (!isLate || socket.destroyed) {
      tell(error as Error)
      return
    }
    const late = lateOf.get(socket) ?? openLate(socket)
    const end = () => {
      clearTimeout(timer)
      late.delete(end)
      tell(error)
    }
    const timer = setTimeout(end, LATE_MS * (1 + Math.random()))
    late.add(end)
    if (late.size >= MAX_LATE_PER_CONNECTION) socket.destroy()
  }
}

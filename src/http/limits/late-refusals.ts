import type { Socket } from 'node:net'
import { HeadwayError } from '../../contract/errors.ts'
import { Allowances } from './allowances.ts'
import { networkOf } from './guesses.ts'

/** Refusals of one address that are told at once, on average over ten seconds. */
const AT_ONCE_PER_SECOND = 10

/** Of each, only a number is kept. */
const MAX_ADDRESSES = 50_000

/** As long as `Retry-After` asks for at least, and up to twice as long, so that they do not come all at once. */
const LATE_MS = 1_000

/** Nobody who waits for answers has so many refusals to come on one connection: it sends on without reading them. */
const MAX_LATE_PER_CONNECTION = 100

/** Tells a refusal of `request`: calls `tell` at once, or after a while. */
export type Refuse = (
  error: unknown,
  request: { ip: string; raw: { readonly socket: Socket } },
  tell: (error: Error) => void,
) => void

/**
 * Callers that send more than they may and do not wait when they are told so make as much work by what is refused as by what is
 * answered. So all but the first of such refusals (`rate_limited`) come late: whoever sends the next request behind the answer
 * sends one a second on each connection, and whoever waits as `Retry-After` says notices nothing. Each that waits holds its
 * request in memory: a connection on which a hundred wait is cut, and with its connection all that wait on it end.
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

import { isIPv6 } from 'node:net'
import { HeadwayError } from '../../contract/errors.ts'
import { Allowances } from './allowances.ts'

/** Only a number is kept per address: 10 MB at most, however many addresses a flood comes from. */
const MAX_ADDRESSES = 50_000

/** With room for a port, which some proxies append to the address. */
const MAX_ADDRESS_LENGTH = 64

/** Counts requests without a valid token by the address that they come from. */
export interface Guesses {
  /** Counts a request whose token is not known to be valid. Raises `rate_limited` if its address has sent too many. */
  count(address: string): void
  /** Takes the count back: the token was valid, or could not be checked. */
  takeBack(address: string): void
}

const groupsOf = (part: string): string[] => (part === '' ? [] : part.split(':'))

const firstGroupsOf = (address: string): string => {
  const [before = '', after] = address.replace(/%.*/, '').split('::')
  const head = groupsOf(before)
  const zeros = after === undefined ? 0 : 8 - head.length - groupsOf(after).length
  return [...head, ...Array.from({ length: zeros }, () => '0')].slice(0, 4).join(':')
}

/**
 * The part of an address that one internet subscriber has: an IPv4 address, or an IPv6 network of 64 bits (RFC 6177), whose
 * addresses the subscriber can choose freely. A proxy may pass on any text as an address, so the key is cut. The key is a copy,
 * because V8 would keep the whole header in memory for a part of it.
 */
export const networkOf = (address: string): string => {
  const [, mapped = address] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  const network = isIPv6(mapped) ? firstGroupsOf(mapped) : mapped.slice(0, MAX_ADDRESS_LENGTH)
  return Buffer.from(network).toString()
}

export interface GuessesOptions {
  /** Requests of one address, on average over ten seconds; 0: no limit. */
  perSecond: number
  /** Milliseconds of a monotonic clock. */
  now: () => number
}

/** Limits how many tokens a caller without a valid one can try, and how many signatures it can make the service check. */
export const createGuesses = ({ perSecond, now }: GuessesOptions): Guesses => {
  if (perSecond === 0) return { count: () => undefined, takeBack: () => undefined }
  const allowances = new Allowances({ perSecond, maxKeys: MAX_ADDRESSES, now })
  return {
    count(address) {
      const { granted, retryAfterSeconds } = allowances.use(networkOf(address))
      if (granted) return
      throw new HeadwayError('rate_limited', 'Too many requests without a valid token came from your address: wait.', {
        retryAfterSeconds,
      })
    },
    takeBack: address => allowances.giveBack(networkOf(address)),
  }
}

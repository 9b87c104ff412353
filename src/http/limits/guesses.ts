import { isIPv6 } from 'node:net'
import { HeadwayError } from '../../contract/errors.ts'
import { Allowances } from './allowances.ts'

/** Of each, only a number is kept: 10 MB at most, however many addresses a flood comes from. */
const MAX_ADDRESSES = 50_000

/** With room for a port, which some proxies write behind it. */
const MAX_ADDRESS_LENGTH = 64

/** Requests without a good token, by the address they come from. */
export interface Guesses {
  /** Counts a request whose token is not known to be good. Raises `rate_limited` where its address has sent too many. */
  count(address: string): void
  /** It was good after all, or nobody could tell. */
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
 * What one subscriber of the net is given: an IPv4 address, or a network of 64 bits (RFC 6177), any address of which is as good.
 * A proxy may pass on whatever it was sent as an address: the key is short, and a copy, since V8 keeps the whole header
 * alive for a part of it.
 */
export const networkOf = (address: string): string => {
  const [, mapped = address] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  const network = isIPv6(mapped) ? firstGroupsOf(mapped) : mapped.slice(0, MAX_ADDRESS_LENGTH)
  return Buffer.from(network).toString()
}

export interface GuessesOptions {
  /** Of one address, on average over ten seconds; 0: no limit. */
  perSecond: number
  /** Milliseconds of a clock that nobody sets. */
  now: () => number
}

/** Bounds how many tokens can be tried, and how many signatures a stranger can make the service check. */
export const createGuesses = ({ perSecond, now }: GuessesOptions): Guesses => {
  if (perSecond === 0) return { count: () => undefined, takeBack: () => undefined }
  const allowances = new Allowances({ perSecond, maxKeys: MAX_ADDRESSES, now })
  return {
    count(address) {
      const { granted, retryAfterSeconds } = allowances.use(networkOf(address))
      if (granted) return
      throw new HeadwayError('rate_limited', 'Too many requests without a good token came from your address: wait.', {
        retryAfterSeconds,
      })
    },
    takeBack: address => allowances.giveBack(networkOf(address)),
  }
}

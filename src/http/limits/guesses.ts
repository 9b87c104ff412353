import { isIPv6 } from 'node:net'
import { HeadwayError } from '../../errors.ts'
import { Allowances } from './allowances.ts'

/** Of each, only a number is kept: 10 MB at most, however many addresses a flood comes from. */
const MAX_ADDRESSES = 50_000

/** Requests without a good token, by the address they come from. */
export interface Guesses {
  /** Counts a request whose token is not known to be good. Raises `rate_limited` where its address has sent too many. */
  count(address: string): void
  /** It was good after all, or nobody could tell. */
  takeBack(address: string): void
}

const groupsOf = (part: string): string[] => (part === '' ? [] : part.split(':'))

/** What one subscriber of the net is given: an IPv4 address, or a network of 64 bits (RFC 6177), any address of which is as good. */
export const networkOf = (address: string): string => {
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address) ?? []
  if (mapped !== undefined) return mapped
  if (!isIPv6(address)) return address
  const [before = '', after] = address.replace(/%.*/, '').split('::')
  const head = groupsOf(before)
  const zeros = after === undefined ? 0 : 8 - head.length - groupsOf(after).length
  return [...head, ...Array.from({ length: zeros }, () => '0')].slice(0, 4).join(':')
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

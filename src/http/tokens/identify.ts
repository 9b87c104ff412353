import type { FastifyRequest } from 'fastify'
import type { AuthConfig } from '../../config.ts'
import { HeadwayError } from '../../contract/errors.ts'
import type { Identify } from '../identity.ts'
import { createGuesses } from '../limits/guesses.ts'
import { tokenOf } from './bearer.ts'
import { createTokenKeys } from './keys.ts'
import type { KeysLog } from './remote-keys.ts'
import { VerifiedTokens } from './verified.ts'
import { createVerifyToken } from './verify.ts'

export interface TokensOptions {
  auth: AuthConfig
  log: KeysLog
  /** Requests per second without a valid token from one address, on average over ten seconds; 0: no limit. */
  guessesPerSecond: number
  /** Called for every token that cannot be checked because its issuer is away. The token may belong to a worker. */
  onKeysUnavailable?: () => void
  /** Milliseconds of a monotonic clock. */
  now?: () => number
}

/** Identifies callers by their tokens. */
export interface Tokens {
  /** Answers without a promise for a token that was checked a short time ago. */
  identify: Identify
  /** Fetches the keys, if they must be fetched, before the first caller needs them. */
  start(): void
}

export const createTokens = (options: TokensOptions): Tokens => {
  const { auth, log, guessesPerSecond, onKeysUnavailable, now = () => performance.now() } = options
  const keys = createTokenKeys({ keys: auth.keys, log, onUnavailable: onKeysUnavailable, now })
  const verify = createVerifyToken(auth, keys)
  const verified = new VerifiedTokens(now)
  const guesses = createGuesses({ perSecond: guessesPerSecond, now })
  const check = async (token: string) => {
    // Read before the check: if the keys change meanwhile, the check counts as one with the old keys.
    const generation = keys.generation()
    const identity = await verify(token)
    verified.add(token, identity, generation)
    return identity
  }
  const readToken = (request: FastifyRequest): string => {
    try {
      return tokenOf(request)
    } catch (error) {
      guesses.count(request.ip)
      throw error
    }
  }
  /**
   * Counts a token before it is checked. Otherwise all of many tokens sent at once would be checked before the first is found
   * bad.
   */
  const checkGuess = async (token: string, address: string) => {
    guesses.count(address)
    try {
      const identity = await check(token)
      guesses.takeBack(address)
      return identity
    } catch (error) {
      if (!isGuess(error)) guesses.takeBack(address)
      throw error
    }
  }
  return {
    identify(request) {
      const token = readToken(request)
      const known = verified.get(token)
      return known && keys.isCurrent(known.generation) ? known.identity : checkGuess(token, request.ip)
    },
    start: () => keys.start(),
  }
}

/** Whether the caller is at fault, and not the availability of the keys. */
const isGuess = (error: unknown): boolean => error instanceof HeadwayError && error.code === 'unauthenticated'

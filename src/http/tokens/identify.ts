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
  /** Requests without a good token that one address may send, on average over ten seconds; 0: any number. */
  guessesPerSecond: number
  /** Called for every token that cannot be checked because its issuer is away: it may be that of a worker. */
  onKeysUnavailable?: () => void
  /** Milliseconds of a clock that nobody sets. */
  now?: () => number
}

/** Knows callers by their tokens. */
export interface Tokens {
  /** Without a promise for a token that was checked a short time ago. */
  identify: Identify
  /** Fetches the keys, where they must be fetched, before the first caller needs them. */
  start(): void
}

export const createTokens = (options: TokensOptions): Tokens => {
  const { auth, log, guessesPerSecond, onKeysUnavailable, now = () => performance.now() } = options
  const keys = createTokenKeys({ keys: auth.keys, log, onUnavailable: onKeysUnavailable, now })
  const verify = createVerifyToken(auth, keys)
  const verified = new VerifiedTokens(now)
  const guesses = createGuesses({ perSecond: guessesPerSecond, now })
  const check = async (token: string) => {
    // Asked first: what is checked while the keys change counts as checked with the old ones.
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
  /** Counted before it is checked: many that are sent at once are not all checked before the first is known to be bad. */
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

/** Whether it was the fault of the caller: not where the keys are unavailable. */
const isGuess = (error: unknown): boolean => error instanceof HeadwayError && error.code === 'unauthenticated'

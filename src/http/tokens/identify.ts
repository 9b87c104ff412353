import type { AuthConfig } from '../../config.ts'
import type { Identify } from '../identity.ts'
import { tokenOf } from './bearer.ts'
import { createTokenKeys } from './keys.ts'
import type { KeysLog } from './remote-keys.ts'
import { VerifiedTokens } from './verified.ts'
import { createVerifyToken } from './verify.ts'

export interface TokensOptions {
  auth: AuthConfig
  log: KeysLog
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

export const createTokens = ({ auth, log, now = () => performance.now() }: TokensOptions): Tokens => {
  const keys = createTokenKeys({ keys: auth.keys, log, now })
  const verify = createVerifyToken(auth, keys)
  const verified = new VerifiedTokens(now)
  const check = async (token: string) => {
    // Asked first: what is checked while the keys change counts as checked with the old ones.
    const generation = keys.generation()
    const identity = await verify(token)
    verified.add(token, identity, generation)
    return identity
  }
  return {
    identify(request) {
      const token = tokenOf(request)
      const known = verified.get(token)
      return known && keys.isCurrent(known.generation) ? known.identity : check(token)
    },
    start: () => keys.start(),
  }
}

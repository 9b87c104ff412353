import { createSecretKey } from 'node:crypto'
import type { JWTVerifyGetKey } from 'jose'
import type { AuthConfig } from '../../config.ts'
import { createRemoteKeys } from './remote-keys.ts'
import type { RemoteKeysOptions } from './remote-keys.ts'

/** The keys with which signatures are checked. */
export interface TokenKeys {
  /**
   * Depends on where the keys come from, and never on the token, so that a public key cannot be used as a secret (RFC 8725,
   * section 2.1).
   */
  algorithms: readonly string[]
  /** The key for a token's header. Raises the errors of jose, and `keys_unavailable`. */
  find: JWTVerifyGetKey
  /** Grows when the keys change. */
  generation(): number
  /** Whether a check with the keys of `generation` still holds, and those keys are recent enough to rely on. */
  isCurrent(generation: number): boolean
  /** Begins to fetch the keys, so that the first caller need not wait for them. */
  start(): void
}

/** One secret that is shared with the issuer. The key is the secret's text in UTF-8. */
const createSecretKeys = (secret: string): TokenKeys => {
  const key = createSecretKey(Buffer.from(secret))
  return {
    algorithms: ['HS256'],
    find: async () => key,
    generation: () => 0,
    isCurrent: () => true,
    start: () => undefined,
  }
}

export interface TokenKeysOptions extends Omit<RemoteKeysOptions, 'url'> {
  keys: AuthConfig['keys']
}

export const createTokenKeys = ({ keys, ...options }: TokenKeysOptions): TokenKeys =>
  'secret' in keys ? createSecretKeys(keys.secret) : createRemoteKeys({ url: keys.jwksUrl, ...options })

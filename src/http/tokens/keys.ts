import { createSecretKey } from 'node:crypto'
import type { JWTVerifyGetKey } from 'jose'
import type { AuthConfig } from '../../config.ts'
import { createRemoteKeys } from './remote-keys.ts'
import type { RemoteKeysOptions } from './remote-keys.ts'

/** What signatures are checked with. */
export interface TokenKeys {
  /** Fixed by where the keys come from, never by the token: a public key can so not be taken for a secret (RFC 8725, section 2.1). */
  algorithms: readonly string[]
  /** The key for a token's header. Raises the errors of jose, and `keys_unavailable`. */
  find: JWTVerifyGetKey
  /** Grows when the keys change. */
  generation(): number
  /** Whether what was checked with the keys of `generation` still holds, and is known well enough to be relied on. */
  isCurrent(generation: number): boolean
  /** Begins to fetch what must be fetched, so that the first caller need not wait for it. */
  start(): void
}

/** One secret, shared with the issuer; its key is the text as it is, in UTF-8. */
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

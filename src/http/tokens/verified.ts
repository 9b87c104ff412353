import { createHash } from 'node:crypto'
import type { Identity } from '../../jobs/identity.ts'

const MAX_TOKENS = 10_000
const KEPT_MS = 300_000

interface Verified {
  identity: Identity
  /** The generation of the keys with which the token was checked. */
  generation: number
  until: number
}

/**
 * Tokens that were found valid, so that not every heartbeat pays for the check of a signature. It keeps the 10,000 used last,
 * each for 5 minutes and never past its own end. It keeps digests: the tokens would take up to 80 MB, and a heap dump would
 * show them. A Map keeps the order of insertion, and an entry that is used is inserted again.
 */
export class VerifiedTokens {
  readonly #tokens = new Map<string, Verified>()
  readonly #now: () => number

  /** `now`: milliseconds of a monotonic clock. The end of a token is compared with the time of day. */
  constructor(now: () => number) {
    this.#now = now
  }

  get(token: string): Verified | null {
    const key = digestOf(token)
    const verified = this.#tokens.get(key)
    if (!verified) return null
    this.#tokens.delete(key)
    const { expiresAtMs } = verified.identity
    if (this.#now() >= verified.until || (expiresAtMs !== null && Date.now() >= expiresAtMs)) return null
    this.#tokens.set(key, verified)
    return verified
  }

  add(token: string, identity: Identity, generation: number): void {
    this.#tokens.set(digestOf(token), { identity, generation, until: this.#now() + KEPT_MS })
    if (this.#tokens.size <= MAX_TOKENS) return
    const [oldest] = this.#tokens.keys()
    if (oldest !== undefined) this.#tokens.delete(oldest)
  }
}

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64')

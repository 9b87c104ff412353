import { createLocalJWKSet, errors } from 'jose'
import type { JSONWebKeySet, JWTVerifyGetKey } from 'jose'
import { HeadwayError } from '../../contract/errors.ts'
import type { TokenKeys } from './keys.ts'

/** Keys older than this are fetched again; until they arrive, the old ones are used. */
const REFRESH_AFTER_MS = 120_000

/**
 * Keys older than this are not used until they were fetched again. So a key that its issuer withdraws is used for at most this
 * long.
 */
const MAX_AGE_MS = 300_000

/**
 * The shortest time between calls to the issuer after a failure, and after a token with an unknown key. Neither may become a
 * flood of calls.
 */
const FAILURE_PAUSE_MS = 5_000
const UNKNOWN_KEY_PAUSE_MS = 10_000

const FETCH_TIMEOUT_MS = 5_000

/** Room for a hundred RSA keys with their certificates. A larger answer is no key set. */
const MAX_BYTES = 512 * 1024

/** The log calls that are needed: a warning for the operator, and the note that its reason is over. */
export interface KeysLog {
  warn(details: object, message: string): void
  info(message: string): void
}

export interface RemoteKeysOptions {
  /** The address at which the issuer publishes its key set (RFC 7517, section 5). */
  url: string
  log: KeysLog
  /** Called for every token that cannot be checked because the issuer is away. The token may belong to a worker. */
  onUnavailable?: (() => void) | undefined
  /** Milliseconds of a monotonic clock. */
  now: () => number
}

const readBody = async (response: Response): Promise<string> => {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length
    if (bytes > MAX_BYTES) throw new Error(`it answered with more than ${MAX_BYTES / 1024} KB`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

const fetchKeySet = async (url: string): Promise<JSONWebKeySet> => {
  const signal = AbortSignal.timeout(FETCH_TIMEOUT_MS)
  // Redirects are not followed: the operator named this address, and the keys must come from it.
  const response = await fetch(url, { redirect: 'manual', signal, headers: { accept: 'application/json' } })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`it answered ${response.status}`)
  }
  const keySet = JSON.parse(await readBody(response)) as Partial<JSONWebKeySet> | null
  // Without any key no caller could be let in. This is more likely a fault of the issuer than its intention.
  if (!Array.isArray(keySet?.keys) || keySet.keys.length === 0) throw new Error('its answer contains no keys')
  return { keys: keySet.keys }
}

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${FETCH_TIMEOUT_MS / 1000} s`
  if (error instanceof SyntaxError) return 'its answer is not JSON'
  return error.cause instanceof Error ? error.cause.message : error.message
}

/** The same text for the same keys in any order. */
const fingerprintOf = ({ keys }: JSONWebKeySet): string => JSON.stringify(keys.map(key => JSON.stringify(key)).sort())

/**
 * The public keys that an issuer publishes. They are fetched again every few minutes, and when a token names a key that is not
 * among them. While the issuer is away, the known keys are used. Before any is known, `keys_unavailable` is raised.
 */
export const createRemoteKeys = ({ url, log, onUnavailable, now }: RemoteKeysOptions): TokenKeys => {
  let keys: JWTVerifyGetKey | null = null
  let fingerprint = ''
  let generation = 0
  /** When the request was sent whose answer is in use. */
  let askedAt = -Infinity
  let failedAt = -Infinity
  let missedAt = -Infinity
  let isFailing = false
  let pending: Promise<void> | null = null

  const load = async (): Promise<void> => {
    const asking = now()
    try {
      const keySet = await fetchKeySet(url)
      const found = createLocalJWKSet(keySet)
      const foundFingerprint = fingerprintOf(keySet)
      askedAt = asking
      if (isFailing) log.info('the keys for tokens can be fetched again')
      isFailing = false
      if (foundFingerprint === fingerprint) return
      keys = found
      fingerprint = foundFingerprint
      generation += 1
    } catch (error) {
      failedAt = now()
      if (!isFailing) log.warn({ reason: reasonOf(error) }, 'cannot fetch the keys for tokens from AUTH_JWKS_URL')
      isFailing = true
    }
  }
  /**
   * Fetches the keys, with one call for all who need them at the same time, and with none shortly after a failure. Never
   * rejects.
   */
  const refresh = (): Promise<void> => {
    if (!pending && now() - failedAt >= FAILURE_PAUSE_MS) pending = load().finally(() => (pending = null))
    return pending ?? Promise.resolve()
  }
  /** While the issuer is away, waiting would not help: the known keys are used. */
  const isTooOld = () => keys === null || (now() - askedAt > MAX_AGE_MS && !isFailing)
  const refreshInTime = () => {
    if (now() - askedAt > REFRESH_AFTER_MS) void refresh()
  }

  const unavailable = (): HeadwayError => {
    onUnavailable?.()
    const retryAfterSeconds = Math.max(1, Math.ceil((failedAt + FAILURE_PAUSE_MS - now()) / 1000))
    const message = 'The keys of the issuer of this token cannot be fetched at present: try again.'
    return new HeadwayError('keys_unavailable', message, { retryAfterSeconds })
  }

  return {
    algorithms: ['RS256', 'ES256', 'EdDSA', 'Ed25519'],
    generation: () => generation,
    isCurrent(of) {
      refreshInTime()
      return of === generation && !isTooOld()
    },
    async find(header, token) {
      refreshInTime()
      if (isTooOld()) await refresh()
      if (!keys) throw unavailable()
      try {
        return await keys(header, token)
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
        // The key may be newer than the known ones. After a rotation many callers bring it at once, and all wait for the same
        // call.
        const mayAsk = pending !== null || now() - missedAt >= UNKNOWN_KEY_PAUSE_MS
        if (mayAsk) {
          missedAt = now()
          await refresh()
        }
        if (isFailing) throw unavailable()
        if (!mayAsk) throw error
        return keys(header, token)
      }
    },
    start: () => void refresh(),
  }
}

import { createLocalJWKSet, errors } from 'jose'
import type { JSONWebKeySet, JWTVerifyGetKey } from 'jose'
import { HeadwayError } from '../../contract/errors.ts'
import type { TokenKeys } from './keys.ts'

/** Keys older than this are fetched again, while callers go on with those that are known. */
const REFRESH_AFTER_MS = 120_000

/** Keys older than this are not used before they were fetched again: so long at most does a key live on after its issuer withdrew it. */
const MAX_AGE_MS = 300_000

/** After a failure, and after a token with an unknown key, the issuer is left alone for so long: neither must become a flood of calls. */
const FAILURE_PAUSE_MS = 5_000
const UNKNOWN_KEY_PAUSE_MS = 10_000

const FETCH_TIMEOUT_MS = 5_000

/** A set of a hundred RSA keys with their certificates; whatever is larger is something else. */
const MAX_BYTES = 512 * 1024

/** What logs are needed for: something the operator should look at, and its end. */
export interface KeysLog {
  warn(details: object, message: string): void
  info(message: string): void
}

export interface RemoteKeysOptions {
  /** Where the issuer publishes its key set (RFC 7517, section 5). */
  url: string
  log: KeysLog
  /** Called for every token that cannot be checked because the issuer is away: it may be that of a worker. */
  onUnavailable?: (() => void) | undefined
  /** Milliseconds of a clock that nobody sets. */
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
  // A redirect is not followed: the keys would be those of another address than the operator has named.
  const response = await fetch(url, { redirect: 'manual', signal, headers: { accept: 'application/json' } })
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`it answered ${response.status}`)
  }
  const keySet = JSON.parse(await readBody(response)) as Partial<JSONWebKeySet> | null
  // Without a single key nobody could come in: rather a fault of the issuer than its wish.
  if (!Array.isArray(keySet?.keys) || keySet.keys.length === 0)
    throw new Error('it answered with something without keys')
  return { keys: keySet.keys }
}

const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${FETCH_TIMEOUT_MS / 1000} s`
  if (error instanceof SyntaxError) return 'it answered with something that is not JSON'
  return error.cause instanceof Error ? error.cause.message : error.message
}

/** The same for every order of the same keys. */
const fingerprintOf = ({ keys }: JSONWebKeySet): string => JSON.stringify(keys.map(key => JSON.stringify(key)).sort())

/**
 * The public keys that an issuer publishes, fetched again every few minutes, and when a token names one that is not among
 * them. Keys that are known are used for as long as their issuer is away; before any is known, `keys_unavailable` is raised.
 */
export const createRemoteKeys = ({ url, log, onUnavailable, now }: RemoteKeysOptions): TokenKeys => {
  let keys: JWTVerifyGetKey | null = null
  let fingerprint = ''
  let generation = 0
  /** When the answer that is known was asked for. */
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
  /** One call for all who need it; none in the pause after a failure. Never rejects. */
  const refresh = (): Promise<void> => {
    if (!pending && now() - failedAt >= FAILURE_PAUSE_MS) pending = load().finally(() => (pending = null))
    return pending ?? Promise.resolve()
  }
  /** While the issuer is away there is nothing to wait for: what is known is as good as it gets. */
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
        // It may be newer than what is known. After a rotation everyone comes with it at once: all wait for the same call.
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

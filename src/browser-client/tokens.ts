import { HeadwayProblem } from './problem.ts'
import type { TokenSource } from './types.ts'

/** A callback that never answers must not keep the page from showing a problem. */
const CALLBACK_MS = 30_000
/** A token that expires sooner than this could be refused when it arrives. */
const EXPIRES_SOON_MS = 2_000

/** The claims of a JWT, unchecked: the service checks them. Null: not a JWT. */
export const claimsOf = (token: string): Record<string, unknown> | null => {
  const payload = token.split('.')[1]
  if (payload === undefined) return null
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), char => char.charCodeAt(0))
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/**
 * The identity of a token as text. It is the same for the next token of the same user with the same rights. Pages share a
 * connection, and the jobs that they wait for, only if this text is the same.
 */
export const identityOf = (token: string | null): string => {
  if (token === null) return 'nobody'
  const claims = claimsOf(token)
  if (!claims) return `token ${token}`
  const { iss, aud, sub, tenant_id, organization_id, job_id, features } = claims
  const sorted = Array.isArray(features) ? features.map(String).sort() : features
  return JSON.stringify([iss, aud, sub, tenant_id, organization_id, job_id, sorted].map(claim => claim ?? null))
}

const expiresSoon = (token: string | null, now: number): boolean => {
  const exp = token === null ? undefined : claimsOf(token)?.exp
  return typeof exp === 'number' && exp * 1000 < now + EXPIRES_SOON_MS
}

const within = async <Value>(milliseconds: number, promise: Promise<Value>): Promise<Value> => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no token after ${milliseconds} ms`)), milliseconds)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The token in use. Asks its source for each connection, and when the token is about to expire or was refused. */
export class Tokens {
  readonly renewable: boolean
  readonly #source: TokenSource | undefined
  readonly #onToken: (token: string | null) => void
  #current: string | null | undefined
  #asking: Promise<string | null> | null = null
  /** A connection has begun with the token in use. */
  #handed = false

  /** `onToken` is called with each token that the source gives. */
  constructor(source: TokenSource | undefined, onToken: (token: string | null) => void = () => undefined) {
    this.#source = source
    this.#onToken = onToken
    this.renewable = typeof source === 'function'
  }

  /** The present token; null: there is none. Raises `token_unavailable` if the callback fails. */
  async get(): Promise<string | null> {
    if (this.#current === undefined || (this.renewable && expiresSoon(this.#current, Date.now()))) return this.#ask()
    return this.#current
  }

  /** The token for a new connection. The source is asked, unless its last answer has not been used yet. */
  async next(): Promise<string | null> {
    const token = this.#handed && this.renewable ? await this.#ask() : await this.get()
    this.#handed = true
    return token
  }

  /** The token to use instead of a refused one. The callback is not called if another caller has renewed the token already. */
  async renew(refused: string | null): Promise<string | null> {
    if (this.#current !== undefined && this.#current !== refused && this.#asking === null) return this.#current
    return this.#ask()
  }

  #ask(): Promise<string | null> {
    this.#asking ??= this.#call().finally(() => (this.#asking = null))
    return this.#asking
  }

  async #call(): Promise<string | null> {
    const source = this.#source
    try {
      const answer = typeof source === 'function' ? await within(CALLBACK_MS, Promise.resolve(source())) : source
      this.#current = answer === undefined || answer === '' ? null : answer
    } catch (error) {
      throw new HeadwayProblem(
        {
          status: 0,
          code: 'token_unavailable',
          title: 'No token',
          detail: 'The page could not get a token for Headway.',
        },
        { cause: error },
      )
    }
    this.#handed = false
    this.#onToken(this.#current)
    return this.#current
  }
}

import { BASE_PATH } from '../contract/http.ts'
import { setTimeout as pause } from 'node:timers/promises'
import { exchange, readText, type Connecting, type Exchange } from './exchange.ts'

export const DEFAULT_URL = 'http://127.0.0.1:3000'

/** The time for a single try. A try without an answer by then is repeated. */
export const TRY_TIMEOUT_MS = 10_000
const FIRST_BACKOFF_MS = 200
const LONGEST_BACKOFF_MS = 5_000

/** The longest wait that `Retry-After` can ask for: a proxy may name an hour. */
const LONGEST_RETRY_AFTER_MS = 60_000

/** The service has refused the call, and would refuse it again. What to do depends on the code. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'
  readonly code: string
  readonly status: number
  /** With `already_finished`: the status of the job. */
  readonly jobStatus: string | null

  constructor(code: string, status: number, detail: string, jobStatus: string | null = null) {
    super(detail)
    this.code = code
    this.status = status
    this.jobStatus = jobStatus
  }
}

/** The service is away or busy, or something else answers at its address. The same call may succeed later. */
export class UnavailableError extends Error {
  override readonly name = 'UnavailableError'
  readonly retryAfterMs: number
  /** The service itself has answered that it has too much to do. */
  readonly isBusy: boolean
  /** The status of the answer; 0: there was none. */
  readonly status: number

  constructor(message: string, retryAfterMs = 0, cause?: unknown, isBusy = false, status = 0) {
    super(message, { cause })
    this.retryAfterMs = retryAfterMs
    this.isBusy = isBusy
    this.status = status
  }
}

/** Codes of a service that is available but busy. A service without its database answers `database_unavailable`. */
const BUSY: readonly unknown[] = ['overloaded', 'rate_limited', 'too_much_in_flight']

export interface CallOptions {
  body?: object
  headers?: Record<string, string>
  signal?: AbortSignal
  /** The process may end while the call is in flight. */
  weak?: boolean
  /** Lets the caller give up a connection that is still being made, because Node keeps a process alive for it. */
  connecting?: Connecting
  timeoutMs?: number
  /** For `persist`: called after each try without an answer. */
  onUnavailable?: (error: UnavailableError) => void
}

/** A token, or a function that gives one for each call, because tokens expire. */
export type TokenSource = string | (() => string | Promise<string>)

export interface Address {
  url: URL
  headers: Record<string, string>
}

/** Calls of one Headway service. */
export interface Client {
  readonly url: string
  /** One try. Raises `UnavailableError`, `RefusedError`, and the reason of `signal`. */
  call<Answer>(method: string, path: string, options?: CallOptions): Promise<Answer>
  /** Tries until there is an answer. Only for calls that may be repeated. Raises `RefusedError`, and the reason of `signal`. */
  persist<Answer>(method: string, path: string, options?: CallOptions): Promise<Answer>
  /** The address of a path of the API, and the headers with the token: for streams. */
  address(path: string): Promise<Address>
  /** The same with the token of the last call: for a process that has no time to ask for one. */
  lastAddress(path: string): Address
}

/**
 * How long to wait after the nth failure in a row (ms: 200, 400, 800, … 5,000), plus or minus a random quarter, so that callers
 * do not come back at the same time.
 */
export const backoffMs = (failures: number): number =>
  Math.min(FIRST_BACKOFF_MS * 2 ** (failures - 1), LONGEST_BACKOFF_MS) * (0.75 + Math.random() / 2)

const parse = (text: string): unknown => {
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch {
    // A proxy answers with a page of its own.
    return null
  }
}

const textOr = (value: unknown, otherwise: string): string => (typeof value === 'string' ? value : otherwise)

/**
 * The error for an answer other than 2xx. Only an answer that the service itself has written counts as a refusal: a 404 of a
 * proxy says nothing about a job.
 */
export const errorOfAnswer = (status: number, text: string, retryAfter: string | undefined): Error => {
  const { code, detail, jobStatus } = (parse(text) ?? {}) as { code?: unknown; detail?: unknown; jobStatus?: unknown }
  const sentence = textOr(detail, `The answer with status ${status} does not come from Headway.`)
  // Any program that finds the body too large will find it too large again.
  if (status === 413) return new RefusedError('payload_too_large', status, sentence)
  const isRefusal = typeof code === 'string' && status >= 400 && status < 500 && status !== 408 && status !== 429
  if (isRefusal) return new RefusedError(code, status, sentence, typeof jobStatus === 'string' ? jobStatus : null)
  const afterMs = Math.min(Number(retryAfter) * 1000 || 0, LONGEST_RETRY_AFTER_MS)
  return new UnavailableError(sentence, afterMs, undefined, BUSY.includes(code), status)
}

/** An address in the API of a service. Raises an error that says what is wrong with the service's address. */
const addressOf = (base: string, path: string): URL => {
  const { protocol } = URL.canParse(base) ? new URL(base) : { protocol: '' }
  if (protocol === 'http:' || protocol === 'https:') return new URL(`${base}${BASE_PATH}${path}`)
  throw new RefusedError('bad_url', 0, `${base} is no address of a service: write it as ${DEFAULT_URL}.`)
}

/**
 * The address and the token to use: those that are given, otherwise HEADWAY_URL and HEADWAY_TOKEN. An empty text counts as
 * unset.
 */
export const settingsOf = (
  { url, token }: { url?: string | URL | undefined; token?: TokenSource | undefined },
  { HEADWAY_URL, HEADWAY_TOKEN }: Readonly<Record<string, string | undefined>>,
): { url: string; token: TokenSource } => ({
  url: String(url || HEADWAY_URL || DEFAULT_URL),
  token: token ?? HEADWAY_TOKEN ?? '',
})

/** Makes a client. If `url` is not an address, each call is refused with `bad_url`. */
export const createNodeClient = ({ url, token }: { url: string; token: TokenSource }): Client => {
  const base = url.replace(/\/+$/, '')

  // A token that was read from a file often ends with a line feed, which no header may contain.
  let lastToken = typeof token === 'string' ? token.trim() : ''

  const lastAddress = (path: string): Address => ({
    url: addressOf(base, path),
    headers: lastToken === '' ? {} : { authorization: `Bearer ${lastToken}` },
  })
  const address = async (path: string): Promise<Address> => {
    if (typeof token === 'function') lastToken = (await token()).trim()
    return lastAddress(path)
  }

  const send = async (path: string, options: Exchange) => {
    const to = await address(path)
    const answer = await exchange(to.url, { ...options, headers: { ...to.headers, ...options.headers } })
    return { status: answer.statusCode ?? 0, text: await readText(answer), retryAfter: answer.headers['retry-after'] }
  }

  const call = async <Answer>(method: string, path: string, options: CallOptions = {}): Promise<Answer> => {
    const { body, headers, signal, weak = false, connecting, timeoutMs = TRY_TIMEOUT_MS } = options
    const timeout = AbortSignal.timeout(timeoutMs)
    const sent = await send(path, {
      method,
      headers: { accept: 'application/json', ...(body && { 'content-type': 'application/json' }), ...headers },
      ...(body && { body: JSON.stringify(body) }),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      weak,
      connecting,
    }).catch((cause: unknown) => {
      signal?.throwIfAborted()
      if (cause instanceof RefusedError) throw cause
      throw new UnavailableError(`${base} cannot be reached.`, 0, cause)
    })
    if (sent.status < 200 || sent.status > 299) throw errorOfAnswer(sent.status, sent.text, sent.retryAfter)
    const answer = parse(sent.text)
    if (answer === null || typeof answer !== 'object') {
      throw new UnavailableError(`Another program than Headway answers at ${base}.`)
    }
    return answer as Answer
  }

  const persist = async <Answer>(method: string, path: string, options: CallOptions = {}): Promise<Answer> => {
    for (let failures = 1; ; failures++) {
      try {
        return await call<Answer>(method, path, options)
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error
        options.onUnavailable?.(error)
        await pause(Math.max(backoffMs(failures), error.retryAfterMs), undefined, { signal: options.signal })
      }
    }
  }

  return { url: base, call, persist, address, lastAddress }
}

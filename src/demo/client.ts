import { setTimeout as pause } from 'node:timers/promises'

const TRY_TIMEOUT_MS = 10_000
const FIRST_BACKOFF_MS = 200
const LONGEST_BACKOFF_MS = 5_000

/** Answers that say "not now": the same call may succeed later. */
const PASSING = new Set([408, 429, 500, 502, 503, 504])

/** The service has answered, and the answer will not change: what to do depends on the code. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'
  readonly code: string
  /** With `already_finished`: what the job ended as. */
  readonly jobStatus: string | null

  constructor(code: string, detail: string, jobStatus: string | null) {
    super(detail)
    this.code = code
    this.jobStatus = jobStatus
  }
}

/** The service is away or busy. */
export class UnavailableError extends Error {
  override readonly name = 'UnavailableError'
  readonly retryAfterMs: number

  constructor(message: string, retryAfterMs: number, cause?: unknown) {
    super(message, { cause })
    this.retryAfterMs = retryAfterMs
  }
}

export interface CallOptions {
  body?: object
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** Calls of one Headway service. */
export interface Client {
  url: string
  /** One try. Raises `UnavailableError` and `RefusedError`. */
  call<Answer>(method: string, path: string, options?: CallOptions): Promise<Answer>
  /** Tries until there is an answer. Only for calls that may be repeated. Raises `RefusedError`, and what `signal` aborts with. */
  persist<Answer>(method: string, path: string, options?: CallOptions): Promise<Answer>
}

interface Problem {
  code?: string
  detail?: string
  jobStatus?: string
}

/** How long to wait after the nth failure in a row (ms: 200, 400, 800, … 5,000), give or take a quarter so that workers do not come back in step. */
export const backoffMs = (failures: number): number =>
  Math.min(FIRST_BACKOFF_MS * 2 ** (failures - 1), LONGEST_BACKOFF_MS) * (0.75 + Math.random() / 2)

const toError = (status: number, problem: Problem, retryAfter: string | null): Error => {
  const detail = problem.detail ?? `The service answered ${status}.`
  if (PASSING.has(status)) return new UnavailableError(detail, Number(retryAfter ?? 0) * 1000 || 0)
  return new RefusedError(problem.code ?? `http_${status}`, detail, problem.jobStatus ?? null)
}

const parse = (text: string): unknown => {
  try {
    return text === '' ? {} : JSON.parse(text)
  } catch {
    // A proxy in between answers with a page of its own.
    return {}
  }
}

/** What lets a caller in: the token of HEADWAY_TOKEN, for services that ask for one. */
export const credentials = (): Record<string, string> => {
  const token = process.env.HEADWAY_TOKEN
  return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` }
}

export const createClient = (url: string): Client => {
  const call = async <Answer>(method: string, path: string, options: CallOptions = {}): Promise<Answer> => {
    const { body, headers, signal } = options
    const timeout = AbortSignal.timeout(TRY_TIMEOUT_MS)
    let response: Response
    let text: string
    try {
      response = await fetch(`${url}/api/progress${path}`, {
        method,
        headers: { ...credentials(), ...(body && { 'content-type': 'application/json' }), ...headers },
        ...(body && { body: JSON.stringify(body) }),
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      })
      text = await response.text()
    } catch (cause) {
      signal?.throwIfAborted()
      throw new UnavailableError(`${url} cannot be reached.`, 0, cause)
    }
    if (!response.ok) throw toError(response.status, parse(text) as Problem, response.headers.get('retry-after'))
    return parse(text) as Answer
  }

  const persist = async <Answer>(method: string, path: string, options: CallOptions = {}): Promise<Answer> => {
    for (let failures = 1; ; failures++) {
      try {
        return await call<Answer>(method, path, options)
      } catch (error) {
        if (!(error instanceof UnavailableError)) throw error
        await pause(Math.max(backoffMs(failures), error.retryAfterMs), undefined, { signal: options.signal })
      }
    }
  }

  return { url, call, persist }
}

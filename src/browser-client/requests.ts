import { BASE_PATH } from '../contract/http.ts'
import { readProblem, unexpectedAnswer, unreachable } from './problem.ts'
import type { Tokens } from './tokens.ts'
import type { HeadwayApi, RequestOptions } from './types.ts'

type QueryValue = string | number | boolean | readonly string[] | undefined

/** `?a=1&b=2&b=3`, or an empty text. */
export const queryOf = (fields: Record<string, QueryValue>): string => {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue
    if (typeof value === 'object') for (const one of value) query.append(name, one)
    else query.append(name, String(value))
  }
  const text = query.toString()
  return text === '' ? '' : `?${text}`
}

export interface Call extends RequestOptions {
  method?: 'GET' | 'POST' | 'DELETE'
  headers?: Record<string, string>
}

/** The request without the token. */
type Sent = Omit<RequestInit, 'headers'> & { headers: Record<string, string> }

export interface Answer<Body> {
  /** Null: 304, the caller has the document, or 204, there is none. */
  body: Body | null
  etag: string | null
}

export interface Requests {
  /** One call of the API. A refused token is renewed once. Raises `HeadwayProblem`, or the reason of `signal`. */
  call: <Body>(path: string, call?: Call) => Promise<Answer<Body>>
  /** Sends a request with the present token, and answers any response. `token` is the token that was sent. */
  send: (path: string, init: Sent) => Promise<{ response: Response; token: string | null }>
}

export interface RequestsOptions {
  /** Without `/api/progress`. */
  url: string
  tokens: Tokens
  fetch?: typeof fetch
  /** Called with the `date` of each answer. */
  onDate?: (date: string | null) => void
}

const isJson = (response: Response): boolean => /^application\/json\b/.test(response.headers.get('content-type') ?? '')

/** Calls the service with the page's token. */
export const createRequests = ({ url, tokens, fetch = globalThis.fetch, onDate }: RequestsOptions): Requests => {
  const base = `${url.replace(/\/+$/, '')}${BASE_PATH}`

  const send: Requests['send'] = async (path, init) => {
    const token = await tokens.get()
    const headers = { ...(token !== null && { authorization: `Bearer ${token}` }), ...init.headers }
    try {
      // Without the browser's cache, which would answer 304s itself and keep the answers of a user who has logged out.
      const response = await fetch(base + path, { cache: 'no-store', ...init, headers })
      onDate?.(response.headers.get('date'))
      return { response, token }
    } catch (error) {
      if (init.signal?.aborted) throw error
      throw unreachable(error)
    }
  }

  const call = async <Body>(
    path: string,
    { method = 'GET', headers = {}, signal }: Call = {},
  ): Promise<Answer<Body>> => {
    const init: Sent = { method, headers: { accept: 'application/json', ...headers }, ...(signal && { signal }) }
    const first = await send(path, init)
    let { response } = first
    if (response.status === 401 && tokens.renewable) {
      await response.body?.cancel()
      await tokens.renew(first.token)
      response = (await send(path, init)).response
    }
    const etag = response.headers.get('etag')
    if (response.status === 304 || response.status === 204) return { body: null, etag }
    if (!response.ok) throw await readProblem(response)
    if (!isJson(response)) throw unexpectedAnswer(response.status)
    try {
      return { body: (await response.json()) as Body, etag }
    } catch (error) {
      if (signal?.aborted) throw error
      throw unreachable(error)
    }
  }

  return { call, send }
}

const pathOf = (id: string): string => `/jobs/${encodeURIComponent(id)}`

/** The calls that pages make besides the stream. */
export const createApi = ({ call }: Requests): HeadwayApi => {
  const read = async <Body>(path: string, options?: Call): Promise<Body> => {
    const { body } = await call<Body>(path, options)
    if (body === null) throw unexpectedAnswer(304)
    return body
  }
  return {
    job: (id, options) => read(pathOf(id), options),
    list: (query = {}, options) => read(`/jobs${queryOf({ ...query })}`, options),
    active: ({ recentSeconds, ...options } = {}) => read(`/active${queryOf({ recentSeconds })}`, options),
    events: (id, query, options) => read(`${pathOf(id)}/events${queryOf({ ...query })}`, options),
    partitions: (id, query, options) => read(`${pathOf(id)}/partitions${queryOf({ ...query })}`, options),
    stats: (query, options) => read(`/stats${queryOf({ ...query })}`, options),
    cancel: (id, options) => read(`${pathOf(id)}/cancel`, { ...options, method: 'POST' }),
    retry: (id, options) => read(`${pathOf(id)}/retry`, { ...options, method: 'POST' }),
    purge: async (id, options) => {
      await call(`${pathOf(id)}?purge=true`, { ...options, method: 'DELETE' })
    },
  }
}

import { request as requestByHttp, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { request as requestByHttps } from 'node:https'
import {
  AddressRefusedError,
  guardedLookup,
  hostOf,
  isRefusedLiteral,
  type Addresses,
  type Resolve,
} from './addresses.ts'
import { retryAfterSeconds } from './backoff.ts'

export interface RequestOptions {
  addresses: Addresses
  /** From the beginning to the status of the answer. */
  timeoutMs: number
  /**
   * This much of an answer is read, for this long after its status, before the connection is cut. A receiver of which only the
   * status is used gets little of both.
   */
  answer: { bytes: number; ms: number }
  resolve?: Resolve
}

export interface Exchange {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH'
  url: string
  headers: Record<string, string>
  /** Empty: no body. */
  body: string
}

/** An answer as far as it was read. */
export interface Answered {
  status: number
  headers: IncomingHttpHeaders
  /** By the header of that name; null: none. */
  retryAfterSeconds: number | null
  text: string
}

/** The result of a request: an answer, or why there is none. */
export type RequestResult = Answered | { status: null; error: string; aborted: boolean }

export type Request = (exchange: Exchange, signal: AbortSignal) => Promise<RequestResult>

/** Reads a short answer to its end, and cuts a long or slow one. */
const read = (response: IncomingMessage, { bytes, ms }: RequestOptions['answer']): Buffer[] => {
  const chunks: Buffer[] = []
  let length = 0
  const timer = setTimeout(() => response.destroy(), ms)
  response.on('data', (chunk: Buffer) => {
    length += chunk.length
    if (length > bytes) response.destroy()
    else chunks.push(chunk)
  })
  response.on('error', () => undefined)
  response.on('close', () => clearTimeout(timer))
  return chunks
}

class TimeoutError extends Error {
  override readonly name = 'TimeoutError'
}

class AbortedError extends Error {
  override readonly name = 'AbortedError'
}

/**
 * The connection has ended without an answer and without an error: Node ends a connection in this way when the receiver changes
 * the protocol (101).
 */
class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError'
}

/** Without the URL, which may contain a secret. */
const explain = (error: NodeJS.ErrnoException, timeoutMs: number): string => {
  if (error instanceof TimeoutError) return `No answer within ${timeoutMs / 1000} s`
  if (error instanceof AddressRefusedError)
    return 'The host has no address that is allowed: see WEBHOOK_ALLOWED_NETWORKS'
  if (error instanceof NoAnswerError) return 'No answer: the connection was closed'
  return `No answer: ${error.code ?? error.name}`
}

/**
 * Sends one request to an allowed address, on a new connection. Redirects are not followed: they would lead to an address that
 * the webhook's owner has not named. Never rejects.
 */
export const createRequest = ({ addresses, timeoutMs, answer: most, resolve }: RequestOptions): Request => {
  const guard = (isAllowed: (address: string) => boolean) => ({ isAllowed, lookup: guardedLookup(isAllowed, resolve) })
  // Plain HTTP is only for networks that the setting names: on the way to others, anyone could read the message.
  const byHttps = { ...guard(addresses.isAllowed), begin: requestByHttps }
  const byHttp = { ...guard(addresses.isListed), begin: requestByHttp }
  return ({ method, url, headers, body }, signal) =>
    new Promise(answer => {
      const target = new URL(url)
      const { isAllowed, lookup, begin } = target.protocol === 'https:' ? byHttps : byHttp
      const fail = (error: NodeJS.ErrnoException) =>
        answer({ status: null, error: explain(error, timeoutMs), aborted: error instanceof AbortedError })
      if (isRefusedLiteral(hostOf(target), isAllowed)) {
        fail(new AddressRefusedError())
        return
      }
      const request = begin(target, {
        method,
        headers: { ...headers, ...(body !== '' && { 'content-length': Buffer.byteLength(body) }) },
        // A new connection, because the address of a kept one was checked for an earlier request.
        agent: false,
        lookup,
      })
      const timer = setTimeout(() => request.destroy(new TimeoutError()), timeoutMs)
      const abort = () => request.destroy(new AbortedError())
      signal.addEventListener('abort', abort)
      if (signal.aborted) abort()
      request.on('error', fail)
      request.on('close', () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', abort)
        // An answer that was given stays. The caller must be told of every end, because otherwise its place would be lost.
        fail(new NoAnswerError())
      })
      request.on('response', response => {
        const chunks = read(response, most)
        const { headers } = response
        const wanted = retryAfterSeconds(headers['retry-after'], Date.now())
        // Only when the connection has closed: receivers that answer at once and never end would otherwise collect connections
        // without limit.
        response.on('close', () =>
          answer({
            status: response.statusCode ?? 0,
            headers,
            retryAfterSeconds: wanted,
            text: Buffer.concat(chunks).toString('utf8'),
          }),
        )
      })
      request.end(body)
    })
}

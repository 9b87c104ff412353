import { request as requestByHttp, type IncomingMessage } from 'node:http'
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

export interface PostOptions {
  addresses: Addresses
  /** From the beginning to the status of the answer. */
  timeoutMs: number
  resolve?: Resolve
}

/** The result of a request: a status, or why there is none. */
export type PostResult =
  { status: number; retryAfterSeconds: number | null } | { status: null; error: string; aborted: boolean }

export type Post = (
  url: string,
  headers: Record<string, string>,
  body: string,
  signal: AbortSignal,
) => Promise<PostResult>

/**
 * Only the status and one header of an answer are used. This much of the rest is read, for a limited time, before the
 * connection is cut.
 */
const MAX_ANSWER_BYTES = 16 * 1024
const MAX_ANSWER_MS = 1_000

/** Lets a short answer end, and cuts a long or slow one. */
const discard = (response: IncomingMessage): void => {
  let bytes = 0
  const timer = setTimeout(() => response.destroy(), MAX_ANSWER_MS)
  response.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) response.destroy()
  })
  response.on('error', () => undefined)
  response.on('close', () => clearTimeout(timer))
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
export const createPost = ({ addresses, timeoutMs, resolve }: PostOptions): Post => {
  const guard = (isAllowed: (address: string) => boolean) => ({ isAllowed, lookup: guardedLookup(isAllowed, resolve) })
  // Plain HTTP is only for networks that the setting names: on the way to others, anyone could read the message.
  const byHttps = { ...guard(addresses.isAllowed), begin: requestByHttps }
  const byHttp = { ...guard(addresses.isListed), begin: requestByHttp }
  return (url, headers, body, signal) =>
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
        method: 'POST',
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
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
        discard(response)
        const wanted = retryAfterSeconds(response.headers['retry-after'], Date.now())
        // Only when the connection has closed: receivers that answer at once and never end would otherwise collect connections
        // without limit.
        response.on('close', () => answer({ status: response.statusCode ?? 0, retryAfterSeconds: wanted }))
      })
      request.end(body)
    })
}

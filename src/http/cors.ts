import { HEADER } from '../contract/http.ts'
import fastifyCors from '@fastify/cors'
import type { FastifyCorsOptions } from '@fastify/cors'
import type { FastifyInstance, FastifyRequest } from 'fastify'

/** Headers that a page may read, besides those that every page may (Fetch Standard, "CORS-safelisted response-header name"). */
const EXPOSED_HEADERS = [
  'allow',
  'date',
  'etag',
  'location',
  'mcp-session-id',
  HEADER.preferenceApplied,
  'ratelimit-limit',
  'ratelimit-remaining',
  'ratelimit-reset',
  'retry-after',
  'www-authenticate',
  'x-keepalive-seconds',
  HEADER.requestId,
]

/** Headers that a page may send, besides those that every page may. */
const ALLOWED_HEADERS = [
  'authorization',
  'cache-control',
  'content-type',
  HEADER.idempotencyKey,
  'if-none-match',
  HEADER.lastEventId,
  'mcp-protocol-version',
  'mcp-session-id',
  'prefer',
  HEADER.requestId,
]

/** How long a browser may keep the answer to a preflight. Chromium keeps it no longer than this. */
const PREFLIGHT_SECONDS = 7_200

/** Whether a browser asks if a page may call. Any other OPTIONS request is handled like a method that no route has. */
const isPreflight = ({ method, headers }: FastifyRequest): boolean =>
  method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined

/**
 * Lets web pages of these origins call; with `*`, pages of any origin. Cookies are not allowed: the caller is named by the
 * token, so a page can do no more than the person who gave it the token. Without origins nothing is registered, and browsers
 * refuse by themselves.
 */
export const registerCors = async (app: FastifyInstance, origins: readonly string[]): Promise<void> => {
  if (origins.length === 0) return
  const options: FastifyCorsOptions = {
    origin: origins.includes('*') ? '*' : [...origins],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
    allowedHeaders: ALLOWED_HEADERS,
    exposedHeaders: EXPOSED_HEADERS,
    maxAge: PREFLIGHT_SECONDS,
  }
  await app.register(fastifyCors, {
    delegator: (request, done) => {
      done(null, { ...options, preflight: isPreflight(request) })
    },
  })
}

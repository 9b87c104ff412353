import { HEADER } from '../contract/http.ts'
import fastifyCors from '@fastify/cors'
import type { FastifyCorsOptions } from '@fastify/cors'
import type { FastifyInstance, FastifyRequest } from 'fastify'

/** What a page may read beyond the headers that every page may (Fetch Standard, "CORS-safelisted response-header name"). */
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

/** What a page may send beyond what every page may. */
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

/** How long a browser need not ask again: Chromium keeps it no longer. */
const PREFLIGHT_SECONDS = 7_200

/** What a browser asks before it lets a page call; any other OPTIONS is a method like those that no route has. */
const isPreflight = ({ method, headers }: FastifyRequest): boolean =>
  method === 'OPTIONS' && headers.origin !== undefined && headers['access-control-request-method'] !== undefined

/**
 * Lets web pages of these origins call; `*`: of any. Without credentials of the browser's own: who calls is in the token, so a
 * page can do no more than whoever gave it one. Without origins there is nothing to register, and browsers refuse by themselves.
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

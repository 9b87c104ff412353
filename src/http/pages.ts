import fastifyHelmet from '@fastify/helmet'
import type { FastifyError, FastifyInstance } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'
import { sendMissingPage } from './missing-page.ts'
import { handleError } from './problems.ts'

/** What pages may load, by directive of the content security policy. Everything else is forbidden. */
export type Allowed = Readonly<Record<string, string[]>>

/**
 * Protects pages that a browser shows: they may load only what is `allowed`, run no inline scripts, and appear in no frame.
 * `scope` must be encapsulated: programs need none of these headers, and they would cost every heartbeat time.
 */
export const protectPages = async (scope: FastifyInstance, allowed: Allowed): Promise<void> => {
  // A file that cannot be sent is answered as missing: paths that lead out of the folder, names with dots and NULs.
  scope.setErrorHandler((error: FastifyError, request, reply) => {
    const isMissing = error.statusCode !== undefined && error.statusCode < 500
    if (isMissing && sendMissingPage(request, reply)) return reply
    return handleError(
      isMissing ? new HeadwayError('route_not_found', 'There is no such page: see /docs.') : error,
      request,
      reply,
    )
  })
  await scope.register(fastifyHelmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'none'"],
        frameAncestors: ["'none'"],
        ...allowed,
      },
    },
    frameguard: { action: 'deny' },
    // Whether a host may only be reached by TLS is a decision for the proxy that ends TLS.
    strictTransportSecurity: false,
  })
}

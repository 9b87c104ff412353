import fastifyHelmet from '@fastify/helmet'
import type { FastifyError, FastifyInstance } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'
import { sendMissingPage } from './missing-page.ts'
import { handleError } from './problems.ts'

/** What pages may load, by directive, beside nothing at all. */
export type Allowed = Readonly<Record<string, string[]>>

/**
 * For what a browser shows: nothing but what is `allowed`, no inline scripts, in no frame. `scope` must be an encapsulated one:
 * what programs read needs none of these headers, and heartbeats would pay for them.
 */
export const protectPages = async (scope: FastifyInstance, allowed: Allowed): Promise<void> => {
  // Of files, what cannot be sent is not there: paths that lead out of their folder, names with dots and NULs.
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
    // Whether a host is reached by TLS alone is for whoever ends TLS before the service.
    strictTransportSecurity: false,
  })
}

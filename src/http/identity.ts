import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'
import { OPEN_IDENTITY } from '../jobs/identity.ts'
import type { Identity } from '../jobs/identity.ts'
import type { Feature } from '../contract/tokens.ts'
import { createLateRefusals } from './limits/late-refusals.ts'
import type { RateLimit } from './limits/rate-limit.ts'

/** Finds out who calls, or raises `unauthenticated`. */
export type Identify = (request: FastifyRequest) => Identity | Promise<Identity>

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls. Only on routes of the API. */
    identity: Identity
  }
  interface FastifyContextConfig {
    /** What the caller must be allowed to do; a function where the query decides. */
    feature?: Feature | ((request: FastifyRequest) => Feature)
  }
}

/**
 * Refuses what lasts longer than a request to a token that has ended: the clock skew that is forgiven elsewhere would open a
 * stream or hold an answer that ends at once, for a client that then asks for the next one.
 */
export const refuseExpired = ({ expiresAtMs }: Identity): void => {
  if (expiresAtMs === null || expiresAtMs > Date.now()) return
  throw new HeadwayError('unauthenticated', 'The token has expired: get a new one.')
}

/** A service without any auth setting: whoever reaches it may do everything. */
export const identifyEveryone: Identify = () => OPEN_IDENTITY

export interface Admission {
  rateLimit: RateLimit | null
  /** Told of the tenant of each request that is let in. */
  onAdmitted: (tenantId: string) => void
}

/**
 * Gives every request of `app` its identity before its body is read, and refuses it without the feature that the route names.
 * A route that names none does not start: one that was forgotten would be open to all. What is refused counts for the rate
 * limit as well.
 */
export const registerIdentity = (
  app: FastifyInstance,
  identify: Identify,
  { rateLimit, onAdmitted }: Admission,
): void => {
  app.addHook('onRoute', ({ config, method, schema, url }) => {
    if (config?.feature === undefined) throw new Error(`${String(method)} ${url} names no feature`)
    // What is not in the OpenAPI document is not met by the test that calls everything as a stranger.
    if (schema?.operationId === undefined) throw new Error(`${String(method)} ${url} has no operation`)
  })
  const admit = (request: FastifyRequest, reply: FastifyReply, identity: Identity) => {
    rateLimit?.(identity, reply)
    const { feature } = request.routeOptions.config
    const needed = typeof feature === 'function' ? feature(request) : feature
    if (needed === undefined || !identity.features.has(needed)) {
      throw new HeadwayError('forbidden', `This call needs the feature ${needed ?? 'of its route'}.`)
    }
    request.identity = identity
    onAdmitted(identity.tenantId)
  }
  app.decorateRequest('identity')
  const refuse = createLateRefusals()
  // Without a promise where there is nothing to wait for: this runs for every heartbeat.
  app.addHook('onRequest', (request, reply, done) => {
    const refused = (error: unknown) => refuse(error, request, done)
    try {
      const identity = identify(request)
      if (identity instanceof Promise) {
        identity.then(found => admit(request, reply, found)).then(() => done(), refused)
        return
      }
      admit(request, reply, identity)
    } catch (error) {
      refused(error)
      return
    }
    done()
  })
}

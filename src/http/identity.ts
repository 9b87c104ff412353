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
    /** The caller. Only set on routes of the API. */
    identity: Identity
  }
  interface FastifyContextConfig {
    /** The feature that the caller needs; a function if it depends on the query. */
    feature?: Feature | ((request: FastifyRequest) => Feature)
  }
}

/**
 * Refuses an expired token for a call that lasts longer than a request. Other calls forgive a difference of clocks. Here that
 * would open a stream or hold an answer that ends at once, and the client would ask for the next one again and again.
 */
export const refuseExpired = ({ expiresAtMs }: Identity): void => {
  if (expiresAtMs === null || expiresAtMs > Date.now()) return
  throw new HeadwayError('unauthenticated', 'The token has expired: get a new one.')
}

/** The identity on a service without any auth setting: every caller may do everything. */
export const identifyEveryone: Identify = () => OPEN_IDENTITY

export interface Admission {
  rateLimit: RateLimit | null
  /** Called with the tenant of each request that is admitted. */
  onAdmitted: (tenantId: string) => void
}

/**
 * Gives every request of `app` its identity before its body is read, and refuses the request if the caller lacks the feature
 * that its route names. A route that names no feature fails at start, because it would be open to all. Refused requests count
 * for the rate limit as well.
 */
export const registerIdentity = (
  app: FastifyInstance,
  identify: Identify,
  { rateLimit, onAdmitted }: Admission,
): void => {
  app.addHook('onRoute', ({ config, method, schema, url }) => {
    if (config?.feature === undefined) throw new Error(`${String(method)} ${url} names no feature`)
    // A test calls every operation of the OpenAPI document as callers who may not see its job. It would miss this route.
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
  // Without a promise if `identify` answers at once, because this runs for every heartbeat.
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

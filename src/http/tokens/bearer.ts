import type { FastifyRequest } from 'fastify'
import { HeadwayError } from '../../contract/errors.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Clients of this route may be unable to set headers, so it takes `?access_token=` as well (RFC 6750, section 2.3). */
    takesTokenInQuery?: boolean
  }
}

/** Half of what Node accepts for all headers. */
const MAX_TOKEN_LENGTH = 8192

const BEARER = /^bearer\b/i
const TOKEN = /^bearer +([\w.~+/-]+=*) *$/i

const queryTokenOf = ({ query, routeOptions }: FastifyRequest): unknown =>
  routeOptions.config.takesTokenInQuery === true ? (query as { access_token?: unknown }).access_token : undefined

/** Whether the request has a token, valid or not. Credentials of other schemes are for a proxy in front of the service. */
export const hasToken = (request: FastifyRequest): boolean =>
  BEARER.test(request.headers.authorization ?? '') || (queryTokenOf(request) ?? '') !== ''

/** The token of a request: the one in the header, otherwise the one in the query. Raises `unauthenticated`. */
export const tokenOf = (request: FastifyRequest): string => {
  const { authorization } = request.headers
  if (!hasToken(request)) {
    const inQuery = request.routeOptions.config.takesTokenInQuery === true
    const place = inQuery
      ? 'the header Authorization: Bearer <token>, or ?access_token=<token>'
      : 'the header Authorization: Bearer <token>'
    throw new HeadwayError('unauthenticated', `This call needs a token: send ${place}.`)
  }
  const token = BEARER.test(authorization ?? '') ? TOKEN.exec(authorization ?? '')?.[1] : queryTokenOf(request)
  if (typeof token !== 'string') throw new HeadwayError('unauthenticated', 'Send one token, as: Bearer <token>.')
  if (token.length > MAX_TOKEN_LENGTH) {
    throw new HeadwayError('unauthenticated', `The token is longer than ${MAX_TOKEN_LENGTH} characters.`)
  }
  return token
}

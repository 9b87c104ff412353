import type { FastifyInstance, FastifyRequest } from 'fastify'
import { HeadwayError } from '../../contract/errors.ts'
import { handleError } from '../problems.ts'
import { hasToken } from './bearer.ts'

const REALM = 'Bearer realm="headway"'

/** A sentence as it may stand between the quotes of a parameter (RFC 6750, section 3). */
const quotable = (sentence: string): string => sentence.replace(/["\\]/g, "'").replace(/[^\x20-\x7e]/g, '?')

const challengeOf = (error: unknown, request: FastifyRequest): string | null => {
  if (!(error instanceof HeadwayError)) return null
  const refused = (reason: string) => `${REALM}, error="${reason}", error_description="${quotable(error.message)}"`
  if (error.code === 'forbidden') return refused('insufficient_scope')
  if (error.code !== 'unauthenticated') return null
  // A caller without a token is told that a token is needed, and not that its token is wrong.
  return hasToken(request) ? refused('invalid_token') : REALM
}

/** Makes the refusals of `api` say with `WWW-Authenticate` which token would be needed. */
export const registerChallenges = (api: FastifyInstance): void => {
  api.setErrorHandler((error: Error, request, reply) => {
    const challenge = challengeOf(error, request)
    if (challenge !== null) reply.header('www-authenticate', challenge)
    return handleError(error, request, reply)
  })
}

import { errors, jwtVerify } from 'jose'
import type { JWTVerifyGetKey, JWTVerifyOptions } from 'jose'
import type { AuthConfig } from '../../config.ts'
import { HeadwayError } from '../../contract/errors.ts'
import type { Identity } from '../../jobs/identity.ts'
import { identityOf } from './claims.ts'
import type { TokenKeys } from './keys.ts'

/** How much the clocks of the issuer and of this machine may differ. */
const CLOCK_SKEW_SECONDS = 60

/**
 * Sentences by the claim that jose refused. The claim's value is not repeated, because answers must not contain parts of
 * tokens.
 */
const CLAIM_SENTENCES: Record<string, string> = {
  iss: 'The token is from another issuer than AUTH_ISSUER.',
  aud: 'The token is not meant for this service: its claim aud does not name AUTH_AUDIENCE.',
  nbf: 'The token is not valid yet: its claim nbf lies in the future.',
}

const sentenceOf = (error: errors.JOSEError, algorithms: readonly string[]): string => {
  if (error instanceof errors.JWTExpired) return 'The token has expired: get a new one.'
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.reason === 'check_failed' && error.claim in CLAIM_SENTENCES) return CLAIM_SENTENCES[error.claim] ?? ''
    return `The claim ${error.claim} of the token is missing or malformed.`
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return `The token must be signed with ${algorithms.join(', ')}.`
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return 'The signature of the token was made with another key.'
  if (error instanceof errors.JWKSNoMatchingKey)
    return 'The token is signed with a key that its issuer does not publish.'
  return 'What was sent is not a signed JSON Web Token.'
}

/** The refusal for a failed check. It has no cause: the cause contains the claims, and they would appear in the log. */
const toRefusal = (error: unknown, algorithms: readonly string[]): HeadwayError => {
  if (error instanceof HeadwayError) return error
  if (error instanceof errors.JOSEError) return new HeadwayError('unauthenticated', sentenceOf(error, algorithms))
  // The published key cannot be used: it is too short, or not of the type that it says.
  return new HeadwayError(
    'keys_unavailable',
    'The key that the token is signed with cannot be used as it is published.',
    {
      retryAfterSeconds: 60,
      cause: error,
    },
  )
}

/** A token without a key id may match several keys of its issuer. The check succeeds if one of them has signed it. */
const tryEach = async (token: string, matching: errors.JWKSMultipleMatchingKeys, options: JWTVerifyOptions) => {
  for await (const key of matching) {
    try {
      return await jwtVerify(token, key, options)
    } catch (error) {
      if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error
    }
  }
  throw new errors.JWSSignatureVerificationFailed()
}

const check = async (token: string, find: JWTVerifyGetKey, options: JWTVerifyOptions) => {
  try {
    return await jwtVerify(token, find, options)
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error
    return tryEach(token, error, options)
  }
}

/**
 * Checks signature, times, issuer, audience and claims. Raises `unauthenticated`, or `keys_unavailable` if the keys are not
 * available.
 */
export type VerifyToken = (token: string) => Promise<Identity>

export const createVerifyToken = ({ issuer, audience }: AuthConfig, keys: TokenKeys): VerifyToken => {
  const options: JWTVerifyOptions = {
    algorithms: [...keys.algorithms],
    clockTolerance: CLOCK_SKEW_SECONDS,
    ...(issuer !== null && { issuer }),
    ...(audience !== null && { audience }),
  }
  return async token => {
    try {
      const { payload } = await check(token, keys.find, options)
      return identityOf(payload)
    } catch (error) {
      throw toRefusal(error, keys.algorithms)
    }
  }
}

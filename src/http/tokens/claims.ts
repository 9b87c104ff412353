import { z } from 'zod'
import { HeadwayError } from '../../contract/errors.ts'
import { ALL_FEATURES, FEATURES, type Claims, type Feature } from '../../contract/tokens.ts'
import type { Identity } from '../../jobs/identity.ts'
import { text, uuid } from '../schemas/primitives.ts'

const NIL_UUID = '00000000-0000-0000-0000-000000000000'

const FEATURES_SENTENCE = 'must be a list of names, or names in one text with spaces between them'

const names = z.union(
  [
    z.array(z.string()),
    z
      .string()
      .transform(list => list.split(' '))
      .pipe(z.array(z.string())),
  ],
  FEATURES_SENTENCE,
)

/**
 * The claims that Headway reads; a token may have others. A null is refused and not read as "absent": an issuer that writes
 * null for a claim that limits the token may have meant either.
 */
export const claimsSchema = z.object({
  sub: text(1, 255).exactOptional(),
  tenant_id: uuid,
  // The index of idempotency keys uses the nil UUID for "no organization", so a token of that organization would share the keys
  // of jobs without one.
  organization_id: uuid
    .refine(id => id !== NIL_UUID, 'must not be the nil UUID: leave it out where there is no organization')
    .exactOptional(),
  features: names.default([]),
  job_id: uuid.exactOptional(),
  exp: z.number('must be a time in seconds since 1970').exactOptional(),
}) satisfies z.ZodType<object, Claims>

/** The features that a token names. Unknown names belong to other services or to a later version. */
const featuresOf = (given: readonly string[]): ReadonlySet<Feature> =>
  new Set(given.includes(ALL_FEATURES) ? FEATURES : FEATURES.filter(feature => given.includes(feature)))

type Verified = z.output<typeof claimsSchema>

/**
 * The caller for whom limits count, made of verified claims. The text of a token would not do: a signature can be spelled in
 * several ways that are all valid (the spare bits of base64url), and a renewed token would bring new limits. A tenant's id has
 * a fixed length, so a user of one tenant cannot be taken for a user of another.
 */
const callerOf = ({ sub, tenant_id, organization_id, job_id }: Verified, features: ReadonlySet<Feature>): string =>
  sub === undefined
    ? `token ${JSON.stringify([tenant_id, organization_id, job_id, ...features])}`
    : `user ${tenant_id} ${sub}`

/**
 * The identity by the claims of a token whose signature and times have been checked. Raises `unauthenticated`, which names the
 * claim.
 */
export const identityOf = (claims: unknown): Identity => {
  const parsed = claimsSchema.safeParse(claims)
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0] ?? { path: [], message: 'cannot be read' }
    throw new HeadwayError('unauthenticated', `The claim ${String(path[0])} of the token ${message}.`)
  }
  const { sub, tenant_id, organization_id, job_id, exp } = parsed.data
  const features = featuresOf(parsed.data.features)
  return {
    tenantId: tenant_id,
    organizationId: organization_id ?? null,
    userId: sub ?? null,
    features,
    jobId: job_id ?? null,
    expiresAtMs: exp === undefined ? null : exp * 1000,
    caller: callerOf(parsed.data, features),
  }
}

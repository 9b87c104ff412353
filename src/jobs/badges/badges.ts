import { createHash, randomBytes } from 'node:crypto'
import type { BadgeDocument, BadgeFields, BadgeWithToken } from '../../contract/badge.ts'
import { HeadwayError } from '../../contract/errors.ts'
import type { ProgressDocument } from '../../contract/job.ts'
import type { Identity } from '../identity.ts'
import type { InTurn } from '../in-turn.ts'
import { withRefusals } from '../with-refusals.ts'
import type { BadgeRepository } from './repository.ts'

/** What a badge shows of a job. */
export type BadgeState = Pick<ProgressDocument, 'status' | 'progressPercent' | 'totalCount'>

/** The use cases of badges. All raise `HeadwayError`. */
export interface Badges {
  create(identity: Identity, input: Pick<BadgeFields, 'jobType'> & Partial<BadgeFields>): Promise<BadgeWithToken>
  /** Those of the caller's tenant, without their tokens. */
  list(identity: Identity): Promise<BadgeDocument[]>
  /** From then on its token shows nothing. */
  remove(identity: Identity, id: string): Promise<void>
  /** The newest job of a badge's type, at most `KEPT_MS` old; null: there is none. Raises `badge_not_found`. */
  newest(token: string): Promise<BadgeState | null>
}

export interface BadgesOptions {
  repository: BadgeRepository
  inTurn: InTurn
  /** Milliseconds of a monotonic clock. */
  now?: () => number
}

/** More than a tenant has types of jobs worth a badge. */
const MAX_BADGES = 100
/** Nobody can guess a number of 256 bits (NIST SP 800-63B asks for 112). */
const TOKEN_BYTES = 32
/** 32 bytes in base64url. */
const TOKEN = /^[\w-]{43}$/
/** For so long a process answers from memory: a page with many readers costs the database as much as one reader. */
const KEPT_MS = 5_000
const MAX_KEPT = 1_000
/** All readers of badges share the turns of one tenant, because their tenants are only known when the badge has been read. */
const READERS = { tenantId: 'readers of badges', caller: null }

const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex')

/** A token for one job must not learn of other jobs through a badge. */
const tenantOf = ({ tenantId, jobId }: Identity): string => {
  if (jobId === null) return tenantId
  throw new HeadwayError('forbidden', 'This token is limited to one job, and badges show any job of a type.')
}

const unknownToken = () =>
  new HeadwayError('badge_not_found', 'There is no badge with this token: it was revoked, or never made.')

export const createBadges = ({ repository, inTurn, now = () => performance.now() }: BadgesOptions): Badges => {
  const kept = new Map<string, { atMs: number; state: Promise<BadgeState | null> }>()

  const read = (token: string): Promise<BadgeState | null> =>
    inTurn(READERS, 'narrow', () =>
      withRefusals(async () => {
        const badge = await repository.findByToken(hashOf(token))
        if (badge === null) throw unknownToken()
        const { tenantId, organizationId, jobType } = badge
        const allOrganizations = organizationId === null
        return repository.newestOfType(
          { actor: null, tenantId, organizationId, allOrganizations, jobId: null },
          jobType,
        )
      }),
    )

  return {
    create: (identity, { jobType, organizationId = null }) =>
      inTurn(identity, 'narrow', () =>
        withRefusals(async () => {
          const token = randomBytes(TOKEN_BYTES).toString('base64url')
          const badge = await repository.create(
            tenantOf(identity),
            { jobType, organizationId },
            hashOf(token),
            MAX_BADGES,
          )
          if (badge) return { ...badge, token }
          throw new HeadwayError('too_many_badges', `A tenant has at most ${MAX_BADGES} badges: delete one.`)
        }),
      ),

    list: identity => inTurn(identity, 'narrow', () => withRefusals(async () => repository.list(tenantOf(identity)))),

    remove: (identity, id) =>
      inTurn(identity, 'narrow', () =>
        withRefusals(async () => {
          if (await repository.remove(tenantOf(identity), id)) return
          throw new HeadwayError('badge_not_found', `There is no badge ${id}, or it is not yours.`)
        }),
      ),

    async newest(token) {
      if (!TOKEN.test(token)) throw unknownToken()
      const known = kept.get(token)
      if (known && now() - known.atMs < KEPT_MS) return known.state
      kept.delete(token)
      const state = read(token)
      for (const oldest of kept.keys()) {
        if (kept.size < MAX_KEPT) break
        kept.delete(oldest)
      }
      kept.set(token, { atMs: now(), state })
      try {
        return await state
      } catch (error) {
        // What failed is tried again, and guessed tokens take no room.
        if (kept.get(token)?.state === state) kept.delete(token)
        throw error
      }
    },
  }
}

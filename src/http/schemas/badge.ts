import { z } from 'zod'
import type { BadgeDocument } from '../../contract/badge.ts'
import { shownText, uuid } from './primitives.ts'

const BADGE_ID_EXAMPLE = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3d01'

/** `job` is in the label, and what it says beside it. */
const MAX_LABEL = 60

export const newBadge = z
  .strictObject({
    jobType: shownText(100),
    organizationId: uuid.nullable().exactOptional().describe('null, or absent: of the whole tenant.'),
  })
  .meta({ id: 'NewBadge', examples: [{ jobType: 'import:products' }] })

export const badgeParams = z.object({
  id: uuid.describe('The id of the badge.').meta({ example: BADGE_ID_EXAMPLE }),
})

export const badgeToken = z.object({ token: z.string() })

export const badgeQuery = z.strictObject({
  label: shownText(MAX_LABEL).default('progress').describe('What the left half says.'),
})

const badgeFields = {
  id: z.uuid(),
  jobType: z.string(),
  organizationId: z.uuid().nullable(),
  createdAt: z.iso.datetime(),
}

const badgeExample: BadgeDocument = {
  id: BADGE_ID_EXAMPLE,
  jobType: 'import:products',
  organizationId: null,
  createdAt: '2026-01-31T11:00:00.000Z',
}

const badge = z.object(badgeFields).meta({ id: 'Badge', examples: [badgeExample] }) satisfies z.ZodType<BadgeDocument>

export const badgeWithToken = z.object({ ...badgeFields, token: z.string().describe('It is shown only here.') }).meta({
  id: 'BadgeWithToken',
  examples: [{ ...badgeExample, token: 'fLW1rGqRHgXIi7eB3Zz0o8dZ1Xv5m2c9yJ4kQpT6uNs' }],
})

export const badgeList = z.object({ items: z.array(badge).describe('Oldest first.') }).meta({ id: 'BadgeList' })

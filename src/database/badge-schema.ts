import { index, text, uniqueIndex, uuid } from './drizzle.ts'
import { publicTable, thisMillisecond, time } from './columns.ts'

/** The badges of types: whoever has the token of one sees how far the newest job of the type is. */
export const badges = publicTable(
  'badges',
  {
    id: uuid('id').primaryKey().defaultRandom(),
    tenantId: uuid('tenant_id').notNull(),
    /** Null: all organizations of the tenant. */
    organizationId: uuid('organization_id'),
    jobType: text('job_type').notNull(),
    /** SHA-256 of the token, in hexadecimal digits: a copy of the database gives no token away. */
    tokenHash: text('token_hash').notNull(),
    createdAt: time('created_at').notNull().default(thisMillisecond),
  },
  table => [index('badges_tenant').on(table.tenantId), uniqueIndex('badges_token').on(table.tokenHash)],
)

import type { SQL } from 'drizzle-orm'
import { sql } from '../database/drizzle.ts'
import { functions } from '../database/functions.ts'
import { visibilityOf, type Scope } from './identity.ts'

/** The jobs that exist for a caller. Every statement in Drizzle is bound to it; none gives the table another name. */
export const inScope = (scope: Scope): SQL => {
  const { tenantId, allOrganizations, organizationId, scopeJobId } = visibilityOf(scope)
  return sql`${functions}.sees(
    progress_jobs, ${tenantId}::uuid, ${allOrganizations}::boolean, ${organizationId}::uuid, ${scopeJobId}::uuid)`
}

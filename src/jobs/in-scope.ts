import type { SQL } from 'drizzle-orm'
import { sql } from '../database/drizzle.ts'
import { functions } from '../database/functions.ts'
import { visibilityOf, type Scope } from './identity.ts'

/**
 * The condition that limits a statement in Drizzle to the jobs that exist for a caller. The statement must not give the table
 * an alias.
 */
export const inScope = (scope: Scope): SQL => {
  const { tenantId, allOrganizations, organizationId, scopeJobId } = visibilityOf(scope)
  return sql`${functions}.sees(
    progress_jobs, ${tenantId}::uuid, ${allOrganizations}::boolean, ${organizationId}::uuid, ${scopeJobId}::uuid)`
}

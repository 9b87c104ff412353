import { and, eq, isNull, sql, type SQL } from 'drizzle-orm'
import { progressJobs } from '../database/schema.ts'
import type { Scope } from './identity.ts'

/** The jobs that exist for a caller. Every statement in Drizzle is bound to it. */
export const inScope = (scope: Scope): SQL | undefined =>
  and(
    eq(progressJobs.tenantId, scope.tenantId),
    scope.allOrganizations
      ? undefined
      : scope.organizationId === null
        ? isNull(progressJobs.organizationId)
        : eq(progressJobs.organizationId, scope.organizationId),
    scope.jobId === null ? undefined : sql`${scope.jobId} IN (${progressJobs.id}, ${progressJobs.parentJobId})`,
  )

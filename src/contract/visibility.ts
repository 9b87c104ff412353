/** Which jobs exist for a caller. */
export interface Visibility {
  tenantId: string
  /** The jobs of every organization of the tenant. */
  allOrganizations: boolean
  /** Without `allOrganizations`: the jobs of this organization; null: those that belong to none. */
  organizationId: string | null
  /** A token's own job: that job and its partitions. null: any job. */
  scopeJobId: string | null
}

/** Where a job belongs. None of it ever changes. */
export interface Belonging {
  id: string
  tenantId: string
  organizationId: string | null
  parentJobId: string | null
}

/**
 * Whether a job exists for a caller. What is decided here, headway.sees (functions/visibility.sql) decides in the database, and
 * nothing else does: a test compares the two.
 */
export const sees = (caller: Visibility, job: Belonging): boolean =>
  job.tenantId === caller.tenantId &&
  (caller.allOrganizations || job.organizationId === caller.organizationId) &&
  (caller.scopeJobId === null || job.id === caller.scopeJobId || job.parentJobId === caller.scopeJobId)

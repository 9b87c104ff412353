/** Which jobs exist for a caller. */
export interface Visibility {
  tenantId: string
  /** Whether the caller sees the jobs of every organization of the tenant. */
  allOrganizations: boolean
  /** Without `allOrganizations`: the organization whose jobs the caller sees; null: jobs that belong to none. */
  organizationId: string | null
  /** The job of a token that is limited to one job and its partitions. null: any job. */
  scopeJobId: string | null
}

/** What a job belongs to. None of it ever changes. */
export interface Belonging {
  id: string
  tenantId: string
  organizationId: string | null
  parentJobId: string | null
}

/**
 * Whether a job exists for a caller. headway.sees (functions/visibility.sql) decides the same in the database, and no other
 * code does: a test compares the two.
 */
export const sees = (caller: Visibility, job: Belonging): boolean =>
  job.tenantId === caller.tenantId &&
  (caller.allOrganizations || job.organizationId === caller.organizationId) &&
  (caller.scopeJobId === null || job.id === caller.scopeJobId || job.parentJobId === caller.scopeJobId)

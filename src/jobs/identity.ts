import { FEATURES, type Feature } from '../contract/tokens.ts'
import type { Visibility } from '../contract/visibility.ts'

/** Who calls. Every use case takes one, and every statement is bound to its scope. */
export interface Identity {
  tenantId: string
  /** null: sees the jobs that belong to no organization. */
  organizationId: string | null
  userId: string | null
  features: ReadonlySet<Feature>
  /** Limits the caller to one job and its partitions. */
  jobId: string | null
  /** When the caller's right ends (milliseconds since 1970); null when it does not. A stream never outlives it. */
  expiresAtMs: number | null
  /**
   * Whom every limit counts for (requests, streams, held answers, bytes in flight): a user of a tenant; where the token names
   * none, everyone who may do the same. null: nobody is counted, since everyone is the same one.
   */
  caller: string | null
  /** Whether others may share what is read for it; see `Party` of the turns. */
  isShared?: boolean
}

/** The rows an identity may see, and whose name the history notes, in the form the statements take it. */
export interface Scope {
  actor: string | null
  tenantId: string
  /** `progress.manage` sees the jobs of every organization of its tenant. */
  allOrganizations: boolean
  organizationId: string | null
  jobId: string | null
  /** Whom the share of what waits to be written counts for; see `Identity.caller`. */
  caller?: string | null
}

export const scopeOf = (identity: Identity): Scope => ({
  actor: identity.userId,
  tenantId: identity.tenantId,
  allOrganizations: identity.features.has('progress.manage'),
  organizationId: identity.organizationId,
  jobId: identity.jobId,
  caller: identity.caller,
})

/** Which jobs exist for whoever acts in a scope: the same value for all who see the same. */
export const visibilityOf = ({ tenantId, allOrganizations, organizationId, jobId }: Scope): Visibility => ({
  tenantId,
  allOrganizations,
  organizationId: allOrganizations ? null : organizationId,
  scopeJobId: jobId,
})

/** Whoever reaches a service without authentication: every feature, in the nil tenant. */
export const OPEN_IDENTITY: Identity = {
  tenantId: '00000000-0000-0000-0000-000000000000',
  organizationId: null,
  userId: null,
  features: new Set(FEATURES),
  jobId: null,
  expiresAtMs: null,
  caller: null,
}

import { FEATURES, type Feature } from '../contract/tokens.ts'
import type { Visibility } from '../contract/visibility.ts'

/** Who calls. Every use case takes an identity, and every statement is limited to its scope. */
export interface Identity {
  tenantId: string
  /** null: sees the jobs that belong to no organization. */
  organizationId: string | null
  userId: string | null
  features: ReadonlySet<Feature>
  /** Limits the caller to one job and its partitions. */
  jobId: string | null
  /** When the caller's right ends (milliseconds since 1970); null when it does not end. A stream ends with it. */
  expiresAtMs: number | null
  /**
   * The name under which every limit counts (requests, streams, held answers, bytes in flight): a user of a tenant. If the
   * token names no user, all callers with the same rights count as one. null: no limit counts, because without authentication
   * all callers look the same.
   */
  caller: string | null
  /** Whether other callers may share what is read for this one; see `Party` in turns.ts. */
  isShared?: boolean
}

/** Which rows an identity may see, and the name that the history notes, in the form that the statements take. */
export interface Scope {
  actor: string | null
  tenantId: string
  /** `progress.manage` sees the jobs of every organization of its tenant. */
  allOrganizations: boolean
  organizationId: string | null
  jobId: string | null
  /** The name that counts for the share of the heartbeat queue; see `Identity.caller`. */
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

/** Which jobs exist for a caller with this scope. Callers who see the same jobs have equal values. */
export const visibilityOf = ({ tenantId, allOrganizations, organizationId, jobId }: Scope): Visibility => ({
  tenantId,
  allOrganizations,
  organizationId: allOrganizations ? null : organizationId,
  scopeJobId: jobId,
})

/** The identity of every caller of a service without authentication: every feature, in the nil tenant. */
export const OPEN_IDENTITY: Identity = {
  tenantId: '00000000-0000-0000-0000-000000000000',
  organizationId: null,
  userId: null,
  features: new Set(FEATURES),
  jobId: null,
  expiresAtMs: null,
  caller: null,
}

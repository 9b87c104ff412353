/** What a caller may do. `progress.*` in a token stands for all of them. */
export const FEATURES = [
  'progress.view',
  'progress.create',
  'progress.update',
  'progress.cancel',
  'progress.manage',
] as const
export type Feature = (typeof FEATURES)[number]

/** In a token it stands for all features. */
export const ALL_FEATURES = 'progress.*'

/** What a token carries, as its issuer writes it. Other claims may stand beside these. */
// A type: an interface is not taken where any object is.
export type Claims = {
  /** The user. */
  sub?: string
  tenant_id: string
  /** Without it: the jobs that belong to no organization. */
  organization_id?: string
  /** Names of features, in a list or in one text with spaces between them. */
  features?: string[] | string | undefined
  /** Limits the token to this job and its partitions. */
  job_id?: string
  /** When it ends, in seconds since 1970. */
  exp?: number
}

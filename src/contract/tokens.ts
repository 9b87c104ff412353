/** What a caller may do. `progress.*` in a token stands for all of them. */
export const FEATURES = [
  'progress.view',
  'progress.create',
  'progress.update',
  'progress.cancel',
  'progress.manage',
] as const
export type Feature = (typeof FEATURES)[number]

/** Stands for all features in a token. */
export const ALL_FEATURES = 'progress.*'

/** The claims of a token, as its issuer writes them. A token may have others. */
// A type and no interface, because an interface cannot be passed where any object is expected.
export type Claims = {
  /** The user. */
  sub?: string
  tenant_id: string
  /** Without it: the token is for the jobs that belong to no organization. */
  organization_id?: string
  /** Names of features, in a list or in one text with spaces between them. */
  features?: string[] | string | undefined
  /** Limits the token to this job and its partitions. */
  job_id?: string
  /** When the token ends, in seconds since 1970. */
  exp?: number
}

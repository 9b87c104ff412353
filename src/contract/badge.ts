/**
 * The words of badges:
 *
 * - badge: a small picture that tells how far a job is, or how it ended, for a README or a wiki.
 * - badge of a type: it shows the newest job of a type, to whoever has its token. It tells nothing else of the job.
 */

/** Which jobs a badge of a type shows the newest of. None of it ever changes. */
export interface BadgeFields {
  jobType: string
  /** null: all organizations of the tenant. */
  organizationId: string | null
}

export interface BadgeDocument extends BadgeFields {
  id: string
  createdAt: string
}

/** The document with the token, which is shown only when it is made. */
export type BadgeWithToken = BadgeDocument & { token: string }

import { and, desc, eq, isNotNull, isNull } from '../../database/drizzle.ts'
import type { Database } from '../../database/connection.ts'
import { hasRoom } from '../../database/has-room.ts'
import { badges, progressJobs } from '../../database/schema.ts'
import type { BadgeDocument, BadgeFields } from '../../contract/badge.ts'
import type { ProgressDocument } from '../../contract/job.ts'
import type { Scope } from '../identity.ts'
import { inScope } from '../in-scope.ts'
import { rowDocument } from '../row-document.ts'

type BadgeRow = typeof badges.$inferSelect

const LOCK = 52_720_155

const toBadge = ({ id, jobType, organizationId, createdAt }: BadgeRow): BadgeDocument => ({
  id,
  jobType,
  organizationId,
  createdAt: createdAt.toISOString(),
})

/** Statements on badges. Each but `findByToken` is limited to a tenant; badges of others do not exist for it. */
export const createBadgeRepository = (database: Database) => {
  const db = database.drizzle

  const newest = async (scope: Scope, jobType: string, hasFinished: boolean) => {
    const rows = await db
      .select({ progress: rowDocument<ProgressDocument>('progress'), createdAt: progressJobs.createdAt })
      .from(progressJobs)
      .where(
        and(
          inScope(scope),
          eq(progressJobs.jobType, jobType),
          isNull(progressJobs.parentJobId),
          hasFinished ? isNotNull(progressJobs.finishedAt) : isNull(progressJobs.finishedAt),
        ),
      )
      .orderBy(desc(progressJobs.createdAt), desc(progressJobs.id))
      .limit(1)
    return rows[0] ?? null
  }

  return {
    /** Null when the tenant already has `most`. */
    async create(
      tenantId: string,
      fields: BadgeFields,
      tokenHash: string,
      most: number,
    ): Promise<BadgeDocument | null> {
      return database.transaction(async transaction => {
        if (!(await hasRoom(transaction, badges, { tenantId, most, lock: LOCK }))) return null
        const rows = await transaction
          .insert(badges)
          .values({ ...fields, tenantId, tokenHash })
          .returning()
        return rows[0] ? toBadge(rows[0]) : null
      })
    },

    async list(tenantId: string): Promise<BadgeDocument[]> {
      const rows = await db
        .select()
        .from(badges)
        .where(eq(badges.tenantId, tenantId))
        .orderBy(badges.createdAt, badges.id)
      return rows.map(toBadge)
    },

    async remove(tenantId: string, id: string): Promise<boolean> {
      const rows = await db
        .delete(badges)
        .where(and(eq(badges.tenantId, tenantId), eq(badges.id, id)))
        .returning({ id: badges.id })
      return rows.length > 0
    },

    /** The badge of any tenant whose token has this hash. */
    async findByToken(tokenHash: string): Promise<(BadgeFields & { tenantId: string }) | null> {
      const rows = await db.select().from(badges).where(eq(badges.tokenHash, tokenHash))
      return rows[0] ?? null
    },

    /** The progress of the job of a type that was created last, batches included and partitions not; null: there is none. */
    async newestOfType(scope: Scope, jobType: string): Promise<ProgressDocument | null> {
      // In this order, so that a job that ends meanwhile is in one of both. Each has an index in the order of creation.
      const active = await newest(scope, jobType, false)
      const finished = await newest(scope, jobType, true)
      const last = active !== null && (finished === null || active.createdAt >= finished.createdAt) ? active : finished
      return last?.progress ?? null
    },
  }
}

export type BadgeRepository = ReturnType<typeof createBadgeRepository>

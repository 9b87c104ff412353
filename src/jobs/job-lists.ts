import type { SQL } from 'drizzle-orm'
import { and, asc, desc, eq, gte, inArray, isNotNull, isNull, sql } from '../database/drizzle.ts'
import type { JobEvent, ListedJob } from '../contract/job.ts'
import type { JobEventType } from '../contract/states.ts'
import type { Database } from '../database/connection.ts'
import { functions } from '../database/functions.ts'
import { jobEvents, progressJobs } from '../database/schema.ts'
import type { Scope } from './identity.ts'
import { inScope } from './in-scope.ts'
import { rowDocument } from './row-document.ts'
import type { ListEvents, ListJobs } from './use-cases.ts'

/** The total of a list is not counted further than this, because counting millions of rows would slow every list. */
const MAX_TOTAL = 10_000
const MAX_ACTIVE = 50
const MAX_RECENT = 10

/** `%` and `_` in a search text are ordinary characters. */
const escapeLike = (text: string): string => text.replace(/[\\%_]/g, '\\$&')

const listFilter = (scope: Scope, query: ListJobs): SQL | undefined => {
  const showsAll =
    query.includeCompleted ||
    query.status !== undefined ||
    query.parentJobId !== undefined ||
    query.completedSince !== undefined
  return and(
    inScope(scope),
    showsAll ? undefined : isNull(progressJobs.finishedAt),
    query.status && inArray(progressJobs.status, query.status),
    query.liveness && eq(progressJobs.liveness, query.liveness),
    query.jobType === undefined ? undefined : eq(progressJobs.jobType, query.jobType),
    query.parentJobId === undefined ? undefined : eq(progressJobs.parentJobId, query.parentJobId),
    query.topLevel === undefined
      ? undefined
      : query.topLevel
        ? isNull(progressJobs.parentJobId)
        : isNotNull(progressJobs.parentJobId),
    query.organizationId === undefined ? undefined : eq(progressJobs.organizationId, query.organizationId),
    query.startedByUserId === undefined ? undefined : eq(progressJobs.startedByUserId, query.startedByUserId),
    query.deadline && sql`${functions}.shown_deadline(progress_jobs) = ${query.deadline}`,
    query.unusual === undefined ? undefined : sql`${functions}.is_unusual(progress_jobs) = ${query.unusual}`,
    query.completedSince && gte(progressJobs.finishedAt, query.completedSince),
    query.search === undefined ? undefined : sql`${progressJobs.name} ILIKE ${`%${escapeLike(query.search)}%`}`,
  )
}

const SORT_COLUMNS = {
  createdAt: progressJobs.createdAt,
  startedAt: progressJobs.startedAt,
  finishedAt: progressJobs.finishedAt,
  priority: progressJobs.priority,
  partitionIndex: progressJobs.partitionIndex,
}

/**
 * Jobs without a value to sort by come last in both directions. The id orders jobs with equal values, so that pages do not
 * overlap.
 */
const listOrder = ({ key, descending }: ListJobs['sort']): SQL[] => {
  const column = SORT_COLUMNS[key]
  const mayBeNull = key === 'startedAt' || key === 'finishedAt' || key === 'partitionIndex'
  const order = descending ? desc(column) : asc(column)
  return [
    mayBeNull && descending ? sql`${order} NULLS LAST` : order,
    descending ? desc(progressJobs.id) : asc(progressJobs.id),
  ]
}

/** The statements that list jobs, and the history of one. Each is limited to a scope. */
export const createJobLists = (database: Database) => {
  const db = database.drizzle
  return {
    /**
     * A page of jobs, and the number of all. The ids of the page are selected first, because making a document takes fifty
     * times as long as reading its row. Selected together with OFFSET, documents would be made for all skipped rows, too.
     */
    async list(scope: Scope, query: ListJobs): Promise<{ items: ListedJob[]; total: number }> {
      const where = listFilter(scope, query)
      const order = sql.join(listOrder(query.sort), sql`, `)
      const { rows } = await db.execute<{ items: ListedJob[]; total: number }>(sql`
        WITH page AS (
          SELECT id FROM ${progressJobs} WHERE ${where}
          ORDER BY ${order} LIMIT ${query.pageSize} OFFSET ${(query.page - 1) * query.pageSize}
        )
        SELECT (
          SELECT coalesce(json_agg(job), '[]') FROM (
            SELECT ${rowDocument('listed_job')} AS job FROM page JOIN ${progressJobs} ON progress_jobs.id = page.id ORDER BY ${order}
          ) AS shown
        ) AS items, (
          SELECT count(*)::integer FROM (SELECT FROM ${progressJobs} WHERE ${where} LIMIT ${MAX_TOTAL}) AS counted
        ) AS total`)
      if (!rows[0]) throw new Error('the list answered no row')
      return rows[0]
    },

    async listActive(scope: Scope): Promise<ListedJob[]> {
      const rows = await db
        .select({ job: rowDocument<ListedJob>('listed_job') })
        .from(progressJobs)
        .where(and(inScope(scope), isNull(progressJobs.finishedAt), isNull(progressJobs.parentJobId)))
        .orderBy(desc(progressJobs.createdAt), desc(progressJobs.id))
        .limit(MAX_ACTIVE)
      return rows.map(row => row.job)
    },

    async listRecentlyFinished(scope: Scope, seconds: number): Promise<ListedJob[]> {
      const rows = await db
        .select({ job: rowDocument<ListedJob>('listed_job') })
        .from(progressJobs)
        .where(
          and(
            inScope(scope),
            sql`${progressJobs.finishedAt} >= now() - make_interval(secs => ${seconds})`,
            isNull(progressJobs.parentJobId),
          ),
        )
        .orderBy(desc(progressJobs.finishedAt), desc(progressJobs.id))
        .limit(MAX_RECENT)
      return rows.map(row => row.job)
    },

    /** Null when there is no such job. */
    async listEvents(
      scope: Scope,
      jobId: string,
      { type, page, pageSize }: ListEvents,
    ): Promise<{ items: JobEvent[]; total: number } | null> {
      const wanted = and(
        eq(jobEvents.jobId, progressJobs.id),
        type === undefined ? undefined : inArray(jobEvents.type, type),
      )
      const found = await db
        .select({ total: sql<number>`(SELECT count(*) FROM ${jobEvents} WHERE ${wanted})`.mapWith(Number) })
        .from(progressJobs)
        .where(and(eq(progressJobs.id, jobId), inScope(scope)))
      if (!found[0]) return null
      // As in `list`: of skipped entries only the ids are read.
      const shown = db
        .select({ id: jobEvents.id })
        .from(jobEvents)
        .where(and(eq(jobEvents.jobId, jobId), type === undefined ? undefined : inArray(jobEvents.type, type)))
        .orderBy(asc(jobEvents.id))
        .limit(pageSize)
        .offset((page - 1) * pageSize)
        .as('shown')
      const items = await db
        .select({
          id: sql<string>`${jobEvents.id}::text`,
          type: sql<JobEventType>`${jobEvents.type}`,
          at: sql<string>`${functions}.iso(${jobEvents.at})`,
          actor: jobEvents.actor,
          attempt: jobEvents.attempt,
          data: sql<Record<string, unknown>>`${jobEvents.data}`,
        })
        .from(shown)
        .innerJoin(jobEvents, eq(jobEvents.id, shown.id))
        .orderBy(asc(jobEvents.id))
      return { items, total: found[0].total }
    },
  }
}

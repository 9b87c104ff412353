import { and, asc, desc, eq, inArray, isNull, sql } from '../database/drizzle.ts'
import type { JobEvent, ListedJob } from '../contract/job.ts'
import type { JobEventType } from '../contract/states.ts'
import type { Database } from '../database/connection.ts'
import { functions } from '../database/functions.ts'
import { jobEvents, progressJobs } from '../database/schema.ts'
import type { Scope } from './identity.ts'
import { inScope } from './in-scope.ts'
import { cursorAfter, positionOf } from './list-cursor.ts'
import { countByError, idsByError, lastLooked, LOOKED_FOR_ERRORS, requireOrderOfErrors } from './list-errors.ts'
import { countOf, directionOf, listedIds, MAX_TOTAL } from './list-page.ts'
import { sourcesOf } from './list-sources.ts'
import { rowDocument } from './row-document.ts'
import type { ListEvents, ListJobs } from './use-cases.ts'

interface Found extends Record<string, unknown> {
  items: ListedJob[]
  /** Jobs of this page, and one of the next one. */
  found: number
  total: number | null
  looked: number | null
  /** The last job that a search of errors has looked at, if there may be more. */
  further: Pick<ListedJob, 'id' | 'finishedAt'> | null
}

export interface ListPage {
  items: ListedJob[]
  /** The cursor of the next page; null: this is the last one. */
  next: string | null
  /** null: not counted. */
  total: number | null
  /** false: there are at least as many. */
  totalIsExact: boolean
}

const MAX_ACTIVE = 50
const MAX_RECENT = 10
/** A change is dated when its transaction begins, and is seen when that has ended: none takes longer than statements may. */
const LATEST_COMMIT_SECONDS = 15

/** The statements that list jobs, and the history of one. Each is limited to a scope. */
export const createJobLists = (database: Database) => {
  const db = database.drizzle
  return {
    /**
     * A page of jobs, the cursor of the next one, and the number of all, which is not counted for pages by cursor, nor where the
     * page is the last one. The ids of the page are selected first, because making a document takes fifty times as long as reading
     * its row. Selected together with OFFSET, documents would be made for all skipped rows, too. A search of errors may answer a
     * page that is not full and has a next one. Raises `validation_failed` for a bad cursor, and for `error` in another order than
     * by `finishedAt`.
     */
    async list(scope: Scope, query: ListJobs): Promise<ListPage> {
      const { sort, cursor, pageSize } = query
      requireOrderOfErrors(query)
      const isByError = query.error !== undefined
      const sources = sourcesOf(scope, query)
      const skipped = cursor === undefined ? (query.page - 1) * pageSize : 0
      const parts = {
        scope,
        query,
        after: cursor === undefined ? null : positionOf(sort, cursor),
        // One more than is shown tells whether there is a next page.
        most: skipped + pageSize + 1,
      }
      const direction = directionOf(sort)
      const { rows } = await db.execute<Found>(sql`
        WITH ${isByError ? idsByError(sources, parts) : listedIds(sources, parts)},
        page AS MATERIALIZED (
          SELECT * FROM listed ORDER BY place, value ${direction}, id ${direction} LIMIT ${pageSize + 1} OFFSET ${skipped}
        ),
        counted AS (
          SELECT total, looked FROM (${isByError ? countByError : countOf(scope, query)}) AS jobs WHERE ${cursor === undefined}
            AND (SELECT ${isByError} OR count(*) > ${pageSize} OR count(*) = 0 AND ${skipped > 0} FROM page)
        )
        SELECT (
          SELECT coalesce(json_agg(job), '[]') FROM (
            SELECT ${rowDocument('listed_job')} AS job
            FROM (SELECT * FROM page ORDER BY place, value ${direction}, id ${direction} LIMIT ${pageSize}) AS shown
            JOIN ${progressJobs} ON progress_jobs.id = shown.id
            ORDER BY shown.place, shown.value ${direction}, shown.id ${direction}
          ) AS documents
        ) AS items,
        (SELECT count(*)::integer FROM page) AS found, (SELECT total FROM counted), (SELECT looked FROM counted),
        ${isByError ? lastLooked(query) : sql`NULL::json`} AS further`)
      const row = rows[0]
      if (!row) throw new Error('the list answered no row')
      const { items, found, total, looked, further } = row
      const last = found > pageSize ? items.at(-1) : further
      const shown = items.length === 0 ? 0 : skipped + items.length
      return {
        items,
        next: last ? cursorAfter(sort, last) : null,
        ...(cursor !== undefined
          ? { total: null, totalIsExact: false }
          : // Not counted: this is the last page, and says how many there are. Otherwise it may have more than were counted.
            {
              total: Math.max(total ?? 0, shown),
              totalIsExact: looked === null || looked < (isByError ? LOOKED_FOR_ERRORS : MAX_TOTAL),
            }),
      }
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

    /**
     * The partitions of a batch by index, as the text of `BatchPartitions`: to parse and encode a thousand documents would hold the
     * event loop for 10 ms. With `since`, only those that have changed since then, and some that the caller knows already. Null when
     * there is no such job; a job that is no batch has no partitions.
     */
    async listPartitions(scope: Scope, batchId: string, since: Date | null): Promise<string | null> {
      const changed =
        since === null
          ? sql``
          : sql`AND p.updated_at >= ${since.toISOString()}::timestamptz - make_interval(secs => ${LATEST_COMMIT_SECONDS})`
      const partitions = sql`(
        SELECT coalesce(json_agg(${functions}.partition_document(p) ORDER BY p.partition_index), '[]')
        FROM ${progressJobs} p WHERE p.parent_job_id = progress_jobs.id ${changed})`
      const rows = await db
        .select({
          json: sql<string>`json_build_object('items', ${partitions}, 'asOf', ${functions}.iso(now()))::text`,
        })
        .from(progressJobs)
        .where(and(eq(progressJobs.id, batchId), inScope(scope)))
      return rows[0]?.json ?? null
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

import type { SQL } from 'drizzle-orm'
import { and, asc, desc, eq, gte, inArray, isNotNull, isNull, sql } from '../database/drizzle.ts'
import type { Database } from '../database/connection.ts'
import { FUNCTIONS, functions } from '../database/functions.ts'
import { jobEvents, progressJobs } from '../database/schema.ts'
import type { ErrorCode } from '../contract/errors.ts'
import type { JobChange } from '../contract/change.ts'
import type { ListEvents, ListJobs } from './commands.ts'
import type {
  CreatedJob,
  PartitionReference,
  JobDocument,
  JobEvent,
  JsonObject,
  ListedJob,
  ProgressDocument,
  ProgressPart,
  WorkerDocument,
} from '../contract/job.ts'
import type { Scope } from './identity.ts'
import { inScope } from './in-scope.ts'
import type { JobEventType, JobStatus } from '../contract/states.ts'
import type { JobColumns } from './job-columns.ts'
import { readStatistics, type StatisticsQuery } from './statistics.ts'
import type { Statistics } from '../contract/statistics.ts'

/** Counting stops here: a page number beyond it helps nobody, and counting millions of rows would cost every list. */
const MAX_TOTAL = 10_000
const MAX_ACTIVE = 50
const MAX_RECENT = 10

export type JobCommand = 'start' | 'complete' | 'fail' | 'cancel' | 'acknowledge_cancel' | 'retry'

export interface ChangeResult {
  code: ErrorCode | null
  status: JobStatus | null
  /** False when the command had been carried out before. */
  changed: boolean
  revision: number
  job: JobDocument | null
  /** Partitions or the batch that changed beside it. */
  others: JobChange[]
}

export type CreateResult =
  | { code: null; job: CreatedJob; others: JobChange[] }
  /** The idempotency key had made this job already, from a request with this hash. */
  | { code: 'exists'; job: CreatedJob; requestHash: string }
  | { code: ErrorCode; reason: string | null }

/** Of a row of the queried table as a whole: with its schema it would be taken for a column. */
const document = <T>(kind: 'job' | 'listed_job' | 'progress') =>
  sql<T>`${functions}.${sql.raw(kind)}_document(progress_jobs)`

/** `%` and `_` in what a person types mean themselves. */
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

/** Jobs without the sorted value come last in both directions; the id settles ties, so that pages do not overlap. */
const listOrder = ({ key, descending }: ListJobs['sort']): SQL[] => {
  const column = SORT_COLUMNS[key]
  const mayBeNull = key === 'startedAt' || key === 'finishedAt' || key === 'partitionIndex'
  const order = descending ? desc(column) : asc(column)
  return [
    mayBeNull && descending ? sql`${order} NULLS LAST` : order,
    descending ? desc(progressJobs.id) : asc(progressJobs.id),
  ]
}

/**
 * Every statement on jobs but the flush and the sweeper's. Each is bound to a scope; what is outside it does not exist.
 * `stalledAfterSeconds` is how long a worker may be silent before its document says so.
 */
export const createJobRepository = (
  database: Database,
  {
    stalledAfterSeconds = 30,
    sweepIntervalSeconds = 5,
  }: { stalledAfterSeconds?: number; sweepIntervalSeconds?: number } = {},
) => {
  const db = database.drizzle
  return {
    /** Makes a job, and its partitions where it brings some. Null when the job that held its key has just been erased. */
    async create(scope: Scope, job: JobColumns): Promise<CreateResult | null> {
      const rows = await database.query<{
        code: ErrorCode | 'exists' | null
        reason: string | null
        document: JobDocument
        partitions: PartitionReference[] | null
        others: JobChange[] | null
        request_hash: string
      }>(
        'headway_create_job',
        `SELECT c.* FROM ${FUNCTIONS}.commit_durably(), ${FUNCTIONS}.create_job($1, $2, $3, $4, $5) c`,
        [scope.tenantId, scope.allOrganizations, scope.organizationId, scope.jobId, JSON.stringify(job)],
      )
      const row = rows[0]
      if (!row) return null
      if (row.code !== null && row.code !== 'exists') return { code: row.code, reason: row.reason }
      const created = { ...row.document, ...(row.partitions && { partitions: row.partitions }) }
      return row.code === null
        ? { code: null, job: created, others: row.others ?? [] }
        : { code: 'exists', job: created, requestHash: row.request_hash }
    },

    /** The job and its workers as of one moment. */
    async find(scope: Scope, jobId: string): Promise<{ job: JobDocument; workers: WorkerDocument[] } | null> {
      const workers = sql<WorkerDocument[]>`${functions}.workers_document(
        progress_jobs, ${sweepIntervalSeconds}, ${stalledAfterSeconds})`
      const rows = await db
        .select({ job: document<JobDocument>('job'), workers })
        .from(progressJobs)
        .where(and(eq(progressJobs.id, jobId), inScope(scope)))
      return rows[0] ?? null
    },

    async findProgress(
      scope: Scope,
      jobId: string,
      include: readonly ProgressPart[] = [],
    ): Promise<ProgressDocument | null> {
      const [meta, payload] = [include.includes('meta'), include.includes('payload')]
      const newestPayload = sql<JsonObject | null>`(
        SELECT w.payload FROM public.job_progress w
        WHERE w.job_id = progress_jobs.id AND w.attempt = progress_jobs.attempt AND w.payload IS NOT NULL
        ORDER BY w.heartbeat_at DESC, w.worker_id LIMIT 1)`
      const rows = await db
        .select({
          progress: document<ProgressDocument>('progress'),
          meta: meta ? sql<JsonObject>`${progressJobs.meta}` : sql<JsonObject>`NULL`,
          payload: payload ? newestPayload : sql<null>`NULL`,
        })
        .from(progressJobs)
        .where(and(eq(progressJobs.id, jobId), inScope(scope)))
      const row = rows[0]
      return row ? { ...row.progress, ...(meta && { meta: row.meta }), ...(payload && { payload: row.payload }) } : null
    },

    /**
     * A page, and how many there are. The page's ids are chosen first: a document costs fifty times what its row does, and one that
     * is asked for together with OFFSET is made of every row that is skipped.
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
            SELECT ${document('listed_job')} AS job FROM page JOIN ${progressJobs} ON progress_jobs.id = page.id ORDER BY ${order}
          ) AS shown
        ) AS items, (
          SELECT count(*)::integer FROM (SELECT FROM ${progressJobs} WHERE ${where} LIMIT ${MAX_TOTAL}) AS counted
        ) AS total`)
      if (!rows[0]) throw new Error('the list answered no row')
      return rows[0]
    },

    async listActive(scope: Scope): Promise<ListedJob[]> {
      const rows = await db
        .select({ job: document<ListedJob>('listed_job') })
        .from(progressJobs)
        .where(and(inScope(scope), isNull(progressJobs.finishedAt), isNull(progressJobs.parentJobId)))
        .orderBy(desc(progressJobs.createdAt), desc(progressJobs.id))
        .limit(MAX_ACTIVE)
      return rows.map(row => row.job)
    },

    async listRecentlyFinished(scope: Scope, seconds: number): Promise<ListedJob[]> {
      const rows = await db
        .select({ job: document<ListedJob>('listed_job') })
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
      // As in `list`: what is skipped is not looked at but for its id.
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

    statistics: (scope: Scope, query: StatisticsQuery): Promise<Statistics> => readStatistics(database, scope, query),

    /** Carries out one command on one job, decided under the job's lock. */
    async change(
      scope: Scope,
      jobId: string,
      command: JobCommand,
      actor: string | null,
      input: object,
    ): Promise<ChangeResult> {
      const rows = await database.query<{
        code: ErrorCode | null
        job_status: JobStatus | null
        changed: boolean
        revision: number
        document: JobDocument | null
        others: JobChange[] | null
      }>(
        'headway_change_job',
        `SELECT c.* FROM ${FUNCTIONS}.commit_durably(), ${FUNCTIONS}.change_job($1, $2, $3, $4, $5, $6, $7, $8) c`,
        [
          jobId,
          scope.tenantId,
          scope.allOrganizations,
          scope.organizationId,
          scope.jobId,
          command,
          actor,
          JSON.stringify(input),
        ],
      )
      const row = rows[0]
      if (!row) throw new Error('headway.change_job answered no row')
      const { code, job_status: status, changed, revision, document: job, others } = row
      return { code, status, changed, revision, job, others: others ?? [] }
    },

    /** Erases a finished job. Answers the code that stands in the way and the job's status, null when there is no such job. */
    async purge(scope: Scope, jobId: string): Promise<{ code: ErrorCode | null; status: JobStatus } | null> {
      const found = and(eq(progressJobs.id, jobId), inScope(scope))
      const erased = await db
        .delete(progressJobs)
        .where(and(found, isNotNull(progressJobs.finishedAt), isNull(progressJobs.parentJobId)))
        .returning({ status: progressJobs.status })
      if (erased[0]) return { code: null, status: erased[0].status as JobStatus }
      const left = await db
        .select({ status: progressJobs.status, parentJobId: progressJobs.parentJobId })
        .from(progressJobs)
        .where(found)
      if (!left[0]) return null
      return {
        code: left[0].parentJobId === null ? 'not_finished' : 'is_partition',
        status: left[0].status as JobStatus,
      }
    },
  }
}

export type JobRepository = ReturnType<typeof createJobRepository>

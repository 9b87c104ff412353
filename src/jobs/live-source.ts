import type { Database } from '../database/connection.ts'
import { classifyFailure } from '../database/failures.ts'
import { HeadwayError } from '../errors.ts'
import type { FeedFilter, JobState, LiveDocument, LiveSource } from '../live/change.ts'

const DOCUMENT = `
  j.id, j.tenant_id, j.organization_id, j.job_type, j.parent_job_id,
  j.finished_at IS NOT NULL AS finished, coalesce(j.failure_reason = 'stale', false) AS stale,
  round(1000 * date_part('epoch', j.created_at))::bigint AS created_at_ms,
  round(1000 * date_part('epoch', j.updated_at))::bigint AS updated_at_ms,
  round(1000 * date_part('epoch', j.finished_at))::bigint AS finished_at_ms,
  j.revision, j.lifecycle, j.lifecycle_revision, headway.live_document(j)::text AS json`

/** How far back a reader without a position sees finished jobs. */
const RECENT_SECONDS = 30
/** Reconcile looks this far back; everything older has left the feeds. */
const RECONCILE_SECONDS = 120

interface DocumentRow {
  id: string
  tenant_id: string
  organization_id: string | null
  job_type: string
  parent_job_id: string | null
  finished: boolean
  stale: boolean
  created_at_ms: number
  updated_at_ms: number
  finished_at_ms: number | null
  revision: number
  lifecycle: string
  lifecycle_revision: number
  json: string
}

const toDocument = (row: DocumentRow): LiveDocument => ({
  id: row.id,
  tenantId: row.tenant_id,
  organizationId: row.organization_id,
  jobType: row.job_type,
  parentJobId: row.parent_job_id,
  finished: row.finished,
  stale: row.stale,
  createdAtMs: row.created_at_ms,
  updatedAtMs: row.updated_at_ms,
  finishedAtMs: row.finished_at_ms,
  revision: row.revision,
  lifecycle: row.lifecycle,
  lifecycleRevision: row.lifecycle_revision,
  json: row.json,
})

/** The conditions of a filter, as SQL over `j`; `bind` takes a value and answers its placeholder. */
const conditionsOf = (filter: FeedFilter, bind: (value: unknown) => string): string[] => {
  const conditions = [`j.tenant_id = ${bind(filter.tenantId)}`]
  if (filter.organizationId !== null) conditions.push(`j.organization_id = ${bind(filter.organizationId)}`)
  else if (!filter.allOrganizations) conditions.push('j.organization_id IS NULL')
  if (filter.scopeJobId !== null) conditions.push(`${bind(filter.scopeJobId)} IN (j.id, j.parent_job_id)`)
  if (filter.jobIds.length > 0) conditions.push(`j.id = ANY (${bind(filter.jobIds)}::uuid[])`)
  if (filter.jobType !== null) conditions.push(`j.job_type = ${bind(filter.jobType)}`)
  if (filter.parentJobId !== null) conditions.push(`j.parent_job_id = ${bind(filter.parentJobId)}`)
  if (filter.topLevel) conditions.push('j.parent_job_id IS NULL')
  return conditions
}

/** A stream that cannot begin is refused like any other call. */
const refuse = (error: unknown): never => {
  if (classifyFailure(error) === 'defect') throw error
  throw new HeadwayError('database_unavailable', 'The database cannot be reached or is busy: connect again.', {
    retryAfterSeconds: 1,
    cause: error,
  })
}

/** What the live side reads, each in one statement. */
export const createLiveSource = (database: Database): LiveSource => ({
  async readStates(jobIds) {
    return database.query<JobState>(
      'headway_live_states',
      `SELECT j.id, j.tenant_id AS "tenantId", j.organization_id AS "organizationId", j.parent_job_id AS "parentJobId",
         j.revision, j.finished_at IS NOT NULL AS finished
       FROM public.progress_jobs j WHERE j.id = ANY ($1::uuid[])`,
      [jobIds],
    )
  },

  async readDocuments(jobIds) {
    const rows = await database.query<DocumentRow>(
      'headway_live_documents',
      `SELECT ${DOCUMENT} FROM progress_jobs j WHERE j.id = ANY ($1::uuid[])`,
      [jobIds],
    )
    return rows.map(toDocument)
  },

  async readSnapshot(filter, finishedSinceMs, limit) {
    const values: unknown[] = []
    const bind = (value: unknown) => `$${values.push(value)}`
    const where = conditionsOf(filter, bind).join(' AND ')
    // Named jobs are shown whatever their age.
    const recent =
      filter.jobIds.length > 0
        ? 'true'
        : finishedSinceMs === null
          ? `j.finished_at >= now() - interval '${RECENT_SECONDS} seconds'`
          : `j.finished_at >= to_timestamp(${bind(finishedSinceMs)}::float8 / 1000)`
    const most = `${bind(limit + 1)}::integer`
    // Two halves, so that each walks its own partial index instead of every job of the tenant. The clock comes along even
    // when there is no job.
    const reading = database.query<DocumentRow & { now_ms: number }>(
      null,
      `WITH halves AS (
         (SELECT ${DOCUMENT}, 0 AS half, j.created_at AS ordered_by FROM progress_jobs j
          WHERE j.finished_at IS NULL AND ${where} ORDER BY j.created_at DESC LIMIT ${most})
         UNION ALL
         (SELECT ${DOCUMENT}, 1 AS half, j.finished_at AS ordered_by FROM progress_jobs j
          WHERE j.finished_at IS NOT NULL AND ${recent} AND ${where} ORDER BY j.finished_at DESC LIMIT ${most})
       )
       SELECT halves.*, floor(1000 * date_part('epoch', now()))::bigint AS now_ms
       FROM (SELECT) AS always LEFT JOIN halves ON true ORDER BY half, ordered_by DESC`,
      values,
    )
    const rows = await reading.catch(refuse)
    const nowMs = rows[0]?.now_ms ?? 0
    const found = rows.filter((row): row is DocumentRow & { now_ms: number } => (row.id as string | null) !== null)
    return { documents: found.slice(0, limit).map(toDocument), truncated: found.length > limit, nowMs }
  },

  async readRevisions(tenantIds, also) {
    const rows = await database.query<{ id: string; tenant_id: string; revision: number; updated_at_ms: number }>(
      'headway_live_revisions',
      'SELECT * FROM headway.revisions($1, $2, $3)',
      [tenantIds, RECONCILE_SECONDS, also],
    )
    return rows.map(row => ({
      id: row.id,
      tenantId: row.tenant_id,
      revision: row.revision,
      updatedAtMs: row.updated_at_ms,
    }))
  },
})

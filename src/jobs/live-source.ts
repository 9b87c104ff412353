import type { Database } from '../database/connection.ts'
import { classifyFailure } from '../database/failures.ts'
import { FUNCTIONS } from '../database/functions.ts'
import { HeadwayError } from '../contract/errors.ts'
import { JUST_FINISHED_SECONDS } from '../contract/just-finished.ts'
import type { InTurn } from './in-turn.ts'
import type { FeedFilter, JobState, LiveDocument, LiveSource } from '../live/change.ts'

const DOCUMENT = `
  j.id, j.tenant_id, j.organization_id, j.job_type, j.parent_job_id,
  j.finished_at IS NOT NULL AS finished, coalesce(j.failure_reason = 'stale', false) AS stale,
  round(1000 * date_part('epoch', j.created_at))::bigint AS created_at_ms,
  round(1000 * date_part('epoch', j.updated_at))::bigint AS updated_at_ms,
  round(1000 * date_part('epoch', j.finished_at))::bigint AS finished_at_ms,
  j.revision, j.lifecycle, j.lifecycle_revision, ${FUNCTIONS}.live_document(j)::text AS json`

/**
 * How far back a reader without a position sees finished jobs. The index is read for the longest period, and this condition
 * removes jobs whose own period is shorter.
 */
const { completed, failed } = JUST_FINISHED_SECONDS
const JUST_FINISHED = `AND (j.status = 'failed' OR j.finished_at >= now() - interval '${completed} seconds')`
/** How far back reconciliation looks. Feeds keep no job that finished earlier. */
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

/** A row with a job's revision. One further row has no job and carries the database's snapshot. */
interface RevisionRow {
  id: string
  tenant_id: string
  revision: number
  updated_at_ms: number
  ended_since: boolean
  snapshot: string | null
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

/** The conditions of a filter, as SQL about `j`. `bind` takes a value and answers its placeholder. */
const conditionsOf = (filter: FeedFilter, bind: (value: unknown) => string): string[] => {
  const { tenantId, allOrganizations, organizationId, scopeJobId } = filter
  const caller = [
    `${bind(tenantId)}::uuid`,
    `${bind(allOrganizations)}::boolean`,
    `${bind(organizationId)}::uuid`,
    `${bind(scopeJobId)}::uuid`,
  ]
  const conditions = [`${FUNCTIONS}.sees(j, ${caller.join(', ')})`]
  if (filter.jobIds.length > 0) conditions.push(`j.id = ANY (${bind(filter.jobIds)}::uuid[])`)
  if (filter.jobType !== null) conditions.push(`j.job_type = ${bind(filter.jobType)}`)
  if (filter.parentJobId !== null) conditions.push(`j.parent_job_id = ${bind(filter.parentJobId)}`)
  if (filter.topLevel) conditions.push('j.parent_job_id IS NULL')
  return conditions
}

/** Raises a failed read as the refusal of the stream that it was for. */
const refuse = (error: unknown): never => {
  if (error instanceof HeadwayError || classifyFailure(error) === 'defect') throw error
  throw new HeadwayError('database_unavailable', 'The database cannot be reached or is busy: connect again.', {
    retryAfterSeconds: 1,
    cause: error,
  })
}

/**
 * The statements that read for live streams. A snapshot is read in the turn of its tenant, and shared by all readers of the
 * same feed.
 */
export const createLiveSource = (database: Database, inTurn: InTurn): LiveSource => ({
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
      `SELECT ${DOCUMENT} FROM public.progress_jobs j WHERE j.id = ANY ($1::uuid[])`,
      [jobIds],
    )
    return rows.map(toDocument)
  },

  async readSnapshot(filter, since, limit, isWanted = () => true) {
    const values: unknown[] = []
    const bind = (value: unknown) => `$${values.push(value)}`
    const where = conditionsOf(filter, bind).join(' AND ')
    // Jobs that are named by their ids are shown whatever their age.
    const from =
      filter.jobIds.length > 0
        ? "'-infinity'::timestamptz"
        : since
          ? `to_timestamp(${bind(since.ms)}::float8 / 1000)`
          : `now() - interval '${failed} seconds'`
    const isRecent = filter.jobIds.length > 0 || since ? '' : JUST_FINISHED
    const most = `${bind(limit + 1)}::integer`
    const position = filter.jobIds.length > 0 ? null : since?.position
    // Jobs whose end was written before `from`, but committed after the reader's position: the newest by their transactions. As
    // in functions/revisions.sql, ends that are older than a day, and transactions that have not begun on this server, are left
    // out.
    const late = position
      ? `UNION ALL
         (SELECT j.id, 1 AS half, j.finished_at AS ordered_by FROM public.progress_jobs j
          WHERE j.finished_at < ${from} AND j.finished_at + interval '1 day' >= now() AND j.id = ANY (ARRAY(
            SELECT j.id FROM public.progress_jobs j
            WHERE j.finished_at IS NOT NULL AND j.finished_xact >= ${bind(position.floor)}::xid8
              AND j.finished_xact < pg_snapshot_xmax(pg_current_snapshot()) AND ${where}
            ORDER BY j.finished_xact DESC LIMIT ${most}
          ) || ARRAY(
            SELECT j.id FROM public.progress_jobs j
            WHERE j.finished_at IS NOT NULL AND j.finished_xact = ANY (${bind(position.open)}::xid8[]) AND ${where}
            LIMIT ${most})))`
      : ''
    // One SELECT for each partial index, so that none reads every job of the tenant. Documents are only made of the jobs that
    // are shown. The time and the snapshot are answered even when there is no job.
    const text = `WITH halves AS (
         (SELECT j.id, 0 AS half, j.created_at AS ordered_by FROM public.progress_jobs j
          WHERE j.finished_at IS NULL AND ${where} ORDER BY j.created_at DESC LIMIT ${most})
         UNION ALL
         (SELECT j.id, 2 AS half, j.finished_at AS ordered_by FROM public.progress_jobs j
          WHERE j.finished_at >= ${from} ${isRecent} AND ${where} ORDER BY j.finished_at DESC LIMIT ${most})
         ${late}
       ), shown AS (
         SELECT * FROM halves ORDER BY half, ordered_by DESC LIMIT ${most}
       )
       SELECT ${DOCUMENT}, floor(1000 * date_part('epoch', now()))::bigint AS now_ms,
         pg_current_snapshot()::text AS snapshot
       FROM (SELECT) AS always LEFT JOIN (shown JOIN public.progress_jobs j USING (id)) ON true ORDER BY half, ordered_by DESC`
    const rows = await inTurn({ tenantId: filter.tenantId, caller: null, isShared: true }, 'wide', () => {
      if (!isWanted()) throw new HeadwayError('too_many_streams', 'The reader left before its turn came.')
      return database.query<DocumentRow & { now_ms: number; snapshot: string }>(null, text, values)
    }).catch(refuse)
    const [first] = rows
    if (!first) throw new Error('the snapshot answered no row')
    const found = rows.filter(row => (row.id as string | null) !== null)
    return {
      documents: found.slice(0, limit).map(toDocument),
      truncated: found.length > limit,
      nowMs: first.now_ms,
      pgSnapshot: first.snapshot,
    }
  },

  async readRevisions(tenantIds, also, position) {
    const rows = await database.query<RevisionRow>(
      'headway_live_revisions',
      `SELECT NULL::uuid AS id, NULL::uuid AS tenant_id, NULL::bigint AS revision, NULL::bigint AS updated_at_ms,
         false AS ended_since, pg_current_snapshot()::text AS snapshot
       UNION ALL
       SELECT r.*, NULL FROM ${FUNCTIONS}.revisions($1, $2, $3, $4, $5) r`,
      [tenantIds, RECONCILE_SECONDS, also, position?.floor, position?.open],
    )
    const snapshot = rows.find(row => row.snapshot !== null)?.snapshot
    if (typeof snapshot !== 'string') throw new Error('the revisions came without a snapshot')
    const found = rows.filter(row => row.snapshot === null)
    return {
      rows: found.map(row => ({
        id: row.id,
        tenantId: row.tenant_id,
        revision: row.revision,
        updatedAtMs: row.updated_at_ms,
        endedSince: row.ended_since,
      })),
      pgSnapshot: snapshot,
    }
  },
})

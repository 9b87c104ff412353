import type { Database } from '../../database/connection.ts'
import { FUNCTIONS } from '../../database/functions.ts'
import type { HeadwayError, ErrorCode } from '../../contract/errors.ts'
import type { JobChange } from '../../contract/change.ts'
import { FIELDS } from './fields.ts'
import type { Entry } from './queue.ts'
import { DEFAULT_WORKER_ID } from '../../contract/job.ts'
import type { JobStatus } from '../../contract/states.ts'
import { refusalOf } from '../refusals.ts'

/** The outcome of a heartbeat that the database answered. */
export type AnsweredOutcome =
  | {
      kind: 'written'
      status: JobStatus
      cancelRequested: boolean
      progressPercent: number
      revision: number
      applied: boolean
      heartbeatTimeoutSeconds: number
      /** The job's revision grew. */
      changed: boolean
      lifecycleChanged: boolean
    }
  | { kind: 'refused'; error: HeadwayError }
  /**
   * Another session holds the row of the job, or of its batch, so no sweeper can change the job meanwhile. Nothing was stored.
   */
  | { kind: 'locked' }

/**
 * A row of headway.heartbeat_answers: the result that several entries share. Arrays beside `items` hold what differs between
 * them.
 */
interface FlushRow {
  /** Null in the one row that carries `others`. */
  items: number[] | null
  code: string | null
  status: JobStatus
  cancel_requested: boolean
  progress_percents: number[]
  revisions: number[]
  /** Null when all of them were applied. */
  applied: boolean[] | null
  heartbeat_timeout_seconds: number
  changed: boolean
  lifecycle_changed: boolean
  others: JobChange[] | null
}

/** Fields that headway.flush_plain does not take; below, fields that it takes but cannot clear. */
const RARE_FIELDS = FIELDS.filter(({ plain }) => !plain).map(({ name }) => name)
const PLAIN_CLEARABLE = FIELDS.filter(({ plain, clearable }) => plain && clearable).map(({ name }) => name)

/**
 * Whether an entry says how far a worker is and no more. It is then written by a shorter way, if it is its job's only entry in
 * the batch.
 */
const isPlain = ({ heartbeat, keepHigher }: Entry): boolean =>
  !keepHigher &&
  // The driver would replace half of a surrogate pair by another character. As JSON, Postgres refuses it.
  heartbeat.workerId.isWellFormed() &&
  heartbeat.message?.isWellFormed() !== false &&
  RARE_FIELDS.every(field => heartbeat[field] === undefined) &&
  PLAIN_CLEARABLE.every(field => heartbeat[field] !== null)

/** An entry as headway.heartbeat (types.sql). A value that is undefined or null is left out, and is null in the record. */
const toRecord = ({ scope, heartbeat, keepHigher }: Entry, i: number) => {
  const record: Record<string, unknown> = {
    i,
    job_id: heartbeat.jobId,
    worker_id: heartbeat.workerId,
    tenant_id: scope.tenantId,
    all_organizations: scope.allOrganizations,
    organization_id: scope.organizationId ?? undefined,
    scope_job_id: scope.jobId ?? undefined,
    actor: scope.actor ?? undefined,
    keep_higher: keepHigher,
  }
  const clears: string[] = []
  for (const { name, column, clearable } of FIELDS) {
    const value = heartbeat[name]
    if (value === undefined) continue
    if (value !== null) record[column] = value
    else if (clearable) clears.push(column)
  }
  if (clears.length > 0) record.clears = clears
  return record
}

/** The parameters of headway.plain_heartbeats after job and tenant, in order. */
const PLAIN_COLUMNS: ((entry: Entry) => string | number | boolean | null | undefined)[] = [
  ({ heartbeat }) => (heartbeat.workerId === DEFAULT_WORKER_ID ? null : heartbeat.workerId),
  ({ heartbeat }) => heartbeat.attempt,
  ({ scope }) => !scope.allOrganizations,
  ({ scope }) => (scope.allOrganizations ? null : scope.organizationId),
  ({ scope }) => scope.jobId,
  ({ scope }) => scope.actor,
  ({ heartbeat }) => heartbeat.processedCount,
  ({ heartbeat }) => heartbeat.increment,
  ({ heartbeat }) => heartbeat.totalCount,
  ({ heartbeat }) => heartbeat.message,
  ({ heartbeat }) => heartbeat.reportedAt,
]

/** One value per entry; null when no entry has a value. False counts as no value. */
const toColumn = (entries: Entry[], read: (entry: Entry) => unknown): unknown[] | null => {
  const values = entries.map(read)
  return values.some(value => value !== undefined && value !== null && value !== false) ? values : null
}

const toOutcome = (row: FlushRow, place: number, { heartbeat }: Entry): AnsweredOutcome => {
  if (row.code === 'locked') return { kind: 'locked' }
  if (row.code !== null)
    return { kind: 'refused', error: refusalOf(row.code as ErrorCode, heartbeat.jobId, row.status) }
  return {
    kind: 'written',
    status: row.status,
    cancelRequested: row.cancel_requested,
    progressPercent: row.progress_percents[place] ?? 0,
    revision: row.revisions[place] ?? 0,
    applied: row.applied?.[place] ?? true,
    heartbeatTimeoutSeconds: row.heartbeat_timeout_seconds,
    changed: row.changed,
    lifecycleChanged: row.lifecycle_changed,
  }
}

const PARAMETERS = 6 + PLAIN_COLUMNS.length
const STATEMENT = `SELECT f.* FROM ${FUNCTIONS}.commit_durably(), ${FUNCTIONS}.flush(${Array.from({ length: PARAMETERS }, (_, i) => `$${i + 1}`).join(', ')}) f`

/**
 * Writes a batch of heartbeats in one round trip, whatever its size. This is the one hot statement of the service. Answers an
 * outcome per entry, in order, and the batches that changed with their partitions. Raises as `Database.query` does.
 */
export const flushHeartbeats = async (
  database: Database,
  entries: Entry[],
  skipLocked: boolean,
): Promise<{ outcomes: (AnsweredOutcome | { kind: 'not_written' })[]; batches: JobChange[] }> => {
  const reports = new Map<string, number>()
  for (const { heartbeat } of entries) reports.set(heartbeat.jobId, (reports.get(heartbeat.jobId) ?? 0) + 1)
  const plain: Entry[] = []
  const others: Entry[] = []
  for (const entry of entries) {
    if (reports.get(entry.heartbeat.jobId) === 1 && isPlain(entry)) plain.push(entry)
    else others.push(entry)
  }
  const tenantIds = [...new Set(entries.map(({ scope }) => scope.tenantId))]
  const rows = await database.query<FlushRow>('headway_flush', STATEMENT, [
    skipLocked,
    tenantIds,
    others.length > 0 ? [...new Set(others.map(({ heartbeat }) => heartbeat.jobId))] : null,
    others.length > 0 ? JSON.stringify(others.map((entry, i) => toRecord(entry, plain.length + i))) : null,
    toColumn(plain, ({ heartbeat }) => heartbeat.jobId),
    tenantIds.length === 1 ? tenantIds : toColumn(plain, ({ scope }) => scope.tenantId),
    ...PLAIN_COLUMNS.map(read => toColumn(plain, read)),
  ])
  const outcomes = new Map<Entry, AnsweredOutcome>()
  const sent = [...plain, ...others]
  for (const row of rows) {
    row.items?.forEach((item, place) => {
      const entry = sent[item]
      if (entry) outcomes.set(entry, toOutcome(row, place, entry))
    })
  }
  return {
    outcomes: entries.map(entry => outcomes.get(entry) ?? { kind: 'not_written' }),
    batches: rows.flatMap(row => row.others ?? []),
  }
}

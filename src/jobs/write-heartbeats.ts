import type { Database } from '../database/connection.ts'
import { classifyFailure } from '../database/failures.ts'
import type { ErrorCode, HeadwayError } from '../errors.ts'
import type { JobChange } from '../live/change.ts'
import type { Heartbeat } from './heartbeat.ts'
import type { Entry } from './heartbeat-queue.ts'
import type { JobStatus } from './job.ts'
import { refusalOf, refusalOfData } from './refusals.ts'

export type HeartbeatOutcome =
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
  /** Somebody else holds the job. Nothing was stored. */
  | { kind: 'locked' }
  /** The database cannot do it now. Nothing was stored. */
  | { kind: 'not_written' }
  /** The connection was lost while it was written: it may be stored, or not. */
  | { kind: 'unknown' }

export interface WriteResult {
  /** One per entry, in order. */
  outcomes: HeartbeatOutcome[]
  /** The batches that changed with their partitions. */
  batches: JobChange[]
  /** Why some were not written, or may not have been; null when the database did what was asked. */
  failure: { cause: unknown } | null
}

/** Writes at most one entry per job and worker. Never raises. */
export type HeartbeatWrite = (entries: Entry[], skipLocked: boolean) => Promise<WriteResult>

/** headway.heartbeat_answers: what entries share that came to the same, and beside `items`, their places, what differs. */
interface FlushRow {
  /** Null in the one row that carries `others`. */
  items: number[] | null
  code: string | null
  status: JobStatus
  cancel_requested: boolean
  progress_percents: number[]
  revisions: number[]
  /** Null: all of them were applied. */
  applied: boolean[] | null
  heartbeat_timeout_seconds: number
  changed: boolean
  lifecycle_changed: boolean
  others: JobChange[] | null
}

const CONFLICT_RETRIES = 3

/** Heartbeat field → column, for those that `null` clears. */
const CLEARABLE = [
  ['totalCount', 'total_count'],
  ['progressPercent', 'progress_percent'],
  ['throughputPerSecond', 'throughput_per_second'],
  ['etaSeconds', 'eta_seconds'],
  ['stage', 'stage'],
  ['message', 'message'],
  ['payload', 'payload'],
] as const

/** Fields of a heartbeat that headway.flush_plain does not know. */
const RARE_FIELDS = [
  'progressPercent',
  'unit',
  'throughputPerSecond',
  'etaSeconds',
  'stage',
  'payload',
  'meta',
] as const satisfies (keyof Heartbeat)[]

/** Says how far a worker is, and no more: such entries are written in a shorter way where they are alone with their job. */
const isPlain = ({ heartbeat, keepHigher }: Entry): boolean =>
  !keepHigher &&
  heartbeat.totalCount !== null &&
  heartbeat.message !== null &&
  RARE_FIELDS.every(field => heartbeat[field] === undefined)

/** An entry as headway.flush_plain reads it. */
const toPlainRecord = ({ scope, heartbeat }: Entry, i: number) => ({
  i,
  job_id: heartbeat.jobId,
  worker_id: heartbeat.workerId,
  attempt: heartbeat.attempt,
  tenant_id: scope.tenantId,
  all_organizations: scope.allOrganizations,
  organization_id: scope.organizationId ?? undefined,
  scope_job_id: scope.jobId ?? undefined,
  actor: scope.actor ?? undefined,
  processed_count: heartbeat.processedCount,
  increment: heartbeat.increment,
  total_count: heartbeat.totalCount ?? undefined,
  message: heartbeat.message ?? undefined,
  reported_at: heartbeat.reportedAt,
})

/** An entry as headway.flush_any reads it. What is undefined or null is left to the default of the record, which is null. */
const toRecord = (entry: Entry, i: number) => {
  const { heartbeat } = entry
  const clears = CLEARABLE.filter(([field]) => heartbeat[field] === null).map(([, column]) => column)
  return {
    ...toPlainRecord(entry, i),
    keep_higher: entry.keepHigher,
    progress_percent: heartbeat.progressPercent ?? undefined,
    unit: heartbeat.unit,
    throughput_per_second: heartbeat.throughputPerSecond ?? undefined,
    eta_seconds: heartbeat.etaSeconds ?? undefined,
    stage: heartbeat.stage ?? undefined,
    payload: heartbeat.payload ?? undefined,
    meta: heartbeat.meta,
    clears: clears.length > 0 ? clears : undefined,
  }
}

const toOutcomes = (entries: Entry[], rows: FlushRow[]): HeartbeatOutcome[] => {
  const outcomes: HeartbeatOutcome[] = entries.map(() => ({ kind: 'locked' }))
  for (const row of rows) {
    row.items?.forEach((item, place) => {
      if (row.code === 'locked') return
      outcomes[item] =
        row.code === null
          ? {
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
          : {
              kind: 'refused',
              error: refusalOf(row.code as ErrorCode, entries[item]?.heartbeat.jobId ?? '', row.status),
            }
    })
  }
  return outcomes
}

/** The one hot statement of the service: one round trip writes a batch, whatever its size. */
export const createHeartbeatWrite = (database: Database): HeartbeatWrite => {
  const flush = (entries: Entry[], skipLocked: boolean): Promise<FlushRow[]> => {
    const reports = new Map<string, number>()
    for (const { heartbeat } of entries) reports.set(heartbeat.jobId, (reports.get(heartbeat.jobId) ?? 0) + 1)
    const plain: object[] = []
    const others: object[] = []
    entries.forEach((entry, i) => {
      if (reports.get(entry.heartbeat.jobId) === 1 && isPlain(entry)) plain.push(toPlainRecord(entry, i))
      else others.push(toRecord(entry, i))
    })
    const toJson = (records: object[]) => (records.length > 0 ? JSON.stringify(records) : null)
    return database.query<FlushRow>('headway_flush', 'SELECT * FROM headway.flush($1, $2, $3, $4, $5)', [
      [...reports.keys()],
      toJson(plain),
      toJson(others),
      skipLocked,
      [...new Set(entries.map(entry => entry.scope.tenantId))],
    ])
  }

  const failed = (entries: Entry[], kind: 'not_written' | 'unknown', cause: unknown): WriteResult => ({
    outcomes: entries.map(() => ({ kind })),
    batches: [],
    failure: { cause },
  })
  const alone = (outcome: HeartbeatOutcome): WriteResult => ({ outcomes: [outcome], batches: [], failure: null })

  /** Splits a batch until the report that the database refuses stands alone, and fails alone. */
  const writeHalves = async (entries: Entry[], skipLocked: boolean): Promise<WriteResult> => {
    const halves = [entries.slice(0, entries.length >> 1), entries.slice(entries.length >> 1)]
    const result: WriteResult = { outcomes: [], batches: [], failure: null }
    for (const half of halves) {
      const { outcomes, batches, failure } = result.failure
        ? failed(half, 'not_written', result.failure.cause)
        : await write(half, skipLocked)
      result.outcomes.push(...outcomes)
      result.batches.push(...batches)
      result.failure = failure
    }
    return result
  }

  const writeAfterFailure = (
    entries: Entry[],
    skipLocked: boolean,
    error: unknown,
  ): Promise<WriteResult> | WriteResult => {
    switch (classifyFailure(error)) {
      case 'locked':
        if (!skipLocked) return write(entries, true)
        // What is locked is not the job but a worker's row, which cannot be skipped: the others go on without it.
        return entries.length > 1 ? writeHalves(entries, skipLocked) : alone({ kind: 'locked' })
      case 'data':
        return entries.length > 1
          ? writeHalves(entries, skipLocked)
          : alone({ kind: 'refused', error: refusalOfData(error) })
      case 'connection':
        return failed(entries, 'unknown', error)
      case 'conflict':
      case 'unreachable':
      case 'defect':
      case 'server':
        return failed(entries, 'not_written', error)
    }
  }

  const write = async (entries: Entry[], skipLocked: boolean): Promise<WriteResult> => {
    for (let attempt = 1; ; attempt += 1) {
      let rows: FlushRow[]
      try {
        rows = await flush(entries, skipLocked)
      } catch (error) {
        if (classifyFailure(error) === 'conflict' && attempt <= CONFLICT_RETRIES) continue
        return writeAfterFailure(entries, skipLocked, error)
      }
      return { outcomes: toOutcomes(entries, rows), batches: rows.flatMap(row => row.others ?? []), failure: null }
    }
  }
  return write
}

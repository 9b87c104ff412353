import type { Database } from '../../database/connection.ts'
import { classifyFailure } from '../../database/failures.ts'
import type { JobChange } from '../../contract/change.ts'
import { flushHeartbeats, type AnsweredOutcome } from './statement.ts'
import type { Entry } from './queue.ts'
import { refusalOfData } from '../refusals.ts'

export type HeartbeatOutcome =
  | AnsweredOutcome
  /** Another session holds something that writing it takes, and not the job's row: sweepers can touch the job. */
  | { kind: 'blocked' }
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

/** Writes batches to `database`, and finds out what became of each entry where that fails. */
export const createHeartbeatWrite = (database: Database): HeartbeatWrite => {
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
        // What is locked is not the job but a worker's row, or a table, and cannot be skipped: the others go on without it.
        return entries.length > 1 ? writeHalves(entries, skipLocked) : alone({ kind: 'blocked' })
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
    try {
      return { ...(await flushHeartbeats(database, entries, skipLocked)), failure: null }
    } catch (error) {
      return writeAfterFailure(entries, skipLocked, error)
    }
  }
  return write
}

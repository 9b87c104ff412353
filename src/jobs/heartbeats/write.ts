import type { Database } from '../../database/connection.ts'
import { classifyFailure } from '../../database/failures.ts'
import type { JobChange } from '../../contract/change.ts'
import { flushHeartbeats, type AnsweredOutcome } from './statement.ts'
import type { Entry } from './queue.ts'
import { refusalOfData } from '../refusals.ts'

export type HeartbeatOutcome =
  | AnsweredOutcome
  /** Another session holds a row or table that the write needs, but not the job's row: sweepers can still change the job. */
  | { kind: 'blocked' }
  /** The database cannot write the entry now. Nothing was stored. */
  | { kind: 'not_written' }
  /** The connection was lost while the entry was written. It may be stored or not. */
  | { kind: 'unknown' }

export interface WriteResult {
  /** One per entry, in order. */
  outcomes: HeartbeatOutcome[]
  /** The batches that changed with their partitions. */
  batches: JobChange[]
  /** Why some entries were not written, or may not have been; null when the database answered for all. */
  failure: { cause: unknown } | null
}

/** Writes at most one entry per job and worker. Never raises. */
export type HeartbeatWrite = (entries: Entry[], skipLocked: boolean) => Promise<WriteResult>

/** Writes batches of entries to `database`. If a write fails, finds out the outcome of each entry. */
export const createHeartbeatWrite = (database: Database): HeartbeatWrite => {
  const failed = (entries: Entry[], kind: 'not_written' | 'unknown', cause: unknown): WriteResult => ({
    outcomes: entries.map(() => ({ kind })),
    batches: [],
    failure: { cause },
  })
  const alone = (outcome: HeartbeatOutcome): WriteResult => ({ outcomes: [outcome], batches: [], failure: null })

  /**
   * Splits a batch in halves until the report that the database refuses is the only one, so that no other report fails with it.
   */
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
        // A worker's row or a table is locked, and not the job. It cannot be skipped, so the other entries are written without
        // this one.
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

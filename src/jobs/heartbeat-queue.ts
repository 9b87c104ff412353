import type { HeadwayError } from '../errors.ts'
import type { Heartbeat, HeartbeatAnswer } from './heartbeat.ts'
import type { Scope } from './identity.ts'
import { mergeHeartbeats } from './merge.ts'

/** A request that waits for its answer. */
export interface Waiter {
  resolve: (answer: HeartbeatAnswer) => void
  reject: (error: HeadwayError) => void
  since: number
  /** Its report was older than one that waited already. */
  late: boolean
}

/** What one worker has reported since its last flush, and who wants to hear of it. */
export interface Entry {
  scope: Scope
  heartbeat: Heartbeat
  /** Written late or twice, an absolute count must not undo what the worker reported through another replica. */
  keepHigher: boolean
  waiters: Waiter[]
  /** A request was answered as buffered: nobody hears of a refusal any more. */
  buffered: boolean
  since: number
  bytes: number
}

/** Rough size of an entry without its texts. */
const ENTRY_BYTES = 500

const sizeOf = ({ message, payload, meta }: Heartbeat): number =>
  ENTRY_BYTES +
  (message?.length ?? 0) +
  (payload ? JSON.stringify(payload).length : 0) +
  (meta ? JSON.stringify(meta).length : 0)

/** The tenant is part of it, so that another tenant's reports for a job that is not theirs hold up nobody. */
const rowOf = ({ tenantId }: Scope, { jobId, workerId }: Heartbeat): string => `${tenantId}/${jobId}/${workerId}`

/** Reports of different rights or attempts never merge: nobody's report rides on another's right. */
const hasSameRight = (entry: Entry, scope: Scope, heartbeat: Heartbeat): boolean =>
  entry.heartbeat.attempt === heartbeat.attempt &&
  entry.scope.tenantId === scope.tenantId &&
  entry.scope.organizationId === scope.organizationId &&
  entry.scope.allOrganizations === scope.allOrganizations &&
  entry.scope.jobId === scope.jobId

/**
 * Heartbeats that wait to be written, at most one entry per right, job and worker where merging allows it. A worker's
 * entries leave in the order in which its reports came, one per batch.
 */
export class HeartbeatQueue {
  readonly #rows = new Map<string, Entry[]>()
  #entries = 0
  #bytes = 0

  /** Entries, those in flight included: they come back when a flush fails. */
  get entries(): number {
    return this.#entries
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Rows (tenant, job, worker) that have an entry to write, those in flight not included: a batch takes one of each. */
  get rows(): number {
    return this.#rows.size
  }

  /** No entry waits; some may be in flight. */
  get isEmpty(): boolean {
    return this.#rows.size === 0
  }

  add(scope: Scope, heartbeat: Heartbeat, waiter: Waiter): void {
    const waiting = this.#rows.get(rowOf(scope, heartbeat))
    const last = waiting?.at(-1)
    if (last && hasSameRight(last, scope, heartbeat) && this.#merge(last, heartbeat, waiter)) return
    const { since } = waiter
    const entry = {
      scope,
      heartbeat,
      keepHigher: false,
      waiters: [waiter],
      buffered: false,
      since,
      bytes: sizeOf(heartbeat),
    }
    this.#entries += 1
    this.#bytes += entry.bytes
    if (waiting) waiting.push(entry)
    else this.#rows.set(rowOf(scope, heartbeat), [entry])
  }

  #merge(entry: Entry, heartbeat: Heartbeat, waiter: Waiter): boolean {
    const merge = mergeHeartbeats(entry.heartbeat, heartbeat)
    if (merge.kind === 'separate') return false
    waiter.late = merge.kind === 'late'
    entry.waiters.push(waiter)
    if (merge.kind === 'merged') {
      this.#bytes -= entry.bytes
      entry.heartbeat = merge.heartbeat
      entry.bytes = sizeOf(merge.heartbeat)
      this.#bytes += entry.bytes
    }
    return true
  }

  /**
   * The first entry of each row whose job is `wanted`, oldest rows first; none where fewer than `least` are. Each must be put
   * back or forgotten.
   */
  take(limit: number, wanted: (jobId: string) => boolean, least = 1): Entry[] {
    const batch: Entry[] = []
    const rows: string[] = []
    for (const [row, [entry]] of this.#rows) {
      if (!entry || !wanted(entry.heartbeat.jobId)) continue
      batch.push(entry)
      rows.push(row)
      if (batch.length === limit) break
    }
    if (batch.length < least) return []
    for (const row of rows) {
      const [, ...behind] = this.#rows.get(row) ?? []
      this.#rows.delete(row)
      // Rows with more to come go to the end: they must not keep others waiting batch after batch.
      if (behind.length > 0) this.#rows.set(row, behind)
    }
    return batch
  }

  /** Returns an entry that could not be written to its place before what its worker has said since; its row goes to the end. */
  putBack(entry: Entry): void {
    const row = rowOf(entry.scope, entry.heartbeat)
    this.#rows.set(row, [entry, ...(this.#rows.get(row) ?? [])])
  }

  /** The entry has its outcome: it no longer counts. */
  forget(entry: Entry): void {
    this.#entries -= 1
    this.#bytes -= entry.bytes
  }

  *[Symbol.iterator](): Iterator<Entry> {
    for (const entries of this.#rows.values()) yield* entries
  }
}

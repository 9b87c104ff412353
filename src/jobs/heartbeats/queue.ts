import type { HeadwayError } from '../../contract/errors.ts'
import { sizeOfHeartbeat } from './entry-size.ts'
import type { Heartbeat, HeartbeatAnswer } from '../../contract/heartbeat.ts'
import type { Scope } from '../identity.ts'
import { Recent } from '../../turns/recent.ts'
import { mergeHeartbeats } from './merge.ts'
import { Shares, type Holder, type SharesOptions } from './shares.ts'

/** A request that waits for its answer. */
export interface Waiter {
  resolve: (answer: HeartbeatAnswer) => void
  reject: (error: HeadwayError) => void
  since: number
  /** The report of this request was older than the one that it was merged with. */
  late: boolean
}

/** What one worker has reported since its last flush, and the requests that wait for the answer. Only the queue changes it. */
export type Entry = Readonly<EntryState>

interface EntryState {
  scope: Scope
  heartbeat: Heartbeat
  /**
   * The entry may be written late or twice: its absolute count must not lower what the worker reported through another replica.
   */
  keepHigher: boolean
  waiters: Waiter[]
  /** A request was answered as buffered, so its caller does not learn of a later refusal. */
  buffered: boolean
  since: number
  bytes: number
  /** The tenant and caller whose share of the queue the entry takes. */
  holder?: Holder
  /** The token is limited to another job, and it is not known that this job is a partition of that one. */
  isUnproven: boolean
}

/**
 * The part of a batch that one tenant may take while others report. A tenant that comes next then waits for a short batch only.
 */
const PART_OF_A_BATCH = 1 / 8

/** The most that an entry without a payload, but with a message, takes. */
const USUAL_BYTES = 2 * 1024

const weightOf = ({ bytes }: Entry): number => Math.max(1, bytes / USUAL_BYTES)

const rowOf = ({ jobId, workerId }: Heartbeat): string => `${jobId}/${workerId}`

/**
 * Only reports with the same rights and of the same attempt may merge: no report is written by the rights of another caller.
 */
const hasSameRight = (entry: Entry, scope: Scope, heartbeat: Heartbeat): boolean =>
  entry.heartbeat.attempt === heartbeat.attempt &&
  entry.scope.tenantId === scope.tenantId &&
  entry.scope.organizationId === scope.organizationId &&
  entry.scope.allOrganizations === scope.allOrganizations &&
  entry.scope.jobId === scope.jobId

/** The entries of a tenant by job and worker. */
type Rows = Map<string, EntryState[]>

/**
 * Heartbeats that wait to be written. Reports of the same worker with the same rights share one entry where merging allows it.
 * A worker's entries are written in the order in which its reports came, one per batch. Each tenant has its own rows, so its
 * reports for another tenant's job delay nobody else's, and batches take entries from all tenants in turns.
 */
export class HeartbeatQueue {
  /** The tenant whose turn is next comes first. */
  readonly #tenants = new Map<string, Rows>()
  readonly #shares: Shares
  readonly #reporting = new Recent()
  #rows = 0

  constructor(limits: SharesOptions = { maxEntries: Infinity, maxBytes: Infinity }) {
    this.#shares = new Shares(limits)
  }

  /** Entries that wait or are in flight. Those in flight come back when a flush fails. */
  get entries(): number {
    return this.#shares.held.entries
  }

  get bytes(): number {
    return this.#shares.held.bytes
  }

  /**
   * Rows (tenant, job, worker) with an entry that waits; entries in flight do not count. A batch takes one entry of each row.
   */
  get rows(): number {
    return this.#rows
  }

  /** No entry waits; some may be in flight. */
  get isEmpty(): boolean {
    return this.#rows === 0
  }

  /** Whether the queue has room for these reports of a caller if none of them can be merged. */
  hasRoom({ tenantId, caller = null }: Scope, heartbeats: Heartbeat[]): boolean {
    let bytes = 0
    for (const heartbeat of heartbeats) bytes += sizeOfHeartbeat(heartbeat)
    return this.#shares.hasRoom(tenantId, caller, { entries: heartbeats.length, bytes })
  }

  /** Adds a report. Answers whether it has an entry of its own; false means that it was merged with one that waits. */
  add(scope: Scope, heartbeat: Heartbeat, waiter: Waiter, isUnproven = false): boolean {
    this.#reporting.add(scope.tenantId, waiter.since)
    const rows = this.#rowsOf(scope.tenantId)
    const row = rowOf(heartbeat)
    const waiting = rows.get(row)
    const last = waiting?.at(-1)
    if (last && hasSameRight(last, scope, heartbeat) && this.#merge(last, heartbeat, waiter)) return false
    const bytes = sizeOfHeartbeat(heartbeat)
    const entry: EntryState = {
      scope,
      heartbeat,
      keepHigher: false,
      waiters: [waiter],
      buffered: false,
      since: waiter.since,
      bytes,
      holder: this.#shares.take(scope.tenantId, scope.caller ?? null, bytes),
      isUnproven,
    }
    if (waiting) waiting.push(entry)
    else this.#put(rows, row, [entry])
    return true
  }

  #rowsOf(tenantId: string): Rows {
    let rows = this.#tenants.get(tenantId)
    if (!rows) {
      rows = new Map()
      this.#tenants.set(tenantId, rows)
    }
    return rows
  }

  #put(rows: Rows, row: string, entries: EntryState[]): void {
    if (!rows.has(row)) this.#rows += 1
    rows.set(row, entries)
  }

  #merge(entry: EntryState, heartbeat: Heartbeat, waiter: Waiter): boolean {
    const merge = mergeHeartbeats(entry.heartbeat, heartbeat)
    if (merge.kind === 'separate') return false
    waiter.late = merge.kind === 'late'
    entry.waiters.push(waiter)
    if (merge.kind === 'merged') {
      const bytes = sizeOfHeartbeat(merge.heartbeat)
      if (entry.holder) this.#shares.resize(entry.holder, bytes - entry.bytes)
      entry.heartbeat = merge.heartbeat
      entry.bytes = bytes
    }
    return true
  }

  /**
   * The tenants that have more `wanted` entries than their part of a batch of `limit` entries, while others report. What they
   * take is written beside the reports of others, which then do not wait for it.
   */
  crowds(limit: number, wanted: (entry: Entry) => boolean): ReadonlySet<string> {
    const crowds = new Set<string>()
    for (const [tenantId, rows] of this.#tenants) {
      const most = this.#mostOf(tenantId, limit)
      if (most === limit) continue
      let weight = 0
      for (const [entry] of rows.values()) {
        if (entry && wanted(entry)) weight += weightOf(entry)
        if (weight <= most) continue
        crowds.add(tenantId)
        break
      }
    }
    return crowds
  }

  #mostOf(tenantId: string, limit: number): number {
    return this.#reporting.isAlone(tenantId) ? limit : Math.max(1, limit * PART_OF_A_BATCH)
  }

  /**
   * Takes the first entry of each row that is `wanted`: one of each tenant in turn, and the oldest rows of a tenant first.
   * The batch has up to `limit` entries of the usual size. A large entry counts as several, because it takes as long to write.
   * While other tenants report, one tenant fills at most an eighth of the batch. Takes none if there are fewer than `least`, and
   * none of tenants other than `ofTenant` names; their rows are not looked at, because they may be many.
   * Each entry must be put back or forgotten.
   */
  take(
    limit: number,
    wanted: (entry: Entry) => boolean,
    { least = 1, ofTenant = () => true }: { least?: number; ofTenant?: (tenantId: string) => boolean } = {},
  ): Entry[] {
    const batch: Entry[] = []
    let weight = 0
    const tenants = [...this.#tenants].filter(([tenantId]) => ofTenant(tenantId))
    const turns = tenants.map(([tenantId, rows]) => ({
      tenantId,
      rows,
      left: rows.entries(),
      taken: [] as string[],
      weight: 0,
      most: this.#mostOf(tenantId, limit),
    }))
    let round = turns
    while (round.length > 0 && weight < limit) {
      const next: typeof turns = []
      for (const turn of round) {
        if (weight >= limit) break
        for (const [row, [entry]] of turn.left) {
          if (!entry || !wanted(entry)) continue
          batch.push(entry)
          weight += weightOf(entry)
          turn.weight += weightOf(entry)
          turn.taken.push(row)
          if (turn.weight < turn.most) next.push(turn)
          break
        }
      }
      round = next
    }
    if (weight < least) return []
    for (const { tenantId, rows, taken } of turns) {
      if (taken.length === 0) continue
      for (const row of taken) {
        const [, ...behind] = rows.get(row) ?? []
        rows.delete(row)
        this.#rows -= 1
        // A row with more entries goes to the end, so that it does not delay the other rows in every batch.
        if (behind.length > 0) this.#put(rows, row, behind)
      }
      // The tenant goes to the end: its next turn comes after the others have had theirs.
      this.#tenants.delete(tenantId)
      if (rows.size > 0) this.#tenants.set(tenantId, rows)
    }
    return batch
  }

  /**
   * Returns an entry that could not be written. It goes before the later reports of its worker, and its row goes to the end.
   */
  putBack(entry: EntryState): void {
    const rows = this.#rowsOf(entry.scope.tenantId)
    const row = rowOf(entry.heartbeat)
    this.#put(rows, row, [entry, ...(rows.get(row) ?? [])])
  }

  /** Takes the requests that wait for the entry, to be answered before it is written. The entry may reach the database late. */
  answerBuffered(entry: EntryState): Waiter[] {
    entry.buffered = true
    entry.keepHigher = true
    return entry.waiters.splice(0)
  }

  /** Notes that the entry was sent to the database and its outcome is unknown, so it may be written twice. */
  mayBeWritten(entry: EntryState): void {
    entry.keepHigher = true
  }

  /** Ends an entry that has its outcome: it no longer counts in the queue. */
  forget(entry: Entry): void {
    if (entry.holder) this.#shares.giveBack(entry.holder, entry.bytes)
  }

  *[Symbol.iterator](): Iterator<Entry> {
    for (const rows of this.#tenants.values()) for (const entries of rows.values()) yield* entries
  }
}

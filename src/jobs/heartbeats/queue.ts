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
  /** Its report was older than one that waited already. */
  late: boolean
}

/** What one worker has reported since its last flush, and who wants to hear of it. Only the queue changes it. */
export type Entry = Readonly<EntryState>

interface EntryState {
  scope: Scope
  heartbeat: Heartbeat
  /** Written late or twice, an absolute count must not undo what the worker reported through another replica. */
  keepHigher: boolean
  waiters: Waiter[]
  /** A request was answered as buffered: nobody hears of a refusal any more. */
  buffered: boolean
  since: number
  bytes: number
  /** Whose share of the queue it takes. */
  holder?: Holder
  /** Of a token that is limited to another job, of which this one is not known to be a partition. */
  isUnproven: boolean
}

/** Of one tenant while others report: whoever comes next waits for a short batch to be written. */
const PART_OF_A_BATCH = 1 / 4

/** An entry without a payload, but with a message, has no more. */
const USUAL_BYTES = 2 * 1024

const weightOf = ({ bytes }: Entry): number => Math.max(1, bytes / USUAL_BYTES)

const rowOf = ({ jobId, workerId }: Heartbeat): string => `${jobId}/${workerId}`

/** Reports of different rights or attempts never merge: nobody's report rides on another's right. */
const hasSameRight = (entry: Entry, scope: Scope, heartbeat: Heartbeat): boolean =>
  entry.heartbeat.attempt === heartbeat.attempt &&
  entry.scope.tenantId === scope.tenantId &&
  entry.scope.organizationId === scope.organizationId &&
  entry.scope.allOrganizations === scope.allOrganizations &&
  entry.scope.jobId === scope.jobId

/** By job and worker. */
type Rows = Map<string, EntryState[]>

/**
 * Heartbeats that wait to be written, at most one entry per right, job and worker where merging allows it. A worker's
 * entries leave in the order in which its reports came, one per batch. Each tenant has rows of its own, so that its reports
 * for a job that is not its own hold up nobody, and batches take from all tenants in turns.
 */
export class HeartbeatQueue {
  /** Those whose turn it is come first. */
  readonly #tenants = new Map<string, Rows>()
  readonly #shares: Shares
  readonly #reporting = new Recent()
  #rows = 0

  constructor(limits: SharesOptions = { maxEntries: Infinity, maxBytes: Infinity }) {
    this.#shares = new Shares(limits)
  }

  /** Entries, those in flight included: they come back when a flush fails. */
  get entries(): number {
    return this.#shares.held.entries
  }

  get bytes(): number {
    return this.#shares.held.bytes
  }

  /** Rows (tenant, job, worker) that have an entry to write, those in flight not included: a batch takes one of each. */
  get rows(): number {
    return this.#rows
  }

  /** No entry waits; some may be in flight. */
  get isEmpty(): boolean {
    return this.#rows === 0
  }

  /** Whether so many reports of a caller would find room, none of them merged. */
  hasRoom({ tenantId, caller = null }: Scope, heartbeats: Heartbeat[]): boolean {
    let bytes = 0
    for (const heartbeat of heartbeats) bytes += sizeOfHeartbeat(heartbeat)
    return this.#shares.hasRoom(tenantId, caller, { entries: heartbeats.length, bytes })
  }

  /** Whether the report has an entry of its own: else it was merged with one that waits. */
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
   * The first entry of each row whose job is `wanted`, one of each tenant in turn, and of a tenant the oldest rows first. Up to
   * `limit` of the usual size, a quarter of them of one tenant while others report, and none where these are fewer than `least`; a large one counts as several, since it takes as
   * long to write. Each must be put back or forgotten.
   */
  take(limit: number, wanted: (jobId: string) => boolean, least = 1): Entry[] {
    const batch: Entry[] = []
    let weight = 0
    const mostOf = (tenantId: string) => (this.#reporting.isAlone(tenantId) ? limit : limit * PART_OF_A_BATCH)
    const turns = [...this.#tenants].map(([tenantId, rows]) => ({
      tenantId,
      rows,
      left: rows.entries(),
      taken: [] as string[],
      weight: 0,
      most: mostOf(tenantId),
    }))
    let round = turns
    while (round.length > 0 && weight < limit) {
      const next: typeof turns = []
      for (const turn of round) {
        if (weight >= limit) break
        for (const [row, [entry]] of turn.left) {
          if (!entry || !wanted(entry.heartbeat.jobId)) continue
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
        // Rows with more to come go to the end: they must not keep others waiting batch after batch.
        if (behind.length > 0) this.#put(rows, row, behind)
      }
      // The tenant's turn comes again when the others have had theirs.
      this.#tenants.delete(tenantId)
      if (rows.size > 0) this.#tenants.set(tenantId, rows)
    }
    return batch
  }

  /** Returns an entry that could not be written to its place before what its worker has said since; its row goes to the end. */
  putBack(entry: EntryState): void {
    const rows = this.#rowsOf(entry.scope.tenantId)
    const row = rowOf(entry.heartbeat)
    this.#put(rows, row, [entry, ...(rows.get(row) ?? [])])
  }

  /** Whoever waits for the entry is answered before it is written: answers them. It may reach the database late. */
  answerBuffered(entry: EntryState): Waiter[] {
    entry.buffered = true
    entry.keepHigher = true
    return entry.waiters.splice(0)
  }

  /** It was sent to the database, and nobody knows what became of it: it may be written twice. */
  mayBeWritten(entry: EntryState): void {
    entry.keepHigher = true
  }

  /** The entry has its outcome: it no longer counts. */
  forget(entry: Entry): void {
    if (entry.holder) this.#shares.giveBack(entry.holder, entry.bytes)
  }

  *[Symbol.iterator](): Iterator<Entry> {
    for (const rows of this.#tenants.values()) for (const entries of rows.values()) yield* entries
  }
}

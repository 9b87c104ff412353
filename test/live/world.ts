import { EventEmitter } from 'node:events'
import type { FeedFilter, JobState as LiveState, LiveDocument, LiveSource, Since } from '../../src/live/change.ts'
import type { JobChange } from '../../src/contract/change.ts'
import type { CommitPosition } from '../../src/live/position.ts'
import type { ListenerClient } from '../../src/live/listener.ts'
import { encodePayloads } from '../../src/live/payload.ts'

export const TENANT = '00000000-0000-4000-8000-00000000000a'
export const OTHER_TENANT = '00000000-0000-4000-8000-00000000000b'
export const jobId = (number: number) => `00000000-0000-4000-9000-${String(number).padStart(12, '0')}`

export const filter = (over: Partial<FeedFilter> = {}): FeedFilter => ({
  tenantId: TENANT,
  organizationId: null,
  allOrganizations: true,
  scopeJobId: null,
  jobIds: [],
  jobType: null,
  parentJobId: null,
  topLevel: false,
  ...over,
})

type JobState = Omit<LiveDocument, 'json'> & { status: string; finishedXact: number | null; committedAtMs: number }

/** Committed jobs, and a bus that carries hints: the role of Postgres for the live side. */
export class World implements LiveSource {
  readonly jobs = new Map<string, JobState>()
  readonly reads: string[][] = []
  readonly stateReads: string[][] = []
  revisionReads = 0
  /** The tenants of the last one. */
  reconciled: readonly string[] = []
  snapshotReads: { finishedSinceMs: number | null; position: CommitPosition | null }[] = []
  /** The transactions that are open, and the number of the next one. */
  readonly #open = new Set<number>()
  #nextXact = 1
  /** Awaited by every read. */
  onRead: (kind: string) => Promise<void> | void = () => undefined
  readonly #clients = new Set<FakeClient>()
  now: () => number = Date.now

  /** Begins a transaction that commits when it is given to `commit`; its number. */
  begin(): number {
    this.#open.add(this.#nextXact)
    return this.#nextXact++
  }

  /** As `pg_current_snapshot()` has it. */
  #pgSnapshot(): string {
    const open = [...this.#open]
    return `${open[0] ?? this.#nextXact}:${this.#nextXact}:${open.join(',')}`
  }

  #endedSince({ finishedXact }: JobState, position: CommitPosition | null | undefined): boolean {
    if (!position || finishedXact === null) return false
    return finishedXact >= position.floor || position.open.includes(finishedXact)
  }

  /** Commits a change, and tells no one. */
  commit(
    id: string,
    change: Partial<JobState> = {},
    lifecycle: string | null = null,
    transaction = this.begin(),
  ): JobChange {
    this.#open.delete(transaction)
    const old = this.jobs.get(id)
    const at = change.updatedAtMs ?? this.now()
    const revision = (old?.revision ?? 0) + 1
    const job: JobState = {
      id,
      tenantId: TENANT,
      organizationId: null,
      jobType: 'import',
      parentJobId: null,
      finished: false,
      stale: false,
      createdAtMs: at,
      finishedAtMs: null,
      finishedXact: null,
      status: 'running',
      lifecycle: 'created',
      lifecycleRevision: 1,
      ...old,
      ...change,
      updatedAtMs: at,
      committedAtMs: this.now(),
      revision,
    }
    if (lifecycle) {
      job.lifecycle = lifecycle
      job.lifecycleRevision = revision
      job.finished = ['completed', 'failed', 'cancelled'].includes(lifecycle)
      job.finishedAtMs = job.finished ? at : null
      job.finishedXact = job.finished ? transaction : null
      job.status = job.finished ? lifecycle : 'running'
    }
    this.jobs.set(id, job)
    return { tenantId: job.tenantId, jobId: id, revision, lifecycle: lifecycle !== null || old === undefined }
  }

  /** Commits and announces at once. */
  change(id: string, change: Partial<JobState> = {}, lifecycle: string | null = null): void {
    this.announce([this.commit(id, change, lifecycle)])
  }

  announce(changes: readonly JobChange[]): void {
    for (const payload of encodePayloads(changes)) {
      for (const client of this.#clients) client.emit('notification', { channel: 'headway', payload })
    }
  }

  document(id: string): LiveDocument | null {
    const job = this.jobs.get(id)
    if (!job) return null
    const { status, revision, updatedAtMs } = job
    const updatedAt = new Date(updatedAtMs).toISOString()
    return { ...job, json: JSON.stringify({ id, status, message: `Größe ${revision}`, updatedAt, revision }) }
  }

  async readStates(ids: readonly string[]): Promise<LiveState[]> {
    this.stateReads.push([...ids])
    return this.#during('states', () => ids.flatMap(id => this.jobs.get(id) ?? []))
  }

  async readDocuments(ids: readonly string[]): Promise<LiveDocument[]> {
    this.reads.push([...ids])
    const answer = () => ids.flatMap(id => this.document(id) ?? [])
    return this.#during('documents', answer)
  }

  async readSnapshot(wanted: FeedFilter, since: Since | null, limit: number) {
    this.snapshotReads.push({ finishedSinceMs: since?.ms ?? null, position: since?.position ?? null })
    return this.#during('snapshot', () => {
      const nowMs = this.now()
      const sinceMs = since?.ms ?? nowMs - 30_000
      const all = [...this.jobs.values()]
        .filter(
          job =>
            matches(wanted, job) &&
            (!job.finished ||
              (job.finishedAtMs ?? 0) >= sinceMs ||
              this.#endedSince(job, since?.position) ||
              wanted.jobIds.includes(job.id)),
        )
        .sort((a, b) => Number(a.finished) - Number(b.finished) || b.createdAtMs - a.createdAtMs)
      const documents = all.slice(0, limit).flatMap(job => this.document(job.id) ?? [])
      return { documents, truncated: all.length > limit, nowMs, pgSnapshot: this.#pgSnapshot() }
    })
  }

  async readRevisions(tenantIds: readonly string[], also: readonly string[], position: CommitPosition | null) {
    this.revisionReads++
    this.reconciled = tenantIds
    return this.#during('revisions', () => ({
      pgSnapshot: this.#pgSnapshot(),
      rows: [...this.jobs.values()].flatMap(job => {
        const { id, tenantId, revision, updatedAtMs, finished, finishedAtMs } = job
        const isWatched = tenantIds.includes(tenantId)
        const endedSince = isWatched && this.#endedSince(job, position)
        const isRecent = isWatched && (!finished || (finishedAtMs ?? 0) >= this.now() - 120_000)
        return also.includes(id) || isRecent || endedSince ? [{ id, tenantId, revision, updatedAtMs, endedSince }] : []
      }),
    }))
  }

  /** A statement sees the commits up to one moment between its call and its answer: here, up to the call. */
  async #during<T>(kind: string, answer: () => T): Promise<T> {
    const early = answer()
    await this.onRead(kind)
    return early
  }

  connectListener = (): ListenerClient => {
    const client = new FakeClient(this.#clients)
    return client
  }

  /** Every listener loses its connection. */
  cutListeners(): void {
    for (const client of [...this.#clients]) client.emit('error', new Error('cut'))
  }
}

class FakeClient extends EventEmitter {
  readonly #clients: Set<FakeClient>
  readonly connection = { stream: { destroy: () => this.#clients.delete(this) } }

  constructor(clients: Set<FakeClient>) {
    super()
    this.#clients = clients
  }

  async connect() {
    this.#clients.add(this)
  }

  async query(text: string) {
    const ping = /^NOTIFY (\w+)$/.exec(text)
    if (ping) this.emit('notification', { channel: ping[1], payload: '' })
  }
}

const matches = (wanted: FeedFilter, job: JobState): boolean =>
  job.tenantId === wanted.tenantId &&
  (wanted.allOrganizations || job.organizationId === wanted.organizationId) &&
  (wanted.scopeJobId === null || [job.id, job.parentJobId].includes(wanted.scopeJobId)) &&
  (wanted.jobIds.length === 0 || wanted.jobIds.includes(job.id)) &&
  (wanted.jobType === null || job.jobType === wanted.jobType) &&
  (wanted.parentJobId === null || job.parentJobId === wanted.parentJobId) &&
  (!wanted.topLevel || job.parentJobId === null)

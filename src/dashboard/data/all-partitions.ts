import { toLiveJob } from '../../browser-client/documents.ts'
import type { BatchPartitions, Children, PartitionDocument } from '../../contract/job.ts'
import type { LiveJob } from '../../contract/live-job.ts'
import { headway } from '../feed.ts'
import { Reading } from './reading.ts'
import type { Problem } from './reading.ts'

const REST_MS = 1_000
/** How often all partitions are read, because a pending one may become late without counting as changed. */
const WHOLE_MS = 60_000

/** What is known of the batch whose partitions are read. */
export type Batch = Pick<
  LiveJob,
  'id' | 'jobType' | 'tenantId' | 'organizationId' | 'partitionCount' | 'revision' | 'children'
>

/** Whether as many partitions have each state as the batch counts. */
const agrees = (children: Children, partitions: Iterable<LiveJob>): boolean => {
  const counts = { pending: 0, running: 0, stalled: 0, completed: 0, failed: 0, cancelled: 0 }
  for (const { status, liveness } of partitions) {
    counts[status] += 1
    if (status === 'running' && liveness === 'stalled') counts.stalled += 1
  }
  return Object.entries(counts).every(([state, count]) => children[state as keyof typeof counts] === count)
}

/** Whether a document says nothing new. A deadline may change without a revision. */
const isKnown = (known: LiveJob | undefined, { revision, deadline }: PartitionDocument): boolean =>
  known !== undefined &&
  (known.revision > revision || (known.revision === revision && known.deadline === (deadline ?? null)))

/**
 * All partitions of a batch, for a picture of the whole: at most 1,000, without what may be large. A batch changes whenever one
 * of its partitions does; then those that have changed are read, at most once a second.
 */
export class AllPartitions {
  readonly batchId: string
  readonly #reading: Reading<BatchPartitions>
  readonly #byId = new Map<string, LiveJob>()
  #batch: Batch
  #list: readonly LiveJob[] = []
  #asOf: string | null = null
  #wholeAtMs = 0
  #revision = -1

  constructor(batch: Batch) {
    this.batchId = batch.id
    this.#batch = batch
    this.#reading = new Reading(signal => this.#read(signal), REST_MS)
    this.follow(batch)
  }

  /** By index. The same array until something changes; objects are replaced and never changed. */
  get list(): readonly LiveJob[] {
    return this.#list
  }

  /** Nothing has been read yet. */
  get isLoading(): boolean {
    return this.#reading.isLoading
  }

  get problem(): Problem | null {
    return this.#reading.problem
  }

  /** Takes the present state of the batch. */
  follow(batch: Batch): void {
    this.#batch = batch
    if (batch.revision === this.#revision) return
    this.#revision = batch.revision
    this.#reading.refresh()
  }

  refresh(): void {
    this.#reading.refresh()
  }

  close(): void {
    this.#reading.stop()
  }

  async #read(signal: AbortSignal): Promise<BatchPartitions> {
    const nowMs = Date.now()
    const { children } = this.#batch
    const isWhole =
      this.#asOf === null || nowMs - this.#wholeAtMs >= WHOLE_MS || (children !== null && !agrees(children, this.#list))
    const since = isWhole || this.#asOf === null ? {} : { since: this.#asOf }
    const answer = await headway.api.partitions(this.batchId, since, { signal })
    if (isWhole) this.#wholeAtMs = nowMs
    this.#asOf = answer.asOf
    this.#take(answer)
    return answer
  }

  #take({ items }: BatchPartitions): void {
    const { id, jobType, tenantId, organizationId, partitionCount } = this.#batch
    let changed = false
    for (const item of items) {
      if (isKnown(this.#byId.get(item.id), item)) continue
      changed = true
      this.#byId.set(
        item.id,
        toLiveJob({ ...item, jobType, tenantId, organizationId, partitionCount, parentJobId: id }),
      )
    }
    if (!changed) return
    const placeOf = ({ partitionIndex }: LiveJob) => partitionIndex ?? 0
    this.#list = [...this.#byId.values()].sort((a, b) => placeOf(a) - placeOf(b))
  }
}

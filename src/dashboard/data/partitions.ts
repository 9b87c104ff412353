import type { ListQuery } from '../../browser-client/index.ts'
import type { Children, ListedJob, Page } from '../../contract/job.ts'
import { headway } from '../feed.ts'
import { Reading } from './reading.ts'
import type { Problem } from './reading.ts'

/** What partitions are counted by: their status, and of those that run whether they are stalled. */
export const PARTITION_STATES = ['running', 'stalled', 'pending', 'failed', 'completed', 'cancelled'] as const
export type PartitionState = (typeof PARTITION_STATES)[number]

const PAGE_SIZE = 100
const REST_MS = 1_000

/**
 * The partitions of a batch, by index, read page by page where somebody looks. The stream of the page does not carry them: a
 * batch changes whenever one of its partitions does, and then the pages that are in view are read again.
 */
export class Partitions {
  readonly batchId: string
  /** Which ones; '' is all. */
  readonly state: PartitionState | ''
  readonly #pages = new Map<number, Reading<Page<ListedJob>>>()
  #expected: number
  #revision: number
  #inView: readonly number[] = [1]

  constructor(
    { id, revision, children }: { id: string; revision: number; children: Children | null },
    state: PartitionState | '' = '',
  ) {
    this.batchId = id
    this.state = state
    this.#revision = revision
    this.#expected = children?.[state === '' ? 'total' : state] ?? 0
    this.#page(1).refresh()
  }

  /** How many there are; until that has been read, how many there are going to be. */
  get count(): number {
    return this.#pages.get(1)?.value?.total ?? this.#expected
  }

  get problem(): Problem | null {
    for (const number of this.#inView) {
      const page = this.#pages.get(number)
      if (page?.problem) return page.problem
    }
    return null
  }

  at(index: number): ListedJob | null {
    return this.#pages.get(Math.floor(index / PAGE_SIZE) + 1)?.value?.items[index % PAGE_SIZE] ?? null
  }

  /** The first and the last index that can be seen. */
  look(first: number, last: number): void {
    const pages: number[] = []
    for (let page = Math.floor(first / PAGE_SIZE) + 1; page <= Math.floor(last / PAGE_SIZE) + 1; page += 1) {
      pages.push(page)
      if (!this.#pages.has(page)) this.#page(page).refresh()
    }
    // A page that comes back into view may be old.
    for (const page of pages) if (!this.#inView.includes(page)) this.#page(page).refresh()
    this.#inView = pages
  }

  /** Tells it of the batch as it is now. */
  follow({ revision }: { revision: number }): void {
    if (revision === this.#revision) return
    this.#revision = revision
    for (const page of new Set([1, ...this.#inView])) this.#page(page).refresh()
  }

  close(): void {
    for (const page of this.#pages.values()) page.stop()
  }

  #page(number: number): Reading<Page<ListedJob>> {
    let page = this.#pages.get(number)
    if (page === undefined) {
      const query: ListQuery = {
        parentJobId: this.batchId,
        sort: 'partitionIndex',
        page: number,
        pageSize: PAGE_SIZE,
        ...(this.state === 'stalled' ? { liveness: 'stalled' } : this.state !== '' && { status: this.state }),
      }
      page = new Reading(signal => headway.api.list(query, { signal }), REST_MS)
      this.#pages.set(number, page)
    }
    return page
  }
}

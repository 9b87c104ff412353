import type { ListQuery } from '../../browser-client/index.ts'
import type { Children, JobPage, ListedJob } from '../../contract/job.ts'
import { headway } from '../feed.ts'
import { Reading } from './reading.ts'
import type { Problem } from './reading.ts'

const PAGE_SIZE = 100
const REST_MS = 1_000

/**
 * The partitions of a batch by index, read page by page where they are visible. The page's stream does not include partitions.
 * A batch changes whenever one of its partitions does, and then the visible pages are read again.
 */
export class Partitions {
  readonly batchId: string
  readonly #pages = new Map<number, Reading<JobPage>>()
  #expected: number
  #revision: number
  #inView: readonly number[] = [1]

  constructor({ id, revision, children }: { id: string; revision: number; children: Children | null }) {
    this.batchId = id
    this.#revision = revision
    this.#expected = children?.total ?? 0
    this.#page(1).refresh()
  }

  /** How many partitions there are; until that has been read, how many there will be. */
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

  /** Sets the first and the last index that are visible. */
  look(first: number, last: number): void {
    const pages: number[] = []
    for (let page = Math.floor(first / PAGE_SIZE) + 1; page <= Math.floor(last / PAGE_SIZE) + 1; page += 1) {
      pages.push(page)
      if (!this.#pages.has(page)) this.#page(page).refresh()
    }
    // A page that becomes visible again may be out of date.
    for (const page of pages) if (!this.#inView.includes(page)) this.#page(page).refresh()
    this.#inView = pages
  }

  /** Takes the present state of the batch. */
  follow({ revision }: { revision: number }): void {
    if (revision === this.#revision) return
    this.#revision = revision
    for (const page of new Set([1, ...this.#inView])) this.#page(page).refresh()
  }

  close(): void {
    for (const page of this.#pages.values()) page.stop()
  }

  #page(number: number): Reading<JobPage> {
    let page = this.#pages.get(number)
    if (page === undefined) {
      const query: ListQuery = {
        parentJobId: this.batchId,
        sort: 'partitionIndex',
        page: number,
        pageSize: PAGE_SIZE,
      }
      page = new Reading(signal => headway.api.list(query, { signal }), REST_MS)
      this.#pages.set(number, page)
    }
    return page
  }
}

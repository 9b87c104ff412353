import type { ListQuery } from '../../browser-client/index.ts'
import type { ListedJob } from '../../contract/job.ts'
import { headway } from '../feed.ts'

const PAGE_SIZE = 100
/** More failures are not grouped: their kinds are then known, and the list has the others. */
const MOST_PAGES = 5

export interface Failures {
  /** The newest first. */
  jobs: ListedJob[]
  /** Whether there may be more. */
  isCut: boolean
}

/** The newest failed jobs of a list, up to 500. */
export const readFailures = async (query: ListQuery, signal: AbortSignal): Promise<Failures> => {
  const jobs: ListedJob[] = []
  let cursor: string | null = null
  for (let page = 1; page <= MOST_PAGES; page += 1) {
    const found = await headway.api.list(
      { ...query, status: 'failed', sort: '-finishedAt', pageSize: PAGE_SIZE, ...(cursor !== null && { cursor }) },
      { signal },
    )
    jobs.push(...found.items)
    cursor = found.next
    if (cursor === null) break
  }
  return { jobs, isCut: cursor !== null }
}

import { toLiveJob } from './documents.ts'
import { isFinished } from '../contract/states.ts'
import { LONGEST_JUST_FINISHED_SECONDS } from '../contract/just-finished.ts'
import { HeadwayProblem } from './problem.ts'
import { queryOf } from './requests.ts'
import type { Requests } from './requests.ts'
import type { JobFilter } from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'
import type { ActiveJobs, JobDocument, JobPage } from '../contract/job.ts'

/** How many jobs that have left the list are read one by one in each poll. */
const MAX_MISSED = 20
/** Browsers open six connections to a service that speaks HTTP/1.1. */
const AT_ONCE = 4
/** As many jobs as `/active` lists. */
const MAX_ACTIVE = 50
const ACTIVE = `/active${queryOf({ recentSeconds: LONGEST_JUST_FINISHED_SECONDS })}`
const PAGE_SIZE = 100
/** Together as many jobs as a snapshot of the stream has. */
const MAX_PAGES = 10

export interface Polled {
  jobs: LiveJob[]
  truncated: boolean
}

/** Reads the jobs by plain requests, in place of a stream. */
export interface Poller {
  /** Null: nothing has changed. Known jobs stay in the result until the service no longer has them. */
  read(signal: AbortSignal): Promise<Polled | null>
}

const inBatches = async <Item>(items: readonly Item[], run: (item: Item) => Promise<void>): Promise<void> => {
  for (let start = 0; start < items.length; start += AT_ONCE) {
    await Promise.all(items.slice(start, start + AT_ONCE).map(run))
  }
}

interface PollerOptions {
  requests: Requests
  filter: JobFilter
  known: () => readonly LiveJob[]
  /** The service's time. */
  now: () => number
}

/** The job as it is now; `known` if it has not changed; null if it does not exist. */
const readJob = async (
  { call }: Requests,
  id: string,
  known: LiveJob | undefined,
  signal: AbortSignal,
): Promise<LiveJob | null> => {
  try {
    const headers = known ? { 'if-none-match': `W/"${id}.${known.revision}"` } : {}
    const { body } = await call<JobDocument>(`/jobs/${encodeURIComponent(id)}`, { headers, signal })
    return body ? toLiveJob(body) : (known ?? null)
  } catch (error) {
    if (error instanceof HeadwayProblem && error.status === 404) return null
    throw error
  }
}

/** Polls jobs that are named by their ids. Each is read until it has completed; a failed or cancelled job may be retried. */
const createJobPoller = ({ requests, known }: PollerOptions, ids: readonly string[]): Poller => ({
  async read(signal) {
    const jobs = new Map(known().map(job => [job.id, job]))
    await inBatches(ids, async id => {
      const before = jobs.get(id)
      if (before?.status === 'completed') return
      const job = await readJob(requests, id, before, signal)
      if (job) jobs.set(id, job)
      else jobs.delete(id)
    })
    return { jobs: [...jobs.values()], truncated: false }
  },
})

/** Polls a list of jobs. Jobs that have left the list are read one by one, so that their end is not missed. */
const createListPoller = ({ requests, filter, known, now }: PollerOptions): Poller => {
  const { jobType, parentJobId, organizationId, topLevel } = filter
  const everything = jobType === undefined && parentJobId === undefined && organizationId === undefined
  /** The tag of the last list, if there were no more jobs to read after it. */
  let etag: string | null = null
  let turn = 0
  let isFirst = true

  const list = async (signal: AbortSignal): Promise<Polled> => {
    const jobs: LiveJob[] = []
    let next: string | null | undefined
    for (let pages = 0; pages === 0 || (next && pages < MAX_PAGES); pages++) {
      const query = queryOf({
        jobType,
        parentJobId,
        organizationId,
        topLevel,
        pageSize: PAGE_SIZE,
        cursor: next ?? undefined,
      })
      const { body } = await requests.call<JobPage>(`/jobs${query}`, { signal })
      jobs.push(...(body?.items ?? []).map(toLiveJob))
      next = body?.next
    }
    return { jobs, truncated: Boolean(next) }
  }

  /** Jobs that ended before the first poll: a page that is reloaded still shows them. */
  const justFinished = async (signal: AbortSignal): Promise<LiveJob[]> => {
    const completedSince = new Date(now() - LONGEST_JUST_FINISHED_SECONDS * 1000).toISOString()
    const query = queryOf({ jobType, parentJobId, organizationId, topLevel, completedSince, pageSize: PAGE_SIZE })
    const { body } = await requests.call<JobPage>(`/jobs${query}`, { signal })
    return (body?.items ?? []).map(toLiveJob)
  }

  /** Reads all active jobs in one small answer. It lists no partitions, but it changes whenever one of them does. */
  const readActive = async (signal: AbortSignal): Promise<(Polled & { etag: string | null }) | null> => {
    const headers: Record<string, string> = etag === null ? {} : { 'if-none-match': etag }
    const answer = await requests.call<ActiveJobs>(ACTIVE, { headers, signal })
    if (!answer.body) return null
    const { active, recentlyCompleted } = answer.body
    const jobs = [...active, ...recentlyCompleted].map(toLiveJob)
    const isFull = active.length >= MAX_ACTIVE
    const hidesPartitions = topLevel !== true && active.some(job => job.children !== null)
    if (!isFull && !hidesPartitions) return { jobs, truncated: false, etag: answer.etag }
    const listed = new Set(jobs.map(job => job.id))
    const all = await list(signal)
    jobs.push(...all.jobs.filter(job => !listed.has(job.id)))
    // A full list leaves jobs out, and its tag does not change with them.
    return { jobs, truncated: all.truncated, etag: isFull ? null : answer.etag }
  }

  return {
    async read(signal) {
      const polled = everything ? await readActive(signal) : { ...(await list(signal)), etag: null }
      if (!polled) return null
      const ended = everything || !isFirst ? [] : await justFinished(signal)
      isFirst = false
      const jobs = new Map([...ended, ...polled.jobs].map(job => [job.id, job]))
      const missed = known().filter(job => !jobs.has(job.id))
      for (const job of missed) jobs.set(job.id, job)
      const open = missed.filter(job => !isFinished(job))
      // If there are too many, each poll reads the next ones.
      const start = turn < open.length ? turn : 0
      turn = start + MAX_MISSED
      await inBatches(open.slice(start, turn), async before => {
        const job = await readJob(requests, before.id, before, signal)
        if (job) jobs.set(job.id, job)
        else jobs.delete(before.id)
      })
      etag = open.length > MAX_MISSED ? null : polled.etag
      return { jobs: [...jobs.values()], truncated: polled.truncated }
    },
  }
}

export const createPoller = (options: PollerOptions): Poller => {
  const { jobId } = options.filter
  return jobId === undefined ? createListPoller(options) : createJobPoller(options, [jobId].flat())
}

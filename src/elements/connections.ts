import { createClientWith } from '../browser-client/client.ts'
import { followTogether, LINGER_MS, Sources, tryAgain, whenIdentified } from '../browser-client/together.ts'
import type { HeadwayClient, JobFilter, TokenSource } from '../browser-client/types.ts'
import { dispatchProgressEvents } from './window-events.ts'

/** The most jobs that one stream takes. */
const MAX_JOBS = 100
const JOB_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export interface Source {
  url: string
  token: TokenSource | undefined
}

/** Follows a list of jobs. All elements of a page with the same list share one client. Answers a function that stops it. */
export const followList = (
  { url, token }: Source,
  filter: JobFilter,
  onClient: (client: HeadwayClient) => void,
): (() => void) => {
  let quiet = (): void => undefined
  const leave = followTogether({ url, filter, ...(token !== undefined && { token }) }, client => {
    quiet = dispatchProgressEvents(client)
    onClient(client)
  })
  return () => {
    quiet()
    leave()
  }
}

interface Watcher {
  jobId: string
  /** Called with the client that has the job now. */
  onClient: (client: HeadwayClient) => void
}

interface Opened {
  client: HeadwayClient
  close: () => void
}

/**
 * Up to a hundred jobs that single elements of a page show, in one stream. When the jobs change, a new stream is opened, and
 * replaces the present one when it has a snapshot.
 */
class JobGroup {
  readonly #url: string
  readonly #sources = new Sources()
  readonly #watchers = new Set<Watcher>()
  readonly #onEmpty: () => void
  #current: Opened | null = null
  #next: Opened | null = null
  #followed: readonly string[] = []
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(url: string, onEmpty: () => void) {
    this.#url = url
    this.#onEmpty = onEmpty
  }

  hasRoomFor(jobId: string): boolean {
    const ids = this.#ids()
    return ids.has(jobId) || ids.size < MAX_JOBS
  }

  add(watcher: Watcher, token: TokenSource | undefined): () => void {
    this.#watchers.add(watcher)
    const leave = this.#sources.add(token)
    if (this.#current) {
      tryAgain(this.#current.client)
      if (this.#followed.includes(watcher.jobId)) watcher.onClient(this.#current.client)
    }
    this.#plan(0)
    return () => {
      leave()
      this.#watchers.delete(watcher)
      this.#plan(LINGER_MS)
    }
  }

  #ids(): Set<string> {
    return new Set([...this.#watchers].map(({ jobId }) => jobId))
  }

  /** Waits a moment, because a page adds its elements one after the other. */
  #plan(milliseconds: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#follow(), milliseconds)
  }

  #follow(): void {
    const ids = [...this.#ids()].sort()
    if (ids.length > 0 && ids.join() === this.#followed.join()) return
    this.#followed = ids
    this.#next?.close()
    this.#next = null
    if (ids.length === 0) {
      this.#current?.close()
      this.#current = null
      this.#onEmpty()
      return
    }
    const next = this.#open(ids)
    if (!this.#current) {
      this.#take(next)
      return
    }
    // The present client stays until the next one has a snapshot.
    this.#next = next
    const stop = next.client.subscribe(() => {
      if (this.#next !== next || !next.client.state().loaded) return
      stop()
      this.#next = null
      this.#take(next)
    })
  }

  #open(jobId: readonly string[]): Opened {
    const options = { url: this.#url, filter: { jobId }, token: this.#sources.source }
    const client = createClientWith(options, { isOfElement: true })
    const quiet = dispatchProgressEvents(client)
    return {
      client,
      close: () => {
        quiet()
        client.close()
      },
    }
  }

  #take(next: Opened): void {
    const before = this.#current
    this.#current = next
    for (const { jobId, onClient } of [...this.#watchers]) {
      if (this.#followed.includes(jobId)) onClient(next.client)
    }
    before?.close()
  }
}

/** The groups by service and user. */
const groups = new Map<string, Set<JobGroup>>()

const groupFor = (key: string, url: string, jobId: string): JobGroup => {
  const those = groups.get(key) ?? new Set()
  groups.set(key, those)
  const roomy = [...those].find(group => group.hasRoomFor(jobId))
  if (roomy) return roomy
  const group = new JobGroup(url, () => {
    those.delete(group)
    if (those.size === 0) groups.delete(key)
  })
  those.add(group)
  return group
}

/** Whether a text can be the id of a job. The service refuses a whole stream if one id in it cannot. */
export const isJobId = (text: string): boolean => JOB_ID.test(text)

/** Follows one job, in a stream that other single elements of the page share. */
export const followJob = ({ url, token }: Source, watcher: Watcher): (() => void) => {
  let stop = (): void => undefined
  const forget = whenIdentified(token, identity => {
    stop = groupFor(JSON.stringify([url, identity]), url, watcher.jobId).add(watcher, token)
  })
  return () => {
    forget()
    stop()
    stop = () => undefined
  }
}

import { AwaitedJobs } from './awaited-jobs.ts'
import { backoffMs } from './backoff.ts'
import { surroundingsOfPage } from './browser.ts'
import type { Surroundings } from './browser.ts'
import type { ConnectionTiming, Problem } from './connection.ts'
import { toLiveJob } from './documents.ts'
import { isFinished } from '../contract/states.ts'
import { digest } from './digest.ts'
import { JobStore } from './job-store.ts'
import type { JobUpdate } from './job-store.ts'
import { Listeners } from './listeners.ts'
import { Pauses } from './pause.ts'
import { HeadwayProblem, unreachable } from './problem.ts'
import { createApi, createRequests } from './requests.ts'
import type { Requests } from './requests.ts'
import { ServiceClock } from './service-clock.ts'
import { Tab } from './tab.ts'
import { identityOf, Tokens } from './tokens.ts'
import type {
  ConnectionState,
  HeadwayClient,
  HeadwayApi,
  HeadwayEvent,
  HeadwayClientOptions,
  HeadwayState,
  JobFilter,
} from './types.ts'
import type { LiveJob } from '../contract/live-job.ts'
import type { JobDocument } from '../contract/job.ts'

const KEEP_FINISHED_SECONDS = 60
/** How often finished jobs are dropped, and awaited jobs that are not followed are read. */
const HOUSEKEEPING_MS = 5_000
const TOKEN_RETRY_MS = 5_000
/** The version of messages between tabs. A tab with another release of this file may not understand them. */
const PROTOCOL = 2

export interface ClientParts {
  /** The client belongs to an element or a component, and not to the page that waits for jobs; false by default. */
  isOfElement?: boolean
  /** For tests: other surroundings and shorter times. */
  surroundings?: Surroundings
  timing?: Partial<ConnectionTiming> & { housekeepingMs?: number; pingMs?: number }
}

/**
 * The filter in one form, so that tabs whose filters mean the same share a connection, even if their ids have another order.
 */
const canonical = ({ jobId, jobType, parentJobId, topLevel, organizationId }: JobFilter): JobFilter => ({
  ...(jobId !== undefined && { jobId: [...new Set([jobId].flat())].sort() }),
  ...(jobType !== undefined && { jobType }),
  ...(parentJobId !== undefined && { parentJobId }),
  ...(topLevel === true && { topLevel }),
  ...(organizationId !== undefined && { organizationId }),
})

class Client implements HeadwayClient {
  readonly api: HeadwayApi
  readonly #url: string
  readonly #filter: JobFilter
  readonly #share: boolean
  readonly #parts: Required<Pick<ClientParts, 'surroundings' | 'timing'>>
  readonly #requests: Requests
  readonly #tokens: Tokens
  readonly #store: JobStore
  readonly #listeners = new Listeners()
  readonly #awaited: AwaitedJobs
  readonly #clock = new ServiceClock()
  readonly #pauses = new Pauses()
  readonly #closed = new AbortController()
  readonly #stops: (() => void)[]
  #tab: Tab | null = null
  /** Null: not known yet. */
  #identity: string | null = null
  #connection: ConnectionState = 'connecting'
  #problem: Problem = null
  #state: HeadwayState | null = null

  constructor(options: HeadwayClientOptions, parts: ClientParts) {
    const { surroundings = surroundingsOfPage(), timing = {}, isOfElement = false } = parts
    const url = options.url ?? surroundings.origin()
    if (url === null) throw new TypeError('createClient needs the url of the service where there is no page.')
    this.#url = url.replace(/\/+$/, '')
    this.#filter = canonical(options.filter ?? {})
    this.#share = options.share ?? true
    this.#parts = { surroundings, timing }
    this.#tokens = new Tokens(options.token, token => this.#meet(token))
    this.#requests = createRequests({
      url: this.#url,
      tokens: this.#tokens,
      fetch: surroundings.fetch,
      onDate: date => this.#clock.observeDate(date),
    })
    this.api = createApi(this.#requests)
    this.#store = new JobStore({ keepFinishedMs: (options.keepFinishedSeconds ?? KEEP_FINISHED_SECONDS) * 1000 })
    this.#awaited = new AwaitedJobs({
      storage: surroundings.storage,
      isPage: !isOfElement,
      store: this.#store,
      read: async id => toLiveJob(await this.api.job(id, { signal: this.#closed.signal })),
      emit: change => this.#listeners.emit(change),
      apply: job => this.#apply([{ name: 'updated', job }]),
    })
    const housekeeping = setInterval(() => this.#keepHouse(), timing.housekeepingMs ?? HOUSEKEEPING_MS)
    this.#stops = [
      () => clearInterval(housekeeping),
      surroundings.onReturn(reason => (reason === 'online' ? this.reconnect() : this.#tab?.look())),
      surroundings.onStop(() => this.#tab?.stop()),
      surroundings.onStored(key => this.#awaited.heed(key)),
    ]
    void this.#join()
  }

  get connection(): ConnectionState {
    return this.#connection
  }

  jobs(): readonly LiveJob[] {
    return this.#store.jobs()
  }

  job(id: string): LiveJob | undefined {
    return this.#store.get(id)
  }

  // Fields and not methods, so that they can be passed on: `useSyncExternalStore(headway.subscribe, headway.state)`.
  state = (): HeadwayState => {
    const { loaded, truncated } = this.#store
    this.#state ??= {
      connection: this.#connection,
      jobs: this.#store.jobs(),
      loaded,
      truncated,
      problem: this.#problem,
    }
    return this.#state
  }
  subscribe = (listener: () => void): (() => void) => this.#listeners.subscribe(listener)
  on = (event: HeadwayEvent, listener: (job: LiveJob) => void): (() => void) => this.#listeners.on(event, listener)

  waitFor(id: string): Promise<LiveJob> {
    if (this.#closed.signal.aborted) return Promise.reject(new DOMException('The client is closed.', 'AbortError'))
    return this.#awaited.waitFor(id)
  }

  waiting(): readonly string[] {
    return this.#awaited.ids()
  }

  forget(id: string): void {
    this.#awaited.forget(id)
  }

  cancel(id: string): Promise<LiveJob> {
    return this.#command(this.api.cancel(id))
  }

  retry(id: string): Promise<LiveJob> {
    return this.#command(this.api.retry(id))
  }

  now(): number {
    return this.#clock.now()
  }

  reconnect(): void {
    this.#pauses.wake()
    this.#tab?.wake()
  }

  close(): void {
    if (this.#closed.signal.aborted) return
    this.#closed.abort()
    for (const stop of this.#stops) stop()
    this.#tab?.close()
    this.#tab = null
    this.#show('closed', null)
    this.#listeners.clear()
    this.#awaited.rejectAll('The client was closed.')
  }

  /** Finds out which user the page's token belongs to, and joins the tabs of the same user. */
  async #join(): Promise<void> {
    const token = await this.#firstToken()
    if (token === undefined) return
    const identity = identityOf(token)
    this.#identity = identity
    const [whole, user] = await Promise.all([
      digest([this.#url, identity, this.#filter]),
      digest([this.#url, identity]),
    ])
    // The client may have been closed meanwhile, or its user may have changed.
    if (this.#closed.signal.aborted || this.#identity !== identity) return
    this.#awaited.use(`headway:waiting:${user}`)
    const { surroundings, timing } = this.#parts
    const store = this.#store
    this.#tab = new Tab({
      name: this.#share ? `headway:${PROTOCOL}:${whole}` : null,
      surroundings,
      timing,
      requests: this.#requests,
      tokens: this.#tokens,
      filter: this.#filter,
      clock: this.#clock,
      held: () => ({ jobs: store.jobs(), truncated: store.truncated, loaded: store.loaded }),
      onJobs: (jobs, truncated) => this.#replace(jobs, truncated),
      onChanges: changes => this.#apply(changes),
      onState: (connection, problem) => this.#show(connection, problem),
    })
    this.#tab.start()
  }

  /** Undefined: the client was closed meanwhile. */
  async #firstToken(): Promise<string | null | undefined> {
    const { signal } = this.#closed
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        return await this.#tokens.get()
      } catch (error) {
        this.#show('unauthorized', asProblem(error))
        await this.#pauses.wait(backoffMs({ failures, retryMs: TOKEN_RETRY_MS }), signal)
      }
    }
    return undefined
  }

  /** Handles a new token. If it belongs to another user, everything that was shown and shared for the earlier user ends. */
  #meet(token: string | null): void {
    if (this.#identity === null || this.#identity === identityOf(token) || this.#closed.signal.aborted) return
    this.#identity = null
    this.#tab?.close()
    this.#tab = null
    this.#store.clear()
    this.#awaited.leave()
    this.#show('connecting', null)
    void this.#join()
  }

  #replace(jobs: readonly LiveJob[], truncated: boolean): void {
    this.#tell(this.#store.replace(jobs, truncated))
    this.#awaited.look()
  }

  #apply(changes: readonly JobUpdate[]): void {
    this.#tell(changes.flatMap(({ name, job }) => this.#store.apply(job, name) ?? []))
  }

  #tell(changes: readonly JobUpdate[]): void {
    this.#state = null
    for (const change of changes) {
      const told = this.#listeners.emit(change)
      if (isFinished(change.job)) this.#awaited.settle(change.job, told)
    }
    this.#listeners.changed()
  }

  #show(connection: ConnectionState, problem: Problem): void {
    const shown = problem && { status: problem.status, code: problem.code, detail: problem.detail }
    if (
      connection === this.#connection &&
      shown?.code === this.#problem?.code &&
      shown?.detail === this.#problem?.detail
    ) {
      return
    }
    this.#connection = connection
    this.#problem = shown
    this.#state = null
    this.#listeners.changed()
  }

  async #command(answer: Promise<JobDocument>): Promise<LiveJob> {
    const job = toLiveJob(await answer)
    // Applied before the stream tells of it, so that a user who pressed a button sees the effect at once.
    if (this.#store.get(job.id)) this.#apply([{ name: 'updated', job }])
    return job
  }

  #keepHouse(): void {
    if (this.#store.prune()) this.#tell([])
    void this.#awaited.askForMissing()
  }
}

const asProblem = (error: unknown): HeadwayProblem => (error instanceof HeadwayProblem ? error : unreachable(error))

/** Like `createClient`, for an element, or with the surroundings of a test. */
export const createClientWith = (options: HeadwayClientOptions, parts: ClientParts): HeadwayClient =>
  new Client(options, parts)

/** Creates a client and connects it. */
export const createClient = (options: HeadwayClientOptions = {}): HeadwayClient => new Client(options, {})

import { sees, type Visibility } from '../contract/visibility.ts'
import type { JobChange } from '../contract/change.ts'
import type { JobState, LiveSource } from './change.ts'
import { Marks } from './marks.ts'
import type { Log } from './log.ts'
import type { LiveStats } from './stats.ts'

/** More jobs are read in several statements. */
const MAX_STATES_PER_READ = 5_000

/** How many waits end in one turn of the event loop. */
const LET_GO_AT_ONCE = 10

/** Pause after a failed read (ms): 100, 200, 400, 800, 1000, 1000, … */
const RETRY_MS = { first: 100, most: 1_000 }

/** A caller's wait for a job. It takes a few hundred bytes while it lasts, because no document is kept. */
export interface JobWait {
  visibility: Visibility
  jobId: string
  /** The newest revision that the caller has seen; states that were read earlier say nothing. -1: none. */
  known: number
  /** Whether the state ends the wait. */
  isEnough: (state: JobState) => boolean
}

interface Entry extends JobWait {
  /** The number of the last read that had begun when the wait began; that read may have been too early. */
  cameAt: number
  end: (state: JobState | null) => void
}

/** A job that callers wait for. */
interface Watch {
  readonly jobId: string
  /** The job's last read state; null: there is no such job; undefined: not read yet. */
  state: JobState | null | undefined
  /** The number of the read that answered this state. */
  readAs: number
  entries: Set<Entry>
}

export interface WatchesOptions {
  source: Pick<LiveSource, 'readStates'>
  /** A job that changes often is read at most once in this time. */
  intervalMs: number
  stats: LiveStats
  log: Log
  now: () => number
}

/**
 * Requests that wait for a job. When jobs have changed, one statement at a time reads a few columns of each, for all waiting
 * callers. A caller that must wait on costs nothing more.
 */
export class Watches {
  readonly #options: WatchesOptions
  readonly #byJob = new Map<string, Watch>()
  /** Jobs that have not been read yet: they are read at once. */
  readonly #fresh = new Set<string>()
  readonly #marks: Marks
  /** How many reads have begun. */
  #reads = 0
  #reading: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null
  #immediate: NodeJS.Immediate | null = null
  #retryMs = 0
  #retryAt = -Infinity
  #closed = false

  constructor(options: WatchesOptions) {
    this.#options = options
    this.#marks = new Marks(options.intervalMs)
  }

  get jobIds(): string[] {
    return [...this.#byJob.keys()]
  }

  /**
   * Resolves with the job's state once `isEnough` accepts it. Resolves with null if the caller sees no such job, or if the job
   * cannot be read; the caller's own read then tells which. When `signal` aborts, resolves with the last known state, or null.
   */
  wait(wait: JobWait, signal: AbortSignal): Promise<JobState | null> {
    if (signal.aborted || this.#closed) return Promise.resolve(null)
    return new Promise(resolve => {
      const { jobId } = wait
      const watch: Watch = this.#byJob.get(jobId) ?? { jobId, state: undefined, readAs: 0, entries: new Set() }
      const end = (state: JobState | null) => {
        signal.removeEventListener('abort', abort)
        watch.entries.delete(entry)
        if (watch.entries.size === 0 && this.#byJob.get(jobId) === watch) this.#forget(jobId)
        resolve(state)
      }
      const abort = () => end(stateFor(watch, wait.visibility))
      const entry: Entry = { ...wait, cameAt: this.#reads, end }
      this.#byJob.set(jobId, watch)
      watch.entries.add(entry)
      signal.addEventListener('abort', abort, { once: true })
      if (watch.state === undefined) this.#fresh.add(jobId)
      // The known state was read earlier, and a later hint may have been lost, so the job is read again soon.
      else this.#mark(jobId, wait.known > (watch.state?.revision ?? 0))
      this.#judge(watch, entry)
      this.#schedule()
    })
  }

  /** A hint counts only if it names a newer revision than was read. */
  hint({ jobId, revision, lifecycle }: JobChange): void {
    const state = this.#byJob.get(jobId)?.state
    if (state === undefined || (state && revision <= state.revision)) {
      // A read in flight may have been too early.
      if (state === undefined && this.#byJob.has(jobId) && this.#reading) this.#fresh.add(jobId)
      return
    }
    this.#mark(jobId, lifecycle)
    this.#schedule()
  }

  /** Takes a result of the reconciler: undefined means that the job is gone. */
  compare(jobId: string, revision: number | undefined): void {
    const state = this.#byJob.get(jobId)?.state
    if (state === undefined || state?.revision === revision) return
    this.#mark(jobId, false)
    this.#schedule()
  }

  /** Ends all waits with the last known states. */
  close(): void {
    this.#closed = true
    if (this.#timer) clearTimeout(this.#timer)
    if (this.#immediate) clearImmediate(this.#immediate)
    for (const watch of [...this.#byJob.values()])
      for (const entry of [...watch.entries]) entry.end(stateFor(watch, entry.visibility))
  }

  #forget(jobId: string): void {
    this.#byJob.delete(jobId)
    this.#fresh.delete(jobId)
    this.#marks.delete(jobId)
  }

  #mark(jobId: string, lifecycle: boolean): void {
    this.#marks.add(jobId, { revision: 0, lifecycle, hinted: true, since: this.#options.now() })
  }

  #judge({ state, readAs }: Watch, entry: Entry): void {
    if (state === undefined) return
    if (state === null || !sees(entry.visibility, state)) entry.end(null)
    else if ((state.revision >= entry.known || readAs > entry.cameAt) && entry.isEnough(state)) entry.end(state)
  }

  #schedule(): void {
    if (this.#reading || this.#immediate || this.#closed) return
    const dueAt = this.#fresh.size > 0 ? -Infinity : this.#marks.dueAt()
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    if (dueAt === Infinity) return
    const wait = Math.max(dueAt, this.#retryAt) - this.#options.now()
    const read = () => {
      this.#timer = this.#immediate = null
      this.#reading = this.#read().finally(() => {
        this.#reading = null
        this.#schedule()
      })
    }
    if (wait > 0) this.#timer = setTimeout(read, Math.ceil(wait)).unref()
    else this.#immediate = setImmediate(read)
  }

  async #read(): Promise<void> {
    const { source, log, stats, now } = this.#options
    const due = this.#marks.due(now())
    const jobIds = [...new Set([...this.#fresh, ...due.keys()])]
    for (const jobId of jobIds) this.#marks.delete(jobId)
    this.#fresh.clear()
    if (jobIds.length === 0) return
    const readAs = ++this.#reads
    const read = new Map<string, JobState>()
    try {
      for (let from = 0; from < jobIds.length; from += MAX_STATES_PER_READ) {
        stats.stateReads++
        for (const state of await source.readStates(jobIds.slice(from, from + MAX_STATES_PER_READ)))
          read.set(state.id, state)
      }
    } catch (error) {
      stats.failedReads++
      if (this.#retryMs === 0) log.warn({ err: error }, 'Jobs that are waited for cannot be read; it is tried again')
      this.#retryMs = Math.min(Math.max(this.#retryMs * 2, RETRY_MS.first), RETRY_MS.most)
      this.#retryAt = now() + this.#retryMs
      this.#letGo(jobIds)
      return
    }
    if (this.#retryMs > 0) log.info({}, 'Jobs that are waited for can be read again')
    this.#retryMs = 0
    const watches = jobIds.flatMap(jobId => this.#byJob.get(jobId) ?? [])
    for (const watch of watches) Object.assign(watch, { state: read.get(watch.jobId) ?? null, readAs })
    this.#judgeAll(watches.flatMap(watch => [...watch.entries].map(entry => ({ watch, entry }))).values())
  }

  /**
   * Ends waits in small groups, because each caller is answered and may ask again at once. Other jobs are read between the
   * groups, and these jobs again if they change: each remaining wait is judged by the newest state.
   */
  #judgeAll(waiting: IterableIterator<{ watch: Watch; entry: Entry }>): void {
    let letGo = 0
    for (const { watch, entry } of waiting) {
      if (!watch.entries.has(entry)) continue
      this.#judge(watch, entry)
      if (watch.entries.has(entry) || ++letGo < LET_GO_AT_ONCE) continue
      setImmediate(() => this.#judgeAll(waiting))
      return
    }
  }

  /**
   * After a failed read: ends waits for jobs that were never read, so that the callers' own reads fail; the other waits
   * continue.
   */
  #letGo(jobIds: readonly string[]): void {
    for (const jobId of jobIds) {
      const watch = this.#byJob.get(jobId)
      if (!watch) continue
      if (watch.state !== undefined) this.#mark(jobId, false)
      else for (const entry of [...watch.entries]) entry.end(null)
    }
  }
}

/** The state of a job, if the caller may see it. */
const stateFor = ({ state }: Watch, visibility: Visibility): JobState | null =>
  state && sees(visibility, state) ? state : null

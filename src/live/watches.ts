import { sees, type Visibility } from '../contract/visibility.ts'
import type { JobChange } from '../contract/change.ts'
import type { JobState, LiveSource } from './change.ts'
import { Marks } from './marks.ts'
import type { Log } from './log.ts'
import type { LiveStats } from './stats.ts'

/** More jobs than this are read in several statements. */
const MAX_STATES_PER_READ = 5_000

/** So many answers are made in one turn of the event loop. */
const LET_GO_AT_ONCE = 10

/** After a failed read (ms): 100, 200, 400, 800, 1000, 1000, … */
const RETRY_MS = { first: 100, most: 1_000 }

/** What someone waits for. It costs a few hundred bytes for as long as it lasts: no document is held. */
export interface JobWait {
  visibility: Visibility
  jobId: string
  /** The newest revision that the caller has seen: what was read of the job earlier is too old to tell anything. -1: none. */
  known: number
  /** Whether the caller has waited for long enough. */
  isEnough: (state: JobState) => boolean
}

interface Entry extends JobWait {
  /** The number of the read that was under way when it came, or was the last one: that one may have been too early. */
  cameAt: number
  end: (state: JobState | null) => void
}

/** A job that someone waits for. */
interface Watch {
  readonly jobId: string
  /** As it was last read; null: there is no such job; undefined: not read yet. */
  state: JobState | null | undefined
  /** The number of the read that found it so. */
  readAs: number
  entries: Set<Entry>
}

export interface WatchesOptions {
  source: Pick<LiveSource, 'readStates'>
  /** A job that changes again and again is read at most once in this time. */
  intervalMs: number
  stats: LiveStats
  log: Log
  now: () => number
}

/**
 * Requests that wait for a job. What they wait for is told by a row of a few columns, which is read for all jobs and all who
 * wait in one statement, one at a time, when a job has changed: who still waits after it has cost nothing else.
 */
export class Watches {
  readonly #options: WatchesOptions
  readonly #byJob = new Map<string, Watch>()
  /** Jobs that nothing is known of yet: they are read at once. */
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
   * Resolves with the job once it is enough; with null where the caller sees no such job, or the job cannot be read: its own
   * read then tells which. When `signal` aborts, resolves with what is known, null where that is nothing.
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
      // What is known was read earlier, and the hint of a change since then may have been lost: read again, soon.
      else this.#mark(jobId, wait.known > (watch.state?.revision ?? 0))
      this.#judge(watch, entry)
      this.#schedule()
    })
  }

  /** A hint may be old: it counts only if it tells of a newer revision than was read. */
  hint({ jobId, revision, lifecycle }: JobChange): void {
    const state = this.#byJob.get(jobId)?.state
    if (state === undefined || (state && revision <= state.revision)) {
      // A read that is under way may have been too early.
      if (state === undefined && this.#byJob.has(jobId) && this.#reading) this.#fresh.add(jobId)
      return
    }
    this.#mark(jobId, lifecycle)
    this.#schedule()
  }

  /** What reconcile has found: undefined is a job that is gone. */
  compare(jobId: string, revision: number | undefined): void {
    const state = this.#byJob.get(jobId)?.state
    if (state === undefined || state?.revision === revision) return
    this.#mark(jobId, false)
    this.#schedule()
  }

  /** Lets all go with what is known. */
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
   * A thousand who wait for one job are let go a few at a time: each is answered, and asks again, in its own time. Meanwhile
   * other jobs are read, and these again when they change: whoever is still there is judged by what was read last.
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

  /** After a failed read: who waits for a job of which nothing is known is told so, by its own read; the others go on. */
  #letGo(jobIds: readonly string[]): void {
    for (const jobId of jobIds) {
      const watch = this.#byJob.get(jobId)
      if (!watch) continue
      if (watch.state !== undefined) this.#mark(jobId, false)
      else for (const entry of [...watch.entries]) entry.end(null)
    }
  }
}

/** What may be told of a job to somebody. */
const stateFor = ({ state }: Watch, visibility: Visibility): JobState | null =>
  state && sees(visibility, state) ? state : null

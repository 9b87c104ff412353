import { isFinished } from '../contract/states.ts'
import type { JobUpdate, JobStore } from './job-store.ts'
import { HeadwayProblem } from './problem.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { Waiting } from './waiting.ts'

export interface AwaitedJobsOptions {
  storage: Storage | null
  /** Whether this is the page's own client, and not the client of an element. */
  isPage: boolean
  store: Pick<JobStore, 'get' | 'loaded'>
  /** Reads a job from the service. */
  read: (id: string) => Promise<LiveJob>
  /** Calls the listeners. Answers whether there were any. */
  emit: (change: JobUpdate) => boolean
  /** Takes a newer document of a job that is followed. */
  apply: (job: LiveJob) => void
}

/** The jobs whose end somebody waits for. Most ends come with the stream; the others are read from the service. */
export class AwaitedJobs {
  readonly #options: AwaitedJobsOptions
  readonly #waiting: Waiting
  /** Jobs that are being read. */
  readonly #asking = new Set<string>()
  /** Grows with each change of user. Answers that were requested for an earlier user are dropped. */
  #user = 0

  constructor(options: AwaitedJobsOptions) {
    this.#options = options
    this.#waiting = new Waiting(options.storage, options.isPage)
  }

  waitFor(id: string): Promise<LiveJob> {
    const { store } = this.#options
    const job = store.get(id)
    if (job?.status === 'completed') {
      this.#waiting.settle(job, true)
      return Promise.resolve(job)
    }
    const waited = this.#waiting.wait(id)
    // A job that has failed or was cancelled may have been retried a moment ago. The caller then waits for the next attempt.
    if (store.loaded) void this.#ask(id, job === undefined)
    return waited
  }

  ids(): string[] {
    return this.#waiting.ids()
  }

  forget(id: string): void {
    this.#waiting.forget(id)
  }

  /** Sets the storage key under which this user's waiting jobs are kept. */
  use(key: string): void {
    this.#waiting.use(key)
  }

  leave(): void {
    this.#user += 1
    this.#waiting.leave()
  }

  rejectAll(reason: string): void {
    this.#waiting.rejectAll(reason)
  }

  /** Another tab has written to the storage. */
  heed(key: string | null): void {
    if (key !== null && !this.#waiting.isKey(key)) return
    this.#waiting.reload()
    void this.askForMissing()
  }

  /** A change has told of the end of a job. `told`: a listener was called. */
  settle(job: LiveJob, told: boolean): void {
    this.#waiting.settle(job, told)
  }

  /** A snapshot has arrived. Jobs may have ended while the page was closed or offline. */
  look(): void {
    for (const id of this.#waiting.open()) {
      const job = this.#options.store.get(id)
      if (job?.status === 'completed') this.#end(job)
    }
    void this.askForMissing()
  }

  /** Reads jobs that the stream does not show, one after the other, because there may be many and none is urgent. */
  async askForMissing(): Promise<void> {
    if (!this.#options.store.loaded || this.#asking.size > 0) return
    for (const id of this.#waiting.open()) await this.#ask(id, true)
  }

  /** Reads a job, unless the stream will tell of its end. `isNews`: if the job has ended, listeners have not been told. */
  async #ask(id: string, isNews: boolean): Promise<void> {
    const { store, read, apply } = this.#options
    const known = store.get(id)
    if (this.#asking.has(id) || (known && !isFinished(known))) return
    this.#asking.add(id)
    const user = this.#user
    try {
      const job = await read(id)
      if (user !== this.#user) return
      if (store.get(id)) apply(job)
      if (!this.#waiting.has(id)) return
      if (!isFinished(job)) this.#waiting.expect(id, job.attempt)
      else if (isNews) this.#end(job)
      else this.#waiting.settle(job, true)
    } catch (error) {
      // Any other error may pass: the job is read again later.
      if (error instanceof HeadwayProblem && (error.status === 404 || error.status === 400)) {
        this.#waiting.reject(id, error)
      }
    } finally {
      this.#asking.delete(id)
    }
  }

  /** Tells listeners of an end that came with no change. */
  #end(job: LiveJob): void {
    const told = this.#options.emit({ name: job.status as JobUpdate['name'], job })
    this.#waiting.settle(job, told)
  }
}

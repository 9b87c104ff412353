import { isFinished } from '../contract/states.ts'
import type { JobUpdate, JobStore } from './job-store.ts'
import { HeadwayProblem } from './problem.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { Waiting } from './waiting.ts'

export interface AwaitedJobsOptions {
  storage: Storage | null
  /** Whether this is the page's own client, and not that of an element. */
  isPage: boolean
  store: Pick<JobStore, 'get' | 'loaded'>
  /** Asks the service for a job. */
  read: (id: string) => Promise<LiveJob>
  /** Tells listeners. Answers whether there were any. */
  emit: (change: JobUpdate) => boolean
  /** Takes a newer document of a job that is followed. */
  apply: (job: LiveJob) => void
}

/** The ends of jobs that somebody waits for: as the stream tells them, and asked for where it does not. */
export class AwaitedJobs {
  readonly #options: AwaitedJobsOptions
  readonly #waiting: Waiting
  /** Jobs that are being asked for. */
  readonly #asking = new Set<string>()
  /** Grows with each change of user: answers for the one before are nobody's. */
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
    // What has failed or was cancelled may have been retried a moment ago: then it is the next attempt that is waited for.
    if (store.loaded) void this.#ask(id, job === undefined)
    return waited
  }

  ids(): string[] {
    return this.#waiting.ids()
  }

  forget(id: string): void {
    this.#waiting.forget(id)
  }

  /** The place in the storage of what this user waits for. */
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

  /** A change has told of the end of a job. `told`: somebody heard of it. */
  settle(job: LiveJob, told: boolean): void {
    this.#waiting.settle(job, told)
  }

  /** A snapshot has come: jobs may have ended while nobody was there to see it. */
  look(): void {
    for (const id of this.#waiting.open()) {
      const job = this.#options.store.get(id)
      if (job?.status === 'completed') this.#end(job)
    }
    void this.askForMissing()
  }

  /** Asks for what the stream does not show, one after the other: there may be many, and they are in no hurry. */
  async askForMissing(): Promise<void> {
    if (!this.#options.store.loaded || this.#asking.size > 0) return
    for (const id of this.#waiting.open()) await this.#ask(id, true)
  }

  /** Asks for a job unless the stream will tell of its end. `isNews`: nobody has been told of an end that it may have had. */
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
      // Anything else may pass: it is asked for again.
      if (error instanceof HeadwayProblem && (error.status === 404 || error.status === 400)) {
        this.#waiting.reject(id, error)
      }
    } finally {
      this.#asking.delete(id)
    }
  }

  /** Tells of an end that no change told of. */
  #end(job: LiveJob): void {
    const told = this.#options.emit({ name: job.status as JobUpdate['name'], job })
    this.#waiting.settle(job, told)
  }
}

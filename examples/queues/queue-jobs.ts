// What the adapters for BullMQ, pg-boss and Graphile Worker have in common: copy it beside the one that you use. It needs
// @headway/worker.
import {
  createWorker,
  type HeadwayWorker,
  type HeadwayWorkerOptions,
  type Job,
  type NewJob,
  type Report,
  type StopError,
} from '@headway/worker'

export interface ReportOptions<QueueJob> extends HeadwayWorkerOptions {
  /** What Headway shows for a job, the same whenever it is asked: name, unit, totalCount, meta and the like. */
  describe?: (job: QueueJob) => Partial<NewJob>
  /** Tells queues apart that have the same name and report to the same Headway, such as those of two databases. */
  source?: string
}

/** How far a job is: a number is a percent, a text a message, and an object holds fields of a report. */
export type Progress = number | string | Report

const FIELDS = ['processedCount', 'totalCount', 'progressPercent', 'unit', 'stage', 'message', 'etaSeconds'] as const

/** A queue may pass on anything as progress. Fields that Headway does not know are left out. */
const reportOf = (progress: unknown): Report => {
  if (typeof progress === 'number') return { progressPercent: progress }
  if (typeof progress === 'string') return { message: progress }
  const given: Report = { ...(progress as Report) }
  return Object.fromEntries(FIELDS.filter(field => given[field] !== undefined).map(field => [field, given[field]]))
}

const summaryOf = (result: unknown): Record<string, unknown> | undefined => {
  if (result === undefined || result === null) return undefined
  return typeof result === 'object' && !Array.isArray(result) ? { ...result } : { result }
}

const isCancelled = ({ signal }: Job): boolean =>
  signal.aborted && (signal.reason as StopError).code === 'cancel_requested'

/**
 * The jobs that a process works on for a queue, by the queue's own ids. Nothing here waits for Headway but `close`, and nothing
 * raises: problems are told to `onProblem`.
 *
 * The same job of the queue is the same job in Headway, whichever process works on it. Each further run is an attempt, also where
 * the worker of the last one has died, or was taken for dead.
 */
export class QueueJobs {
  readonly #headway: HeadwayWorker
  readonly #active = new Map<string, Promise<Job>>()
  readonly #ending = new Map<string, Promise<unknown>>()

  constructor(options: HeadwayWorkerOptions) {
    this.#headway = createWorker(options)
  }

  /** Begins a run of the job. `onCancel` is called at most once, if somebody cancels the job in Headway before the run has ended. */
  begin(id: string, job: NewJob, onCancel: () => void): void {
    // How our own last run ended is told before.
    const begun = (this.#ending.get(id) ?? Promise.resolve()).then(() =>
      this.#headway.start({ cancellable: true, ...job }, { idempotencyKey: id, restart: true }),
    )
    this.#active.set(id, begun)
    void begun.then(started => {
      const cancel = (): void => {
        if (isCancelled(started) && this.#active.get(id) === begun) onCancel()
      }
      if (started.signal.aborted) cancel()
      else started.signal.addEventListener('abort', cancel, { once: true })
    })
  }

  report(id: string, progress: unknown): void {
    void this.#active.get(id)?.then(job => job.report(reportOf(progress)))
  }

  complete(id: string, result?: unknown): void {
    this.#end(id, job => job.complete(summaryOf(result)))
  }

  /** The run has failed; it was cancelled if that was asked for in Headway. */
  fail(id: string, error: unknown): void {
    this.#end(id, job => (isCancelled(job) ? job.cancelled() : job.fail(error)))
  }

  cancelled(id: string): void {
    this.#end(id, job => job.cancelled())
  }

  /** The job is not ours any more: who gets it next says what becomes of it. */
  leave(id: string): void {
    this.#end(id, job => job.leave())
  }

  /** Leaves the jobs that have not ended, and waits for what is still to be told. */
  async close(): Promise<void> {
    for (const id of this.#active.keys()) this.leave(id)
    await Promise.all(this.#ending.values())
  }

  #end(id: string, how: (job: Job) => Promise<unknown>): void {
    const ended = this.#active.get(id)?.then(how)
    this.#active.delete(id)
    if (!ended) return
    this.#ending.set(id, ended)
    void ended.then(() => this.#ending.get(id) === ended && this.#ending.delete(id))
  }
}

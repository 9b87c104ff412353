// Shows the jobs of a BullMQ worker in Headway. Copy this file; it needs @headway/worker and BullMQ 5.60 or later.
//
//   const worker = new Worker('imports', processor, { connection })
//   const reporting = reportWorker(worker)
//   …
//   await worker.close()
//   await reporting.close()
//
// In the processor, job.updateProgress(42) shows 42 %, and job.updateProgress({ processedCount: 500, totalCount: 1200,
// message: 'Row 500' }) shows that. Who cancels the job in Headway aborts the signal that is the processor's third argument;
// end with an UnrecoverableError then, or BullMQ tries the job again.
import type { Job as BullJob, Worker } from 'bullmq'
import {
  createWorker,
  type HeadwayWorkerOptions,
  type Job,
  type NewJob,
  type Report,
  type StopError,
} from '@headway/worker'

export interface ReportOptions extends HeadwayWorkerOptions {
  /** What Headway shows for a job, the same whenever it is asked: name, unit, totalCount, meta and the like. */
  describe?: (job: BullJob) => Partial<NewJob>
}

/** BullMQ takes anything as progress: a number is a percent, a text a message, and an object holds fields of a report. */
const reportOf = (progress: unknown): Report => {
  if (typeof progress === 'number') return { progressPercent: progress }
  if (typeof progress === 'string') return { message: progress }
  const { processedCount, totalCount, progressPercent, unit, stage, message, etaSeconds } = { ...(progress as Report) }
  const fields = { processedCount, totalCount, progressPercent, unit, stage, message, etaSeconds }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

const summaryOf = (result: unknown): Record<string, unknown> | undefined => {
  if (result === undefined || result === null) return undefined
  return typeof result === 'object' && !Array.isArray(result) ? { ...result } : { result }
}

/** Tells Headway what becomes of the jobs of `worker`, until `close`, which waits for what is still to be told. */
export const reportWorker = (worker: Worker, options: ReportOptions = {}): { close: () => Promise<void> } => {
  const { describe = (): Partial<NewJob> => ({}), ...headwayOptions } = options
  const headway = createWorker(headwayOptions)
  /** By the id that BullMQ has for them. */
  const active = new Map<string, Promise<Job>>()
  const ending = new Map<string, Promise<unknown>>()

  const onActive = (bullJob: BullJob): void => {
    const bullId = bullJob.id ?? ''
    // The same BullMQ job is the same job in Headway, whichever process works on it: each further run is an attempt, also where
    // the worker of the last one has died, or was taken for dead. How our own last run ended is told before.
    const begin = (): Promise<Job> =>
      headway.start(
        { name: bullJob.name, jobType: worker.name, cancellable: true, ...describe(bullJob) },
        { idempotencyKey: `bullmq ${worker.name} ${bullId}`, restart: true },
      )
    const begun = (ending.get(bullId) ?? Promise.resolve()).then(begin)
    active.set(bullId, begun)
    void begun.then(({ signal }) => {
      const cancel = (): void => {
        const { code } = signal.reason as StopError
        if (code === 'cancel_requested' && active.get(bullId) === begun)
          worker.cancelJob(bullId, 'Cancelled in Headway')
      }
      if (signal.aborted) cancel()
      else signal.addEventListener('abort', cancel, { once: true })
    })
  }
  const onProgress = (bullJob: BullJob, progress: unknown): void =>
    void active.get(bullJob.id ?? '')?.then(job => job.report(reportOf(progress)))

  const end = (bullId = '', how: (job: Job) => Promise<unknown>): void => {
    const ended = active.get(bullId)?.then(how)
    active.delete(bullId)
    if (!ended) return
    ending.set(bullId, ended)
    void ended.then(() => ending.get(bullId) === ended && ending.delete(bullId))
  }
  const onCompleted = (bullJob: BullJob, result: unknown): void =>
    end(bullJob.id, job => job.complete(summaryOf(result)))
  const onFailed = (bullJob: BullJob | undefined, error: Error): void =>
    end(bullJob?.id, job => {
      const isCancelled = job.signal.aborted && (job.signal.reason as StopError).code === 'cancel_requested'
      return isCancelled ? job.cancelled() : job.fail(error)
    })
  // Not ours any more: whoever gets it next says so.
  const onStalled = (bullId: string): void => end(bullId, job => job.leave())

  worker.on('active', onActive)
  worker.on('progress', onProgress)
  worker.on('completed', onCompleted)
  worker.on('failed', onFailed)
  worker.on('stalled', onStalled)

  return {
    async close() {
      worker.off('active', onActive)
      worker.off('progress', onProgress)
      worker.off('completed', onCompleted)
      worker.off('failed', onFailed)
      worker.off('stalled', onStalled)
      for (const bullId of active.keys()) end(bullId, job => job.leave())
      await Promise.all(ending.values())
    },
  }
}

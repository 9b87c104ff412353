// Shows the jobs of a BullMQ worker in Headway. Copy this file and ../queues/queue-jobs.ts; they need @headway/worker and BullMQ
// 5.60 or later.
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
import type { Job, Worker } from 'bullmq'
import { QueueJobs, type ReportOptions } from '../queues/queue-jobs.ts'

/** Tells Headway what becomes of the jobs of `worker`, until `close`, which waits for what is still to be told. */
export const reportWorker = (worker: Worker, options: ReportOptions<Job> = {}): { close: () => Promise<void> } => {
  const { describe, source = 'bullmq', ...headwayOptions } = options
  const jobs = new QueueJobs(headwayOptions)
  const idOf = (bullId = ''): string => `${source} ${worker.name} ${bullId}`

  const onActive = (job: Job): void =>
    jobs.begin(idOf(job.id), { name: job.name, jobType: worker.name, ...describe?.(job) }, () =>
      worker.cancelJob(job.id ?? '', 'Cancelled in Headway'),
    )
  const onProgress = (job: Job, progress: unknown): void => jobs.report(idOf(job.id), progress)
  const onCompleted = (job: Job, result: unknown): void => jobs.complete(idOf(job.id), result)
  const onFailed = (job: Job | undefined, error: Error): void => jobs.fail(idOf(job?.id), error)
  // Not ours any more: whoever gets it next says so.
  const onStalled = (bullId: string): void => jobs.leave(idOf(bullId))

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
      await jobs.close()
    },
  }
}

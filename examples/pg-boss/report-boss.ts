// Shows the jobs of pg-boss in Headway. Copy this file and ../queues/queue-jobs.ts; they need @headway/worker and pg-boss 12.
//
//   const reporting = reportBoss(boss)
//   await reporting.work('imports', { batchSize: 1 }, async (job, report) => {
//     report({ processedCount: 500, totalCount: 1200, message: 'Row 500' })
//     …
//   })
//   …
//   await boss.stop()
//   await reporting.close()
//
// report(42) shows 42 %. Who cancels the job in Headway cancels it in pg-boss, and aborts job.signal. What is cancelled in pg-boss
// aborts job.signal as well where the queue has heartbeatSeconds.
import type { Job, JobResult, PgBoss, WorkOptions } from 'pg-boss'
import { QueueJobs, type Progress, type ReportOptions } from '../queues/queue-jobs.ts'

export type ReportingHandler<Data, Result> = (job: Job<Data>, report: (progress: Progress) => void) => Promise<Result>

/** The jobs of a batch end each by itself, and a job has no other transaction than its own. */
export type ReportingWorkOptions = Omit<WorkOptions, 'perJobResults' | 'transactional' | 'transactionTimeoutSeconds'>

export interface BossReporting {
  /** As `boss.work`, with a handler for one job: the jobs of a batch are worked on together. Resolves with the worker's id. */
  work<Data, Result>(
    queue: string,
    options: ReportingWorkOptions,
    handler: ReportingHandler<Data, Result>,
  ): Promise<string>
  /** Waits for what is still to be told to Headway. */
  close(): Promise<void>
}

/** pg-boss keeps an object as the output of a job, and takes an error apart. */
const outputOf = (output: unknown): unknown => (output instanceof Error ? output : (output ?? null))

export const reportBoss = (boss: PgBoss, options: ReportOptions<Job> = {}): BossReporting => {
  const { describe, source = 'pg-boss', ...headwayOptions } = options
  const { onProblem = (problem: Error): void => process.emitWarning(problem) } = headwayOptions
  const jobs = new QueueJobs(headwayOptions)

  const isCancelled = async (queue: string, id: string): Promise<boolean> => {
    try {
      return (await boss.findJobs(queue, { id }))[0]?.state === 'cancelled'
    } catch (error) {
      onProblem(error as Error)
      return false
    }
  }

  const settle = async <Data, Result>(job: Job<Data>, handler: ReportingHandler<Data, Result>): Promise<JobResult> => {
    const { id, name: queue } = job
    const key = `${source} ${queue} ${id}`
    const cancel = new AbortController()
    const cancelling: Promise<unknown>[] = []
    jobs.begin(key, { name: queue, jobType: queue, ...describe?.(job as Job) }, () => {
      // A cancel that fails is a problem of pg-boss, which tries the job again then.
      const asked = boss.cancel(queue, { id, retryCount: job.retryCount })
      cancelling.push(asked.catch((error: unknown) => onProblem(error as Error)))
      cancel.abort(new Error('The job was cancelled in Headway.'))
    })
    const signal = AbortSignal.any([job.signal, cancel.signal])
    const [outcome] = await Promise.allSettled([handler({ ...job, signal }, progress => jobs.report(key, progress))])
    await Promise.all(cancelling)
    // pg-boss may have taken the job back: it was cancelled there, took too long, or another worker has it.
    const mayBeCancelled = job.signal.aborted || cancelling.length > 0
    if (mayBeCancelled && (await isCancelled(queue, id))) jobs.cancelled(key)
    else if (outcome.status === 'rejected') jobs.fail(key, outcome.reason)
    else if (job.signal.aborted) jobs.leave(key)
    else jobs.complete(key, outcome.value)
    return outcome.status === 'fulfilled'
      ? { id, status: 'completed', output: outputOf(outcome.value) }
      : { id, status: 'failed', output: outputOf(outcome.reason) }
  }

  return {
    work: (queue, workOptions, handler) =>
      boss.work(queue, { ...workOptions, perJobResults: true }, batch =>
        Promise.all(batch.map(job => settle(job as never, handler))),
      ),
    close: () => jobs.close(),
  }
}

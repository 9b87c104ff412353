// Shows the jobs of Graphile Worker in Headway. Copy this file and ../queues/queue-jobs.ts; they need @headway/worker and Graphile
// Worker 0.17 or later.
//
//   const reporting = reportTasks({
//     async import_rows(payload, { abortSignal }, report) {
//       report({ processedCount: 500, totalCount: 1200, message: 'Row 500' })
//       …
//     },
//   })
//   const runner = await run({ connectionString, taskList: reporting.taskList })
//   …
//   await runner.stop()
//   await reporting.close()
//
// report(42) shows 42 %. Who cancels the job in Headway aborts helpers.abortSignal. Graphile Worker cannot cancel a job that runs:
// when the task throws then, the job has ended for Graphile Worker, and is not tried again.
import type { Job, JobHelpers, TaskList } from 'graphile-worker'
import { QueueJobs, type Progress, type ReportOptions } from '../queues/queue-jobs.ts'

export type ReportingTask = (
  payload: never,
  helpers: JobHelpers,
  report: (progress: Progress) => void,
) => ReturnType<NonNullable<TaskList[string]>>

export interface TaskReporting {
  /** The tasks for `run`. */
  taskList: TaskList
  /** Waits for what is still to be told to Headway. */
  close(): Promise<void>
}

/** The first failure among the results of a task with a batch as payload, which Graphile Worker tries again by itself. */
const failureIn = async (payload: unknown, result: unknown): Promise<PromiseRejectedResult | undefined> => {
  if (!Array.isArray(payload) || !Array.isArray(result)) return undefined
  const settled = await Promise.allSettled(result)
  return settled.find(each => each.status === 'rejected')
}

export const reportTasks = (tasks: Record<string, ReportingTask>, options: ReportOptions<Job> = {}): TaskReporting => {
  const { describe, source = 'graphile-worker', ...headwayOptions } = options
  const jobs = new QueueJobs(headwayOptions)

  const reporting =
    (name: string, task: ReportingTask): NonNullable<TaskList[string]> =>
    async (payload, helpers) => {
      const key = `${source} ${name} ${helpers.job.id}`
      const cancel = new AbortController()
      jobs.begin(key, { name, jobType: name, ...describe?.(helpers.job) }, () =>
        cancel.abort(new Error('The job was cancelled in Headway.')),
      )
      const abortSignal = AbortSignal.any([helpers.abortSignal, cancel.signal])
      const abortPromise = new Promise<void>((_, reject) =>
        abortSignal.addEventListener('abort', () => reject(abortSignal.reason as Error), { once: true }),
      )
      // A task need not look at it.
      abortPromise.catch(() => undefined)
      const ours = { ...helpers, abortSignal, abortPromise }
      try {
        const result = await task(payload as never, ours, progress => jobs.report(key, progress))
        const failure = await failureIn(payload, result)
        if (failure) jobs.fail(key, failure.reason)
        else jobs.complete(key)
        return result
      } catch (error) {
        jobs.fail(key, error)
        if (cancel.signal.aborted) return undefined
        throw error
      }
    }

  return {
    taskList: Object.fromEntries(Object.entries(tasks).map(([name, task]) => [name, reporting(name, task)])),
    close: () => jobs.close(),
  }
}

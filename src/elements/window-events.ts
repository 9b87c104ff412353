import { isFinished, LIFECYCLES } from '../contract/states.ts'
import type { HeadwayClient } from '../browser-client/types.ts'
import type { LiveJob } from '../contract/live-job.ts'

export interface ProgressUpdateDetail {
  jobId: string
  jobType: string
  name: string
  progressPercent: number
  processedCount: number
  totalCount: number | null
  etaSeconds: number | null
  etaLowSeconds: number | null
  etaHighSeconds: number | null
  status: LiveJob['status']
}

export interface ProgressEndDetail {
  jobId: string
  jobType: string
}

export interface ProgressErrorDetail extends ProgressEndDetail {
  /** The worker's text. It is in English if the service has ended the job by itself, which `failureReason` tells. */
  errorMessage: string
  failureReason: LiveJob['failureReason']
}

declare global {
  interface WindowEventMap {
    'progress:update': CustomEvent<ProgressUpdateDetail>
    'progress:complete': CustomEvent<ProgressEndDetail>
    'progress:error': CustomEvent<ProgressErrorDetail>
    'progress:cancelled': CustomEvent<ProgressEndDetail>
  }
}

/** How many jobs are remembered with their last event: more than a page shows. */
const MAX_KNOWN = 2_000

const dispatch = (type: keyof WindowEventMap, detail: unknown): void =>
  void window.dispatchEvent(new CustomEvent(type, { detail }))

const dispatchEnd = ({ id: jobId, jobType, status, errorMessage, failureReason }: LiveJob): void => {
  if (status === 'completed') dispatch('progress:complete', { jobId, jobType })
  else if (status === 'failed')
    dispatch('progress:error', { jobId, jobType, errorMessage: errorMessage ?? '', failureReason })
  else dispatch('progress:cancelled', { jobId, jobType })
}

/** The revision of each job that the window was last told, because several elements may follow one job. */
const told = new Map<string, number>()

const tell = (job: LiveJob): void => {
  const before = told.get(job.id)
  if (before !== undefined && before >= job.revision) return
  told.delete(job.id)
  told.set(job.id, job.revision)
  if (told.size > MAX_KNOWN) for (const oldest of [...told.keys()].slice(0, MAX_KNOWN / 2)) told.delete(oldest)
  const { id: jobId, jobType, name, progressPercent, processedCount, totalCount, status } = job
  const { etaSeconds, etaLowSeconds, etaHighSeconds } = job
  dispatch('progress:update', {
    jobId,
    jobType,
    name,
    progressPercent,
    processedCount,
    totalCount,
    etaSeconds,
    etaLowSeconds,
    etaHighSeconds,
    status,
  } satisfies ProgressUpdateDetail)
  if (isFinished(job)) dispatchEnd(job)
}

/**
 * Dispatches an event on the window for each change that a client receives, once, however many clients receive it. Answers a
 * function that stops it.
 */
export const dispatchProgressEvents = (client: HeadwayClient): (() => void) => {
  const stops = [...LIFECYCLES, 'updated' as const].map(event => client.on(event, tell))
  return () => stops.forEach(stop => stop())
}

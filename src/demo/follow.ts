import { setTimeout as pause } from 'node:timers/promises'
import type { ProgressDocument, JobDocument } from '../jobs/job.ts'
import { backoffMs, credentials } from './client.ts'

/** A job as the live stream shows it: null fields are left out. */
export type LiveJob = Pick<ProgressDocument, 'id' | 'status' | 'progressPercent' | 'processedCount' | 'revision'> &
  Partial<JobDocument>

interface Event {
  event: string
  id: string
  data: LiveJob & { jobs?: LiveJob[] }
}

export interface Follower {
  onJob(job: LiveJob): void
  /** The stream is open, or it was lost and is being opened again. */
  onConnection(open: boolean): void
}

/** The lines of a stream; keep-alives are empty lines, and are left out. */
async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = ''
  const decoder = new TextDecoder()
  for await (const bytes of body) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines.filter(line => line !== '')
  }
}

export const isFinished = ({ status }: Pick<LiveJob, 'status'>): boolean => status !== 'pending' && status !== 'running'

/** Follows a job by its NDJSON stream until it has finished, and connects again whenever the stream is lost. Ends early when `signal` aborts. */
export const followJob = async (url: string, jobId: string, follower: Follower, signal: AbortSignal): Promise<void> => {
  let lastEventId: string | null = null
  for (let failures = 1; ; failures++) {
    try {
      const response = await fetch(`${url}/api/progress/jobs/${jobId}/stream`, {
        headers: {
          accept: 'application/x-ndjson',
          ...credentials(),
          ...(lastEventId !== null && { 'last-event-id': lastEventId }),
        },
        signal,
      })
      if (response.status === 204) return
      if (!response.ok || !response.body) throw new Error(`the stream answered ${response.status}`)
      follower.onConnection(true)
      for await (const line of linesOf(response.body)) {
        const { id, data } = JSON.parse(line) as Event
        failures = 0
        lastEventId = id
        const job = data.jobs ? data.jobs[0] : data
        if (!job) continue
        follower.onJob(job)
        if (isFinished(job)) return
      }
    } catch {
      if (signal.aborted) return
    }
    // Every connection begins with a snapshot, so whatever happened meanwhile is in it.
    follower.onConnection(false)
    await pause(backoffMs(Math.max(failures, 1)), undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return
  }
}

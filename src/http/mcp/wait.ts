import type { ProgressDocument } from '../../jobs/job.ts'
import { readUntil } from '../waiting.ts'
import { visibleLine } from './invisible.ts'
import type { Extra, ToolParts } from './tools.ts'

const FINISHED = new Set<string>(['completed', 'failed', 'cancelled'])

/** Clients give up on a call that they hear nothing of; those that heed progress begin their count anew with each notification. */
const SIGN_OF_LIFE_MS = 10_000

/** Notifications must grow (MCP, "Progress"): this much is too little to be seen. */
const SMALLEST_STEP = 0.001

const percentOf = ({ status, progressPercent, processedCount, totalCount }: ProgressDocument): number => {
  if (status === 'completed') return 100
  // With the fraction that the job's own percent leaves out, so that small advances are seen.
  const exact = totalCount !== null && totalCount > 0 ? (100 * processedCount) / totalCount : progressPercent
  return Math.floor(exact) === progressPercent ? exact : progressPercent
}

const messageOf = ({ status, stage, message, processedCount, totalCount, unit }: ProgressDocument): string => {
  const counted = `${processedCount}${totalCount === null ? '' : ` of ${totalCount}`}${unit === 'unknown' ? '' : ` ${unit}`}`
  // Programs show it in terminals.
  return visibleLine(
    [status, stage, processedCount > 0 ? counted : null, message].filter(part => part !== null).join(', '),
  )
}

/** Sends what is new of a job, to a caller who asked for it. */
const createReports = ({ _meta, sendNotification }: Extra) => {
  const progressToken = _meta?.progressToken
  let told = -1
  let last: ProgressDocument | null = null
  const tell = (document: ProgressDocument) => {
    if (progressToken === undefined) return
    told = Math.max(percentOf(document), told + SMALLEST_STEP)
    // To a caller who has left there is nothing to tell.
    sendNotification({
      method: 'notifications/progress',
      params: { progressToken, progress: told, total: 100, message: messageOf(document) },
    }).catch(() => undefined)
  }
  return {
    changed(document: ProgressDocument) {
      if (document.revision === last?.revision) return
      last = document
      tell(document)
    },
    alive() {
      if (last) tell(last)
    },
  }
}

/**
 * Waits for the end of a job by what the hub hears, not by asking again and again; answers whether it has come. Ends early
 * when the caller leaves or takes the call back, and when the service shuts down. Raises what reading the job raises, and
 * `too_many_streams` where too many are held.
 */
export const waitForJob = async (
  { jobs, live, closing, hold, identity }: Omit<ToolParts, 'log' | 'countAnswer'>,
  { jobId, timeoutSeconds }: { jobId: string; timeoutSeconds: number },
  extra: Extra,
): Promise<boolean> => {
  const release = hold(identity.caller)
  const end = new AbortController()
  const stop = () => end.abort()
  const timer = setTimeout(stop, closing.aborted || extra.signal.aborted ? 0 : timeoutSeconds * 1000)
  closing.addEventListener('abort', stop)
  extra.signal.addEventListener('abort', stop)
  const reports = createReports(extra)
  const signs = setInterval(() => reports.alive(), SIGN_OF_LIFE_MS)
  try {
    const read = async () => {
      const document = await jobs.progress(identity, jobId)
      reports.changed(document)
      return document
    }
    const isFinished = ({ status }: ProgressDocument) => FINISHED.has(status)
    return isFinished(await readUntil(live, { closing, hold, jobId, read, isEnough: isFinished }, end.signal))
  } finally {
    release()
    clearTimeout(timer)
    clearInterval(signs)
    closing.removeEventListener('abort', stop)
    extra.signal.removeEventListener('abort', stop)
    stop()
  }
}

import { isFinished } from '../../contract/states.ts'
import type { ProgressDocument } from '../../contract/job.ts'
import { held, patienceMs, readShared, readWhenEnough, type JobStateOfAnswer } from '../waiting.ts'
import { visibleLine } from './invisible.ts'
import type { Extra, ToolParts } from './tools.ts'

/**
 * Clients give up on a call from which they hear nothing. Clients that heed progress begin their timeout anew with each
 * notification.
 */
const SIGN_OF_LIFE_MS = 10_000

/** The progress of each notification must be greater than the last one (MCP, "Progress"). This step is too small to be seen. */
const SMALLEST_STEP = 0.001

const percentOf = ({ status, progressPercent, processedCount, totalCount }: ProgressDocument): number => {
  if (status === 'completed') return 100
  // With the fraction that the job's percent leaves out, so that small advances are visible.
  const exact = totalCount !== null && totalCount > 0 ? (100 * processedCount) / totalCount : progressPercent
  return Math.floor(exact) === progressPercent ? exact : progressPercent
}

const messageOf = ({ status, stage, message, processedCount, totalCount, unit }: ProgressDocument): string => {
  const counted = `${processedCount}${totalCount === null ? '' : ` of ${totalCount}`}${unit === 'unknown' ? '' : ` ${unit}`}`
  // As a line, because programs show it in terminals.
  return visibleLine(
    [status, stage, processedCount > 0 ? counted : null, message].filter(part => part !== null).join(', '),
  )
}

/** Sends the changes of a job as progress notifications, if the caller asked for them. */
const createReports = ({ _meta, sendNotification }: Extra) => {
  const progressToken = _meta?.progressToken
  let told = -1
  let last: ProgressDocument | null = null
  const tell = (document: ProgressDocument) => {
    if (progressToken === undefined) return
    told = Math.max(percentOf(document), told + SMALLEST_STEP)
    // A caller who has left cannot be told.
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
 * Waits until a job has finished. The hub tells of changes, so nothing is polled. Ends early when the caller leaves or cancels
 * the call, when its token expires, and when the service shuts down. The job is only read for callers who asked for progress.
 * Raises what reading the job raises, `unauthenticated` for an expired token, and `too_many_streams` if too many calls are
 * held.
 */
export const waitForJob = async (
  parts: Omit<ToolParts, 'log' | 'countAnswer'>,
  { jobId, timeoutSeconds }: { jobId: string; timeoutSeconds: number },
  extra: Extra,
): Promise<void> => {
  const { jobs, identity, sharedRead } = parts
  const isTold = extra._meta?.progressToken !== undefined
  const reports = createReports(extra)
  const signs = setInterval(() => reports.alive(), SIGN_OF_LIFE_MS)
  const read = () =>
    readShared(sharedRead, identity, { shape: 'progress', jobId }, async reader => {
      const document = await jobs.progress(reader, jobId)
      return { ...document, finished: isFinished(document) }
    })
  const watch = (leave: () => void) => {
    extra.signal.addEventListener('abort', leave)
    if (extra.signal.aborted) leave()
    return () => extra.signal.removeEventListener('abort', leave)
  }
  try {
    await held(parts, identity, patienceMs(identity, timeoutSeconds), watch, async signal => {
      for (let known = -1; ;) {
        const isEnough = ({ finished, revision }: JobStateOfAnswer) => finished || (isTold && revision !== known)
        const needsNothing = () => true
        const job = await readWhenEnough(parts, { identity, jobId, known, isEnough, read, needsNothing }, signal)
        if ('status' in job) reports.changed(job)
        if (job.finished || signal.aborted) return
        known = job.revision
      }
    })
  } finally {
    clearInterval(signs)
  }
}

import type { Logger } from 'pino'
import { classifyFailure, sqlStateOf } from '../../database/failures.ts'
import { HeadwayError } from '../../errors.ts'
import type { Entry, HeartbeatQueue } from './queue.ts'
import type { HeartbeatOutcome, HeartbeatWrite, WriteResult } from './write.ts'

/** What an entry came to, and will stay. */
export type Settled = Extract<HeartbeatOutcome, { kind: 'written' | 'refused' }>

export interface Flushes {
  /** Something has been added to the queue: it leaves in this turn of the event loop, or with the next batch. */
  begin(): void
  /** Entries that are being written. */
  inFlight(): Iterable<Entry>
  /** Jobs that somebody else held locked at the last try. */
  readonly lockedJobs: number
  /** Whether somebody else held the row of a job, or of its batch, at a try of the last two seconds. */
  isRowLocked(jobId: string): boolean
  /**
   * Whether the last flush failed because the database knows this version's statement, tables or rights no more (`defect`
   * in failures.ts). No retry will help before somebody mends that; until then everything waits.
   */
  readonly isRefused: boolean
  /** Resolves when everything is written. */
  drained(): Promise<void>
  /** Starts no more. */
  abandon(): void
}

export interface FlushesOptions {
  queue: HeartbeatQueue
  write: HeartbeatWrite
  /** Called once for each entry that is written or refused. It still counts in the queue: `queue.forget` ends that. */
  settle: (entry: Entry, outcome: Settled) => void
  /** Called after the entries of a flush are settled. */
  onWritten: (entries: Entry[], result: WriteResult) => void
  log: Logger
  /** Entries of the usual size per flush. */
  maxBatch: number
}

interface Flush {
  entries: Entry[]
  /** Jobs that were locked at the last try: they are skipped where they still are. */
  suspects: boolean
  begunMs: number
}

interface Lock {
  /** When it was met first, and when to try again; by `performance.now()`. */
  sinceMs: number
  dueMs: number
  /** It is the job's row that is locked, or its batch's, and not another row or table that a report for it takes. */
  ofJobRow: boolean
}

/** How often a job that somebody else holds locked is tried again. */
const LOCKED_RETRY_MS = 250
/** A try that is older tells nothing any more. */
const LOCKED_KNOWN_MS = 2_000
/** A job that has been locked for longer may be so by our own flushes, which hold the batch of a partition in turns. */
const LOCKED_LONG_MS = 1_000
const FIRST_BACKOFF_MS = 50
const LONGEST_BACKOFF_MS = 1_000
/** How often the log repeats that nothing can be written. */
const REMINDER_MS = 60_000

const lost = ({ entries }: Flush): WriteResult => {
  const error = new HeadwayError('internal_error', 'This report may not be stored.')
  return { outcomes: entries.map(() => ({ kind: 'refused', error })), batches: [], failure: null }
}

const outcomeUnknown = () =>
  new HeadwayError(
    'outcome_unknown',
    'The connection to the database was lost while this increment was written: read the count before you send it again.',
    { retryAfterSeconds: 1 },
  )

/**
 * Takes batches out of a queue and writes them. While one commits, the next one fills: an idle service flushes at once, a
 * busy one batches more, and there is no timer to tune. A second flush leaves beside the first only with a full batch
 * (docs/decisions/0018-two-flushes.md). No job is in two flushes, so that its reports are written in their order.
 */
export const createFlushes = ({ queue, write, settle, onWritten, log, maxBatch }: FlushesOptions): Flushes => {
  const flying = new Set<Flush>()
  const flyingJobs = new Set<string>()
  const lockedJobs = new Map<string, Lock>()
  let backoffMs = 0
  let failedMs = 0
  let toldMs = -Infinity
  let refused = false
  let resting = false
  /** Nothing could leave beside the flush in flight when it was last tried: it is not tried again before one lands. */
  let alone = false
  let timer: NodeJS.Timeout | undefined
  let begun = false
  let abandoned = false
  let onDrained: () => void = () => undefined

  const isFree = (jobId: string): boolean => !flyingJobs.has(jobId)

  const regular = (): number => [...flying].filter(flush => !flush.suspects).length
  const triesSuspects = (): boolean => flying.size > regular()

  const someLocked = (test: (lock: Lock) => boolean): boolean => {
    for (const lock of lockedJobs.values()) if (test(lock)) return true
    return false
  }

  /** Locked jobs go by themselves and are waited for by nobody, so that someone's open transaction holds up no other job. */
  const takeSuspects = (): Entry[] => {
    const now = performance.now()
    if (triesSuspects() || !someLocked(({ dueMs }) => dueMs <= now)) return []
    return queue.take(maxBatch, jobId => isFree(jobId) && (lockedJobs.get(jobId)?.dueMs ?? Infinity) <= now)
  }

  /** Whether suspects wait for the flushes in flight to land, because only then they are sure to meet none of ours. */
  const clearsTheWay = (): boolean => {
    if (regular() === 0 || triesSuspects()) return false
    const now = performance.now()
    return someLocked(({ sinceMs, dueMs }) => sinceMs <= now - LOCKED_LONG_MS && dueMs <= now)
  }

  const takeBatch = (): Entry[] => {
    const beside = regular()
    if (beside > 1 || (beside === 1 && (alone || queue.rows < maxBatch))) return []
    const wanted = (jobId: string) => isFree(jobId) && !lockedJobs.has(jobId)
    const entries = queue.take(maxBatch, wanted, beside === 1 ? maxBatch : 1)
    alone = beside === 1 && entries.length === 0
    return entries
  }

  const launchIn = (ms: number): void => {
    clearTimeout(timer)
    if (abandoned) return
    timer = setTimeout(() => {
      resting = false
      launch()
    }, ms)
  }

  const launch = (): void => {
    if (resting || abandoned || queue.isEmpty) return
    if (!clearsTheWay()) {
      const suspects = takeSuspects()
      if (suspects.length > 0) fly(suspects, true)
      for (let entries = takeBatch(); entries.length > 0; entries = takeBatch()) fly(entries, false)
    }
    if (lockedJobs.size > 0) launchIn(LOCKED_RETRY_MS / 5)
  }

  const fly = (entries: Entry[], suspects: boolean): void => {
    const flush = { entries, suspects, begunMs: performance.now() }
    flying.add(flush)
    for (const { heartbeat } of entries) flyingJobs.add(heartbeat.jobId)
    write(entries, suspects)
      .then(result => land(flush, result))
      .catch((error: unknown) => {
        // A bug. What was under way has an outcome that nobody knows any more; the rest must go on.
        log.fatal({ err: error }, 'the heartbeat intake broke')
        if (flying.has(flush)) land(flush, lost(flush))
      })
  }

  const land = (flush: Flush, result: WriteResult): void => {
    flying.delete(flush)
    alone = false
    for (const { heartbeat } of flush.entries) flyingJobs.delete(heartbeat.jobId)
    noteFailure(flush, result.failure)
    const settled: [Entry, Settled][] = []
    flush.entries.forEach((entry, index) => {
      const outcome = conclude(flush, entry, result.outcomes[index] ?? { kind: 'not_written' })
      if (outcome) settled.push([entry, outcome])
    })
    if (flush.suspects) forgetLocks(flush)
    launch()
    const tell = (): void => {
      for (const [entry, outcome] of settled) guard(() => settle(entry, outcome))
      guard(() => onWritten(flush.entries, result))
      if (queue.entries > 0) return
      lockedJobs.clear()
      onDrained()
    }
    // Answering takes Node as long as a third of a flush: what comes next leaves first.
    if (flying.size > 0) setImmediate(tell)
    else tell()
  }

  /** One answer that breaks, which is a bug, must not keep the others from theirs. */
  const guard = (work: () => void): void => {
    try {
      work()
    } catch (error) {
      log.fatal({ err: error }, 'the answer to a heartbeat broke')
    }
  }

  /** Of two reports for one job, the one that was locked again has the last word: it has moved the time of the next try. */
  const forgetLocks = ({ entries, begunMs }: Flush): void => {
    for (const { heartbeat } of entries) {
      const lock = lockedJobs.get(heartbeat.jobId)
      if (lock && lock.dueMs <= begunMs) lockedJobs.delete(heartbeat.jobId)
    }
  }

  /** What an entry came to; null when it was put back. */
  const conclude = ({ begunMs }: Flush, entry: Entry, outcome: HeartbeatOutcome): Settled | null => {
    const { jobId, increment } = entry.heartbeat
    switch (outcome.kind) {
      case 'locked':
      case 'blocked': {
        const known = lockedJobs.get(jobId)
        // Of several reports for one job in a flush, one that is blocked is enough.
        const wasBlocked = known?.ofJobRow === false && known.dueMs > begunMs
        lockedJobs.set(jobId, {
          sinceMs: known?.sinceMs ?? performance.now(),
          dueMs: performance.now() + LOCKED_RETRY_MS,
          ofJobRow: outcome.kind === 'locked' && !wasBlocked,
        })
        break
      }
      case 'not_written':
        break
      case 'unknown':
        // What was set may be set again; what was added might count twice.
        if (increment !== undefined) return { kind: 'refused', error: outcomeUnknown() }
        entry.keepHigher = true
        break
      default:
        return outcome
    }
    queue.putBack(entry)
    return null
  }

  const noteFailure = (flush: Flush, failure: WriteResult['failure']): void => {
    if (failure) {
      failedMs = performance.now()
      const refusedNow = sqlStateOf(failure.cause) !== null && classifyFailure(failure.cause) === 'defect'
      if (backoffMs === 0 || refusedNow !== refused || failedMs - toldMs >= REMINDER_MS) {
        toldMs = failedMs
        log.error(
          { err: failure.cause, pending: queue.entries },
          refusedNow
            ? 'the database refuses to write heartbeats, they wait in memory: functions, tables or rights of this version are missing'
            : 'cannot write heartbeats, they wait in memory',
        )
      }
      refused = refusedNow
      if (resting) return
      backoffMs = Math.min(LONGEST_BACKOFF_MS, Math.max(FIRST_BACKOFF_MS, backoffMs * 2))
      resting = true
      launchIn(backoffMs * (0.5 + Math.random() / 2))
    } else if (backoffMs > 0 && flush.begunMs >= failedMs) {
      // One that left before the failure tells nothing of the time after it.
      backoffMs = 0
      refused = false
      log.info({ pending: queue.entries }, 'heartbeats are written again')
    }
  }

  return {
    begin() {
      if (begun) return
      begun = true
      // What the event loop reads from its sockets in this turn goes into the same flush.
      setImmediate(() => {
        begun = false
        launch()
      })
    },
    *inFlight() {
      for (const { entries } of flying) yield* entries
    },
    get lockedJobs() {
      return lockedJobs.size
    },
    get isRefused() {
      return refused
    },
    isRowLocked(jobId) {
      const lock = lockedJobs.get(jobId)
      return lock?.ofJobRow === true && lock.dueMs > performance.now() - LOCKED_KNOWN_MS
    },
    drained: () =>
      new Promise(resolve => {
        onDrained = resolve
        if (queue.entries === 0) resolve()
      }),
    abandon() {
      abandoned = true
      clearTimeout(timer)
    },
  }
}

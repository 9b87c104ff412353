import type { Logger } from 'pino'
import { HeadwayError } from '../../contract/errors.ts'
import { InFlight, type Flush } from './in-flight.ts'
import { LockedJobs, LOOK_FOR_DUE_MS } from './locked-jobs.ts'
import type { Entry, HeartbeatQueue } from './queue.ts'
import type { HeartbeatOutcome, HeartbeatWrite, WriteResult } from './write.ts'
import { WriteTrouble } from './write-trouble.ts'

/** The final outcome of an entry: it was written, or refused. */
export type Settled = Extract<HeartbeatOutcome, { kind: 'written' | 'refused' }>

export interface Flushes {
  /**
   * Says that something was added to the queue. It is written in a flush that begins in this turn of the event loop, or later.
   */
  begin(): void
  /** Entries that are being written. */
  inFlight(): Iterable<Entry>
  /** Number of jobs that another session held locked at the last try. */
  readonly lockedJobs: number
  /** Whether another session held the row of the job, or of its batch, at a try in the last two seconds. */
  isRowLocked(jobId: string): boolean
  /**
   * Whether the last flush failed because the database does not have the statement, the tables or the rights of this version
   * (`defect` in failures.ts). Retries fail until an operator mends that, and all entries wait meanwhile.
   */
  readonly isRefused: boolean
  /** Resolves when every entry is written or refused. */
  drained(): Promise<void>
  /** Starts no more flushes. */
  abandon(): void
}

export interface FlushesOptions {
  queue: HeartbeatQueue
  write: HeartbeatWrite
  /**
   * Called once for each entry that is written or refused. The entry still counts in the queue until `queue.forget` is called.
   */
  settle: (entry: Entry, outcome: Settled) => void
  /** Called after the entries of a flush are settled. */
  onWritten: (entries: Entry[], result: WriteResult) => void
  log: Logger
  /** Entries of the usual size per flush. */
  maxBatch: number
}

const lost = ({ entries }: Flush): WriteResult => {
  const error = new HeadwayError('internal_error', 'It is not known whether this report was stored.')
  return { outcomes: entries.map(() => ({ kind: 'refused', error })), batches: [], failure: null }
}

const outcomeUnknown = () =>
  new HeadwayError(
    'outcome_unknown',
    'The connection to the database was lost while this increment was written: read the count before you send it again.',
    { retryAfterSeconds: 1 },
  )

/**
 * Takes batches of entries out of a queue and writes them. While one batch commits, the next one fills: an idle service flushes
 * at once, a busy one writes larger batches, and there is no timer to tune. A second flush begins beside the first only with a
 * full batch (docs/decisions/0018-two-flushes.md), or where one of the two is a crowd's: tenants that have more to write than
 * their part are written by themselves, so that the flushes of others are short.
 */
export const createFlushes = ({ queue, write, settle, onWritten, log, maxBatch }: FlushesOptions): Flushes => {
  const inFlight = new InFlight()
  const locked = new LockedJobs()
  const trouble = new WriteTrouble(log)
  /** After a failure nothing is written until the timer ends. */
  let resting = false
  /** There were not enough entries for a second batch at the last try. The next try comes when a flush has ended. */
  let noSecondBatch = false
  let timer: NodeJS.Timeout | undefined
  let begun = false
  let abandoned = false
  let onDrained: () => void = () => undefined

  /** Locked jobs are retried in flushes of their own, so that an open transaction of another program delays no other job. */
  const takeLocked = (): Entry[] => {
    if (inFlight.retriesLocked || !locked.someDue()) return []
    return queue.take(maxBatch, ({ heartbeat: { jobId } }) => !inFlight.hasJob(jobId) && locked.isDue(jobId))
  }

  /**
   * Whether the retry of locked jobs should wait until the regular flushes have ended. Those flushes lock jobs, too: only when
   * none is in flight, the retry cannot meet a lock of this process.
   */
  const waitsForOurLocks = (): boolean =>
    inFlight.regular > 0 && !inFlight.retriesLocked && locked.someDue({ long: true })

  const isFree = ({ heartbeat: { jobId } }: Entry): boolean => !inFlight.hasJob(jobId) && !locked.has(jobId)

  /** Entries for one more flush, and whether it is one of a crowd; no entries: there is none to begin. */
  const takeBatch = (): Pick<Flush, 'entries' | 'isOfCrowd'> => {
    const beside = inFlight.regular
    if (beside > 1) return { entries: [], isOfCrowd: false }
    const { hasCrowd } = inFlight
    // Only what could be written now makes a crowd: jobs that another session locks must not take the second flush from others.
    const crowds = queue.crowds(maxBatch, isFree)
    if (crowds.size > 0 || hasCrowd) {
      const ofCrowd = (tenantId: string): boolean => crowds.has(tenantId)
      const others =
        beside === 1 && !hasCrowd ? [] : queue.take(maxBatch, isFree, { ofTenant: tenantId => !ofCrowd(tenantId) })
      if (others.length > 0) return { entries: others, isOfCrowd: false }
      return { entries: hasCrowd ? [] : queue.take(maxBatch, isFree, { ofTenant: ofCrowd }), isOfCrowd: true }
    }
    if (beside === 1 && (noSecondBatch || queue.rows < maxBatch)) return { entries: [], isOfCrowd: false }
    const entries = queue.take(maxBatch, isFree, { least: beside === 1 ? maxBatch : 1 })
    noSecondBatch = beside === 1 && entries.length === 0
    return { entries, isOfCrowd: false }
  }

  const flushIn = (ms: number): void => {
    clearTimeout(timer)
    if (abandoned) return
    timer = setTimeout(() => {
      resting = false
      flush()
    }, ms)
  }

  const flush = (): void => {
    if (resting || abandoned || queue.isEmpty) return
    if (!waitsForOurLocks()) {
      const retried = takeLocked()
      if (retried.length > 0) start({ entries: retried, isOfCrowd: false, retriesLocked: true })
      for (let batch = takeBatch(); batch.entries.length > 0; batch = takeBatch()) {
        start({ ...batch, retriesLocked: false })
      }
    }
    if (locked.size > 0) flushIn(LOOK_FOR_DUE_MS)
  }

  const start = (batch: Omit<Flush, 'begunMs'>): void => {
    const started = { ...batch, begunMs: performance.now() }
    inFlight.add(started)
    write(started.entries, started.retriesLocked)
      .then(result => finish(started, result))
      .catch((error: unknown) => {
        // A bug. Nobody knows what became of the entries of this flush. The other entries must still be written.
        log.fatal({ err: error }, 'a bug in the heartbeat intake: the outcome of a flush is lost')
        if (inFlight.has(started)) finish(started, lost(started))
      })
  }

  const finish = (finished: Flush, result: WriteResult): void => {
    inFlight.remove(finished)
    noSecondBatch = false
    noteResult(finished, result.failure)
    const settled: [Entry, Settled][] = []
    finished.entries.forEach((entry, index) => {
      const outcome = conclude(finished, entry, result.outcomes[index] ?? { kind: 'not_written' })
      if (outcome) settled.push([entry, outcome])
    })
    if (finished.retriesLocked) {
      for (const { heartbeat } of finished.entries) locked.removeTried(heartbeat.jobId, finished.begunMs)
    }
    flush()
    const tell = (): void => {
      for (const [entry, outcome] of settled) guard(() => settle(entry, outcome))
      guard(() => onWritten(finished.entries, result))
      if (queue.entries > 0) return
      locked.clear()
      onDrained()
    }
    // Answering a flush takes Node up to a third as long as the flush itself, so the next flush starts first.
    if (inFlight.size > 0) setImmediate(tell)
    else tell()
  }

  /** Runs `work`. If one answer throws, which is a bug, the other callers are still answered. */
  const guard = (work: () => void): void => {
    try {
      work()
    } catch (error) {
      log.fatal({ err: error }, 'a bug while a heartbeat was answered')
    }
  }

  /** Puts an entry back into the queue if it must be written again, and answers null; otherwise answers its final outcome. */
  const conclude = ({ begunMs }: Flush, entry: Entry, outcome: HeartbeatOutcome): Settled | null => {
    const { jobId, increment } = entry.heartbeat
    switch (outcome.kind) {
      case 'locked':
      case 'blocked':
        locked.add(jobId, begunMs, { ofJobRow: outcome.kind === 'locked' })
        break
      case 'not_written':
        break
      case 'unknown':
        // An absolute value may be written again. An increment might then count twice.
        if (increment !== undefined) return { kind: 'refused', error: outcomeUnknown() }
        queue.mayBeWritten(entry)
        break
      default:
        return outcome
    }
    queue.putBack(entry)
    return null
  }

  const noteResult = ({ begunMs }: Flush, failure: WriteResult['failure']): void => {
    if (failure === null) {
      trouble.succeeded(begunMs, queue.entries)
      return
    }
    trouble.failed(failure.cause, queue.entries)
    if (resting) return
    resting = true
    flushIn(trouble.nextRestMs())
  }

  return {
    begin() {
      if (begun) return
      begun = true
      // Requests that the event loop reads from its sockets in this turn go into the same flush.
      setImmediate(() => {
        begun = false
        flush()
      })
    },
    inFlight: () => inFlight.entries(),
    get lockedJobs() {
      return locked.size
    },
    get isRefused() {
      return trouble.isRefused
    },
    isRowLocked: jobId => locked.isRowLocked(jobId),
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

import type { Logger } from 'pino'
import { HeadwayError } from '../../contract/errors.ts'
import { LockedJobs, LOOK_FOR_DUE_MS } from './locked-jobs.ts'
import type { Entry, HeartbeatQueue } from './queue.ts'
import type { HeartbeatOutcome, HeartbeatWrite, WriteResult } from './write.ts'
import { WriteTrouble } from './write-trouble.ts'

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
  /** Of jobs that were locked at the last try: those that still are, are skipped. */
  retriesLocked: boolean
  begunMs: number
}

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

/** The flushes that are being written, and their jobs: no job is in two of them, so that its reports are written in their order. */
class InFlight {
  readonly #flushes = new Set<Flush>()
  readonly #jobs = new Set<string>()

  get size(): number {
    return this.#flushes.size
  }

  /** Of those that do not retry locked jobs. */
  get regular(): number {
    let regular = 0
    for (const { retriesLocked } of this.#flushes) if (!retriesLocked) regular += 1
    return regular
  }

  get retriesLocked(): boolean {
    return this.#flushes.size > this.regular
  }

  has(flush: Flush): boolean {
    return this.#flushes.has(flush)
  }

  hasJob(jobId: string): boolean {
    return this.#jobs.has(jobId)
  }

  add(flush: Flush): void {
    this.#flushes.add(flush)
    for (const { heartbeat } of flush.entries) this.#jobs.add(heartbeat.jobId)
  }

  remove(flush: Flush): void {
    this.#flushes.delete(flush)
    for (const { heartbeat } of flush.entries) this.#jobs.delete(heartbeat.jobId)
  }

  *entries(): Iterable<Entry> {
    for (const { entries } of this.#flushes) yield* entries
  }
}

/**
 * Takes batches out of a queue and writes them. While one commits, the next one fills: an idle service flushes at once, a
 * busy one batches more, and there is no timer to tune. A second flush begins beside the first only with a full batch
 * (docs/decisions/0018-two-flushes.md).
 */
export const createFlushes = ({ queue, write, settle, onWritten, log, maxBatch }: FlushesOptions): Flushes => {
  const inFlight = new InFlight()
  const locked = new LockedJobs()
  const trouble = new WriteTrouble(log)
  /** After a failure nothing is written until the timer ends. */
  let resting = false
  /** No second batch was full when it was last tried: none is tried before a flush ends. */
  let noSecondBatch = false
  let timer: NodeJS.Timeout | undefined
  let begun = false
  let abandoned = false
  let onDrained: () => void = () => undefined

  /** Locked jobs are retried in flushes of their own, so that someone's open transaction holds up no other job. */
  const takeLocked = (): Entry[] => {
    if (inFlight.retriesLocked || !locked.someDue()) return []
    return queue.take(maxBatch, jobId => !inFlight.hasJob(jobId) && locked.isDue(jobId))
  }

  /** Whether locked jobs wait for the flushes in flight to end, because only then they are sure to meet no lock of ours. */
  const waitsForOurLocks = (): boolean =>
    inFlight.regular > 0 && !inFlight.retriesLocked && locked.someDue({ long: true })

  const takeBatch = (): Entry[] => {
    const beside = inFlight.regular
    if (beside > 1 || (beside === 1 && (noSecondBatch || queue.rows < maxBatch))) return []
    const wanted = (jobId: string) => !inFlight.hasJob(jobId) && !locked.has(jobId)
    const entries = queue.take(maxBatch, wanted, beside === 1 ? maxBatch : 1)
    noSecondBatch = beside === 1 && entries.length === 0
    return entries
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
      if (retried.length > 0) start(retried, true)
      for (let entries = takeBatch(); entries.length > 0; entries = takeBatch()) start(entries, false)
    }
    if (locked.size > 0) flushIn(LOOK_FOR_DUE_MS)
  }

  const start = (entries: Entry[], retriesLocked: boolean): void => {
    const started = { entries, retriesLocked, begunMs: performance.now() }
    inFlight.add(started)
    write(entries, retriesLocked)
      .then(result => finish(started, result))
      .catch((error: unknown) => {
        // A bug. What was under way has an outcome that nobody knows any more; the rest must go on.
        log.fatal({ err: error }, 'the heartbeat intake broke')
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
    // Answering takes Node as long as a third of a flush: the next one starts first.
    if (inFlight.size > 0) setImmediate(tell)
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

  /** What an entry came to; null when it was put back. */
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
        // What was set may be set again; what was added might count twice.
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
      // What the event loop reads from its sockets in this turn goes into the same flush.
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

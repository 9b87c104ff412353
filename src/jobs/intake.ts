import type { Logger } from 'pino'
import { HeadwayError } from '../errors.ts'
import type { Announce, JobChange } from '../live/change.ts'
import { HeartbeatQueue, type Entry } from './heartbeat-queue.ts'
import type { Heartbeat, HeartbeatAnswer } from './heartbeat.ts'
import type { Scope } from './identity.ts'
import type { HeartbeatOutcome, HeartbeatWrite, WriteResult } from './write-heartbeats.ts'

export interface HeartbeatIntake {
  /** Resolves when the report is on disk, or after `answerWithinMs` as buffered. Raises the refusal, or `overloaded`. */
  submit(scope: Scope, heartbeat: Heartbeat): Promise<HeartbeatAnswer>
  /** One outcome per report, in order. Raises `overloaded` when the queue cannot take all of them. */
  submitAll(scope: Scope, heartbeats: Heartbeat[]): Promise<(HeartbeatAnswer | HeadwayError)[]>
  /**
   * How long the oldest report has waited, in milliseconds; 0 when none waits. Those of locked jobs do not count: no sweeper
   * can touch a job that somebody holds.
   */
  oldestWaitMs(): number
  stats(): IntakeStats
  /** Refuses new reports, and resolves when everything accepted is written or `graceMs` have passed. */
  close(graceMs: number): Promise<void>
}

export interface IntakeStats {
  /** Entries that wait, those in flight included, and their rough size. */
  pending: number
  bytes: number
  /** Jobs that somebody else held locked at the last try. */
  lockedJobs: number
  /** Reports answered as buffered that were refused later. */
  dropped: number
  /** Calls turned away for lack of room. */
  refused: number
}

export interface HeartbeatIntakeOptions {
  write: HeartbeatWrite
  announce: Announce
  log: Logger
  heartbeatIntervalMs: number
  stalledAfterSeconds: number
  /** How near the process is to refusing calls, from 0 to 1, whatever else it has to do. */
  pressure?: () => number
  /** Entries in memory; beyond it new reports are refused. */
  maxEntries?: number
  maxBytes?: number
  /** Entries per flush: larger ones gain little and make every report in them wait. */
  maxBatch?: number
  /** A report that is not on disk by then is answered as buffered. */
  answerWithinMs?: number
}

const RETRY_AFTER_SECONDS = 1
/** How often a job that somebody else holds locked is tried again. */
const LOCKED_RETRY_MS = 250
const FIRST_BACKOFF_MS = 50
const LONGEST_BACKOFF_MS = 1_000

type Settled = Extract<HeartbeatOutcome, { kind: 'written' | 'refused' }>

const outcomeUnknown = () =>
  new HeadwayError(
    'outcome_unknown',
    'The connection to the database was lost while this increment was written: read the count before you send it again.',
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  )

/**
 * Writes heartbeats in batches: while one batch commits, the next one fills. An idle service flushes at once, a busy one
 * batches more; there is no timer to tune. One flush is in flight at a time (docs/decisions/0003-one-flush-in-flight.md).
 */
export const createHeartbeatIntake = (options: HeartbeatIntakeOptions): HeartbeatIntake => {
  const { write, announce, log } = options
  const {
    pressure = () => 0,
    maxEntries = 50_000,
    maxBytes = 64 * 1024 * 1024,
    maxBatch = 1_000,
    answerWithinMs = 2_000,
  } = options

  const queue = new HeartbeatQueue()
  let inFlight: Entry[] = []
  /** Jobs that somebody else held locked at the last try, and when to try them again. */
  const lockedJobs = new Map<string, number>()
  let backoffMs = 0
  let running: Promise<void> | null = null
  let closing = false
  let abandoned = false
  let dropped = 0
  let refused = 0
  let wakeUp: () => void = () => undefined

  /** The cadence to ask for: slower under load, never so slow that a job would look silent between two reports. */
  const intervalFor = (timeoutSeconds: number): number => {
    const load = Math.max(queue.entries / maxEntries, queue.bytes / maxBytes, Math.min(1, pressure()))
    const wanted = options.heartbeatIntervalMs * (1 + 4 * load)
    const silence = Math.min(options.stalledAfterSeconds, timeoutSeconds || Infinity)
    return Math.floor(Math.min(wanted, (silence * 1000) / 3))
  }

  const fail = (entry: Entry, error: HeadwayError): void => {
    queue.forget(entry)
    if (entry.buffered) {
      dropped += 1
      log.warn({ jobId: entry.heartbeat.jobId, code: error.code }, 'dropped a buffered heartbeat that was refused')
    }
    for (const waiter of entry.waiters) waiter.reject(error)
  }

  const settle = (entry: Entry, outcome: Settled): void => {
    if (outcome.kind === 'refused') {
      fail(entry, outcome.error)
      return
    }
    queue.forget(entry)
    const { jobId, workerId } = entry.heartbeat
    const { status, cancelRequested, progressPercent, revision } = outcome
    const heartbeatIntervalMs = intervalFor(outcome.heartbeatTimeoutSeconds)
    for (const waiter of entry.waiters) {
      const applied = outcome.applied && !waiter.late
      waiter.resolve({
        jobId,
        workerId,
        status,
        cancelRequested,
        progressPercent,
        revision,
        applied,
        heartbeatIntervalMs,
        durable: true,
      })
    }
  }

  const answerBuffered = (entry: Entry): void => {
    entry.buffered = true
    entry.keepHigher = true
    const { jobId, workerId } = entry.heartbeat
    const unknown = { status: null, cancelRequested: null, progressPercent: null, revision: null } as const
    for (const waiter of entry.waiters) {
      waiter.resolve({ jobId, workerId, ...unknown, heartbeatIntervalMs: intervalFor(0), durable: false })
    }
    entry.waiters = []
  }

  /** Announces each job that a flush changed, once. */
  const announceChanges = (entries: Entry[], { outcomes, batches }: WriteResult): void => {
    const changes = new Map<string, JobChange>(batches.map(batch => [batch.jobId, batch]))
    entries.forEach(({ scope: { tenantId }, heartbeat: { jobId } }, index) => {
      const outcome = outcomes[index]
      if (outcome?.kind !== 'written' || !outcome.changed) return
      changes.set(jobId, { tenantId, jobId, revision: outcome.revision, lifecycle: outcome.lifecycleChanged })
    })
    if (changes.size > 0) announce([...changes.values()])
  }

  const conclude = (entry: Entry, outcome: HeartbeatOutcome, skippedLocked: boolean): void => {
    const { jobId, increment } = entry.heartbeat
    switch (outcome.kind) {
      case 'locked':
        lockedJobs.set(jobId, performance.now() + LOCKED_RETRY_MS)
        queue.putBack(entry)
        break
      case 'not_written':
        queue.putBack(entry)
        break
      case 'unknown':
        // What was set may be set again; what was added might count twice.
        if (increment !== undefined) fail(entry, outcomeUnknown())
        else {
          entry.keepHigher = true
          queue.putBack(entry)
        }
        break
      default:
        if (skippedLocked) lockedJobs.delete(jobId)
        settle(entry, outcome)
    }
  }

  const noteFailure = (failure: WriteResult['failure']): void => {
    if (failure) {
      if (backoffMs === 0) log.error({ err: failure.cause }, 'cannot write heartbeats, they wait in memory')
      backoffMs = Math.min(LONGEST_BACKOFF_MS, Math.max(FIRST_BACKOFF_MS, backoffMs * 2))
    } else if (backoffMs > 0) {
      backoffMs = 0
      log.info({ pending: queue.entries }, 'heartbeats are written again')
    }
  }

  const flush = async (entries: Entry[], skipLocked: boolean): Promise<void> => {
    inFlight = entries
    const result = await write(entries, skipLocked)
    inFlight = []
    noteFailure(result.failure)
    entries.forEach((entry, index) => conclude(entry, result.outcomes[index] ?? { kind: 'not_written' }, skipLocked))
    announceChanges(entries, result)
  }

  const pause = (ms: number): Promise<void> =>
    new Promise(resolve => {
      const timer = setTimeout(resolve, ms)
      wakeUp = () => {
        clearTimeout(timer)
        resolve()
      }
    })

  const run = async (): Promise<void> => {
    while (!queue.isEmpty && !abandoned) {
      // Locked jobs go by themselves and wait for nobody, so that someone's open transaction holds up no other job.
      const now = performance.now()
      const suspects =
        lockedJobs.size > 0 ? queue.take(maxBatch, jobId => (lockedJobs.get(jobId) ?? Infinity) <= now) : []
      if (suspects.length > 0) await flush(suspects, true)
      const batch = queue.take(maxBatch, jobId => !lockedJobs.has(jobId))
      if (batch.length > 0) await flush(batch, false)
      if (backoffMs > 0) await pause(backoffMs * (0.5 + Math.random() / 2))
      else if (batch.length + suspects.length === 0) await pause(LOCKED_RETRY_MS / 5)
    }
    lockedJobs.clear()
    // In the same turn as the last look at the queue: a report that comes after it must find nobody running, and begin.
    running = null
  }

  const begin = (): void => {
    if (running) {
      // A pause for locked jobs must not hold up a job that is free. One for an absent database is worth waiting out.
      if (backoffMs === 0) wakeUp()
      return
    }
    running = new Promise<void>(resolve => {
      // What the event loop reads from its sockets in this turn goes into the first flush.
      setImmediate(resolve)
    })
      .then(run)
      .catch((error: unknown) => {
        // A bug. What was under way has an outcome that nobody knows any more; the rest must go on.
        running = null
        log.fatal({ err: error }, 'the heartbeat intake broke')
        for (const entry of inFlight) fail(entry, new HeadwayError('internal_error', 'This report may not be stored.'))
        inFlight = []
        if (!queue.isEmpty) begin()
      })
  }

  const refuseWhenFull = (arriving: number): void => {
    const retry = { retryAfterSeconds: RETRY_AFTER_SECONDS }
    if (closing)
      throw new HeadwayError('shutting_down', 'This replica is shutting down: send the heartbeat again.', retry)
    if (queue.entries + arriving <= maxEntries && queue.bytes <= maxBytes) return
    refused += 1
    throw new HeadwayError('overloaded', 'Too many heartbeats wait to be written: send this one again later.', retry)
  }

  const accept = (scope: Scope, heartbeat: Heartbeat): Promise<HeartbeatAnswer> =>
    new Promise((resolve, reject) => {
      queue.add(scope, heartbeat, { resolve, reject, since: performance.now(), late: false })
    })

  const answerOverdue = (): void => {
    if (queue.entries === 0) return
    const deadline = performance.now() - answerWithinMs
    for (const entry of [...inFlight, ...queue]) {
      if (entry.waiters.some(waiter => waiter.since <= deadline)) answerBuffered(entry)
    }
  }
  const overdueTimer = setInterval(answerOverdue, Math.max(10, answerWithinMs / 10))

  return {
    async submit(scope, heartbeat) {
      refuseWhenFull(1)
      const answer = accept(scope, heartbeat)
      begin()
      return answer
    },
    async submitAll(scope, heartbeats) {
      refuseWhenFull(heartbeats.length)
      const answers = heartbeats.map(heartbeat =>
        accept(scope, heartbeat).catch((error: unknown) => {
          if (error instanceof HeadwayError) return error
          throw error
        }),
      )
      begin()
      return Promise.all(answers)
    },
    oldestWaitMs() {
      let since = Infinity
      for (const entry of [...inFlight, ...queue]) {
        if (!lockedJobs.has(entry.heartbeat.jobId)) since = Math.min(since, entry.since)
      }
      return since === Infinity ? 0 : performance.now() - since
    },
    stats: () => ({ pending: queue.entries, bytes: queue.bytes, lockedJobs: lockedJobs.size, dropped, refused }),
    async close(graceMs) {
      closing = true
      let deadline: NodeJS.Timeout | undefined
      const graceOver = new Promise<void>(resolve => {
        deadline = setTimeout(() => {
          abandoned = true
          wakeUp()
          resolve()
        }, graceMs)
      })
      // A flush that is under way may wait longer for its database than there is time.
      await Promise.race([running, graceOver])
      clearTimeout(deadline)
      clearInterval(overdueTimer)
      if (queue.entries > 0)
        log.error({ pending: queue.entries }, 'shut down with heartbeats that could not be written')
    },
  }
}

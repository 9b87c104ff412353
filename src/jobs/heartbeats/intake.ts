import type { Logger } from 'pino'
import { HeadwayError } from '../../contract/errors.ts'
import type { Announce } from '../../live/change.ts'
import type { JobChange } from '../../contract/change.ts'
import { createFlushes, type Settled } from './flushes.ts'
import { HeartbeatQueue, type Entry } from './queue.ts'
import type { Heartbeat, HeartbeatAnswer } from '../../contract/heartbeat.ts'
import type { Scope } from '../identity.ts'
import type { Unwritten } from '../sweeper.ts'
import { UnprovenJobs } from './unproven-jobs.ts'
import type { HeartbeatWrite, WriteResult } from './write.ts'

export interface HeartbeatIntake {
  /** Resolves when the report is on disk, or after `answerWithinMs` as buffered. Raises the refusal, or `overloaded`. */
  submit(scope: Scope, heartbeat: Heartbeat): Promise<HeartbeatAnswer>
  /**
   * Resolves to one outcome per report, in order. Raises `overloaded` when the queue cannot take all of them, and takes none
   * then.
   */
  submitAll(scope: Scope, heartbeats: Heartbeat[]): Promise<(HeartbeatAnswer | HeadwayError)[]>
  /**
   * How long the oldest report has waited, in milliseconds; 0 when none waits. Reports for `unwritten().lockedJobIds` do not
   * count.
   */
  oldestWaitMs(): number
  /** What the sweepers must know before they judge a job. */
  unwritten(): Unwritten
  stats(): IntakeStats
  /** Refuses new reports, and resolves when everything accepted is written or `graceMs` have passed. */
  close(graceMs: number): Promise<void>
}

export interface IntakeStats {
  /** Entries that wait or are in flight, and their approximate size. */
  pending: number
  bytes: number
  /** Jobs that another session held locked at the last try. */
  lockedJobs: number
  /** Reports answered as buffered that were refused later. */
  dropped: number
  /** Calls that were refused because the queue was full. */
  refused: number
  /**
   * The database refuses the statement that writes heartbeats (flushes.ts). Nothing is written until an operator mends that.
   */
  flushRefused: boolean
}

export interface HeartbeatIntakeOptions {
  write: HeartbeatWrite
  announce: Announce
  log: Logger
  heartbeatIntervalMs: number
  stalledAfterSeconds: number
  /** How near the process is to refusing calls for other reasons than this queue, from 0 to 1. */
  pressure?: () => number
  /** Entries in memory. When there are more, new reports are refused. */
  maxEntries?: number
  maxBytes?: number
  /**
   * A token that is limited to one job may report for the partitions of that job. This is how many of its entries may wait for
   * jobs that are not yet known to be partitions.
   */
  maxUnproven?: number
  /** Entries per flush. Larger flushes gain little and make every report in them wait. */
  maxBatch?: number
  /** A report that is not on disk after this time is answered as buffered. */
  answerWithinMs?: number
}

const RETRY_AFTER_SECONDS = 1
/**
 * Jobs that `unwritten` names at most: each visit of a sweeper writes them down. If more are locked, their reports count as
 * waiting like all others.
 */
const MAX_NAMED_JOBS = 1_000

/**
 * Takes heartbeats, has them written in batches, and answers who waits.
 *
 * How a report goes, and which file says more:
 *
 *     route ─ submit ─▶ intake.ts ─ add ─▶ queue.ts ─ take ─▶ flushes.ts ─ write ─▶ write.ts ─▶ statement.ts ─▶ flush.sql
 *                          │                  ▲ merge.ts          │                (splits what      (one round trip)
 *                          │                  └──── putBack ──────┤                 is refused)
 *                          ◀───────────────── settle ─────────────┘
 *
 * An entry of the queue is what one worker has reported since it was written last. It waits in the queue (more reports of
 * its worker merge with it), is in flight (in a batch that is being written), and then is settled, written or refused, or put
 * back: the job was locked (locked-jobs.ts), or the database was away (write-trouble.ts). At any moment before it is settled
 * its callers may be answered that it is buffered; it stays where it is. `queue.forget` ends it.
 * Who may have how many entries: shares.ts, unproven-jobs.ts. How large one is: entry-size.ts.
 */
export const createHeartbeatIntake = (options: HeartbeatIntakeOptions): HeartbeatIntake => {
  const { write, announce, log } = options
  const {
    pressure = () => 0,
    maxEntries = 50_000,
    maxBytes = 64 * 1024 * 1024,
    maxBatch = 500,
    // A batch has at most this many partitions.
    maxUnproven = 1_000,
    answerWithinMs = 2_000,
  } = options

  const queue = new HeartbeatQueue({ maxEntries, maxBytes })
  const unproven = new UnprovenJobs(maxUnproven)
  let closing = false
  let dropped = 0
  let refused = 0
  /** Reports whose callers were told that the report may not be stored, because of a fault of the service or the database. */
  let lost = 0

  /**
   * The interval to ask workers for. It is longer under load, but never so long that a job looks silent between two reports.
   */
  const intervalFor = (timeoutSeconds: number): number => {
    const load = Math.max(queue.entries / maxEntries, queue.bytes / maxBytes, Math.min(1, pressure()))
    const wanted = options.heartbeatIntervalMs * (1 + 4 * load)
    const silence = Math.min(options.stalledAfterSeconds, timeoutSeconds || Infinity)
    return Math.floor(Math.min(wanted, (silence * 1000) / 3))
  }

  const forget = (entry: Entry): void => {
    queue.forget(entry)
    if (entry.isUnproven) unproven.remove(entry.scope)
  }

  const fail = (entry: Entry, error: HeadwayError): void => {
    forget(entry)
    if (error.code === 'outcome_unknown' || error.code === 'internal_error') lost += 1
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
    forget(entry)
    if (entry.isUnproven) unproven.prove(entry.scope, entry.heartbeat)
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
    const { jobId, workerId } = entry.heartbeat
    const unknown = { status: null, cancelRequested: null, progressPercent: null, revision: null } as const
    for (const waiter of queue.answerBuffered(entry)) {
      waiter.resolve({ jobId, workerId, ...unknown, heartbeatIntervalMs: intervalFor(0), durable: false })
    }
  }

  /** Announces each job that a flush changed once. When a flush was written in parts, a batch may have changed in each part. */
  const announceChanges = (entries: Entry[], { outcomes, batches }: WriteResult): void => {
    const changes = new Map<string, JobChange>()
    const note = (change: JobChange): void => {
      const known = changes.get(change.jobId)
      const revision = Math.max(change.revision, known?.revision ?? 0)
      const lifecycle = change.lifecycle || (known?.lifecycle ?? false)
      changes.set(change.jobId, { ...change, revision, lifecycle, event: change.event ?? known?.event ?? null })
    }
    batches.forEach(note)
    entries.forEach(({ scope: { tenantId }, heartbeat: { jobId } }, index) => {
      const outcome = outcomes[index]
      if (outcome?.kind !== 'written' || !outcome.changed) return
      note({ tenantId, jobId, revision: outcome.revision, lifecycle: outcome.lifecycleChanged })
    })
    if (changes.size > 0) announce([...changes.values()])
  }

  const flushes = createFlushes({ queue, write, settle, onWritten: announceChanges, log, maxBatch })

  const refuseWithoutRoom = (scope: Scope, arriving: Heartbeat[]): void => {
    const retry = { retryAfterSeconds: RETRY_AFTER_SECONDS }
    if (closing)
      throw new HeadwayError('shutting_down', 'This replica is shutting down: send the heartbeat again.', retry)
    if (!queue.hasRoom(scope, arriving)) {
      refused += 1
      throw new HeadwayError('overloaded', 'Too many heartbeats wait to be written: send this one again later.', retry)
    }
    if (scope.jobId === null) return
    const doubtful = arriving.filter(heartbeat => unproven.concerns(scope, heartbeat)).length
    // This does not count as trouble of the service (`refused`), because anybody with such a token can cause it.
    if (doubtful > 0 && !unproven.hasRoom(scope, doubtful))
      throw new HeadwayError(
        'overloaded',
        'This token is limited to one job, and too many of its heartbeats wait for jobs that may not be partitions of that job: ' +
          'send this one again later.',
        retry,
      )
  }

  const accept = (scope: Scope, heartbeat: Heartbeat): Promise<HeartbeatAnswer> =>
    new Promise((resolve, reject) => {
      const isUnproven = unproven.concerns(scope, heartbeat)
      const waiter = { resolve, reject, since: performance.now(), late: false }
      if (queue.add(scope, heartbeat, waiter, isUnproven) && isUnproven) unproven.add(scope)
    })

  const answerOverdue = (): void => {
    if (queue.entries === 0) return
    const deadline = performance.now() - answerWithinMs
    for (const entry of [...flushes.inFlight(), ...queue]) {
      if (entry.waiters.some(waiter => waiter.since <= deadline)) answerBuffered(entry)
    }
  }
  const overdueTimer = setInterval(answerOverdue, Math.max(10, answerWithinMs / 10))

  const unwritten = (): Unwritten => {
    const lockedJobIds = new Set<string>()
    let since = Infinity
    let sinceOfLocked = Infinity
    for (const entry of [...flushes.inFlight(), ...queue]) {
      const { jobId } = entry.heartbeat
      if (flushes.isRowLocked(jobId)) {
        lockedJobIds.add(jobId)
        sinceOfLocked = Math.min(sinceOfLocked, entry.since)
      } else since = Math.min(since, entry.since)
    }
    const areNamed = lockedJobIds.size <= MAX_NAMED_JOBS
    if (!areNamed) since = Math.min(since, sinceOfLocked)
    return {
      oldestWaitMs: since === Infinity ? 0 : performance.now() - since,
      lockedJobIds: areNamed ? [...lockedJobIds] : [],
      refused: refused + lost,
    }
  }

  return {
    async submit(scope, heartbeat) {
      refuseWithoutRoom(scope, [heartbeat])
      const answer = accept(scope, heartbeat)
      flushes.begin()
      return answer
    },
    async submitAll(scope, heartbeats) {
      refuseWithoutRoom(scope, heartbeats)
      const answers = heartbeats.map(heartbeat =>
        accept(scope, heartbeat).catch((error: unknown) => {
          if (error instanceof HeadwayError) return error
          throw error
        }),
      )
      flushes.begin()
      return Promise.all(answers)
    },
    oldestWaitMs: () => unwritten().oldestWaitMs,
    unwritten,
    stats: () => ({
      pending: queue.entries,
      bytes: queue.bytes,
      lockedJobs: flushes.lockedJobs,
      dropped,
      refused,
      flushRefused: flushes.isRefused,
    }),
    async close(graceMs) {
      closing = true
      let deadline: NodeJS.Timeout | undefined
      const graceOver = new Promise<void>(resolve => {
        deadline = setTimeout(() => {
          flushes.abandon()
          resolve()
        }, graceMs)
      })
      // A flush in flight may wait for the database for longer than `graceMs`.
      await Promise.race([flushes.drained(), graceOver])
      clearTimeout(deadline)
      clearInterval(overdueTimer)
      if (queue.entries > 0)
        log.error({ pending: queue.entries }, 'shut down with heartbeats that could not be written')
    },
  }
}

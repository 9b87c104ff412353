import type { Announce } from './change.ts'
import type { JobChange } from '../contract/change.ts'
import { encodePayloads } from './payload.ts'
import type { Log } from './log.ts'

/** The shortest time between two statements that carry only progress: each takes a lock of the whole database. */
const PROGRESS_STATEMENT_GAP_MS = 20

/**
 * Far more than can commit while one statement is in flight. Further announcements are dropped, and the reconciler finds the
 * changes.
 */
const MAX_PENDING = 50_000

/** A job whose progress was announced less than an interval ago, and its changes since then. */
interface Recent {
  announcedAt: number
  held: JobChange | null
}

export interface AnnouncerOptions {
  /** Sends payloads on the channel `headway`, in one statement. */
  notify: (payloads: readonly string[]) => Promise<void>
  /** The progress of one job is announced at most once in this time. */
  progressIntervalMs: number
  log: Log
  /** Milliseconds of a monotonic clock. */
  now?: () => number
}

export interface AnnouncerStats {
  announced: number
  statements: number
  failures: number
  /** Announcements that were dropped for lack of room, or because their statement failed. */
  dropped: number
  /** The time from the first `announce` in the last statement until that statement's commit. */
  lagMs: number
}

export interface Announcer {
  announce: Announce
  stats(): Readonly<AnnouncerStats>
  /** Sends the pending announcements. */
  close(): Promise<void>
}

/**
 * Tells every replica which jobs have changed, after their commit. While one statement is in flight, the next one fills.
 * Lifecycle changes are sent at once. The progress of a job is sent at most once per interval: the first at once, and the last
 * is never lost.
 */
export const createAnnouncer = ({
  notify,
  progressIntervalMs,
  log,
  now = () => performance.now(),
}: AnnouncerOptions): Announcer => {
  /** The newest change of each job, for the next statement. */
  let pending = new Map<string, JobChange>()
  let pendingSince = 0
  let urgent = false
  /** In the order of `announcedAt`. Entries leave at the front, so it never holds more than one interval. */
  const recent = new Map<string, Recent>()
  let sending: Promise<void> | null = null
  let sentAt = -Infinity
  let away = false
  let gapTimer: NodeJS.Timeout | null = null
  let heldTimer: NodeJS.Timeout | null = null
  const stats: AnnouncerStats = { announced: 0, statements: 0, failures: 0, dropped: 0, lagMs: 0 }

  const enqueue = (change: JobChange) => {
    const earlier = pending.get(change.jobId)
    if (earlier) {
      if (earlier.revision < change.revision) earlier.revision = change.revision
      earlier.lifecycle ||= change.lifecycle
    } else if (pending.size < MAX_PENDING) {
      if (pending.size === 0) pendingSince = now()
      pending.set(change.jobId, { ...change })
    } else {
      stats.dropped++
    }
    urgent ||= change.lifecycle
  }

  /** A lifecycle change starts the interval as well: the document that is read for it shows the present progress. */
  const enqueueAndRemember = (change: JobChange) => {
    enqueue(change)
    const held = recent.get(change.jobId)?.held ?? null
    recent.delete(change.jobId)
    recent.set(change.jobId, { announcedAt: now(), held: held && held.revision > change.revision ? held : null })
  }

  const releaseHeld = () => {
    heldTimer = null
    const due = now() - progressIntervalMs
    for (const [jobId, { announcedAt, held }] of recent) {
      if (announcedAt > due) break
      recent.delete(jobId)
      if (held) enqueueAndRemember(held)
    }
    scheduleHeld()
    send()
  }

  const scheduleHeld = () => {
    if (heldTimer || recent.size === 0) return
    const oldest = (recent.values().next().value as Recent).announcedAt
    // A tenth later than the oldest is due, so that one statement carries all that is due by then.
    const wait = oldest + progressIntervalMs * 1.1 - now()
    heldTimer = setTimeout(releaseHeld, Math.max(1, wait)).unref()
  }

  const send = () => {
    if (sending || pending.size === 0) return
    const wait = urgent ? 0 : sentAt + PROGRESS_STATEMENT_GAP_MS - now()
    if (wait > 0) {
      gapTimer ??= setTimeout(() => {
        gapTimer = null
        send()
      }, wait).unref()
      return
    }
    sending = sendPending().finally(() => {
      sending = null
      send()
    })
  }

  const sendPending = async () => {
    const changes = pending
    const since = pendingSince
    pending = new Map()
    urgent = false
    stats.statements++
    try {
      await notify(encodePayloads(changes.values()))
      stats.announced += changes.size
      for (const { tenantId, jobId, revision, lifecycle } of changes.values())
        if (!lifecycle) log.debug?.({ jobId, tenantId, revision }, 'progress announced')
      stats.lagMs = now() - since
      if (away) log.info({}, 'Changes are announced again')
      away = false
    } catch (error) {
      stats.failures++
      stats.dropped += changes.size
      if (!away) log.warn({ err: error }, 'Changes cannot be announced; streams find them by reconcile, within 5 s')
      away = true
    }
    sentAt = now()
  }

  return {
    announce: changes => {
      for (const change of changes) {
        const last = recent.get(change.jobId)
        if (change.lifecycle || !last) enqueueAndRemember(change)
        else if (!last.held || last.held.revision < change.revision) last.held = change
      }
      scheduleHeld()
      send()
    },

    stats: () => stats,

    close: async () => {
      if (heldTimer) clearTimeout(heldTimer)
      for (const { held } of recent.values()) if (held) enqueue(held)
      recent.clear()
      urgent = true
      send()
      // A statement that ends sends the next one, until nothing is pending.
      while (sending) await sending
      if (gapTimer) clearTimeout(gapTimer)
    },
  }
}

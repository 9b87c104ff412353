import { setMaxListeners } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { scopeOf, visibilityOf, type Identity } from '../jobs/identity.ts'
import type { JobState, Live } from '../live/live.ts'
import { refuseExpired } from './identity.ts'
import type { Hold } from './limits/held.ts'
import type { SharedRead } from './shared-reads.ts'

/** Most proxies do not let a request be silent for longer. */
export const MAX_WAIT_SECONDS = 60

/** If `waitForJob` and the read answer different states of a job, the loop pauses for this long between tries. */
const DISAGREEMENT_PAUSE_MS = 100

/** N of `Prefer: wait=N` (RFC 7240, section 4.3), at most 60; null if there is none, or none that can be understood. */
export const preferredWaitSeconds = (prefer: string | string[] | undefined): number | null => {
  const preferences = typeof prefer === 'string' ? prefer.split(/[,;]/) : []
  for (const preference of preferences) {
    const [, digits] = /^\s*wait\s*=\s*"?(\d+)"?\s*$/i.exec(preference) ?? []
    if (digits !== undefined) return Math.min(Number(digits), MAX_WAIT_SECONDS)
  }
  return null
}

/**
 * Calls `leave` when the client leaves, or at once if it has left; answers a function that ends the watch. It watches the
 * connection and not the answer, because an answer that waits behind another one of its connection does not notice that its
 * client left.
 */
export const watchClient = ({ socket }: IncomingMessage, leave: () => void): (() => void) => {
  // Each request of a pipeline adds a listener.
  setMaxListeners(0, socket)
  socket.once('close', leave)
  if (socket.destroyed) leave()
  return () => socket.off('close', leave)
}

/** The parts that every waiting call needs. */
export interface WaitParts {
  live: Pick<Live, 'waitForJob'>
  /** Aborts when the service shuts down. A waiting call is then answered with the present state. */
  closing: AbortSignal
  /** Counts waiting calls as answers that are held. */
  hold: Hold
  sharedRead: SharedRead
}

/**
 * Reads what a caller sees of one job, once for all callers who see the same and ask for it in the same `shape`. `read` gets an
 * identity that sees as much and whose calls are shared. So the shared read does not wait behind other calls of the caller who
 * asked first, and is not refused because of them.
 */
export const readShared = <Result>(
  sharedRead: SharedRead,
  identity: Identity,
  { shape, jobId }: { shape: string; jobId: string },
  read: (identity: Identity) => Promise<Result>,
): Promise<Result> => {
  const key = JSON.stringify([shape, jobId, visibilityOf(scopeOf(identity))])
  return sharedRead(identity, key, () => read({ ...identity, userId: null, isShared: true }))
}

/**
 * How many of `seconds` a caller may wait, in milliseconds: not past the end of its token. Raises `unauthenticated` if that has
 * expired.
 */
export const patienceMs = (identity: Identity, seconds: number): number => {
  refuseExpired(identity)
  const { expiresAtMs } = identity
  return Math.min(seconds * 1000, expiresAtMs === null ? Infinity : expiresAtMs - Date.now())
}

/**
 * Holds a request for at most `ms` while `use` runs. The signal aborts when the time is up, when the caller leaves (`watch`
 * then calls its argument), and when the service shuts down. Raises `too_many_streams` if too many requests are held. Removes
 * all its listeners in every case.
 */
export const held = async <Result>(
  { hold, closing }: Pick<WaitParts, 'hold' | 'closing'>,
  { caller }: Identity,
  ms: number,
  watch: (leave: () => void) => () => void,
  use: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> => {
  const release = hold(caller)
  const end = new AbortController()
  const stop = () => end.abort()
  const timer = setTimeout(stop, closing.aborted ? 0 : ms)
  const unwatch = watch(stop)
  closing.addEventListener('abort', stop)
  try {
    return await use(end.signal)
  } finally {
    release()
    clearTimeout(timer)
    unwatch()
    closing.removeEventListener('abort', stop)
    stop()
  }
}

export interface Wanted<Answer extends JobStateOfAnswer> {
  identity: Identity
  jobId: string
  /** The newest revision that the caller has; -1 when it names none. */
  known: number
  isEnough: (state: JobStateOfAnswer) => boolean
  /** Reads the answer; callers who want the same share the read. */
  read: () => Promise<Answer>
  /** Whether a caller whose time is up needs no document, because it has this state already. */
  needsNothing: (state: JobStateOfAnswer) => boolean
}

export type JobStateOfAnswer = Pick<JobState, 'id' | 'revision' | 'finished'>

/**
 * Waits until `isEnough` accepts the job's state, and then reads the job. While it waits, it keeps the job's revision and not
 * its document. When `signal` aborts, answers the job as it is then, or only its state if the caller needs no more.
 */
export const readWhenEnough = async <Answer extends JobStateOfAnswer>(
  { live }: Pick<WaitParts, 'live'>,
  { identity, jobId, known, isEnough, read, needsNothing }: Wanted<Answer>,
  signal: AbortSignal,
): Promise<Answer | JobState> => {
  const visibility = visibilityOf(scopeOf(identity))
  let seen = known
  for (;;) {
    const state = await live.waitForJob({ visibility, jobId, known: seen, isEnough }, signal)
    if (signal.aborted && state && needsNothing(state)) return state
    const answer = await read()
    if (signal.aborted || isEnough(answer)) return answer
    seen = answer.revision
    await pause(DISAGREEMENT_PAUSE_MS, undefined, { signal }).catch(() => undefined)
  }
}

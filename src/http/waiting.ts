import { setMaxListeners } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { scopeOf, visibilityOf, type Identity } from '../jobs/identity.ts'
import type { JobState, Live } from '../live/live.ts'
import { refuseExpired } from './identity.ts'
import type { Hold } from './limits/held.ts'
import type { SharedRead } from './shared-reads.ts'

/** Longer than most proxies let a request be silent would be of no use. */
export const MAX_WAIT_SECONDS = 60

/** So that a job of which two reads tell different things cannot become a busy loop. */
const DISAGREEMENT_PAUSE_MS = 100

/** N of `Prefer: wait=N` (RFC 7240, section 4.3), at most 60; null where there is none, or none that can be understood. */
export const preferredWaitSeconds = (prefer: string | string[] | undefined): number | null => {
  const preferences = typeof prefer === 'string' ? prefer.split(/[,;]/) : []
  for (const preference of preferences) {
    const [, digits] = /^\s*wait\s*=\s*"?(\d+)"?\s*$/i.exec(preference) ?? []
    if (digits !== undefined) return Math.min(Number(digits), MAX_WAIT_SECONDS)
  }
  return null
}

/**
 * Calls `leave` when the client goes, at once if it has gone; answers what ends the watch. By the connection and not by the
 * answer: behind another one that has not ended, an answer never hears that its client left.
 */
export const watchClient = ({ socket }: IncomingMessage, leave: () => void): (() => void) => {
  // Each request of a pipeline watches it.
  setMaxListeners(0, socket)
  socket.once('close', leave)
  if (socket.destroyed) leave()
  return () => socket.off('close', leave)
}

/** What waiting takes, the same for whoever waits. */
export interface WaitParts {
  live: Pick<Live, 'waitForJob'>
  /** Aborts when the service shuts down: a wait then ends with what is known. */
  closing: AbortSignal
  /** Waits are answers that are held, and counted as such. */
  hold: Hold
  sharedRead: SharedRead
}

/**
 * Reads what one caller sees of one job, once for all who see the same and ask for it in the same `shape`. `read` gets an
 * identity that sees as much and whose calls are shared: a read that many share waits behind no other calls of the one who asked
 * first, and is not refused for them.
 */
export const readShared = <Result>(
  sharedRead: SharedRead,
  identity: Identity,
  { shape, jobId }: { shape: string; jobId: string },
  read: (identity: Identity) => Promise<Result>,
): Promise<Result> => {
  const key = JSON.stringify([shape, jobId, visibilityOf(scopeOf(identity))])
  return sharedRead(key, () => read({ ...identity, userId: null, isShared: true }))
}

/** For how many of `seconds` a caller may wait: not past the end of its token. Raises `unauthenticated` where it has ended. */
export const patienceMs = (identity: Identity, seconds: number): number => {
  refuseExpired(identity)
  const { expiresAtMs } = identity
  return Math.min(seconds * 1000, expiresAtMs === null ? Infinity : expiresAtMs - Date.now())
}

/**
 * Holds a request for at most `ms`, while `use` runs: its signal aborts when the time is up, when the caller leaves (`watch`
 * calls its argument then) and when the service shuts down. Raises `too_many_streams` where too many are held. However it
 * ends, nothing stays registered.
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
  /** The newest revision that the caller says it has; -1: none. */
  known: number
  isEnough: (state: JobStateOfAnswer) => boolean
  /** Reads the answer. Shared, where others want the same. */
  read: () => Promise<Answer>
  /** Whether a caller whose time is up needs no answer of the job: it has it already. */
  needsNothing: (state: JobStateOfAnswer) => boolean
}

export type JobStateOfAnswer = Pick<JobState, 'id' | 'revision' | 'finished'>

/**
 * Waits until a job is enough, and reads it then: what is held meanwhile is its revision, not its document. When `signal` aborts,
 * it answers with the job as it is then, or only with its state where the caller needs no more.
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

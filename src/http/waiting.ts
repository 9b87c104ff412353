import { setMaxListeners } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Live } from '../live/live.ts'
import type { Hold } from './limits/held.ts'

/** Longer than most proxies let a request be silent would be of no use. */
export const MAX_WAIT_SECONDS = 60

/** So that a wake-up that brought nothing new (the listener reconnects, say) cannot become a busy loop. */
const EMPTY_WAKE_PAUSE_MS = 100

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

export interface Versioned {
  id: string
  revision: number
}

export interface Wait<Document extends Versioned> {
  /** Aborts when the service shuts down: a wait then ends with what is known. */
  closing: AbortSignal
  hold: Hold
  jobId: string
  read: () => Promise<Document>
  isEnough: (document: Document) => boolean
}

/**
 * Waits once, from before the document is read again: a change between the two is not slept through. Answers what was read
 * last. However it ends, nothing stays registered.
 */
const readAfterChange = async <Document extends Versioned>(
  live: Pick<Live, 'waitForChange'>,
  { jobId, read, isEnough }: Wait<Document>,
  known: number,
  signal: AbortSignal,
): Promise<Document> => {
  const round = new AbortController()
  const stop = () => round.abort()
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  try {
    const changed = live.waitForChange(jobId, known, round.signal).catch(() => false)
    const document = await read()
    if (isEnough(document) || document.revision !== known || !(await changed)) return document
    const woken = await read()
    if (woken.revision === known) await pause(EMPTY_WAKE_PAUSE_MS, undefined, { signal }).catch(() => undefined)
    return woken
  } finally {
    signal.removeEventListener('abort', stop)
    stop()
  }
}

/** Reads until `isEnough`, or until `signal` aborts: then the last that was read. */
export const readUntil = async <Document extends Versioned>(
  live: Pick<Live, 'waitForChange'>,
  wait: Wait<Document>,
  signal: AbortSignal,
): Promise<Document> => {
  let document = await wait.read()
  while (!wait.isEnough(document)) {
    document = await readAfterChange(live, wait, document.revision, signal)
    if (signal.aborted) return document
  }
  return document
}

/**
 * Holds the request for as long as its `Prefer: wait` says, until the document is enough; without one it just reads.
 * Ends early when the client leaves and when the service shuts down. Raises `too_many_streams` where too many are held.
 */
export const readWithWait = async <Document extends Versioned>(
  live: Pick<Live, 'waitForChange'>,
  request: FastifyRequest,
  reply: FastifyReply,
  wait: Wait<Document>,
): Promise<Document> => {
  const seconds = preferredWaitSeconds(request.headers.prefer)
  if (seconds === null) return wait.read()
  const release = wait.hold(request.identity.caller)
  reply.header('preference-applied', `wait=${seconds}`)
  const end = new AbortController()
  const stop = () => end.abort()
  const timer = setTimeout(stop, wait.closing.aborted ? 0 : seconds * 1000)
  const unwatch = watchClient(request.raw, stop)
  wait.closing.addEventListener('abort', stop)
  try {
    return await readUntil(live, wait, end.signal)
  } finally {
    release()
    clearTimeout(timer)
    unwatch()
    wait.closing.removeEventListener('abort', stop)
    stop()
  }
}

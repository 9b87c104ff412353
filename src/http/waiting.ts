import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Live } from '../live/live.ts'

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

interface Versioned {
  id: string
  revision: number
}

export interface Wait<Document extends Versioned> {
  /** Aborts when the service shuts down: a wait then ends with what is known. */
  closing: AbortSignal
  jobId: string
  read: () => Promise<Document>
  isEnough: (document: Document) => boolean
}

/**
 * Reads until `isEnough`, or until `signal` aborts: then the last that was read.
 * Registers first and reads second, so that a change between the two is not slept through.
 */
const readUntil = async <Document extends Versioned>(
  live: Pick<Live, 'waitForChange'>,
  { jobId, read, isEnough }: Wait<Document>,
  signal: AbortSignal,
): Promise<Document> => {
  let document = await read()
  while (!isEnough(document)) {
    const known = document.revision
    const changed = live.waitForChange(jobId, known, signal).catch(() => false)
    document = await read()
    if (isEnough(document)) return document
    if (document.revision !== known) continue
    if (!(await changed)) return document
    document = await read()
    if (document.revision === known) await pause(EMPTY_WAKE_PAUSE_MS, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return document
  }
  return document
}

/**
 * Holds the request for as long as its `Prefer: wait` says, until the document is enough; without one it just reads.
 * Ends early when the client leaves and when the service shuts down.
 */
export const readWithWait = async <Document extends Versioned>(
  live: Pick<Live, 'waitForChange'>,
  request: FastifyRequest,
  reply: FastifyReply,
  wait: Wait<Document>,
): Promise<Document> => {
  const seconds = preferredWaitSeconds(request.headers.prefer)
  if (seconds === null) return wait.read()
  reply.header('preference-applied', `wait=${seconds}`)
  const end = new AbortController()
  const stop = () => end.abort()
  const timer = setTimeout(stop, wait.closing.aborted ? 0 : seconds * 1000)
  reply.raw.once('close', stop)
  wait.closing.addEventListener('abort', stop)
  try {
    return await readUntil(live, wait, end.signal)
  } finally {
    clearTimeout(timer)
    reply.raw.off('close', stop)
    wait.closing.removeEventListener('abort', stop)
    // Takes back the registrations that are still open.
    stop()
  }
}

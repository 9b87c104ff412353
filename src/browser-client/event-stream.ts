import { HEADER } from '../contract/http.ts'
import { HeadwayProblem, readProblem, unexpectedAnswer, unreachable } from './problem.ts'
import type { Requests } from './requests.ts'
import { EventParser } from './sse.ts'
import type { StreamEvent } from './sse.ts'

/** Used if `x-keepalive-seconds` is missing. */
const KEEP_ALIVE_MS = 15_000
/** A connection that is silent for so many keep-alives is dead. */
const SILENT_KEEP_ALIVES = 2.5
/** A stream begins with a snapshot. If none arrives within this time, a proxy holds the stream back. */
const FIRST_BYTE_MS = 10_000
export const CHECK_MS = 500

/** How a stream ended. */
export type StreamEnd =
  /** Refused before it began. */
  | { kind: 'refused'; problem: HeadwayProblem }
  /** Closed by the service, cut by the network, or silent for too long. `asked`: the service's last message was a `retry:`. */
  | { kind: 'lost'; silent: boolean; asked: boolean; problem: HeadwayProblem }

export interface EventStreamOptions {
  requests: Requests
  path: string
  lastEventId: string | null
  signal: AbortSignal
  /** Called with all events of a chunk together. */
  onEvents: (events: StreamEvent[]) => void
  onRetry: (retryMs: number) => void
  /** Called for each chunk, keep-alives included, before it is parsed. */
  onBytes?: () => void
  firstByteMs?: number
  now?: () => number
  /** Calls `check` repeatedly until stopped. By default it uses a timer, which fires once a minute in a hidden page. */
  watch?: (check: () => void) => () => void
}

const watchByTimer = (check: () => void): (() => void) => {
  const timer = setInterval(check, CHECK_MS)
  return () => clearInterval(timer)
}

const silence = (): HeadwayProblem =>
  new HeadwayProblem({
    status: 0,
    code: 'stream_silent',
    title: 'The stream is silent',
    detail: 'Nothing arrives on the stream: something between here and Headway holds it back.',
  })

const closed = (): HeadwayProblem =>
  new HeadwayProblem({ status: 0, code: 'stream_closed', title: 'The stream ended', detail: 'The stream has ended.' })

/**
 * Reads the events of a response until it ends. Answers whether the last chunk was a `retry:` without events, which the service
 * sends when it shuts down.
 */
const readEvents = async (
  body: ReadableStream<Uint8Array>,
  { onEvents, onRetry, onBytes }: Required<Pick<EventStreamOptions, 'onEvents' | 'onRetry' | 'onBytes'>>,
): Promise<boolean> => {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const parser = new EventParser()
  let asked = false
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return asked
    onBytes()
    const events = parser.push(decoder.decode(value, { stream: true }))
    const retryMs = parser.takeRetry()
    asked = retryMs !== null && events.length === 0
    if (retryMs !== null) onRetry(retryMs)
    if (events.length > 0) onEvents(events)
  }
}

/** Opens a stream and reads it until it ends in any way. Never raises. */
export const readEventStream = async (options: EventStreamOptions): Promise<StreamEnd> => {
  const { requests, path, lastEventId, signal, firstByteMs = FIRST_BYTE_MS, now = Date.now } = options
  const { watch = watchByTimer } = options
  const attempt = new AbortController()
  const abort = () => attempt.abort()
  signal.addEventListener('abort', abort)
  if (signal.aborted) abort()

  let silent = false
  let patienceMs = firstByteMs
  let heardAt = now()
  // Compares times instead of using one timer: after the machine has slept, the connection is dead and the timers are late.
  const stopWatching = watch(() => {
    if (now() - heardAt < patienceMs) return
    silent = true
    abort()
  })

  try {
    const headers = { accept: 'text/event-stream', ...(lastEventId !== null && { [HEADER.lastEventId]: lastEventId }) }
    const { response } = await requests.send(path, { headers, signal: attempt.signal })
    if (!response.ok) return { kind: 'refused', problem: await readProblem(response) }
    const { body } = response
    if (!body || !response.headers.get('content-type')?.startsWith('text/event-stream')) {
      await body?.cancel()
      return { kind: 'refused', problem: unexpectedAnswer(response.status) }
    }
    const keepAliveSeconds = Number(response.headers.get('x-keepalive-seconds'))
    const keepAliveMs = keepAliveSeconds > 0 ? keepAliveSeconds * 1000 : KEEP_ALIVE_MS
    const onBytes = () => {
      heardAt = now()
      patienceMs = keepAliveMs * SILENT_KEEP_ALIVES
      options.onBytes?.()
    }
    const asked = await readEvents(body, { ...options, onBytes })
    return { kind: 'lost', silent: false, asked, problem: closed() }
  } catch (error) {
    const problem = attempt.signal.aborted ? silence() : error instanceof HeadwayProblem ? error : unreachable(error)
    return { kind: 'lost', silent, asked: false, problem }
  } finally {
    stopWatching()
    signal.removeEventListener('abort', abort)
    abort()
  }
}

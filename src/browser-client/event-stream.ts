import { HEADER } from '../contract/http.ts'
import { HeadwayProblem, readProblem, unexpectedAnswer, unreachable } from './problem.ts'
import type { Requests } from './requests.ts'
import { EventParser } from './sse.ts'
import type { StreamEvent } from './sse.ts'

/** Until the service says otherwise in `x-keepalive-seconds`. */
const KEEP_ALIVE_MS = 15_000
/** Silence for more keep-alives than that is the silence of a dead connection. */
const SILENT_KEEP_ALIVES = 2.5
/** A stream begins with a snapshot: where none comes, something on the way holds it back. */
const FIRST_BYTE_MS = 10_000
export const CHECK_MS = 500

/** How a stream ended. */
export type StreamEnd =
  /** Refused before it began. */
  | { kind: 'refused'; problem: HeadwayProblem }
  /** Closed by the service, cut on the way, or silent for too long. `asked`: it asked to stay away for a while at its end. */
  | { kind: 'lost'; silent: boolean; asked: boolean; problem: HeadwayProblem }

export interface EventStreamOptions {
  requests: Requests
  path: string
  lastEventId: string | null
  signal: AbortSignal
  /** Called with all the events of one piece that arrived. */
  onEvents: (events: StreamEvent[]) => void
  onRetry: (retryMs: number) => void
  /** Called with whatever arrives, keep-alives as well, before it is read. */
  onBytes?: () => void
  firstByteMs?: number
  now?: () => number
  /** Calls `check` now and then until stopped; by default with a timer, which a hidden page has once a minute. */
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

/** Reads what a response streams until it ends. Answers whether `retry:` came in the last piece, as a service says that leaves. */
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

/** Opens a stream and reads it until it ends in whatever way. Never raises. */
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
  // By the clock, and not one timer for the whole time: after a sleep the connection is dead, and timers have slept as well.
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

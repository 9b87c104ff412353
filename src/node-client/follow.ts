import { HEADER } from '../contract/http.ts'
import type { IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { WireJob } from '../contract/live-job.ts'
import { backoffMs, RefusedError, errorOfAnswer, type Client } from './client.ts'
import { exchange, readText } from './exchange.ts'

interface Event {
  event: string
  id: string
  data: WireJob & { jobs?: WireJob[] }
}

export interface Follower {
  onJob(job: WireJob): void
  /** Called after all jobs of a connection's snapshot have been passed to `onJob`. */
  onSnapshot?(jobs: readonly WireJob[]): void
  /** True: the stream is open. False: it was lost and is being opened again. */
  onConnection(open: boolean): void
}

/** A stream that is silent for so long is dead: the service writes something every LIVE_KEEPALIVE_SECONDS (15). */
const SILENCE_MS = 60_000

/** The lines of a stream. Keep-alives are empty lines, and are left out. */
async function* linesOf(answer: IncomingMessage): AsyncGenerator<string> {
  let rest = ''
  answer.setEncoding('utf8')
  for await (const text of answer as AsyncIterable<string>) {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    yield* lines.filter(line => line !== '')
  }
}

const open = async (client: Client, query: URLSearchParams, lastEventId: string | null, signal: AbortSignal) => {
  const { url, headers } = await client.address(`/stream?${query.toString()}`)
  const position = lastEventId === null ? {} : { [HEADER.lastEventId]: lastEventId }
  const all = { accept: 'application/x-ndjson', ...headers, ...position }
  const answer = await exchange(url, { method: 'GET', headers: all, signal, silenceMs: SILENCE_MS })
  if (answer.statusCode === 200) return answer
  throw errorOfAnswer(answer.statusCode ?? 0, await readText(answer), answer.headers['retry-after'])
}

/**
 * Follows the jobs that `query` names by their NDJSON stream until `signal` aborts, and connects again whenever the stream is
 * lost. Raises `RefusedError` when the service refuses this caller.
 */
export const follow = async (
  client: Client,
  query: URLSearchParams,
  follower: Follower,
  signal: AbortSignal,
): Promise<void> => {
  let lastEventId: string | null = null
  for (let failures = 1; ; failures++) {
    try {
      const answer = await open(client, query, lastEventId, signal)
      follower.onConnection(true)
      for await (const line of linesOf(answer)) {
        const { id, data } = JSON.parse(line) as Event
        failures = 0
        lastEventId = id
        for (const job of data.jobs ?? [data]) follower.onJob(job)
        if (data.jobs) follower.onSnapshot?.(data.jobs)
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof RefusedError) throw error
    }
    if (signal.aborted) return
    // Every connection begins with a snapshot, which includes all changes since the last connection.
    follower.onConnection(false)
    await pause(backoffMs(Math.max(failures, 1)), undefined, { signal }).catch(() => undefined)
  }
}

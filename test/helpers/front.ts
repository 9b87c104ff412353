import { once } from 'node:events'
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'

/** What happens to streams on their way: `pass`; `swallow` (200 in no time, and then nothing); `hold` (the first bytes, and then nothing). */
export type StreamFate = 'pass' | 'swallow' | 'hold'

/** The answer in place of the service's. */
export interface OwnAnswer {
  status: number
  headers?: Record<string, string>
  body?: string
}

export interface SeenRequest {
  method: string
  path: string
  headers: IncomingMessage['headers']
}

/** A proxy between browsers and a service. It can hold bytes back, and keeps its address when the service changes. */
export interface Front {
  url: string
  fate: StreamFate
  /** Answers in place of the service where it gives an answer. */
  instead: (path: string) => OwnAnswer | null
  /** Where the service is; null: nowhere, connections are closed. */
  target: string | null
  /** The streams that are open. */
  readonly openStreams: number
  readonly seen: SeenRequest[]
  /** Ends all open connections. */
  cut(): void
}

/** The streams that were asked for; not the preflights of them. */
export const streamsSeen = ({ seen }: Front): SeenRequest[] =>
  seen.filter(({ method, path }) => method === 'GET' && path.startsWith('/api/progress/stream'))

/** Answers streams, and nothing else, in place of the service. */
export const insteadOfStreams =
  (answer: OwnAnswer): Front['instead'] =>
  path =>
    path.startsWith('/api/progress/stream') ? answer : null

/** `prefix`: the path below which browsers find the service. Any other path is answered 404. */
export const startFront = async (t: Test, service: string | null, { prefix = '' } = {}): Promise<Front> => {
  const streams = new Set<ServerResponse>()
  const open = new Set<ServerResponse>()

  const answer = (incoming: IncomingMessage, response: ServerResponse, upstream: IncomingMessage): void => {
    const isStream = upstream.headers['content-type']?.startsWith('text/event-stream') ?? false
    response.writeHead(upstream.statusCode ?? 502, upstream.headers)
    if (!isStream) {
      upstream.pipe(response)
      return
    }
    streams.add(response)
    incoming.once('close', () => streams.delete(response))
    response.flushHeaders()
    let passed = 0
    upstream.on('data', (chunk: Buffer) => {
      if (front.fate === 'swallow' || (front.fate === 'hold' && passed > 0)) return
      // `retry:` comes before the snapshot, by itself.
      if (!chunk.toString().startsWith('retry:') || chunk.includes('snapshot')) passed++
      response.write(chunk)
    })
    upstream.once('end', () => response.end())
    upstream.once('error', () => response.destroy())
  }

  const server = createServer((incoming, response) => {
    const asked = incoming.url ?? ''
    const path = asked.slice(prefix.length)
    front.seen.push({ method: incoming.method ?? '', path, headers: incoming.headers })
    if (front.target === null) {
      incoming.socket.destroy()
      return
    }
    if (!asked.startsWith(`${prefix}/`)) {
      response.writeHead(404).end()
      return
    }
    const own = front.instead(path)
    if (own) {
      response.writeHead(own.status, own.headers).end(own.body)
      return
    }
    open.add(response)
    const outgoing = request(front.target + path, { method: incoming.method, headers: incoming.headers })
    response.once('close', () => {
      open.delete(response)
      streams.delete(response)
      outgoing.destroy()
    })
    outgoing.once('response', upstream => answer(incoming, response, upstream))
    outgoing.once('error', () => response.destroy())
    incoming.pipe(outgoing)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  const front: Front = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    fate: 'pass',
    instead: () => null,
    target: service,
    seen: [],
    get openStreams() {
      return streams.size
    },
    cut: () => {
      for (const response of open) response.destroy()
    },
  }
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return front
}

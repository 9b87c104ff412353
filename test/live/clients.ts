import { once } from 'node:events'
import { createServer, get, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import type { Test } from 'tap'
import { createLive, type LiveOptions, type LiveStation, type StreamRequest } from '../../src/live/live.ts'
import { LoopTurns } from '../../src/turns/loop-turns.ts'
import { filter, type World } from './world.ts'

export const silentLog = { info: () => undefined, warn: () => undefined, error: () => undefined }

export interface StreamEvent {
  event: string
  id: string
  data: {
    id: string
    status: string
    revision: number
    jobs: { id: string; status: string; revision: number }[]
    truncated?: true
  }
}

export const request = (over: Partial<StreamRequest> = {}): StreamRequest => ({
  filter: filter(),
  format: 'sse',
  lastEventId: null,
  untilFinishedJobId: null,
  caller: null,
  expiresAtMs: null,
  ...over,
})

/** A live station with short intervals, behind a server that gives every connection the stream of `next`. */
export async function createStation(t: Test, world: World, over: Partial<LiveOptions> = {}) {
  const live: LiveStation = createLive({
    source: world,
    connectListener: world.connectListener,
    intervalMs: 40,
    keepaliveSeconds: 15,
    maxStreams: 20_000,
    maxStreamsPerCaller: 2_000,
    loopTurns: new LoopTurns(),
    log: silentLog,
    ...over,
  })
  live.start()
  const failures: unknown[] = []
  const server = createServer((incoming, response) => {
    const wanted = request(
      JSON.parse(decodeURIComponent((incoming.url ?? '/').slice(1) || '{}')) as Partial<StreamRequest>,
    )
    live.open(wanted).then(
      stream => {
        response.writeHead(stream.alreadySeen ? 204 : 200, { 'content-type': 'text/event-stream' })
        if (stream.alreadySeen) {
          stream.abandon()
          response.end()
          return
        }
        response.flushHeaders()
        stream.start(response)
      },
      (error: unknown) => {
        failures.push(error)
        response.writeHead(503).end()
      },
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  t.teardown(async () => {
    await live.close()
    server.closeAllConnections()
    server.close()
  })
  return {
    live,
    port,
    failures: () => failures.splice(0),
    open: (over: Partial<StreamRequest> = {}) => Reader.open(port, over),
  }
}

const path = (over: Partial<StreamRequest>) => `/${encodeURIComponent(JSON.stringify(over))}`

/** A client that reads everything and remembers it. */
export class Reader {
  readonly events: StreamEvent[] = []
  readonly response: IncomingMessage
  raw = ''
  ended = false
  readonly #waiting = new Set<() => void>()
  #rest = ''

  static async open(port: number, over: Partial<StreamRequest>): Promise<Reader> {
    const outgoing = get({ port, host: '127.0.0.1', path: path(over), agent: false })
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage]
    return new Reader(response, over.format ?? 'sse')
  }

  constructor(response: IncomingMessage, format: StreamRequest['format']) {
    this.response = response
    response.setEncoding('utf8')
    response.on('data', (text: string) => {
      this.raw += text
      const parts = (this.#rest + text).split(format === 'sse' ? '\n\n' : '\n')
      this.#rest = parts.pop() ?? ''
      for (const part of parts) this.#take(part)
      this.#wake()
    })
    response.on('error', () => undefined)
    response.on('close', () => {
      this.ended = true
      this.#wake()
    })
  }

  #take(part: string) {
    if (part.startsWith('{')) this.events.push(JSON.parse(part) as StreamEvent)
    const fields = /^id: (.*)\nevent: (.*)\ndata: (.*)$/.exec(part)
    if (fields)
      this.events.push({ id: fields[1]!, event: fields[2]!, data: JSON.parse(fields[3]!) as StreamEvent['data'] })
  }

  #wake() {
    for (const check of [...this.#waiting]) check()
  }

  /** Waits until `condition` holds for the received events. */
  until<T>(condition: (reader: this) => T): Promise<NonNullable<T>> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(check)
        reject(new Error(`Never so: ${condition.toString()}; received ${this.raw.slice(-500)}`))
      }, 5_000)
      const check = () => {
        const result = condition(this)
        if (!result) return
        clearTimeout(timer)
        this.#waiting.delete(check)
        resolve(result)
      }
      this.#waiting.add(check)
      check()
    })
  }

  event(name: string): Promise<StreamEvent> {
    return this.until(({ events }) => events.find(({ event }) => event === name))
  }

  revision(id: string, revision: number): Promise<StreamEvent> {
    return this.until(({ events }) => events.find(({ data }) => data.id === id && data.revision === revision))
  }

  close() {
    this.response.destroy()
  }
}

/** A client that sends its request and never reads the answer. */
export async function openDeafReader(port: number, over: Partial<StreamRequest> = {}): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  socket.pause()
  socket.on('error', () => undefined)
  socket.write(`GET ${path(over)} HTTP/1.1\r\nHost: x\r\n\r\n`)
  return socket
}

import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import type { Test } from 'tap'

export interface Received {
  /** `POST /jobs`, `POST heartbeat`, … */
  call: string
  body: Record<string, unknown>
  headers: IncomingMessage['headers']
  atMs: number
}

/** Answers a call: with a status and JSON, with anything by itself (null), or not at all for as long as the promise takes. */
export type Answer = { status?: number; body?: unknown; headers?: Record<string, string> } | null
export type Script = (received: Received, response: ServerResponse) => Answer | Promise<Answer>

const JOB_ID = '0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55'

export const heartbeatAnswer = (over: Record<string, unknown> = {}) => ({
  jobId: JOB_ID,
  workerId: 'default',
  status: 'running',
  cancelRequested: false,
  progressPercent: 0,
  revision: 1,
  applied: true,
  heartbeatIntervalMs: 5000,
  durable: true,
  ...over,
})

/** The answer of a service that accepts the call. */
export const goodAnswer: Script = ({ call }) =>
  call === 'POST heartbeat'
    ? { body: heartbeatAnswer() }
    : { status: call === 'POST /jobs' ? 201 : 200, body: { id: JOB_ID, attempt: 1 } }

/** A server that gives the answers of a test and remembers its requests. */
export class FakeService {
  readonly received: Received[] = []
  script: Script = goodAnswer
  readonly #server: Server
  #port = 0

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  /** The bodies of one kind of call. */
  bodies(call: string): Record<string, unknown>[] {
    return this.received.filter(each => each.call === call).map(({ body }) => body)
  }

  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined)
    const [last = ''] = (request.url ?? '').split('/').slice(-1)
    const body = (await json(request).catch(() => ({}))) as Record<string, unknown>
    const call = `${request.method} ${request.url === '/api/progress/jobs' ? '/jobs' : last}`
    const received = { call, body, headers: request.headers, atMs: performance.now() }
    this.received.push(received)
    const answer = await this.script(received, response)
    if (!answer || response.destroyed) return
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers })
    response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body ?? {}))
  }
}

export const startFakeService = async (t: Test): Promise<FakeService> => {
  const service = new FakeService()
  await service.listen()
  t.teardown(() => service.close())
  return service
}

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import type { Test } from 'tap'
import { waitFor } from './wait.ts'

export interface Message {
  type: string
  timestamp: string
  data: {
    id: string
    status: string
    revision: number
    progressPercent: number
    meta: object
    [field: string]: unknown
  }
}

export interface Received {
  path: string
  headers: IncomingHttpHeaders
  /** As it came. */
  text: string
  body: Message
}

/** A receiver of webhooks on a real socket. It gives the answers of a test, and 204 by default. */
export class Receiver {
  readonly url: string
  readonly received: Received[] = []
  answer: (response: ServerResponse, request: Received) => void = response => response.writeHead(204).end()

  constructor(url: string) {
    this.url = url
  }

  /** Answers every request so. */
  answerWith(status: number, headers: Record<string, string> = {}): void {
    this.answer = response => response.writeHead(status, headers).end()
  }

  get types(): string[] {
    return this.received.map(({ body }) => body.type.replace('progress.job.', ''))
  }

  async count(number: number, timeoutMs = 8_000): Promise<Received[]> {
    await waitFor(() => this.received.length >= number, { timeoutMs }).catch((error: unknown) => {
      throw new Error(`Only ${this.types.join(', ')} of ${number}`, { cause: error })
    })
    return this.received
  }
}

export const startReceiver = async (t: Test): Promise<Receiver> => {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString()
      const received = { path: request.url ?? '', headers: request.headers, text, body: JSON.parse(text) as Message }
      receiver.received.push(received)
      receiver.answer(response, received)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const receiver = new Receiver(`http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`)
  return receiver
}

/** As a receiver checks it, by the library: raises where the signature is not good. */
export const verify = (secret: string | null, { text, headers }: Received): Message =>
  new Webhook(secret ?? '').verify(text, headers as Record<string, string>) as Message

import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'

/** A call of a platform, as it was understood. */
export interface PlatformCall {
  what: 'post' | 'edit' | 'read'
  atMs: number
  /** The name of the message; null: it was not taken. */
  message: string | null
  status: number
}

export interface PlatformMessage {
  id: string
  /** All that the platform shows of it, as one text. */
  text: string
  isDeleted: boolean
  edits: number
  /** All that it has ever shown. */
  texts: string[]
}

export interface PlatformRequest {
  method: string
  url: URL
  headers: IncomingMessage['headers']
  body: Record<string, unknown>
}

export interface PlatformAnswer {
  status: number
  body: object
  headers?: Record<string, string>
}

/** A wrong call: the server answers as the platform does, and the test fails, because the service must never make such a call. */
export class Misuse extends Error {
  override readonly name = 'Misuse'
}

/** Raises `Misuse` for a field that the method does not have, or that it lacks. */
export const checkFields = (body: object, required: readonly string[], optional: readonly string[] = []): void => {
  for (const name of Object.keys(body)) {
    if (!required.includes(name) && !optional.includes(name)) throw new Misuse(`unknown field ${name}`)
  }
  for (const name of required) if (!(name in body)) throw new Misuse(`${name} is missing`)
}

/** A server that follows the published behaviour of a platform, and refuses whatever the platform refuses. */
export abstract class Platform {
  readonly calls: PlatformCall[] = []
  readonly messages = new Map<string, PlatformMessage>()
  readonly misuses: string[] = []
  /** Answers for the next calls in place of the platform's own. null: the call is never answered. */
  readonly faults: (PlatformAnswer | null)[] = []
  isRevoked = false
  /** Calls that the platform takes within a time. */
  limit: { calls: number; ms: number } = { calls: Infinity, ms: 1 }
  limited = 0
  /** How long the platform thinks before it answers. */
  delayMs = 0
  /** The most calls that were in flight at the same time. */
  mostInFlight = 0
  #inFlight = 0
  readonly #server: Server
  #port = 0
  protected nextId = 1

  constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response))
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  async listen(): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
    return this
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
  }

  /** Messages that nobody has deleted. */
  get shown(): PlatformMessage[] {
    return [...this.messages.values()].filter(({ isDeleted }) => !isDeleted)
  }

  get posts(): number {
    return this.calls.filter(({ what, status }) => what === 'post' && status === 200).length
  }

  get edits(): number {
    return this.calls.filter(({ what, status }) => what === 'edit' && status === 200).length
  }

  delete(): void {
    for (const message of this.messages.values()) message.isDeleted = true
  }

  /** The answer to a limited call; `seconds` are whole. */
  abstract limitedAnswer(seconds: number): PlatformAnswer
  abstract revokedAnswer(): PlatformAnswer
  protected abstract misuseAnswer(error: Misuse): PlatformAnswer
  protected abstract whatOf(request: PlatformRequest): PlatformCall['what']
  /** Answers a call, and names the message that it was about. */
  protected abstract take(request: PlatformRequest): { answer: PlatformAnswer; message: string | null }

  protected store(id: string, text: string): void {
    this.messages.set(id, { id, text, isDeleted: false, edits: 0, texts: [text] })
  }

  protected change(message: PlatformMessage, text: string): void {
    message.text = text
    message.texts.push(text)
    message.edits += 1
  }

  #isOverLimit(atMs: number): boolean {
    const recent = this.calls.filter(
      call => call.what !== 'read' && call.status !== 429 && call.atMs > atMs - this.limit.ms,
    )
    return recent.length >= this.limit.calls
  }

  #decide(request: PlatformRequest, what: PlatformCall['what'], atMs: number) {
    try {
      if (this.isRevoked) return { answer: this.revokedAnswer(), message: null }
      if (what !== 'read') {
        const fault = this.faults.shift()
        if (fault !== undefined) return { answer: fault, message: null }
        if (this.#isOverLimit(atMs)) {
          this.limited += 1
          return { answer: this.limitedAnswer(1), message: null }
        }
      }
      return this.take(request)
    } catch (error) {
      if (!(error instanceof Misuse)) throw error
      this.misuses.push(error.message)
      return { answer: this.misuseAnswer(error), message: null }
    }
  }

  async #answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => undefined)
    const request: PlatformRequest = {
      method: incoming.method ?? '',
      url: new URL(incoming.url ?? '', this.origin),
      headers: incoming.headers,
      body: incoming.method === 'GET' ? {} : ((await json(incoming)) as Record<string, unknown>),
    }
    const what = this.whatOf(request)
    this.#inFlight += 1
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight)
    if (this.delayMs > 0) await delay(this.delayMs)
    this.#inFlight -= 1
    const atMs = performance.now()
    const { answer, message } = this.#decide(request, what, atMs)
    if (answer === null) {
      this.calls.push({ what, atMs, message, status: 0 })
      return
    }
    this.calls.push({ what, atMs, message, status: answer.status })
    response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers })
    response.end(JSON.stringify(answer.body))
  }
}

import { connect, type Socket } from 'node:net'

export interface Answer {
  status: number
  headers: Record<string, string>
  body: Buffer
  /** The answer has not ended: its beginning is in `body`. */
  endless: boolean
}

const ANSWER_WITHIN_MS = 15_000

const HEAD_END = Buffer.from('\r\n\r\n')

const readHead = (head: string): Pick<Answer, 'status' | 'headers'> => {
  const [first = '', ...lines] = head.split('\r\n')
  const fields = lines.map(line => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
  })
  return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1]), headers: Object.fromEntries(fields) }
}

/** The answer at the beginning of `bytes`, as soon as it is whole. Streams are whole once they have sent something. */
const readAnswer = (bytes: Buffer, method: string): Answer | null => {
  const end = bytes.indexOf(HEAD_END)
  if (end === -1) return null
  const { status, headers } = readHead(bytes.subarray(0, end).toString('latin1'))
  const rest = bytes.subarray(end + HEAD_END.length)
  // After 100 Continue the answer follows.
  if (status === 100) return readAnswer(rest, method)
  if (method === 'HEAD' || status === 204 || status === 304) {
    return { status, headers, body: Buffer.alloc(0), endless: false }
  }
  const length = headers['content-length']
  if (length === undefined) {
    // Of a stream the beginning is enough. HTTP/1.0 knows no chunks.
    const begin = headers['transfer-encoding'] === 'chunked' ? rest.indexOf('\r\n') + 2 : 0
    if (begin === 1 || rest.length < begin + 2) return null
    return { status, headers, body: rest.subarray(begin), endless: true }
  }
  return rest.length < Number(length)
    ? null
    : { status, headers, body: rest.subarray(0, Number(length)), endless: false }
}

/** A keep-alive connection that sends bytes as they are; opened anew when the service has closed it. */
export class Client {
  readonly #port: number
  #socket: Socket | null = null

  constructor(port: number) {
    this.#port = port
  }

  close(): void {
    this.#socket?.destroy()
    this.#socket = null
  }

  /** Sends a request and gives its answer. `fresh`: on a connection of its own, closed afterwards: it may leave anything behind. */
  async send(bytes: Buffer, { method, fresh }: { method: string; fresh: boolean }): Promise<Answer> {
    if (fresh) this.close()
    const socket = (this.#socket ??= connect({ port: this.#port, host: '127.0.0.1', noDelay: true }))
    try {
      const answer = await exchange(socket, bytes, method)
      if (fresh || answer.endless || answer.headers['connection'] === 'close') this.close()
      return answer
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Sends a part of a request and leaves. */
  async leave(bytes: Buffer): Promise<void> {
    const socket = connect(this.#port, '127.0.0.1')
    await new Promise<void>(resolve => {
      socket.once('error', () => resolve())
      socket.once('close', () => resolve())
      socket.write(bytes, () => setTimeout(() => socket.destroy(), 2))
    })
  }
}

const exchange = (socket: Socket, bytes: Buffer, method: string): Promise<Answer> =>
  new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    const settle = (result: Answer | Error) => {
      clearTimeout(timer)
      socket.removeAllListeners('data').removeAllListeners('error').removeAllListeners('close')
      socket.on('error', () => undefined)
      if (result instanceof Error) reject(result)
      else resolve(result)
    }
    const timer = setTimeout(() => settle(new Error(`no answer, but ${received.length} bytes`)), ANSWER_WITHIN_MS)
    socket.on('data', chunk => {
      received = Buffer.concat([received, chunk])
      const answer = readAnswer(received, method)
      if (answer) settle(answer)
    })
    // What a refusal leaves unread may reset the connection after its answer: that came first, then.
    socket.on('error', error => settle(error))
    socket.on('close', () => settle(new Error(`closed after ${received.length} bytes`)))
    socket.write(bytes)
  })

import { request as requestHttp, type IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'

/** Any program may answer at the address: more than this is not read. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024

/** The connection of a request, before the answer. */
export interface Connecting {
  /** Gives the connection up while it is still being made. */
  signal: AbortSignal
  /** Called when the connection has been made and only the answer is missing. */
  onMade: () => void
}

export interface Exchange {
  method: string
  headers: Record<string, string>
  body?: string
  signal?: AbortSignal | undefined
  /**
   * The process may end while this is in flight. Node allows that only once the connection has been made, or `connecting`
   * aborts.
   */
  weak?: boolean
  connecting?: Connecting | undefined
  /** The longest silence while it connects, waits or reads. After that the request fails. */
  silenceMs?: number
}

/**
 * Sends a request, and resolves when the answer begins. Node's fetch is not used, because a fetch in flight keeps the process
 * alive, and a report must not.
 */
export const exchange = (
  url: URL,
  { method, headers, body, signal, weak, connecting, silenceMs }: Exchange,
): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? requestHttps : requestHttp
    const length = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) }
    const outgoing = request(url, { method, headers: { ...headers, ...length }, signal })
    if (silenceMs !== undefined) {
      outgoing.setTimeout(silenceMs, () =>
        outgoing.destroy(new Error(`The service was silent for ${silenceMs / 1000} s.`)),
      )
    }
    const giveUp = (): void => {
      if (outgoing.socket?.connecting !== false) outgoing.destroy(new Error('The connection took too long.'))
    }
    connecting?.signal.addEventListener('abort', giveUp, { once: true })
    // A signal may live longer than its request.
    outgoing.once('close', () => connecting?.signal.removeEventListener('abort', giveUp))
    outgoing.once('socket', socket => {
      if (socket.connecting) socket.once('connect', () => connecting?.onMade())
      else connecting?.onMade()
    })
    outgoing.once('response', resolve)
    outgoing.on('error', reject)
    if (connecting?.signal.aborted) giveUp()
    if (weak) outgoing.once('socket', socket => socket.unref())
    else outgoing.once('socket', socket => socket.ref())
    outgoing.end(body)
  })

/** The whole answer as text. */
export const readText = async (answer: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error('The answer is larger than any answer of Headway.')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

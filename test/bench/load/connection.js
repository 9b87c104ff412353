// An HTTP client on a bare socket: one request at a time, the next one after the answer. autocannon takes twice as much of a
// machine's time (29 µs a request, this 16), and on two cores halves what a fast service seems to do.
import { Buffer } from 'node:buffer'
import { connect } from 'node:net'

const HEADERS_END = Buffer.from('\r\n\r\n')

const parse = (bytes, from) => {
  const end = bytes.indexOf(HEADERS_END, from)
  if (end === -1) return null
  const head = bytes.latin1Slice(from, end)
  const status = Number(head.slice(9, 12))
  const length = /content-length: *(\d+)/i.exec(head)
  if (!length && status !== 204 && status !== 304) throw new Error(`An answer without content-length: ${head}`)
  const body = end + HEADERS_END.length
  return { status, body, end: body + Number(length?.[1] ?? 0) }
}

/** Keeps one connection open; `request` may be called again in `onAnswer`. */
export class Connection {
  #socket
  #onAnswer = null
  #kept = null

  constructor(socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#read(chunk))
    socket.on('error', error => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('The connection was closed')))
  }

  /** `onAnswer(error, status, body)`: `body` is a function that gives its text. */
  request(text, onAnswer) {
    this.#onAnswer = onAnswer
    this.#socket.write(text)
  }

  call(text) {
    return new Promise((resolve, reject) => {
      this.request(text, (error, status, body) => (error ? reject(error) : resolve({ status, text: body() })))
    })
  }

  close() {
    this.#onAnswer = null
    this.#socket.destroy()
  }

  #read(chunk) {
    const bytes = this.#kept === null ? chunk : Buffer.concat([this.#kept, chunk])
    const answer = parse(bytes, 0)
    if (answer === null || answer.end > bytes.length) {
      this.#kept = bytes
      return
    }
    this.#kept = null
    const onAnswer = this.#onAnswer
    this.#onAnswer = null
    onAnswer?.(null, answer.status, () => bytes.toString('utf8', answer.body, answer.end))
  }

  #fail(error) {
    const onAnswer = this.#onAnswer
    this.#onAnswer = null
    onAnswer?.(error)
  }
}

export const openConnection = origin =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(origin)
    const socket = connect(Number(port), hostname)
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(new Connection(socket))
    })
  })

export const openConnections = (origin, count) =>
  Promise.all(Array.from({ length: count }, () => openConnection(origin)))

/** A request as text. Bodies are JSON in ASCII. */
export const format = (origin, method, path, body, headers = '') => {
  const host = origin.slice('http://'.length)
  const content = body === undefined ? '' : `content-type: application/json\r\ncontent-length: ${body.length}\r\n`
  return `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\n${headers}${content}\r\n${body ?? ''}`
}

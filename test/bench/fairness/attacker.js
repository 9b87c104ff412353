// The hostile tokens, in a process of their own. It does not wait where it is told to: `Retry-After` is for others.
import { Buffer } from 'node:buffer'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { serveCalls, workerOptions } from '../environment/processes.js'
import { format, openConnection } from '../load/connection.js'
import { ATTACKS } from './attacks.js'

const options = workerOptions()
const { origin, basePath, running, jobs } = options
const answers = {}
const count = what => (answers[what] = (answers[what] ?? 0) + 1)
let going = true

const textOf = ({ method, path, body, headers = '' }, token) =>
  format(origin, method, basePath + path, body, `authorization: Bearer ${options[token]}\r\n${headers}`)

/** With the revision that it knows, so that an answer is held. */
const conditional = (request, etag) => ({
  ...request,
  headers: `${request.headers}${etag === null ? '' : `if-none-match: ${etag}\r\n`}`,
})

const call = async loop => {
  let connection = await openConnection(origin)
  let etag = null
  for (let turn = 0; going; turn += 1) {
    const request = loop.next({ running, jobs, turn })
    try {
      const text = textOf(request.conditional ? conditional(request, etag) : request, loop.token)
      const { status, text: body } = await connection.call(text)
      count(status)
      if (request.conditional && status === 200) {
        const { id, revision } = JSON.parse(body)
        etag = `W/"${id}.${revision}"`
      }
    } catch {
      count('cut')
      connection.close()
      await delay(100)
      connection = await openConnection(origin)
    }
    if (loop.pauseMs) await delay(loop.pauseMs)
  }
  connection.close()
}

const connectTo = () => {
  const { hostname, port } = new URL(origin)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => undefined)
  return socket
}

/** Opens something that does not end by itself, leaves it open for a while, and begins again. */
const holdOpen = async (loop, begin) => {
  for (let turn = 0; going; turn += 1) {
    const socket = connectTo()
    let status = 'open'
    socket.once('data', chunk => (status = chunk.latin1Slice(9, 12)))
    socket.resume()
    const closed = new Promise(resolve => socket.once('close', resolve))
    begin(socket, loop.next({ running, jobs, turn }))
    await Promise.race([closed, delay((loop.pauseMs ?? 10_000) * (0.5 + Math.random()))])
    count(status)
    socket.destroy()
  }
}

const sendHead = loop => (socket, request) =>
  socket.write(textOf({ ...request, headers: 'accept: text/event-stream\r\n' }, loop.token))

const CHUNK = Buffer.alloc(64 * 1024, ' ')
const sendPart = loop => (socket, request) => {
  const length = loop.unfinished + 32
  const headers = `content-type: application/json\r\ncontent-length: ${length}\r\n`
  socket.write(textOf({ ...request, headers }, loop.token))
  let sent = 0
  const send = () => {
    while (sent < loop.unfinished && socket.writable) {
      const part = CHUNK.subarray(0, Math.min(CHUNK.length, loop.unfinished - sent))
      sent += part.length
      if (!socket.write(part)) {
        socket.once('drain', send)
        return
      }
    }
  }
  send()
}

const begin = loop => {
  if (loop.stream) return holdOpen(loop, sendHead(loop))
  if (loop.unfinished) return holdOpen(loop, sendPart(loop))
  return call(loop)
}

serveCalls({
  ready: () => null,
  begin({ name }) {
    const { loops } = ATTACKS.find(attack => attack.name === name)
    for (const loop of loops) {
      for (let n = 0; n < loop.connections; n += 1) begin(loop).catch(() => count('failed'))
    }
    return null
  },
  end() {
    going = false
    return answers
  },
})

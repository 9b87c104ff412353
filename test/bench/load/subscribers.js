// Readers of event streams. Counting every frame of a thousand readers would cost more than sending them: all bytes are
// counted, and frames by a few readers, from which follows how many bytes a frame has.
import { Buffer } from 'node:buffer'
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { format, openConnections } from './connection.js'

const MARK = Buffer.from('\ndata:')
const COUNTING = 20
const OPENED_AT_ONCE = 100

/** All sockets read into the same memory: what has been counted is not looked at again. */
const scratch = Buffer.allocUnsafe(256 * 1024)

class Reader {
  bytes = 0
  frames = 0
  ended = false
  #rest = Buffer.alloc(0)
  #counts
  #onFrames

  constructor(counts) {
    this.#counts = counts
  }

  /** Calls `listener` whenever frames have come. */
  onFrames(listener) {
    this.#onFrames = listener
  }

  open(origin, path, headers = '') {
    const { hostname, port } = new URL(origin)
    return new Promise((resolve, reject) => {
      this.socket = connect({
        host: hostname,
        port: Number(port),
        onread: { buffer: scratch, callback: length => this.#read(length, resolve) },
      })
      this.socket.once('error', reject)
      this.socket.on('error', () => undefined)
      this.socket.once('close', () => {
        this.ended = true
        reject(new Error('A stream was closed'))
      })
      this.socket.once('connect', () =>
        this.socket.write(format(origin, 'GET', path, undefined, `accept: text/event-stream\r\n${headers}`)),
      )
    })
  }

  #read(length, resolve) {
    if (this.bytes === 0) {
      const head = scratch.latin1Slice(0, Math.min(length, 12))
      if (head.endsWith('200')) resolve()
      else this.socket.destroy(new Error(`A stream was refused: ${scratch.latin1Slice(0, length)}`))
    }
    this.bytes += length
    if (this.#counts) this.#count(length)
    return true
  }

  #count(length) {
    // A mark may lie across two reads.
    const seam = Buffer.concat([this.#rest, scratch.subarray(0, Math.min(length, MARK.length - 1))])
    let found = seam.indexOf(MARK) === -1 ? 0 : 1
    for (let at = scratch.indexOf(MARK); at !== -1 && at + MARK.length <= length; at = scratch.indexOf(MARK, at + 1)) {
      found += 1
    }
    const last = Buffer.concat([this.#rest, scratch.subarray(Math.max(0, length - MARK.length + 1), length)])
    this.#rest = Buffer.from(last.subarray(Math.max(0, last.length - MARK.length + 1)))
    this.frames += found
    if (found > 0) this.#onFrames?.()
  }
}

const keepOpen = (reader, origin, path, headers) =>
  reader.socket.once('close', () => {
    if (!readers.includes(reader)) return
    reader.bytes = 0
    reader.open(origin, path, headers).then(
      () => keepOpen(reader, origin, path, headers),
      () => undefined,
    )
  })

let readers = []

const counting = () => readers.slice(0, COUNTING)

/** Opens streams and keeps them open; with `reopen` also those that the service has ended, as their lifetime was over. */
export const openStreams = async ({ origin, path, count, reopen = false, headers = '' }) => {
  for (let opened = 0; opened < count; opened += OPENED_AT_ONCE) {
    const batch = Array.from(
      { length: Math.min(OPENED_AT_ONCE, count - opened) },
      (_, n) => new Reader(readers.length + n < COUNTING),
    )
    readers.push(...batch)
    await Promise.all(batch.map(reader => reader.open(origin, path, headers)))
    if (reopen) for (const reader of batch) keepOpen(reader, origin, path, headers)
  }
}

export const closeStreams = async () => {
  const open = readers
  readers = []
  for (const { socket } of open) socket.destroy()
  await delay(200)
}

const totals = () => ({
  at: performance.now(),
  bytes: readers.reduce((sum, reader) => sum + reader.bytes, 0),
  countedBytes: counting().reduce((sum, reader) => sum + reader.bytes, 0),
  countedFrames: counting().reduce((sum, reader) => sum + reader.frames, 0),
  slowest: Math.min(...counting().map(reader => reader.frames)),
})

/** Frames delivered per second, to all readers together, in the time that follows. */
export const measureDeliveries = async ({ seconds }) => {
  const before = totals()
  await delay(seconds * 1000)
  const after = totals()
  const elapsed = (after.at - before.at) / 1000
  const bytes = after.bytes - before.bytes
  const frames = after.countedFrames - before.countedFrames
  const bytesPerFrame = frames === 0 ? null : (after.countedBytes - before.countedBytes) / frames
  return {
    perSecond: bytesPerFrame === null ? 0 : bytes / bytesPerFrame / elapsed,
    bytesPerSecond: bytes / elapsed,
    bytesPerFrame,
    framesPerReader: frames / counting().length,
    open: readers.filter(reader => !reader.ended).length,
  }
}

/** A document may be published when the slowest reader has all but so many: more would only be measured as memory. */
const AHEAD = 512
const PUBLISHERS = 16

let publishing = null

/** Publishes documents in turn, as fast as the readers take them, until `stopPublishing`. */
export const startPublishing = async ({ origin, path, documents, headers = '' }) => {
  const connections = await openConnections(origin, PUBLISHERS)
  const requests = documents.map(json =>
    format(origin, 'POST', path, Buffer.from(json).latin1Slice(), headers.replaceAll('\n', '\r\n')),
  )
  const state = { stopped: false, published: 0, failure: null, wake: [] }
  const received = () => Math.min(...counting().map(reader => reader.frames))
  const already = received()
  for (const reader of counting()) {
    reader.onFrames(() => {
      const wake = state.wake
      state.wake = []
      for (const each of wake) each()
    })
  }
  const loops = connections.map(async connection => {
    while (!state.stopped) {
      if (state.published - (received() - already) >= AHEAD) {
        await Promise.race([new Promise(resolve => state.wake.push(resolve)), delay(50)])
        continue
      }
      const { status, text } = await connection.call(requests[state.published++ % requests.length])
      if (status >= 300) throw new Error(`The answer was ${status}: ${text.slice(0, 500)}`)
    }
    connection.close()
  })
  publishing = { state, done: Promise.all(loops).catch(error => (state.failure = error)) }
}

export const stopPublishing = async () => {
  const { state, done } = publishing
  state.stopped = true
  await done
  publishing = null
  if (state.failure) throw state.failure
  return { published: state.published }
}

const mute = []

/** Readers that ask for a stream and never read it. */
export const openMuteReaders = async ({ origin, path, count }) => {
  const { hostname, port } = new URL(origin)
  for (let n = 0; n < count; n += 1) {
    await new Promise((resolve, reject) => {
      const socket = connect(Number(port), hostname, () => {
        socket.pause()
        socket.write(format(origin, 'GET', path, undefined, 'accept: text/event-stream\r\n'), resolve)
      })
      socket.once('error', reject)
      socket.on('error', () => undefined)
      mute.push(socket)
    })
  }
}

export const closeMuteReaders = async () => {
  for (const socket of mute.splice(0)) socket.destroy()
}

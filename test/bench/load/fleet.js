// A fleet: many workers, each with a connection of its own that stays open and carries one heartbeat in each interval. The times
// at which they report are spread at random, as those of workers that were started by themselves.
//
// Workers do not wait for each other. A report is due at its time, whether the service keeps up or not, and its latency counts from
// then. So what this process is late with counts as well; `lag` says how much that is.
import { Buffer } from 'node:buffer'
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'
import { clearInterval, setInterval } from 'node:timers'
import { setTimeout as delay } from 'node:timers/promises'
import { format } from './connection.js'
import { Histogram } from './histogram.js'

const TICK_MS = 2
const OPENED_AT_ONCE = 200
/** All counts have as many digits, so that a request is as long as the one before it. */
const FIRST_COUNT = 100_000

/** All sockets read into the same memory. An answer is a few hundred bytes. */
const scratch = Buffer.allocUnsafe(64 * 1024)
const HEADERS_END = '\r\n\r\n'

const createTally = () => ({
  answered: 0,
  buffered: 0,
  refused: 0,
  lost: 0,
  missed: 0,
  bytesOut: 0,
  bytesIn: 0,
  latency: new Histogram(),
  lag: new Histogram(),
})

let tally = createTally()

class Worker {
  #socket = null
  #options
  #head
  #count = FIRST_COUNT
  /** When the report that is under way was due; null: none is. */
  #due = null
  /** What has come of an answer whose headers are not complete; null once they are. */
  #text = ''
  /** Bytes of the answer that are still to come. */
  #left = 0
  #status = 0

  constructor({ origin, source, basePath, jobId, phase }) {
    const { hostname, port } = new URL(origin)
    this.phase = phase
    this.#options = { host: hostname, port: Number(port), localAddress: source, noDelay: true }
    const body = `{"processedCount":${FIRST_COUNT}}`
    const request = format(origin, 'POST', `${basePath}/jobs/${jobId}/heartbeat`, body)
    this.#head = request.slice(0, -`${FIRST_COUNT}}`.length)
  }

  open() {
    return new Promise((resolve, reject) => {
      const onread = { buffer: scratch, callback: length => this.#read(length) }
      const socket = connect({ ...this.#options, onread }, () => {
        this.#socket = socket
        resolve()
      })
      socket.once('error', reject)
      socket.on('error', () => undefined)
      socket.once('close', () => this.#lose(socket))
    })
  }

  report(due, now) {
    if (this.#socket === null) return
    if (this.#due !== null) {
      tally.missed += 1
      return
    }
    this.#due = due
    this.#text = ''
    tally.lag.add(now - due)
    const text = `${this.#head}${(this.#count += 10)}}`
    tally.bytesOut += text.length
    this.#socket.write(text, 'latin1')
  }

  #read(length) {
    tally.bytesIn += length
    if (this.#text === null) this.#left -= length
    else {
      this.#text += scratch.latin1Slice(0, length)
      const end = this.#text.indexOf(HEADERS_END)
      if (end === -1) return true
      this.#status = Number(this.#text.slice(9, 12))
      const [, bodyLength = '0'] = /content-length: *(\d+)/i.exec(this.#text) ?? []
      this.#left = end + HEADERS_END.length + Number(bodyLength) - this.#text.length
      this.#text = null
    }
    if (this.#left <= 0) this.#answered()
    return true
  }

  #answered() {
    // The service says why it closes a connection on which no report is under way.
    if (this.#due === null) return
    tally.latency.add(performance.now() - this.#due)
    this.#due = null
    if (this.#status === 200) tally.answered += 1
    else if (this.#status === 202) tally.buffered += 1
    else tally.refused += 1
  }

  /** The service has closed the connection. A worker opens another one. */
  #lose(socket) {
    if (this.#socket !== socket) return
    this.#socket = null
    this.#due = null
    if (closing) return
    tally.lost += 1
    this.open().catch(() => undefined)
  }

  close() {
    this.#socket?.destroy()
  }
}

/** In the order in which they report. */
let workers = []
let closing = false
let timer

const startReporting = intervalMs => {
  let begin = performance.now()
  let next = 0
  const tick = () => {
    const now = performance.now()
    for (;;) {
      if (next >= workers.length) {
        if (now < begin + intervalMs) return
        begin += intervalMs
        next = 0
      }
      const worker = workers[next]
      const due = begin + worker.phase
      if (due > now) return
      worker.report(due, now)
      next += 1
    }
  }
  timer = setInterval(tick, TICK_MS)
  return {
    /** Those whose time in this interval has passed begin with the next one. */
    add(more) {
      const passed = next < workers.length ? workers[next].phase : intervalMs
      workers = [...workers, ...more].sort((a, b) => a.phase - b.phase)
      next = workers.findIndex(worker => worker.phase >= passed)
      if (next === -1) next = workers.length
    },
  }
}

let reporting = null

/** Opens a connection for each job, from the address `source`, and lets it report from now on. */
export const openFleet = async ({ origin, source, basePath, jobIds, intervalMs }) => {
  const more = jobIds.map(jobId => new Worker({ origin, source, basePath, jobId, phase: Math.random() * intervalMs }))
  reporting ??= startReporting(intervalMs)
  // Each batch reports at once: the service closes connections on which nothing has come for 15 seconds.
  for (let opened = 0; opened < more.length; opened += OPENED_AT_ONCE) {
    const batch = more.slice(opened, opened + OPENED_AT_ONCE)
    await Promise.all(batch.map(worker => worker.open()))
    reporting.add(batch)
  }
}

/** What has happened since the last call. */
export const readFleet = () => {
  const { latency, lag, ...counts } = tally
  tally = createTally()
  return { ...counts, workers: workers.length, latency: latency.toPairs(), lag: lag.toPairs() }
}

export const closeFleet = async () => {
  clearInterval(timer)
  closing = true
  for (const worker of workers) worker.close()
  workers = []
  await delay(200)
}

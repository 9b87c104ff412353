/**
 * The guard: a process of its own that runs the Postgres of one data directory for as long as a process uses it.
 *
 * - Each process that uses the server (a user) holds a connection to the guard. The first user also holds the guard's stdin. The
 *   kernel closes both when the user's process dies for any reason, so the guard always knows which users are left. When none is
 *   left, it shuts the server down.
 * - The guard holds the lock until it dies. After that a new guard can take the lock, finds the server still running, and takes
 *   it over. Each user starts a new guard when its connection breaks.
 * - The guard leads its own session, so Ctrl-C in a terminal reaches neither the guard nor Postgres: the server runs until its
 *   users have ended in order.
 *
 * So any process may be killed at any moment: a user (its connection closes), the guard (the next guard takes the server over),
 * the server (the guard starts it again), or all at once (the locks and pid files name dead processes).
 */
import { chmodSync, chownSync, rmSync } from 'node:fs'
import { createServer, type Server as Listener, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { once } from 'node:events'
import { preparePrograms } from './binaries.ts'
import { startServer, type Server } from './cluster.ts'
import { acquireLock } from './lock.ts'
import { LEAVE, whenClosed, type GuardMessage, type GuardOptions } from './messages.ts'
import type { Place } from './place.ts'
import { boundLog, readLogEnd } from './server-log.ts'

/**
 * After a kill -9 of the server, its children need a moment to notice. The server cannot be started again before they have
 * ended.
 */
const START_ATTEMPTS = 5
const FIRST_RETRY_MS = 100
const BOUND_LOG_EVERY_MS = 10_000
const CLOSE_TIMEOUT_MS = 1000

const send = (socket: Socket, message: GuardMessage): void => {
  socket.write(`${JSON.stringify(message)}\n`)
}

/** The users of the server, and the users that have left and wait until it has ended. */
class Users {
  readonly #present = new Set<Readable>()
  readonly #sockets = new Set<Socket>()
  readonly #leaving = new Set<Socket>()
  #waiting: (() => void)[] = []
  #greeting: GuardMessage | null = null

  anyone(): boolean {
    return this.#present.size > 0
  }

  whenEmpty(): Promise<void> {
    return new Promise(resolve => {
      if (this.anyone()) this.#waiting.push(resolve)
      else resolve()
    })
  }

  /** Counts `stream` as a user until it ends. */
  add(stream: Readable): void {
    this.#present.add(stream)
    stream.on('error', () => undefined)
    for (const event of ['end', 'close']) stream.on(event, () => this.#remove(stream))
    stream.resume()
  }

  connect(socket: Socket): void {
    this.add(socket)
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('data', text => {
      if (text.toString() !== LEAVE) return
      this.#leaving.add(socket)
      this.#remove(socket)
      if (this.anyone()) this.releaseLeaving()
    })
    if (this.#greeting !== null) send(socket, this.#greeting)
  }

  tell(message: GuardMessage): void {
    for (const socket of this.#sockets) send(socket, message)
  }

  /** Sets the first message for new users, which says whether the server is ready; null while that is not known. */
  greetWith(message: GuardMessage | null): void {
    this.#greeting = message
    if (message !== null) this.tell(message)
  }

  /** Answers the users that have left and wait for the server's end. */
  releaseLeaving(): void {
    for (const socket of this.#leaving) socket.end()
    this.#leaving.clear()
  }

  async close(): Promise<void> {
    const open = [...this.#sockets].filter(socket => !socket.closed)
    for (const socket of open) socket.end()
    await Promise.race([Promise.all(open.map(whenClosed)), delay(CLOSE_TIMEOUT_MS)])
  }

  #remove(stream: Readable): void {
    if (!this.#present.delete(stream) || this.anyone()) return
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

const listen = async (place: Place, users: Users): Promise<Listener> => {
  const listener = createServer({ allowHalfOpen: false }, socket => users.connect(socket))
  const isFile = process.platform !== 'win32'
  // The guard that left this socket has lost the lock, so no process listens on it.
  if (isFile) rmSync(place.guardSocket, { force: true })
  listener.listen(place.guardSocket)
  await once(listener, 'listening')
  if (!isFile) return listener
  if (place.account !== null) chownSync(place.guardSocket, place.account.uid, place.account.gid)
  chmodSync(place.guardSocket, 0o600)
  return listener
}

/** Starts the server, several times if needed. Null when it does not start; the users have then been told why. */
const startOrTell = async (options: GuardOptions, users: Users): Promise<Server | null> => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const bin = await preparePrograms(options.programs, options.place.home, options.place.account)
      return await startServer(options, bin)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (attempt < START_ATTEMPTS && users.anyone()) {
        await delay(FIRST_RETRY_MS * 2 ** (attempt - 1))
        continue
      }
      users.greetWith({
        type: 'failed',
        reason: `${reason}. The end of ${options.place.log}: ${readLogEnd(options.place.log)}`,
      })
      return null
    }
  }
}

/** Keeps the server running while it has users. If a user comes while the server stops, the server is started again. */
const serve = async (options: GuardOptions, users: Users): Promise<void> => {
  while (users.anyone()) {
    const server = await startOrTell(options, users)
    if (server === null) return
    users.greetWith({ type: 'ready', host: server.host, port: server.port })
    await Promise.race([server.gone, users.whenEmpty()])
    users.greetWith(null)
    if (users.anyone()) users.tell({ type: 'log', text: 'Postgres has ended unexpectedly; it is started again' })
    else await server.stop()
    if (users.anyone()) users.releaseLeaving()
  }
}

const guard = async (options: GuardOptions): Promise<void> => {
  const { place } = options
  const release = acquireLock(place.lock)
  if (release === null) return
  const users = new Users()
  users.add(process.stdin)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
  setInterval(() => boundLog(place.log), BOUND_LOG_EVERY_MS).unref()
  const listener = await listen(place, users)
  await serve(options, users)
  listener.close()
  release()
  await users.close()
}

await guard(JSON.parse(process.argv[2] ?? '') as GuardOptions)
process.exit(0)

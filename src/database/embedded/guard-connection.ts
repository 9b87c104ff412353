import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { HeadwayError } from '../../contract/errors.ts'
import { LEAVE, readMessages, whenClosed, type GuardOptions } from './messages.ts'
import { hasRoom, withoutRoom, type Place } from './place.ts'
import { errorCode } from './processes.ts'
import { openLog, readLogEnd } from './server-log.ts'

/** Creating a cluster on a slow disk, or recovery after a power cut, may take long. */
const START_TIMEOUT_MS = 120_000
const CONNECT_AGAIN_MS = 20
const TELL_EVERY_MS = 10_000
const MAX_BACKOFF_MS = 5000

/** Where the server accepts connections. */
export interface Address {
  host: string
  port: number
}

/** This process's claim on the server. */
export interface GuardConnection {
  address: Address
  /** Gives the claim up. Resolves when the guard has stopped the server, or keeps it running for other processes. */
  leave: () => Promise<void>
}

const GUARD = fileURLToPath(new URL('./guard.js', import.meta.url))

/** Connects to a guard; null when there is none. */
const connectTo = (path: string): Promise<Socket | null> =>
  new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket))
    socket.once('error', error => {
      if (['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EAGAIN'].includes(errorCode(error))) resolve(null)
      else reject(error)
    })
  })

const startGuard = (options: GuardOptions): ChildProcess => {
  const log = openLog(options.place)
  const child = spawn(process.execPath, ['--max-semi-space-size=1', GUARD, JSON.stringify(options)], {
    cwd: options.place.home,
    detached: true,
    windowsHide: true,
    stdio: ['pipe', log, log],
    // Loaders and coverage tools of this process must not run in the guard.
    env: { ...process.env, NODE_OPTIONS: '', NODE_V8_COVERAGE: '' },
  })
  closeSync(log)
  child.stdin?.on('error', () => undefined)
  child.on('error', () => undefined)
  child.unref()
  return child
}

/** What Postgres says of a full disk stands in its log, in words: the disk itself is looked at. */
const failure = (place: Place, message: string) =>
  hasRoom(place) ? new HeadwayError('database_unavailable', message) : withoutRoom(place)

/** Connects to the guard, and starts one if there is none. If two are started at once, the one that gets the lock stays. */
const reachGuard = async (options: GuardOptions, deadline: number): Promise<Socket> => {
  const { place } = options
  let child: ChildProcess | null = null
  try {
    for (;;) {
      const socket = await connectTo(place.guardSocket)
      if (socket !== null) return socket
      if (child?.exitCode != null && child.exitCode !== 0) {
        throw failure(
          place,
          `The embedded Postgres could not be started. The end of ${place.log}: ${readLogEnd(place.log)}`,
        )
      }
      if (child === null || child.exitCode !== null || child.signalCode !== null) child = startGuard(options)
      if (Date.now() > deadline) throw failure(place, `Nobody answers at ${place.guardSocket}. See ${place.log}.`)
      await delay(CONNECT_AGAIN_MS)
    }
  } finally {
    // Until here, this pipe was the guard's sign that this process is alive.
    child?.stdin?.destroy()
  }
}

interface Attachment {
  socket: Socket
  place: Place
  log: (message: string) => void
  deadline: number
}

/** Resolves when the server is ready; null when the guard has ended before it answered. */
const awaitReady = ({ socket, place, log, deadline }: Attachment): Promise<Address | null> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy()
      reject(failure(place, `The embedded Postgres was not ready within two minutes. See ${place.log}.`))
    }, deadline - Date.now())
    const settle = (settled: () => void) => {
      clearTimeout(timer)
      settled()
    }
    socket.once('close', () => settle(() => resolve(null)))
    readMessages(socket, message => {
      if (message.type === 'ready') settle(() => resolve({ host: message.host, port: message.port }))
      else if (message.type === 'failed')
        settle(() => reject(failure(place, `The embedded Postgres failed: ${message.reason}`)))
      else log(message.text)
    })
  })

const attach = async (
  options: GuardOptions,
  log: (message: string) => void,
): Promise<{ socket: Socket; address: Address }> => {
  const { place } = options
  const deadline = Date.now() + START_TIMEOUT_MS
  const telling = setInterval(() => {
    const leftSeconds = Math.ceil((deadline - Date.now()) / 1000)
    log(`The embedded Postgres is not ready yet, and is waited for another ${leftSeconds} seconds. See ${place.log}.`)
  }, TELL_EVERY_MS)
  try {
    for (;;) {
      const socket = await reachGuard(options, deadline)
      socket.on('error', () => undefined)
      const address = await awaitReady({ socket, place, log, deadline })
      if (address !== null) return { socket, address }
    }
  } finally {
    clearInterval(telling)
  }
}

/**
 * Claims the server of `options.place`: starts it, or joins the processes that use it. The claim ends with this process at the
 * latest. If the guard ends, the claim is made again until it succeeds, and the server comes back at the same address. Raises
 * `database_unavailable` when the first claim fails.
 */
export const connectToGuard = async (
  options: GuardOptions,
  log: (message: string) => void,
): Promise<GuardConnection> => {
  let leaving = false
  const first = await attach(options, log)
  let { socket } = first

  const attachAgain = async () => {
    for (let backoffMs = CONNECT_AGAIN_MS; !leaving; backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)) {
      try {
        const next = await attach(options, log)
        log('Attached to the embedded Postgres again')
        keep(next.socket)
        return
      } catch (error) {
        log(error instanceof Error ? error.message : String(error))
        await delay(backoffMs, undefined, { ref: false })
      }
    }
  }
  let attaching = Promise.resolve()
  const keep = (current: Socket) => {
    socket = current
    socket.unref()
    const again = () => {
      if (!leaving) attaching = attachAgain()
    }
    if (socket.closed) again()
    else socket.once('close', again)
  }
  keep(socket)

  return {
    address: first.address,
    leave: async () => {
      leaving = true
      await attaching
      socket.ref()
      socket.write(LEAVE)
      await whenClosed(socket)
    },
  }
}

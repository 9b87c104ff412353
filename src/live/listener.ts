import { randomBytes } from 'node:crypto'
import type { JobChange } from '../contract/change.ts'
import { CHANNEL, decodePayload } from './payload.ts'
import type { Log } from './log.ts'
import type { LiveStats } from './stats.ts'

/** The part of a `pg.Client` that is used here. */
export interface ListenerClient {
  connect(): Promise<unknown>
  query(text: string): Promise<unknown>
  on(event: 'notification', listener: (message: { channel: string; payload?: string | undefined }) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'end', listener: () => void): unknown
  readonly connection: { readonly stream: { destroy(): unknown } }
}

export interface ListenerOptions {
  /** A new client for each connection. It must not go through a transaction pooler. */
  connect: () => ListenerClient
  onChanges: (changes: readonly JobChange[]) => void
  /** Called when the listener receives notifications from now on. Earlier ones may have been missed. */
  onConnected: () => void
  onDeaf: () => void
  /** How often the listener tests its connection, and how long it waits for its own ping, for a connection, and for LISTEN. */
  pingIntervalMs?: number
  pingDeadlineMs?: number
  maxBackoffMs?: number
  /** From 0 to 1, for jitter. */
  random?: () => number
  log: Log
  stats: LiveStats
}

export interface Listener {
  isListening(): boolean
  start(): void
  close(): Promise<void>
}

/**
 * Receives notifications on a connection of its own, and connects again for ever. A NOTIFY is only a hint, so missed ones are
 * not recovered, but `onConnected` tells of them. The connection pings itself, because a socket whose other end has vanished
 * looks idle and not broken.
 */
export const createListener = (options: ListenerOptions): Listener => {
  const { onChanges, onConnected, onDeaf, log, stats } = options
  const { pingIntervalMs = 5_000, pingDeadlineMs = 5_000, maxBackoffMs = 1_000, random = Math.random } = options
  let closed = false
  let listening = false
  let heardOnce = false
  let knownDeaf = false
  let running: Promise<void> | null = null
  /** Ends the listener's present wait. */
  let interrupt: () => void = () => undefined

  const heard = () => {
    if (listening || closed) return
    if (heardOnce) {
      stats.reconnects++
      log.info({}, 'The listener hears changes again')
    }
    listening = true
    heardOnce = true
    onConnected()
  }

  const deaf = (error: unknown) => {
    if (closed) return
    if (listening || !knownDeaf) log.warn({ err: error }, 'The listener is deaf; streams find changes by reconcile')
    knownDeaf = true
    listening = false
    onDeaf()
  }

  /** One connection from its beginning to its end. Resolves with the reason of its end. */
  const listen = () =>
    new Promise<unknown>(resolve => {
      const client = options.connect()
      const pingChannel = `${CHANNEL}_ping_${randomBytes(8).toString('hex')}`
      let timer: NodeJS.Timeout | undefined
      let ended = false
      let pingedAt = 0

      const end = (reason: unknown) => {
        ended = true
        clearTimeout(timer)
        // `client.end()` would wait for the server, which may have vanished. LISTEN need not be ended in order.
        client.connection.stream.destroy()
        resolve(reason)
      }
      interrupt = () => end(new Error('The listener was closed'))

      const expectAnswer = () => {
        timer = setTimeout(end, pingDeadlineMs, new Error('The database did not answer in time'))
      }
      const ping = () => {
        if (ended) return
        clearTimeout(timer)
        expectAnswer()
        pingedAt = performance.now()
        client.query(`NOTIFY ${pingChannel}`).catch(end)
      }

      client.on('error', end)
      client.on('end', () => end(new Error('The connection ended')))
      client.on('notification', ({ channel, payload }) => {
        if (ended) return
        if (channel === pingChannel) {
          clearTimeout(timer)
          timer = setTimeout(ping, pingIntervalMs)
          stats.pingMs = performance.now() - pingedAt
          heard()
        } else {
          const changes = decodePayload(payload ?? '')
          if (changes) onChanges(changes)
          else stats.malformed++
        }
      })

      expectAnswer()
      client
        .connect()
        .then(() => client.query(`LISTEN ${CHANNEL}; LISTEN ${pingChannel}`))
        .then(ping)
        .catch(end)
    })

  const pause = (milliseconds: number) =>
    new Promise<void>(resolve => {
      const timer = setTimeout(resolve, milliseconds)
      interrupt = () => {
        clearTimeout(timer)
        resolve()
      }
    })

  const run = async () => {
    // Backoff (ms, before jitter): 50, 100, 200, 400, 800, 1000, 1000, …
    let backoffMs = 50
    while (!isClosed()) {
      const reason = await listen()
      if (listening) backoffMs = 50
      deaf(reason)
      if (isClosed()) return
      // With jitter: all replicas lose a database at the same moment, and should not come back at the same moment.
      await pause(Math.min(backoffMs, maxBackoffMs) * (0.5 + random() / 2))
      backoffMs = Math.min(backoffMs * 2, maxBackoffMs)
    }
  }
  const isClosed = () => closed

  return {
    isListening: () => listening,
    start: () => void (running ??= run()),
    close: async () => {
      closed = true
      listening = false
      interrupt()
      await running
    },
  }
}

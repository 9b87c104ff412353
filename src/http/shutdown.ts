import { setMaxListeners } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { HeadwayError } from '../contract/errors.ts'

const DRAIN_CHECK_MS = 20

/** How long a client may take to send the rest of its body, or to read its answer. */
const CLIENT_GRACE_MS = 500

export interface ShutdownOptions {
  /** How long requests that have begun may take to end. */
  graceMs: number
  /** Ends the streams, which would not end by themselves. */
  endStreams: () => Promise<void>
}

/**
 * The requests that have begun and not ended, by their connection; an idle connection has none. They are kept by connection
 * because an answer that waits behind another one of its connection has no socket yet, and does not notice that its client
 * left.
 */
const trackRequests = (app: FastifyInstance): ReadonlyMap<Socket, ReadonlySet<ServerResponse>> => {
  const connections = new Map<Socket, Set<ServerResponse>>()
  function ended(this: ServerResponse) {
    connections.get(this.req.socket)?.delete(this)
  }
  function left(this: Socket) {
    connections.delete(this)
  }
  // Not the hook onResponse, which does not run when the client leaves first.
  app.server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    let responses = connections.get(socket)
    if (!responses) {
      responses = new Set()
      connections.set(socket, responses)
      socket.once('close', left)
    }
    responses.add(response)
    // The event comes once, and `on` costs less than `once`.
    response.on('close', ended)
  })
  return connections
}

/** Whether only the client is missing: it has not sent the whole request, or has not read the whole answer. */
const waitsForClient = (response: ServerResponse): boolean => !response.req.complete || response.writableEnded

/**
 * When `app` closes, refuses new requests, ends the streams and waits until the requests that have begun have ended. `closing`
 * aborts first, for requests that wait for something. A client that does not send or does not read gets half a second, so that
 * it does not use up the time for writing heartbeats. Fastify alone would cut all requests: with `forceCloseConnections` it
 * closes every socket at once.
 */
export const registerShutdown = (
  app: FastifyInstance,
  { graceMs, endStreams }: ShutdownOptions,
): { closing: AbortSignal } => {
  const closing = new AbortController()
  // Every request that waits for a change listens to the signal.
  setMaxListeners(0, closing.signal)
  const connections = trackRequests(app)
  const areUnderWay = () => [...connections.values()].some(({ size }) => size > 0)
  app.addHook('onRequest', (_request, reply, done) => {
    if (!closing.signal.aborted) {
      done()
      return
    }
    reply.header('connection', 'close')
    done(new HeadwayError('shutting_down', 'This process is about to stop: try again.', { retryAfterSeconds: 1 }))
  })
  app.addHook('preClose', async () => {
    closing.abort()
    const started = performance.now()
    await endStreams()
    while (areUnderWay() && performance.now() < started + graceMs) {
      await pause(DRAIN_CHECK_MS)
      if (performance.now() < started + CLIENT_GRACE_MS) continue
      for (const [socket, responses] of connections) {
        if (responses.size > 0 && [...responses].every(waitsForClient)) socket.destroy()
      }
    }
  })
  return { closing: closing.signal }
}

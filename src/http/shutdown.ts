import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { HeadwayError } from '../errors.ts'

const DRAIN_CHECK_MS = 20

export interface ShutdownOptions {
  /** How long requests that have begun may take to end. */
  graceMs: number
  /** Ends what would not end by itself. */
  endStreams: () => Promise<void>
}

/**
 * Closing `app` refuses new requests, ends streams and waits, and lets the requests that have begun end;
 * `closing` aborts first, for requests that wait for something.
 * Fastify alone would cut them: with `forceCloseConnections` it closes every socket at once.
 */
export const registerShutdown = (
  app: FastifyInstance,
  { graceMs, endStreams }: ShutdownOptions,
): { closing: AbortSignal } => {
  const closing = new AbortController()
  let underWay = 0
  const ended = () => {
    underWay--
  }
  // Not the hook onResponse: it does not run when the client leaves first.
  app.server.on('request', (_request, response) => {
    underWay++
    response.once('close', ended)
  })
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
    const deadline = performance.now() + graceMs
    await endStreams()
    while (underWay > 0 && performance.now() < deadline) await pause(DRAIN_CHECK_MS)
  })
  return { closing: closing.signal }
}

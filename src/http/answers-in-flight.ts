import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Party } from '../turns/turns.ts'
import type { Identity } from '../jobs/identity.ts'
import { networkOf } from './limits/guesses.ts'
import type { Holder, Holding, InFlight } from './limits/in-flight.ts'
import { watchClient } from './waiting.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** The bytes of the request's body that are in flight, once the body has arrived. */
    bodyHolding: Holding | null
  }
  interface FastifyContextConfig {
    /** The route answers with files, which the process keeps in memory however many answers are in flight. */
    answersWithFile?: boolean
  }
}

/** An answer that is shorter than this is not counted: it takes less memory than its request. */
const SHORT_ANSWER = 4 * 1024

/** For whom the bytes of a request and its answer count: for the caller, or for the address on routes that ask for no token. */
export const holderOf = (request: FastifyRequest): Holder => {
  const identity = request.identity as Identity | undefined
  if (identity) return { tenant: identity.tenantId, caller: identity.caller }
  return { tenant: 'strangers', caller: networkOf(request.ip) }
}

/** The same holder in the form in which turns take it. */
export const partyOf = ({ tenant, caller }: Holder): Party => ({ tenantId: tenant, caller })

/**
 * Counts an answer as in flight until its client has read it or has left. Raises `too_much_in_flight` and `overloaded`, unless
 * `mustBeTold`: the call has changed something, and the client must learn that.
 */
export const holdAnswer = (
  inFlight: InFlight,
  request: FastifyRequest,
  reply: FastifyReply,
  bytes: number,
  { mustBeTold }: { mustBeTold: boolean },
): void => {
  const { raw } = request
  // When memory runs short, this closes the connection: a client that does not read cannot be told anything.
  const holding = inFlight.open(holderOf(request), 'answer', () => raw.socket.destroy())
  try {
    if (mustBeTold) holding.force(bytes)
    else holding.take(bytes)
  } catch (error) {
    holding.release()
    throw error
  }
  const unwatch = watchClient(raw, () => holding.release())
  reply.raw.once('close', () => {
    unwatch()
    holding.release()
  })
}

/** The bytes of an answer that wait in memory for the client; 0 for a streamed answer. */
const bytesOf = (payload: unknown): number => {
  if (typeof payload === 'string') return payload.length > SHORT_ANSWER ? Buffer.byteLength(payload) : 0
  return ArrayBuffer.isView(payload) && payload.byteLength > SHORT_ANSWER ? payload.byteLength : 0
}

/**
 * Counts every answer as in flight until it has been read, and ends the count of the request's body when there is an answer. A
 * buffer that several answers share counts for each of them, because the slowest reader keeps it in memory. Only files do not
 * count.
 */
export const registerAnswersInFlight = (app: FastifyInstance, inFlight: InFlight): void => {
  app.decorateRequest('bodyHolding', null)
  app.addHook('onSend', (request, reply, payload, done) => {
    request.bodyHolding?.release()
    const isFile = typeof payload !== 'string' && request.routeOptions.config.answersWithFile === true
    const bytes = isFile || request.method === 'HEAD' ? 0 : bytesOf(payload)
    if (bytes > 0) {
      try {
        holdAnswer(inFlight, request, reply, bytes, { mustBeTold: request.method !== 'GET' })
      } catch (error) {
        reply.removeHeader('etag')
        done(error as Error)
        return
      }
    }
    done()
  })
}

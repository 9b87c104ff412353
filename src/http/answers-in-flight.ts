import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Party } from '../turns/turns.ts'
import type { Identity } from '../jobs/identity.ts'
import { networkOf } from './limits/guesses.ts'
import type { Holder, Holding, InFlight } from './limits/in-flight.ts'
import { watchClient } from './waiting.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Of its body, once that has arrived. */
    bodyHolding: Holding | null
  }
  interface FastifyContextConfig {
    /** Bytes that it answers with are those of a file, which the process holds however many are answered. */
    answersWithFile?: boolean
  }
}

/** What is shorter weighs less than the request that it answers. */
const SHORT_ANSWER = 4 * 1024

/** Whom the bytes of a request and its answer count for: who calls; where nobody asks for that, the address. */
export const holderOf = (request: FastifyRequest): Holder => {
  const identity = request.identity as Identity | undefined
  if (identity) return { tenant: identity.tenantId, caller: identity.caller }
  return { tenant: 'strangers', caller: networkOf(request.ip) }
}

/** The same, as whoever takes a turn. */
export const partyOf = ({ tenant, caller }: Holder): Party => ({ tenantId: tenant, caller })

/**
 * Counts an answer until its client has taken it, or has left. Raises `too_much_in_flight` and `overloaded`, except for what
 * must be told since it has been done.
 */
export const holdAnswer = (
  inFlight: InFlight,
  request: FastifyRequest,
  reply: FastifyReply,
  bytes: number,
  { mustBeTold }: { mustBeTold: boolean },
): void => {
  const { raw } = request
  // Nothing can be told to a client that does not read.
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

/** What waits in memory for the client, in bytes; 0 for what is streamed, which waits for its reader elsewhere. */
const bytesOf = (payload: unknown): number => {
  if (typeof payload === 'string') return payload.length > SHORT_ANSWER ? Buffer.byteLength(payload) : 0
  return ArrayBuffer.isView(payload) && payload.byteLength > SHORT_ANSWER ? payload.byteLength : 0
}

/**
 * Counts what is answered as in flight until it has been read, and bodies no longer once there is an answer. What many share
 * counts for each of them: whoever reads last keeps it in memory. Only files, which are in memory anyway, do not count.
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

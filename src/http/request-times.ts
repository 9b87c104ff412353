import { HEADER } from '../contract/http.ts'
import type { FastifyContextConfig, FastifyInstance, FastifyReply } from 'fastify'

/**
 * An answered request. `route` is a pattern and never a URL, because every value is kept for ever; `none` when there is no
 * route.
 */
export interface AnsweredRequest {
  method: string
  route: string
  status: number
  ms: number
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The answer lasts as long as its reader wants, so its time says nothing about the service. */
    endless?: boolean
  }
}

/** Whether the answer was kept open on purpose: a stream, or `Prefer: wait`. */
const wasHeld = (reply: FastifyReply, { endless = false }: FastifyContextConfig): boolean =>
  reply.statusCode < 400 && (endless || reply.hasHeader(HEADER.preferenceApplied))

/** Calls `answered` for every answered request, except those that were kept open: their readers decide how long they take. */
export const registerRequestTimes = (app: FastifyInstance, answered: (request: AnsweredRequest) => void): void => {
  app.addHook('onResponse', (request, reply, done) => {
    // Read once: Fastify makes a new object each time.
    const { config, url = 'none' } = request.routeOptions
    if (!wasHeld(reply, config)) {
      answered({ method: request.method, route: url, status: reply.statusCode, ms: reply.elapsedTime })
    }
    done()
  })
}
